"""Clocks and ids of which a test knows beforehand what they say."""

import asyncio
from collections.abc import Callable
from itertools import count

from agent_messaging._emitter import Clock

__all__ = ["counted_ids", "loop_clock"]


def counted_ids(prefix: str = "id-") -> Callable[[], str]:
    """A source of ids for ``new_id=``: ``id-1``, ``id-2`` and so on."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


def loop_clock(epoch: float = 0.0) -> Clock:
    """A clock for ``clock=`` that shows the running event loop's time.

    In a `VirtualTimeLoop` it begins at 0 and goes on only while everything waits.

    Args:
        epoch: seconds by which what it shows as the wall's time is ahead.
    """
    return Clock(wall=lambda: epoch + _now(), monotonic=_now)


def _now() -> float:
    return asyncio.get_running_loop().time()
