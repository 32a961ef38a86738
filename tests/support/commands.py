"""Calling the command line in this process, on real file descriptors."""

import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from tempfile import TemporaryFile
from typing import IO

from agent_messaging._cli import main
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
        return decoded(self.out.splitlines())

    @property
    def summary(self) -> list[str]:
        """The types of the frames, and of an error its code."""
        return [frame["payload"].get("code", frame["type"]) for frame in self.frames]


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
        kept.seek(0)
        return Result(code, kept.read(), errors.getvalue())
