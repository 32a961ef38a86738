"""What `MemoryEventLog` costs: memory that is given back, and time that does not grow."""

import gc
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest

from agent_messaging import MemoryEventLog
from agent_messaging.eventlog._memory_runs import Run, User
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance._event_logs.trial import Trial, event, story
from support.event_logs import HandClock, on_trial
from support.garbage import without_collections

# Memory.


def count(cls: type) -> int:
    return sum(type(other) is cls for other in gc.get_objects())


async def churn(trial: Trial, runs: int, users: int, prefix: str = "") -> None:
    """Finished runs of many users, one after the other."""
    for number in range(runs):
        await trial.finished(f"{prefix}{number}", f"user {prefix}{number % users}")


def test_what_is_dropped_is_freed_at_once_and_users_of_whom_nothing_is_held_too() -> None:
    async def main() -> None:
        clock = HandClock()
        log = MemoryEventLog(claims=50, clock=clock.read)
        trial = on_trial(log)
        gc.collect()
        before = count(Run), count(User)
        gc.disable()
        try:
            await churn(trial, 1000, 1000)
            assert (count(Run) - before[0], count(User) - before[1]) == (50, 50)
            for number in range(970, 1000):
                await trial.log.forget(f"user {number}")
            assert (count(Run) - before[0], count(User) - before[1]) == (20, 20)
            await clock.advance(24 * 3600)
            await trial.log.find_claim("ann", "any")
            assert (count(Run), count(User)) == before
            await churn(trial, 30, 3)
            await trial.log.aclose()
            assert (count(Run), count(User)) == before
        finally:
            gc.enable()

    run_virtual(main())


def test_lengths_of_leases_that_are_in_use_no_more_are_not_kept() -> None:
    async def main() -> None:
        log = MemoryEventLog()
        trial = on_trial(log)
        for number in range(1, 200):
            lease = await trial.claim(f"run {number}", lease_seconds=number)
            await trial.append_each(lease, story(2))
        assert len(log._leased) <= 2  # pyright: ignore[reportPrivateUsage]

    run_virtual(main())


def test_those_who_follow_no_more_are_not_kept() -> None:
    async def main() -> None:
        log = MemoryEventLog()
        trial = on_trial(log)
        await trial.claim("run")
        for _ in range(100):
            log.follow("ann", "run", lambda seq: None)()
            log.follow_notices("owner", lambda user_id, run_id, notice: None)()
        store = log._store  # pyright: ignore[reportPrivateUsage]
        assert store.users["ann"].runs["run"].followers == ()
        assert log._listeners == {}  # pyright: ignore[reportPrivateUsage]

    run_virtual(main())


def test_a_closed_log_holds_nothing() -> None:
    async def main() -> None:
        log = MemoryEventLog()
        trial = on_trial(log)
        lease = await trial.claim("run")
        await trial.append(lease, [event(1)])
        await trial.finished("ended")
        await log.aclose()
        store = log._store  # pyright: ignore[reportPrivateUsage]
        assert (store.claims, store.held, store.events, store.bytes) == (0, 0, 0, 0)
        assert [*store.users, *store.ended, *store.evictable, *store.trimmable] == []

    run_virtual(main())


# Time.


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's."""
    calls = 0

    def profile(frame: FrameType, what: str, argument: object) -> None:
        nonlocal calls
        calls += what in {"call", "c_call"}

    before = sys.getprofile()
    with without_collections():
        sys.setprofile(profile)
        try:
            work()
        finally:
            sys.setprofile(before)
    return calls


@pytest.mark.parametrize("users", [1, 40])
def test_a_run_costs_the_same_after_many_as_after_few(users: int) -> None:
    """Each of the runs that come makes one go, so that all of the bounds are at work."""

    async def cost(scale: int) -> int:
        trial = on_trial(
            MemoryEventLog(
                runs_per_user=10 * scale,
                events_per_user=30 * scale,
                claims_per_user=20 * scale,
                runs=40 * scale,
                claims=60 * scale,
            )
        )
        await churn(trial, 200 * scale, users)

        def one_more() -> None:
            call = churn(trial, 1, 1, "more ")
            try:
                call.send(None)
            except StopIteration:
                return
            raise AssertionError("it waited")

        return calls_of(one_more)

    assert run_virtual(cost(1)) == run_virtual(cost(30))


def test_an_event_costs_the_same_in_a_long_run_as_in_a_short_one() -> None:
    async def main() -> None:
        log = MemoryEventLog(events_per_user=100_000)
        lease = await on_trial(log).claim("run")
        costs: set[int] = set()
        for seq in range(1, 20_001):
            append = partial(log.append, lease, (event(seq),))
            if seq in {10, 100, 20_000}:
                costs.add(calls_of(append))
            else:
                append()
        assert len(costs) == 1

    run_virtual(main())
