"""A host's process, as its parent sees it: told, listened to, and killed."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, final

from agent_messaging.eventlog.sqlite import Durability
from kill.points import Phase, Point
from support import Json

_TESTS: Final = Path(__file__).parents[1]

#: Bytes of one line of a host's output at most.
_LINE_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every host of a sweep is started with.

    Attributes:
        folder: where its log and its file of executions are.
        durability: the log's.
        variant: what is between the host's endpoint and its log.
        lease_seconds: the endpoint's.
    """

    folder: Path
    durability: Durability
    variant: str
    lease_seconds: float

    @property
    def log(self) -> Path:
        """The log's file."""
        return self.folder / "events.sqlite"

    @property
    def executions(self) -> Path:
        """What agents have begun, a JSON line each: user id, message id, run id."""
        return self.folder / "executions"


@final
class Host:
    """One host.

    Attributes:
        process_id: the system's number for it.
        is_ready: whether it has an endpoint.
        held: the point at which somebody is held.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        errors: IO[bytes],
        hear: Callable[[Json], None],
    ) -> None:
        self.process_id: Final = process.pid
        self.is_ready = False
        self.held: Point | None = None
        self._process = process
        self._errors = errors
        self._hear = hear
        self._news = asyncio.Event()
        self._is_over = False
        self._listening = asyncio.create_task(self._listen(), name="listens to the host")

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while (line := await self._process.stdout.readline()).endswith(b"\n"):
                told: Json = json.loads(line)
                self.is_ready = self.is_ready or "ready" in told
                self.held = told.get("held", self.held)
                self._hear(told)
                self._news.set()
        finally:
            self._is_over = True
            self._news.set()

    def say(self, **command: object) -> None:
        """Give it one command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(command)}\n".encode())

    async def until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait for something that its lines make so; whether it is."""
        try:
            async with asyncio.timeout(seconds):
                while not (is_so() or self._is_over):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        return is_so()

    async def kill(self) -> int:
        """Kill it, and hear what it has said; with what it has ended."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        return await self._end()

    async def end(self, seconds: float) -> int:
        """End its input, so that it ends by itself; with what it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return await self.kill()
        return await self._end()

    async def _end(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = await self._process.wait()
        await self._listening
        return code

    def errors(self) -> str:
        """What it has written to its standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


@asynccontextmanager
async def hosting(
    terms: Terms, hear: Callable[[Json], None], *, hold: Phase | None = None, passes: int = 0
) -> AsyncGenerator[Host]:
    """A host, which is killed at the end if it has not ended.

    It is in a session of its own, so that Ctrl-C reaches its parent alone.

    Args:
        terms: what it is started with.
        hear: called with each line of it.
        hold: the point at which it is held from its beginning.
        passes: how often that is passed before.
    """
    path = os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "kill.host"),
            *("--log", terms.log, "--executions", terms.executions),
            *("--durability", terms.durability, "--variant", terms.variant),
            *("--lease", str(terms.lease_seconds), "--passes", str(passes)),
            *(() if hold is None else ("--hold", hold)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=_LINE_BYTES,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        host = Host(process, errors, hear)
        try:
            yield host
        finally:
            await host.kill()
