"""The workers' processes, and what they leave in files."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, final

from support import Json

_TESTS: Final = Path(__file__).parents[1]
#: Seconds for one thing to happen; only a fault, or a very busy machine, comes near.
PATIENCE: Final = 30.0


@final
class Worker:
    """One worker, which may be killed and started again."""

    def __init__(
        self, name: str, folder: Path, redis: str, lease_seconds: float, variant: str
    ) -> None:
        self.name: Final = name
        self.socket: Final = folder / f"{name}.sock"
        self.records: Final = folder / f"{name}.records"
        self._errors: Final = folder / f"{name}.errors"
        self._options = (
            *("--name", name, "--folder", str(folder), "--redis", redis),
            *("--lease", str(lease_seconds), "--variant", variant),
        )
        self._process: asyncio.subprocess.Process | None = None
        self._is_frozen = False

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it does not run"
        return self._process

    async def start(self) -> None:
        """Start it; returns when it serves."""
        # In a session of its own, so that Ctrl-C reaches the parent alone.
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "kill_redis.worker", *self._options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")]),
                },
                start_new_session=True,
            )
        await self._says()

    async def _says(self) -> Json:
        assert self._running.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._running.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} is gone: {self.errors()}")
        said: Json = json.loads(line)
        return said

    def freeze(self) -> None:
        """Have it do nothing at all."""
        self._is_frozen = True
        self._running.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on."""
        self._is_frozen = False
        self._running.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it as a crash would, and wait for that."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def end(self) -> tuple[Json, int]:
        """Have it drain and end: what is left, and its exit code."""
        assert self._running.stdin is not None
        self._running.stdin.close()
        said = await self._says()
        async with asyncio.timeout(PATIENCE):
            return said, await self._running.wait()

    def errors(self) -> str:
        """What its lives have written on standard error."""
        return self._errors.read_text() if self._errors.exists() else ""


class Execution(NamedTuple):
    """An agent that has begun."""

    pid: int
    user_id: str
    message_id: str
    run_id: str


@final
class Executions:
    """What the agents of all workers have written, read as it comes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "executions"
        self._offset = 0
        self._begun: dict[str, Execution] = {}
        self._left: set[str] = set()
        self.all: Final[list[Execution]] = []

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            written = file.read()
        whole, _, _ = written.rpartition(b"\n")
        self._offset += len(whole) + bool(whole)
        for line in whole.splitlines():
            noted: Json = json.loads(line)
            execution = Execution(
                noted["pid"], noted["user_id"], noted["message_id"], noted["run_id"]
            )
            if noted["what"] == "begins":
                self.all.append(execution)
                self._begun[execution.run_id] = execution
            else:
                self._left.add(execution.run_id)

    def under_way(self, pid: int) -> list[Execution]:
        """The agents of a process that have begun and not left."""
        self._read()
        return [
            execution
            for execution in self._begun.values()
            if execution.pid == pid and execution.run_id not in self._left
        ]


def records_of(workers: Sequence[Worker]) -> list[Json]:
    """What the workers' lives have logged, from WARNING on."""
    return [
        json.loads(line)
        for worker in workers
        if worker.records.exists()
        for line in worker.records.read_text().splitlines()
    ]
