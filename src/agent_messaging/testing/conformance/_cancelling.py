"""Calls that are cancelled, which are to end as that; and calls that are not, which are not to."""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final

from agent_messaging.testing.conformance._expect import ConformanceError, patience

__all__ = ["CANCELLED", "TURNS", "cancel", "cancelled_after", "outcome_of", "uncancelled"]

#: After how many turns of the loop to cancel: each of the first ones, then fewer and fewer. They
#: come to an end, since what waits for a timer waits for more turns than there are.
TURNS: Final = (*range(21), 24, 32, 48, 64, 128, 256)

#: The outcome of a call that ended as cancelled.
CANCELLED: Final = "CancelledError"


async def cancelled_after(turns: int, call: Coroutine[object, object, object]) -> str | None:
    """How a call ends that is cancelled after so many turns of the loop; None if it ended before.

    Raises:
        ConformanceError: it did not end.
        Exception: what it raised before.
    """
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.done():
        task.result()
        return None
    await cancel(task)
    return outcome_of(task)


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel these, and see that they come to an end.

    Raises:
        ConformanceError: they do not.
    """
    for task in tasks:
        task.cancel()
    async with patience():
        await asyncio.gather(*tasks, return_exceptions=True)


def outcome_of(task: asyncio.Future[Any]) -> str:
    """How a task ended, in a word or two."""
    if task.cancelled():
        return CANCELLED
    error = task.exception()
    return f"{task.result()!r} returned" if error is None else repr(error)


@contextmanager
def uncancelled() -> Generator[None]:
    """What is awaited within raises CancelledError only where somebody cancelled.

    Raises:
        ConformanceError: it did, and nobody had.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConformanceError("CancelledError was raised, and nobody had cancelled") from error
