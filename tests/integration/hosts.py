"""Host programs as processes of their own, on a free port of the loopback interface."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final, TypeVar, final

from support import Json

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "docs" / "examples"
#: Seconds for any one thing to happen; only a fault, or a very busy machine, comes near.
PATIENCE: Final = 30.0
SECRET: Final = "the secret of the tests"


async def within_patience(awaited: Awaitable[T]) -> T:
    """What is awaited, or TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        return await awaited


@final
class Host:
    """A host program that runs."""

    def __init__(self, process: asyncio.subprocess.Process, errors: IO[bytes]) -> None:
        self.port = 0
        self._process = process
        self._errors = errors

    async def says(self) -> Json:
        """The next line of its standard output."""
        assert self._process.stdout is not None
        line = await within_patience(self._process.stdout.readline())
        assert line, f"the program ended with {await self._process.wait()}"
        said: Json = json.loads(line)
        return said

    async def says_next(self, key: str) -> Json:
        """The next line that has this key; what comes before it is of no interest."""
        while True:
            said = await self.says()
            if key in said:
                return said

    def terminate(self) -> None:
        """Send it a SIGTERM, as a platform does that wants it to stop."""
        self._process.terminate()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._process.returncode is None

    async def ends(self) -> int:
        """Its exit code, when it has ended."""
        return await within_patience(self._process.wait())

    async def stop(self) -> Json:
        """Stop it, and return the statistics of its endpoint."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        statistics: Json = (await self.says_next("statistics"))["statistics"]
        assert await self.ends() == 0
        return statistics

    def errors(self) -> list[str]:
        """The lines of its standard error up to now."""
        self._errors.seek(0)
        return self._errors.read().decode().splitlines()


@asynccontextmanager
async def running(program: str, drain_seconds: float = PATIENCE) -> AsyncGenerator[Host]:
    """The module ``hosts.<program>`` as a program, which listens; see `started`."""
    async with started(f"hosts.{program}", DRAIN_SECONDS=str(drain_seconds)) as host:
        host.port = (await host.says())["port"]
        yield host


@asynccontextmanager
async def started(module: str, **variables: str) -> AsyncGenerator[Host]:
    """An example's module as a program; a fault comes with what it said on stderr."""
    environment = {
        **os.environ,
        "CHAT_SECRET": SECRET,
        **variables,
        "PYTHONPATH": os.pathsep.join(
            [str(EXAMPLES), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        ),
        "PYTHONWARNINGS": "default::ResourceWarning",
    }
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "integration.child", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        host = Host(process, errors)
        try:
            yield host
        except BaseException as error:
            error.add_note("\n".join(["its standard error:", *host.errors()]))
            raise
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
