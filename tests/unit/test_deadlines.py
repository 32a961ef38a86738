"""Many that wait equally long: each called in its time, or withdrawn, by one timer."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from agent_messaging._deadlines import Deadlines
from agent_messaging.testing import run_virtual
from support.endpoints import now


class Calls:
    """What was called, and when."""

    def __init__(self) -> None:
        self.made: list[tuple[str, float]] = []

    def __call__(self, name: str) -> Callable[[], None]:
        return lambda: self.made.append((name, now()))


def timers() -> int:
    return len([timer for timer in cast("Any", asyncio.get_running_loop())._scheduled if timer])


def test_each_is_called_when_its_time_has_passed() -> None:
    async def main() -> None:
        calls, deadlines = Calls(), Deadlines(5.0)
        deadlines.set(calls("a"))
        deadlines.set(calls("b"))
        await asyncio.sleep(1.0)
        deadlines.set(calls("c"))
        assert timers() == 1
        await asyncio.sleep(9.0)
        deadlines.set(calls("d"))
        await asyncio.sleep(9.0)
        assert calls.made == [("a", 5.0), ("b", 5.0), ("c", 6.0), ("d", 15.0)]
        assert timers() == 0

    run_virtual(main())


def test_what_is_withdrawn_is_not_called_and_delays_no_other() -> None:
    async def main() -> None:
        calls, deadlines = Calls(), Deadlines(5.0)
        first, last = calls("first"), calls("last")
        deadlines.set(first)
        await asyncio.sleep(1.0)
        deadlines.set(calls("second"))
        deadlines.set(last)
        deadlines.withdraw(first)
        deadlines.withdraw(last)
        deadlines.withdraw(last)
        await asyncio.sleep(9.0)
        assert calls.made == [("second", 6.0)]

    run_virtual(main())


def test_one_that_sets_another_when_it_is_called_is_called_in_its_turn() -> None:
    async def main() -> None:
        calls, deadlines = Calls(), Deadlines(5.0)
        deadlines.set(lambda: deadlines.set(calls("later")))
        await asyncio.sleep(1.0)
        deadlines.set(calls("between"))
        await asyncio.sleep(20.0)
        assert calls.made == [("between", 6.0), ("later", 10.0)]

    run_virtual(main())


def test_nothing_is_called_after_the_close() -> None:
    async def main() -> None:
        calls, deadlines = Calls(), Deadlines(5.0)
        deadlines.close()
        deadlines.set(calls("a"))
        deadlines.close()
        await asyncio.sleep(9.0)
        assert calls.made == []

    run_virtual(main())
