"""`MemoryEventLog` beyond the contract: its bounds, and its promptness."""

import inspect
from typing import Any

import pytest

from agent_messaging import (
    APPENDED,
    ConfigurationError,
    EventLogError,
    MemoryEventLog,
    MessageType,
    RunRecord,
)
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance._event_logs.trial import COMPLETED, Trial, event, story
from support.event_logs import HandClock, on_trial

DAY = 24 * 3600


async def held(trial: Trial, *run_ids: str, user_id: str = "ann") -> list[int]:
    """How many events are held of each run."""
    return [len(await trial.events(run_id, user_id)) for run_id in run_ids]


# What goes where there is no room.


def test_the_run_of_the_user_that_ended_first_loses_all_of_its_events() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog(events_per_user=10))
        leases = {name: await trial.claim(name) for name in ("a", "b", "c")}
        for name in ("b", "a"):
            await trial.append_each(leases[name], story(4))
        await trial.finished("of another", "bob", length=9)
        await trial.append(leases["c"], story(5)[:2])
        assert await held(trial, "a", "b", "c") == [4, 4, 2]
        await trial.append(leases["c"], story(5)[2:3])
        assert await held(trial, "a", "b", "c") == [4, 0, 3]
        assert await held(trial, "of another", user_id="bob") == [9]

    run_virtual(main())


def test_the_run_of_all_users_that_ended_first_loses_all_of_its_events() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog(events=10))
        await trial.finished("a", "bob", length=4)
        await trial.finished("b", length=4)
        await trial.finished("c", "eve", length=3)
        assert await held(trial, "a", user_id="bob") == [0]
        assert await held(trial, "b") == [4]

    run_virtual(main())


@pytest.mark.parametrize("bound", ["runs_per_user", "runs"])
def test_a_run_more_than_are_held_costs_the_oldest_its_events_when_it_is_claimed(
    bound: str,
) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 2}
        trial = on_trial(MemoryEventLog(**bounds))
        await trial.finished("a")
        await trial.finished("b")
        assert await held(trial, "a", "b") == [3, 3]
        await trial.claim("c")
        assert await held(trial, "a", "b") == [0, 3]

    run_virtual(main())


@pytest.mark.parametrize("bound", ["runs_per_user", "runs"])
def test_a_run_that_has_just_ended_is_held_even_if_those_under_way_are_too_many(
    bound: str,
) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 1}
        trial = on_trial(MemoryEventLog(**bounds))
        leases = [await trial.claim(name) for name in ("a", "b", "c")]
        await trial.append_each(leases[0], story(3))
        assert await held(trial, "a") == [3]
        await trial.append_each(leases[1], story(4))
        assert await held(trial, "a", "b") == [0, 4]

    run_virtual(main())


@pytest.mark.parametrize("bound", ["bytes_per_user", "bytes"])
def test_bytes_are_those_of_the_payloads(bound: str) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 100}
        trial = on_trial(MemoryEventLog(**bounds))
        lease = await trial.claim("a")
        await trial.append(lease, [event(1, payload="x" * 40), event(2, payload="x" * 60)])
        assert await held(trial, "a") == [2]
        await trial.append(lease, [event(3, payload="x")])
        assert await held(trial, "a") == [2]
        assert (await trial.page("a")).first_seq == 2

    run_virtual(main())


@pytest.mark.parametrize("bound", ["events_per_user", "events"])
def test_a_run_that_holds_more_than_half_loses_its_own_oldest_events(bound: str) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 100}
        trial = on_trial(MemoryEventLog(**bounds))
        small = await trial.claim("small")
        await trial.append_each(small, [event(seq) for seq in range(1, 9)])
        endless = await trial.claim("endless")
        for seq in range(1, 1000):
            await trial.append(endless, [event(seq)])
        assert 80 <= (await held(trial, "endless"))[0] <= 92
        assert await held(trial, "small") == [8]

    run_virtual(main())


@pytest.mark.parametrize("bound", ["events_per_user", "events"])
def test_runs_under_way_lose_their_oldest_events_in_turns_an_eighth_each(bound: str) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 57}
        trial = on_trial(MemoryEventLog(**bounds))
        leases = {name: await trial.claim(name) for name in ("a", "b", "c")}
        for name, length in (("a", 25), ("b", 8), ("c", 24)):
            await trial.append_each(leases[name], [event(seq) for seq in range(1, length + 1)])
        assert await held(trial, "a", "b", "c") == [25, 8, 24]
        await trial.append(leases["b"], [event(9)])
        assert await held(trial, "a", "b", "c") == [21, 9, 24]
        await trial.append(leases["b"], [event(seq) for seq in range(10, 14)])
        assert await held(trial, "a", "b", "c") == [21, 11, 24]
        await trial.append(leases["b"], [event(14), event(15)])
        assert await held(trial, "a", "b", "c") == [21, 13, 21]

    run_virtual(main())


