"""Asking a log: again while it fails, no longer than its time, and at no cost where it answers."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from agent_messaging import EventLogError, RemoteError
from agent_messaging._log_access import asked, backoff
from agent_messaging.testing import run_virtual
from support import tasks_left
from support.endpoints import now
from support.lines import own_records


class Oracle:
    """Answers as it is told, one act for each time that it is asked; the last for all others.

    An act is an error to raise, a number of seconds to take before the next act, or an answer.
    """

    def __init__(self, *acts: object) -> None:
        self.asked_at: list[float] = []
        self.cancelled_at: list[float] = []
        self._acts = list(acts)

    async def __call__(self) -> object:
        self.asked_at.append(now())
        act = self._next()
        while isinstance(act, float):
            try:
                await asyncio.sleep(act)
            except asyncio.CancelledError:
                self.cancelled_at.append(now())
                if isinstance(self._acts[0], Exception):
                    raise self._acts[0] from None
                raise
            act = self._next()
        if isinstance(act, BaseException):
            raise act
        return act

    def _next(self) -> object:
        return self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]


DOWN = EventLogError("down")


def test_what_answers_at_once_sets_no_timer() -> None:
    async def main() -> None:
        assert await asked(Oracle("answer"), 10.0) == "answer"
        loop = cast("Any", asyncio.get_running_loop())
        assert loop._scheduled == []

    run_virtual(main())


def test_what_takes_its_time_is_waited_for() -> None:
    async def main() -> None:
        assert await asked(Oracle(4.0, 5.0, "answer"), 10.0) == "answer"
        assert now() == 9.0

    run_virtual(main())


@pytest.mark.parametrize("error", [DOWN, TimeoutError(), TypeError("a fault of the log")])
def test_what_fails_is_asked_again_ever_more_slowly(error: Exception) -> None:
    async def main() -> None:
        oracle = Oracle(*[error] * 7, "answer")
        assert await asked(oracle, 10.0) == "answer"
        assert oracle.asked_at == pytest.approx([0, 0.05, 0.15, 0.35, 0.75, 1.55, 2.55, 3.55])

    run_virtual(main())


def test_what_fails_late_is_asked_again() -> None:
    async def main() -> None:
        oracle = Oracle(2.0, DOWN, 2.0, "answer")
        assert await asked(oracle, 10.0) == "answer"
        assert oracle.asked_at == pytest.approx([0.0, 2.05])

    run_virtual(main())


def given_up(ask: Callable[[], object], at: float) -> None:
    """See that what is asked is given up at that time."""

    async def main() -> None:
        with pytest.raises(RemoteError) as caught:
            await asked(cast("Any", ask), 10.0)
        assert caught.value.code == "log_unavailable"
        assert caught.value.message_id is None
        assert now() == pytest.approx(at)
        assert tasks_left() == []

    run_virtual(main())


def test_what_goes_on_failing_is_given_up_in_time() -> None:
    given_up(Oracle(DOWN), at=10.0)


def test_what_does_not_answer_is_cancelled_and_given_up_in_time() -> None:
    oracle = Oracle(1e9, "never")
    given_up(oracle, at=10.0)
    assert oracle.cancelled_at == [10.0]


def test_what_fails_and_then_does_not_answer_has_one_time_for_both() -> None:
    oracle = Oracle(DOWN, DOWN, 1e9, "never")
    given_up(oracle, at=10.0)
    assert oracle.cancelled_at == [10.0]


def test_what_makes_an_error_of_its_cancellation_is_given_up_all_the_same() -> None:
    oracle = Oracle(1e9, DOWN)
    given_up(oracle, at=10.0)
    assert oracle.asked_at == [0.0]


def test_what_is_no_coroutine_function_may_fail_before_it_is_awaited() -> None:
    calls: list[float] = []

    def ask() -> object:
        calls.append(now())
        raise DOWN

    given_up(ask, at=10.0)
    assert len(calls) > 5


def test_a_cancellation_of_who_asks_reaches_what_is_asked() -> None:
    async def main() -> None:
        oracle = Oracle(5.0, "late")
        asking = asyncio.ensure_future(asked(oracle, 10.0))
        await asyncio.sleep(3.0)
        asking.cancel("stop")
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert oracle.cancelled_at == [3.0]
        assert now() == 3.0

    run_virtual(main())


def test_a_cancellation_that_what_is_asked_survives_is_its_own() -> None:
    async def main() -> None:
        async def stubborn() -> str:
            try:
                await asyncio.sleep(5.0)
            except asyncio.CancelledError:
                await asyncio.sleep(1.0)
            return "answer"

        asking = asyncio.ensure_future(asked(stubborn, 10.0))
        await asyncio.sleep(3.0)
        asking.cancel()
        assert await asking == "answer"
        assert now() == 4.0

    run_virtual(main())


def test_an_asking_that_is_dropped_closes_what_it_asked() -> None:
    closed: list[bool] = []

    async def waits() -> str:
        try:
            await asyncio.sleep(5.0)
        except GeneratorExit:
            closed.append(True)
            raise
        return "never"

    async def main() -> None:
        asking = asked(waits, 10.0)
        asking.send(None)
        asking.close()

    run_virtual(main())
    assert closed == [True]


def test_what_is_no_exception_goes_on_at_once() -> None:
    async def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            await asked(Oracle(KeyboardInterrupt()), 10.0)
        with pytest.raises(KeyboardInterrupt):
            await asked(Oracle(1.0, KeyboardInterrupt()), 10.0)

    run_virtual(main())


def test_trouble_is_logged_and_a_fault_of_the_log_as_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        await asked(Oracle(DOWN, TypeError("private"), "answer"), 10.0)

    run_virtual(main())
    warning, error = (record for record in own_records(caplog) if record.levelname != "DEBUG")
    assert warning.levelname == "WARNING"
    assert warning.getMessage().startswith("log_failed error=EventLogError raised_at=test_log_acc")
    assert error.levelname == "ERROR"
    assert error.getMessage().startswith("log_failed error=TypeError raised_at=")
    assert "private" not in caplog.text


def test_the_back_off_grows_up_to_a_second() -> None:
    assert [backoff(attempt) for attempt in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
