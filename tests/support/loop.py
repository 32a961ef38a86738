"""An event loop on virtual time: sleeping costs nothing, and hanging is an error."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Seconds of virtual time in which every test ends. An endpoint over a log that others may use
#: looks after its leases for ever, and with it no loop ever comes to a standstill.
LIFETIME: Final = 1e7

#: Those that see to it.
UPKEEP: Final = tuple(f"agent_messaging {task}" for task in ("leases", "recovery", "watchers"))


class _Selector(selectors.DefaultSelector):
    """Polls what is ready now, and lets the loop's clock jump instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("deadlock: every task waits, and no timer is set")
            self.now += max(timeout, 0.0)
            if self.now > LIFETIME:
                raise AssertionError("it hangs: nothing happens any more but what recurs")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop whose `time` moves only when everything waits."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns, run to its end on a loop of its own in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def tasks_left() -> list[asyncio.Task[Any]]:
    """The tasks of the running loop beside the current one, and an open endpoint's upkeep."""
    return [
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and task.get_name() not in UPKEEP
    ]
