"""The tasks of an endpoint: named, waited for, and none hurt by another's failure."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, cast

import pytest

from agent_messaging._tasks import Tasks
from agent_messaging.testing import run_virtual
from support import tasks_left
from support.endpoints import now
from support.lines import own_records


async def ends(seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)
    return "done"


async def fails() -> None:
    raise ValueError("of no interest to others")


def test_a_task_has_a_name_and_is_forgotten_at_its_end() -> None:
    async def main() -> None:
        tasks = Tasks()
        task = tasks.spawn(ends(), "work 1")
        assert task.get_name() == "agent_messaging work 1"
        assert len(tasks) == 1
        assert await task == "done"
        await asyncio.sleep(0)
        assert len(tasks) == 0

    run_virtual(main())


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="outside")


def test_a_task_runs_in_the_context_that_it_is_given() -> None:
    async def looks() -> str:
        return VARIABLE.get()

    async def main() -> None:
        tasks = Tasks()
        context = copy_context()
        context.run(VARIABLE.set, "inside")
        assert await tasks.spawn(looks(), "a", context) == "inside"
        assert await tasks.spawn(looks(), "b") == "outside"

    run_virtual(main())


def test_joining_waits_for_all_and_for_those_that_begin_meanwhile() -> None:
    async def main() -> None:
        tasks = Tasks()

        async def begins_another() -> None:
            await asyncio.sleep(1.0)
            tasks.spawn(ends(1.0), "b")

        tasks.spawn(begins_another(), "a")
        await tasks.join(60.0)
        assert now() == 2.0
        assert tasks_left() == []

    run_virtual(main())


def test_joining_none_is_done_at_once() -> None:
    async def main() -> None:
        await Tasks().join(60.0)
        assert now() == 0.0

    run_virtual(main())


def test_a_released_task_is_waited_for_no_more() -> None:
    async def main() -> None:
        tasks = Tasks()
        task = tasks.spawn(ends(50.0), "a")
        joining = asyncio.ensure_future(tasks.join(60.0))
        await asyncio.sleep(1.0)
        assert not joining.done()
        tasks.release(task)
        await joining
        assert now() == 1.0
        await task

    run_virtual(main())


def test_joining_is_bounded_and_says_what_it_left_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        tasks = Tasks()
        task = tasks.spawn(ends(50.0), "a")
        await tasks.join(3.0)
        assert now() == 3.0
        assert len(tasks) == 0
        await task

    run_virtual(main())
    assert [record.getMessage() for record in own_records(caplog)] == [
        "task_left_behind task=agent_messaging a"
    ]


def test_what_a_task_raises_is_logged_and_hurts_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        tasks = Tasks()
        tasks.spawn(fails(), "bad")
        good = tasks.spawn(ends(1.0), "good")
        await tasks.join(60.0)
        assert good.result() == "done"

    run_virtual(main())
    [record] = own_records(caplog)
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("task_failed task=agent_messaging bad error=ValueError")
    assert "interest" not in caplog.text


def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        tasks = Tasks()
        task = tasks.spawn(ends(50.0), "a")
        await asyncio.sleep(0)
        task.cancel()
        await tasks.join(60.0)
        with suppress(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert own_records(caplog) == []


def test_whoever_wants_to_see_the_end_does_so_in_the_place_of_the_log() -> None:
    async def main() -> None:
        tasks = Tasks()
        seen: list[asyncio.Task[str]] = []

        def done(task: asyncio.Task[str]) -> None:
            tasks.settle(task)
            seen.append(task)

        task = tasks.spawn(ends(), "a", done=done)
        await tasks.join(60.0)
        assert seen == [task]

    run_virtual(main())


def test_a_task_that_leaves_tells_nobody_of_its_end_but_those_who_wait_for_it() -> None:
    async def main() -> None:
        tasks = Tasks()
        seen: list[object] = []

        async def leaves() -> str:
            await asyncio.sleep(1.0)
            tasks.leave(task, seen.append)
            return "done"

        task = tasks.spawn(leaves(), "a", done=seen.append)
        tasks.leave(None, seen.append)  # one that began before it was known
        assert len(tasks) == 1
        await tasks.join(60.0)
        assert now() == 1.0
        assert len(tasks) == 0
        assert await task == "done"
        assert seen == []

    run_virtual(main())


class EndedTask:
    """What a loop that starts tasks at once makes of work that waits for nothing."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def set_name(self, name: str) -> None:
        """Before Python 3.13 tasks get their name when they are made."""

    def get_name(self) -> str:
        return "at once"

    def done(self) -> bool:
        return True

    def cancelled(self) -> bool:
        return False

    def exception(self) -> Exception | None:
        return self._error


def at_once(
    _: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, object], **__: object
) -> EndedTask:
    try:
        work.send(None)
    except StopIteration:
        return EndedTask(None)
    except ValueError as error:
        return EndedTask(error)
    raise AssertionError("the work waits for something")


def test_a_task_that_has_ended_when_it_is_made_is_none_to_wait_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(cast("Any", at_once))
        tasks = Tasks()
        seen: list[object] = []
        assert tasks.spawn(fails(), "bad").done()
        task = tasks.spawn(waits_for_nothing(), "good", done=seen.append)
        assert len(tasks) == 0
        assert seen == [task]
        asyncio.get_running_loop().set_task_factory(None)

    run_virtual(main())
    [record] = own_records(caplog)
    assert record.getMessage().startswith("task_failed task=at once error=ValueError")


async def waits_for_nothing() -> str:
    return "done"
