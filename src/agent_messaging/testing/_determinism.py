"""Clocks and ids of which a test knows beforehand what they say."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from agent_messaging._emitter import Clock

__all__ = ["counted_ids", "loop_clock"]


def counted_ids(prefix: str = "id-") -> Callable[[], str]:
    """A source of ids for ``new_id=``: ``id-1``, ``id-2`` and so on."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


def loop_clock(epoch: float = 0.0) -> Clock:
    """A clock for ``clock=`` that shows the running event loop's time.

    In a `VirtualTimeLoop` it begins at 0 and goes on only while everything waits. Outside of a loop
    it stands still.

    Args:
        epoch: seconds by which what it shows as the wall's time is ahead.
    """
    shown = 0.0

    def now() -> float:
        nonlocal shown
        with suppress(RuntimeError):  # as where a loop that is gone drops what ran in it
            shown = asyncio.get_running_loop().time()
        return shown

    return Clock(wall=lambda: epoch + now(), monotonic=now)
