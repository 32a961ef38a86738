"""One timer for many that wait equally long."""

import asyncio
from collections.abc import Callable
from typing import Final, final

__all__ = ["Deadlines"]

#: Seconds that a timer may be early by, as the clock's steps go.
_TOLERANCE: Final = 1e-3


@final
class Deadlines:
    """Calls what is not withdrawn within so many seconds.

    Nearly all is withdrawn at once, and a timer takes longer to set than a place in a row. All
    wait equally long, so that the first that came is the first that is due.
    """

    __slots__ = ("_actions", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: When each is due, the first of all first.
        self._actions: dict[Callable[[], None], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, action: Callable[[], None]) -> None:
        """Have it called once its time has passed."""
        loop = asyncio.get_running_loop()
        self._actions[action] = due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._call)

    def withdraw(self, action: Callable[[], None]) -> None:
        """Have it called no more."""
        self._actions.pop(action, None)

    def close(self) -> None:
        """Call nothing any more."""
        self._actions.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _call(self) -> None:
        """Call what is due, and wait for the next."""
        loop = asyncio.get_running_loop()
        now = loop.time() + _TOLERANCE
        while self._actions:
            action, due = next(iter(self._actions.items()))
            if due > now:
                self._timer = loop.call_at(due, self._call)
                return
            del self._actions[action]
            action()
        self._timer = None