@pytest.mark.parametrize("bound", ["events_per_user", "events", "bytes_per_user", "bytes"])
def test_what_fills_a_bound_to_the_last_costs_nothing(bound: str) -> None:
    async def main() -> None:
        size = 10
        bounds: dict[str, Any] = {bound: 6 * size if "bytes" in bound else 6}
        trial = on_trial(MemoryEventLog(**bounds))
        payload = "x" * size
        await trial.append(await trial.claim("ended"), [event(1, COMPLETED, payload)])
        lease = await trial.claim("a")
        await trial.append(lease, [event(seq, payload=payload) for seq in range(1, 6)])
        assert await held(trial, "ended", "a") == [1, 5]
        await trial.append(lease, [event(6, payload=payload)])
        assert await held(trial, "ended", "a") == [0, 6]

    run_virtual(main())


@pytest.mark.parametrize(
    ("a", "b", "left"),
    [
        # Eight events and eighty bytes may be held, and the last of b is too much.
        ([10] * 5, [10] * 4, [4, 4]),
        ([10] * 4, [10] * 5, [4, 4]),
        ([10] * 5, [20, 20], [4, 2]),
        ([10] * 4, [20, 21], [4, 1]),
    ],
)
@pytest.mark.parametrize("whose", ["_per_user", ""])
def test_half_of_what_may_be_held_is_not_more_than_half(
    a: list[int], b: list[int], left: list[int], whose: str
) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {f"events{whose}": 8, f"bytes{whose}": 80}
        trial = on_trial(MemoryEventLog(**bounds))
        for name, sizes in (("a", a), ("b", b)):
            events = [event(seq, payload="x" * size) for seq, size in enumerate(sizes, 1)]
            await trial.append_each(await trial.claim(name), events)
        assert await held(trial, "a", "b") == left

    run_virtual(main())


def test_a_user_who_cannot_keep_to_a_bound_costs_others_what_has_ended() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog(bytes_per_user=100, bytes=150))
        lease = await trial.claim("of another", "bob")
        await trial.append(lease, [event(1, COMPLETED, "x" * 60)])
        await trial.append(await trial.claim("a"), [event(1, payload="x" * 200)])
        assert await held(trial, "a") == [1]
        assert await held(trial, "of another", user_id="bob") == [0]

    run_virtual(main())


@pytest.mark.parametrize("bound", ["events_per_user", "events"])
def test_a_run_of_one_event_is_passed_over_and_has_its_turn_again_once_it_has_more(
    bound: str,
) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 8}
        trial = on_trial(MemoryEventLog(**bounds))
        leases = {name: await trial.claim(name) for name in ("a", "b", "c")}
        for name, length in (("a", 1), ("b", 3), ("c", 4)):
            await trial.append_each(leases[name], [event(seq) for seq in range(1, length + 1)])
        await trial.append(leases["b"], [event(4)])
        assert await held(trial, "a", "b", "c") == [1, 3, 4]
        for seq, expected in ((2, [2, 3, 3]), (3, [3, 2, 3]), (4, [3, 2, 3]), (5, [4, 2, 2])):
            await trial.append(leases["a"], [event(seq)])
            assert await held(trial, "a", "b", "c") == expected

    run_virtual(main())


@pytest.mark.parametrize("bound", ["events_per_user", "events"])
def test_a_run_of_two_events_loses_the_older_one_in_its_turn(bound: str) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 5}
        trial = on_trial(MemoryEventLog(**bounds))
        leases = {name: await trial.claim(name) for name in ("a", "b", "c")}
        for name in ("a", "b", "c"):
            await trial.append_each(leases[name], [event(1), event(2)])
        assert await held(trial, "a", "b", "c") == [1, 2, 2]

    run_virtual(main())


