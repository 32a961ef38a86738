"""Time-outs that hold while a task is being cancelled, on every Python that is supported."""

import asyncio
import sys
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, cast

__all__ = ["EarlyTimeout", "timeout_after", "timeout_at"]


class EarlyTimeout(asyncio.Timeout):  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues] - final, to the checkers
    """`asyncio.Timeout` as it is from Python 3.11.4 on.

    Before that one which expires in a task that was cancelled already, as in its cleaning up,
    raised CancelledError and not TimeoutError.
    """

    async def __aenter__(self) -> Self:
        self._in = cast("asyncio.Task[object]", asyncio.current_task())
        self._before = self._in.cancelling()
        await super().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(TimeoutError):  # what is raised here is decided below, on every Python
            await super().__aexit__(kind, error, trace)
        is_cancelled = isinstance(error, asyncio.CancelledError)
        if is_cancelled and self.expired() and self._in.cancelling() <= self._before:
            raise TimeoutError from error


_make: Final = asyncio.Timeout if sys.version_info >= (3, 11, 4) else EarlyTimeout


def timeout_at(when: float | None) -> asyncio.Timeout:
    """As `asyncio.timeout_at`: ``when`` is of the loop's clock."""
    return _make(when)


def timeout_after(seconds: float | None) -> asyncio.Timeout:
    """As `asyncio.timeout`."""
    if seconds is None:
        return _make(None)
    return _make(asyncio.get_running_loop().time() + seconds)
