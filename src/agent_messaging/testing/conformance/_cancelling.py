"""A call that is cancelled after any number of turns of the loop: it is to end as cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from agent_messaging.testing.conformance._expect import expect

__all__ = ["TURNS", "cancelled_after", "outcome_of"]

#: After how many turns of the loop to cancel: each of the first ones, then fewer and fewer. They
#: come to an end, since what waits for a timer waits for more turns than there are.
TURNS: Final = (*range(9), 12, 16, 24, 32, 48, 64)


async def cancelled_after(turns: int, call: Coroutine[object, object, object]) -> bool:
    """Whether a call had so many turns of the loop without coming to its end; it is cancelled then.

    Raises:
        ConformanceError: it was cancelled and ended otherwise.
        Exception: what it raised before.
    """
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.done():
        task.result()
        return False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    expect(outcome_of(task), "CancelledError", f"cancelled after {turns} turns of the loop")
    return True


def outcome_of(task: asyncio.Future[Any]) -> str:
    """How a task ended, in a word or two."""
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    return f"{task.result()!r} returned" if error is None else repr(error)