@pytest.mark.parametrize("bound", ["bytes_per_user", "bytes"])
def test_the_newest_event_of_a_run_under_way_is_held_whatever_its_size(bound: str) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 100}
        trial = on_trial(MemoryEventLog(**bounds))
        await trial.finished("ended")
        lease = await trial.claim("a")
        for seq in range(1, 4):
            await trial.append(lease, [event(seq, payload="x" * 200)])
            assert [one.seq for one in await trial.events("a")] == [seq]
        await trial.append(lease, [event(4, MessageType.AGENT_COMPLETED, "x" * 200)])
        assert [one.seq for one in await trial.events("a")] == [4]
        assert await held(trial, "ended") == [0]
        # Once it has ended, the next has its place.
        await trial.claim("b")
        await trial.append(await trial.claim("c"), [event(1)])
        assert await held(trial, "a", "c") == [0, 1]

    run_virtual(main())


def test_a_batch_of_which_some_was_evicted_may_come_again() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog(events_per_user=4))
        lease = await trial.claim("a")
        batch = [event(seq, payload=f'"{seq}"') for seq in range(1, 10)]
        await trial.append(lease, batch)
        await trial.append(lease, batch)
        kept = await trial.events("a")
        assert kept == batch[-len(kept) :]
        assert await trial.refuses(lease, [*batch[:-1], event(9, payload='"other"')])

    run_virtual(main())


# Claims.


@pytest.mark.parametrize("bound", ["claims_per_user", "claims"])
def test_the_oldest_claim_of_a_run_that_has_ended_goes_where_there_are_too_many(
    bound: str,
) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 3}
        trial = on_trial(MemoryEventLog(**bounds))
        under_way = await trial.claim("under way")
        woken: list[int] = []
        for name in ("a", "b"):
            await trial.finished(name)
        trial.log.follow("ann", "a", woken.append)
        await trial.claim("c")
        assert await trial.log.find_claim("ann", "message of a") is None
        assert await trial.log.find_run("ann", "a") is None
        assert woken == [0]
        assert await trial.log.find_claim("ann", "message of b") is not None
        await trial.append_each(under_way, story(3))

    run_virtual(main())


@pytest.mark.parametrize("bound", ["claims_per_user", "claims"])
def test_no_claim_is_made_that_would_cost_one_of_a_run_under_way(bound: str) -> None:
    async def main() -> None:
        bounds: dict[str, Any] = {bound: 2}
        trial = on_trial(MemoryEventLog(**bounds))
        first = await trial.claim("a")
        await trial.claim("b")
        with pytest.raises(EventLogError, match="under way"):
            await trial.claim("c")
        assert await trial.log.find_run("ann", "c") is None
        assert (await trial.attempt(first)).run_id == "a", "what was claimed is told all the same"
        await trial.append_each(first, story(3))
        await trial.claim("c")

    run_virtual(main())


def test_the_claims_of_one_user_cost_no_other_user_anything() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog(claims_per_user=2, runs_per_user=2, events_per_user=6))
        await trial.finished("run", "bob")
        for number in range(20):
            await trial.finished(f"run {number}", "ann", length=6)
        assert await held(trial, "run", user_id="bob") == [3]
        assert await trial.log.find_claim("bob", "message of run") is not None

    run_virtual(main())


def test_a_claim_is_kept_from_the_end_of_its_run_on() -> None:
    async def main() -> None:
        clock = HandClock()
        trial = on_trial(MemoryEventLog(claim_seconds=2 * DAY, clock=clock.read))
        lease = await trial.claim("run")
        await clock.advance(3 * DAY)
        assert await trial.log.find_claim("ann", "message of run") is not None
        await trial.append_each(lease, story(3))
        await clock.advance(2 * DAY - 0.5)
        assert await trial.log.find_claim("ann", "message of run") is not None
        await clock.advance(0.5)
        assert await trial.log.find_claim("ann", "message of run") is None
        assert await trial.log.find_run("ann", "run") is None
        await trial.claim("new", message_id="message of run")

    run_virtual(main())


def test_a_run_that_ends_when_all_that_ended_before_are_dropped_is_kept_as_any_other() -> None:
    async def main() -> None:
        clock = HandClock()
        trial = on_trial(MemoryEventLog(clock=clock.read))
        first, second = await trial.claim("first"), await trial.claim("second")
        await trial.finished("dropped")
        await clock.advance(DAY)
        assert await trial.log.find_claim("ann", "message of dropped") is None
        for lease in (first, second):
            await trial.append_each(lease, story(3))
        await clock.advance(DAY - 0.5)
        assert await trial.log.find_claim("ann", "message of first") is not None
        await clock.advance(0.5)
        for name in ("first", "second"):
            assert await trial.log.find_claim("ann", f"message of {name}") is None

    run_virtual(main())


