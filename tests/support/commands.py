"""Calling the command line in this process: on real file descriptors, or in virtual time."""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from agent_messaging import AgentLike
from agent_messaging._cli import main
from agent_messaging._cli_exit import StopError
from agent_messaging._cli_host import Host
from agent_messaging._cli_streams import Output
from agent_messaging._cli_text import json_line
from support.frames import Json, decoded

#: What stands before an agent's name.
AGENTS = "support.cli_agents:"

#: A line of input.
HELLO = b'{"type": "chat", "payload": {"text": "hello"}}\n'


@dataclass
class Result:
    """How the command ended, and what it left on its two outputs."""

    code: int
    out: str
    err: str

    @property
    def frames(self) -> list[Json]:
        """The frames after the session's first."""
        first, *frames = decoded(self.out.splitlines())
        assert first["type"] == "connection_established"
        return frames

    @property
    def summary(self) -> list[str]:
        """The types of those frames, and of an error its code."""
        return summary_of(self.frames)


def summary_of(frames: list[Json]) -> list[str]:
    """The types of frames, and of an error its code."""
    return [frame["payload"].get("code", frame["type"]) for frame in frames]


@contextmanager
def standard_input(stream: IO[bytes] | None) -> Generator[None]:
    """Like `contextlib.redirect_stdout`, for the other end."""
    before = sys.stdin
    sys.stdin = stream
    try:
        yield
    finally:
        sys.stdin = before


def run_command(
    *options: str,
    agent: str | None = None,
    given: bytes = b"",
    source: IO[bytes] | None = None,
    sink: IO[str] | None = None,
) -> Result:
    """What ``agent-messaging run`` does.

    Args:
        options: its arguments.
        agent: the name of one of `support.cli_agents`.
        given: what is on its standard input.
        source: its standard input, in the place of a file with ``given``.
        sink: its standard output, which the result then lacks.
    """
    argv = ["run", *options] if agent is None else ["run", "--agent", AGENTS + agent, *options]
    return call(argv, given=given, source=source, sink=sink)


def run_log(path: Path, *options: str, sink: IO[str] | None = None) -> Result:
    """What ``agent-messaging log`` does with that file.

    Args:
        path: the file.
        options: further arguments.
        sink: its standard output, which the result then lacks.
    """
    return call(["log", str(path), *options], sink=sink)


def run_check(
    path: Path | str, *options: str, given: bytes = b"", sink: IO[str] | None = None
) -> Result:
    """What ``agent-messaging check`` does with that file; the others as in `run_command`."""
    return call(["check", str(path), *options], given=given, sink=sink)


def call(
    argv: Sequence[str],
    *,
    given: bytes = b"",
    source: IO[bytes] | None = None,
    sink: IO[str] | None = None,
) -> Result:
    """What the command does with these arguments; the others are those of `run_command`."""
    errors = StringIO()
    path = sys.path.copy()
    with TemporaryFile() as file, TemporaryFile("w+", encoding="utf-8") as kept:
        file.write(given)
        file.seek(0)
        with (
            standard_input(file if source is None else source),
            redirect_stdout(kept if sink is None else sink),
            redirect_stderr(errors),
        ):
            try:
                code = main(argv)
            finally:
                sys.path[:] = path
                _let_calls_end(reader=source is None, writer=sink is None)
        kept.seek(0)
        return Result(code, kept.read(), errors.getvalue())


def _let_calls_end(**is_on_a_file: bool) -> None:
    """Wait for what its threads have begun: the next file to be opened gets their file's number.

    A program that was cancelled does not, as it ends. On a file no call lasts.
    """
    for thread in threading.enumerate():
        if is_on_a_file.get(thread.name.removeprefix("agent-messaging ")):
            thread.join()


# In virtual time.


class Console:
    """A host's input and output: what is typed, and what is written.

    Attributes:
        frames: what was written, after the session's first frame.
        output: writes to it.
    """

    def __init__(self) -> None:
        self.frames: list[Json] = []
        self.output = Output(json_line, self._write)
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._moves = asyncio.Event()
        self._moves.set()
        self._fault: StopError | None = None
        self._is_greeted = False

    def type(self, *frames: Json, end: bool = False) -> None:
        """Have these lines read at once, and perhaps the end."""
        self.type_text("".join(f"{json.dumps(frame)}\n" for frame in frames))
        if end:
            self._typed.put_nowait(b"")

    def type_text(self, text: str) -> None:
        """Have this text read at once."""
        if text:
            self._typed.put_nowait(text.encode())

    def stall(self) -> None:
        """Take no more for now."""
        self._moves.clear()

    def move(self) -> None:
        """Take what there is."""
        self._moves.set()

    def fail(self) -> None:
        """Take nothing any more."""
        self._fault = StopError(1, "no more")
        self.move()

    async def read(self) -> bytes:
        """What was typed next."""
        return await self._typed.get()

    async def _write(self, line: bytes) -> None:
        await asyncio.sleep(0)
        await self._moves.wait()
        if self._fault is not None:
            raise self._fault
        frame: Json = json.loads(line)
        if self._is_greeted:
            self.frames.append(frame)
        else:
            assert frame["type"] == "connection_established"
            self._is_greeted = True

    @property
    def summary(self) -> list[str]:
        """The types of the frames, and of an error its code."""
        return summary_of(self.frames)


@asynccontextmanager
async def at_console(agent: AgentLike) -> AsyncGenerator[tuple[Console, asyncio.Task[None]]]:
    """A host at work for the user ``u1``; it has to end by the end of the block."""
    console = Console()
    serving = asyncio.create_task(Host(agent, "u1").serve(console.read, console.output))
    yield console, serving
    assert serving.done()
