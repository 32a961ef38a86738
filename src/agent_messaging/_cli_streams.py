"""The command line's standard input and output, for an event loop."""

import asyncio
import os
import select
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar, final

from agent_messaging._cli_exit import EXIT_STREAM, StopError

__all__ = [
    "BlockingCalls",
    "Lines",
    "Output",
    "read_bytes",
    "read_chunk",
    "write_line",
]

#: Bytes of one read: what a pipe holds.
_CHUNK: Final = 64 * 1024

T = TypeVar("T")


@final
class Lines:
    """Cuts chunks of bytes into lines, and keeps no more of a line than shows it is too long.

    Args:
        limit: bytes that a line may have. Of a longer one, ``limit + 1`` are given out.
    """

    def __init__(self, limit: int) -> None:
        self._kept = limit + 1
        self._line = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end in this chunk, without their ends; blank ones are left out."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._keep(end)
            line = bytes(self._line)
            self._line.clear()
            if line.strip():
                yield line
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        self._line += part[: self._kept - len(self._line)]


@final
class Output:
    """The transport: frames to lines.

    Args:
        render: makes a line of a frame.
        write: writes a line; raises `StopError` when no more can be written.
    """

    def __init__(
        self, render: Callable[[str], bytes], write: Callable[[bytes], Awaitable[object]]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._render = render
        self._write = write
        self._broken: asyncio.Future[StopError] = loop.create_future()
        self._left = 0
        self._step: asyncio.Future[None] = loop.create_future()

    async def send(self, frame: str) -> None:
        """Write one frame."""
        try:
            await self._write(self._render(frame))
        except StopError as stop:
            self.give_up(stop)
            raise
        self._left -= 1
        if not self._left:
            self._step.set_result(None)

    def give_up(self, stop: StopError) -> None:
        """Have the program end in this way, by `check`; the first one counts."""
        if not self._broken.done():
            self._broken.set_result(stop)

    def check(self) -> None:
        """See that it is not broken.

        Raises:
            StopError: it is.
        """
        if self._broken.done():
            raise self._broken.result()

    async def unless_broken(self, reading: Awaitable[bytes]) -> bytes:
        """What is read; nothing if the output is broken meanwhile, or was before."""
        chunk: asyncio.Future[Any] = asyncio.ensure_future(reading)
        try:
            await asyncio.wait([chunk, self._broken], return_when=asyncio.FIRST_COMPLETED)
            return b"" if self._broken.done() else chunk.result()
        finally:
            chunk.cancel()

    async def take(self, frames: int, sent: Coroutine[Any, Any, None]) -> None:
        """Wait until all is sent, but for no more than so many frames."""
        self._left = frames
        self._step = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(sent)
        try:
            await asyncio.wait([task, self._step], return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()


@final
class BlockingCalls:
    """Blocking calls, one at a time, in a daemon thread.

    One that never returns, as a read from a silent terminal, holds up neither the event loop
    nor the exit.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns, or the `StopError` that it raises."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((function, future))
        return await future

    def close(self) -> None:
        """Let the thread end after the calls that it has."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            try:
                settle = partial(future.set_result, function())
            except StopError as stop:
                settle = partial(future.set_exception, stop)
            with suppress(RuntimeError):  # the loop is closed, so nobody waits
                self._loop.call_soon_threadsafe(_unless_done, future, settle)


_Call: TypeAlias = tuple[Callable[[], Any], asyncio.Future[Any]]


def _unless_done(future: asyncio.Future[Any], settle: Callable[[], None]) -> None:
    if not future.done():
        settle()


#: As `select.select`, whose result is not needed.
Wait: TypeAlias = Callable[[list[int], list[int], list[int]], object]


def read_chunk(source: int, wait: Wait = select.select) -> bytes:
    """The next bytes of standard input, as soon as there are some; none at the end.

    Raises:
        StopError: it cannot be read.
    """
    try:
        return read_bytes(source, wait)
    except OSError as error:
        reason = f"standard input cannot be read: {error.strerror}"
        raise StopError(EXIT_STREAM, reason) from error


def read_bytes(source: int, wait: Wait = select.select) -> bytes:
    """The next bytes, as soon as there are some; none at the end.

    Raises:
        OSError: it cannot be read.
    """
    while True:
        try:
            return os.read(source, _CHUNK)
        except BlockingIOError:  # a process that shares it has made it so
            wait([source], [], [])


def write_line(sink: int, line: bytes, wait: Wait = select.select) -> None:
    """Write all of it.

    Raises:
        StopError: it cannot be written; silent when its reader went away, as `head` does.
    """
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(sink, rest) :]
        except BlockingIOError:  # as above
            wait([], [sink], [])
        except BrokenPipeError as error:
            raise StopError(EXIT_STREAM) from error
        except OSError as error:
            reason = f"standard output cannot be written: {error.strerror}"
            raise StopError(EXIT_STREAM, reason) from error