def test_a_run_id_that_another_message_has_is_refused() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog())
        lease = await trial.claim("run")
        with pytest.raises(ConfigurationError, match="new"):
            await trial.attempt(lease, message_id="other")
        await trial.append_each(lease, story(3))
        assert await trial.log.find_claim("ann", "other") is None

    run_virtual(main())


# Leases.


def test_a_lease_is_good_for_as_long_as_it_says_and_no_longer() -> None:
    async def main() -> None:
        clock = HandClock()
        trial = on_trial(MemoryEventLog(clock=clock.read))
        await trial.claim("run", lease_seconds=10.0)
        await clock.advance(9.75)
        assert await trial.take() == []
        await clock.advance(0.25)
        assert [taken.lease.run_id for taken in await trial.take()] == ["run"]

    run_virtual(main())


def test_who_renews_a_lease_is_its_owner_as_before() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog())
        lease = await trial.claim("run", owner="owner")
        told: list[tuple[str, str, str]] = []
        trial.log.follow_notices(
            "owner", lambda user_id, run_id, notice: told.append((user_id, run_id, notice))
        )
        assert await trial.log.renew([lease], 10.0) == []
        assert await trial.log.notify("ann", "run", "stop")
        assert told == [("ann", "run", "stop")]

    run_virtual(main())


# Promptness.


def test_an_append_is_done_and_has_woken_everybody_when_it_returns() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog())
        lease = await trial.claim("run")
        woken: list[int] = []
        trial.log.follow("ann", "run", woken.append)
        assert trial.log.append(lease, (event(1),)) is APPENDED
        assert trial.log.append(lease, (event(2), event(3))) is APPENDED
        assert trial.log.append(lease, (event(3),)) is APPENDED
        assert woken == [1, 3], "nothing came of the retry"

    run_virtual(main())


def test_who_is_woken_finds_the_event_and_may_ask_anything() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog(events_per_user=2))
        lease = await trial.claim("run")
        seen: list[tuple[int, RunRecord | None]] = []

        def wake(seq: int) -> None:
            call = trial.log.find_run("ann", "run")
            try:
                call.send(None)
            except StopIteration as stop:
                seen.append((seq, stop.value))

        trial.log.follow("ann", "run", wake)
        for one in story(4):
            trial.log.append(lease, (one,))
        await trial.log.forget("ann")
        told = [(seq, None if run is None else (run.last_seq, run.status)) for seq, run in seen]
        assert told == [
            (1, (1, "running")),
            (2, (2, "running")),
            (3, (3, "running")),
            (4, (4, "completed")),
            (0, None),
        ]

    run_virtual(main())


# Set up.


def test_the_bounds_are_what_the_documentation_says() -> None:
    parameters = inspect.signature(MemoryEventLog).parameters
    assert {name: one.default for name, one in parameters.items() if name != "clock"} == {
        "runs_per_user": 200,
        "events_per_user": 20_000,
        "bytes_per_user": 16 * 2**20,
        "runs": 10_000,
        "events": 1_000_000,
        "bytes": 256 * 2**20,
        "claims_per_user": 1_000,
        "claims": 100_000,
        "claim_seconds": DAY,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("runs_per_user", "events_per_user", "bytes_per_user", "claims_per_user"),
        *("runs", "events", "bytes", "claims"),
    ],
)
@pytest.mark.parametrize("bound", [0, -1, 1.5, True, None, "9"])
def test_a_bound_that_is_none_is_refused(name: str, bound: object) -> None:
    bounds: dict[str, Any] = {name: bound}
    with pytest.raises(ConfigurationError, match=rf"^{name}\b"):
        MemoryEventLog(**bounds)


@pytest.mark.parametrize("seconds", [0, -1, DAY - 1, None, "9", float("nan")])
def test_a_time_for_which_no_claim_can_be_kept_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="claim_seconds"):
        MemoryEventLog(claim_seconds=seconds)


def test_by_default_time_is_the_systems_monotonic_one() -> None:
    async def main() -> None:
        trial = on_trial(MemoryEventLog())
        await trial.claim("run", lease_seconds=3600)
        await trial.claim("expired", lease_seconds=-1)
        assert [taken.lease.run_id for taken in await trial.take()] == ["expired"]

    run_virtual(main())
