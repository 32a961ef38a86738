"""What a command writes when it reads through something long: its lines, and how far it is."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar, final

from agent_messaging._cli_exit import EXIT_STREAM, StopError, say
from agent_messaging._cli_streams import write_line
from agent_messaging._cli_text import text_line

__all__ = ["Progress", "Writer", "standard_output", "text_lines"]

#: Bytes that are written at once, where there are as many.
_CHUNK: Final = 64 * 1024
#: Seconds without a word after which it is said how far the work is.
_PATIENCE: Final = 1.0

T = TypeVar("T")


def standard_output() -> tuple[int, str]:
    """Its file descriptor, and its encoding.

    Raises:
        StopError: it is closed.
    """
    if sys.stdout is None:
        raise StopError(EXIT_STREAM, "standard output is closed")
    return sys.stdout.fileno(), sys.stdout.encoding


def text_lines(encoding: str) -> Callable[[str], bytes]:
    """Makes lines for readers in this encoding."""
    return lambda line: text_line(line, encoding)


@final
class Writer:
    """Gathers lines, and writes many at once.

    Attributes:
        is_empty: whether nothing was written.
    """

    def __init__(self, sink: int, render: Callable[[str], bytes], progress: "Progress") -> None:
        self.is_empty = True
        self._sink = sink
        self._render = render
        #: What has to make room on the same terminal.
        self._progress = progress if os.isatty(sink) else None
        self._waiting = bytearray()

    def add(self, line: str) -> None:
        self._waiting += self._render(line)
        if len(self._waiting) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StopError: it cannot be written.
        """
        if self._waiting:
            self.is_empty = False
            if self._progress is not None:
                self._progress.close()
            write_line(self._sink, bytes(self._waiting))
            self._waiting.clear()


@final
class Progress:
    """Says on standard error how far the work is, if that is a terminal and takes long.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_wanted = sys.stderr is not None and sys.stderr.isatty()
        self._next = clock() + _PATIENCE
        self._shown = 0

    def counted(self, things: Iterable[T], what: str) -> Iterator[T]:
        """The things, while they are counted."""
        if not self._is_wanted:
            yield from things
            return
        for number, thing in enumerate(things, 1):
            if self._clock() >= self._next:
                text = f"{number:,} {what} read"
                say(f"\r{text}")
                self._shown = len(text)
                self._next = self._clock() + _PATIENCE
            yield thing

    def close(self) -> None:
        """Leave nothing of it on the terminal."""
        if self._shown:
            say(f"\r{' ' * self._shown}\r")
            self._shown = 0
        self._next = self._clock() + _PATIENCE
