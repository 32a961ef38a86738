"""What `MemoryEventLog` counts, as it goes, is what it holds."""

import random
from collections.abc import Iterator

import pytest

from agent_messaging import Lease, LeaseLost, MemoryEventLog
from agent_messaging.eventlog._memory_runs import Run, User
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance._event_logs.trial import COMPLETED, THINKING, event
from support.event_logs import HandClock, on_trial

DAY = 24 * 3600


def check(log: MemoryEventLog) -> None:
    """Count everything anew."""
    store = log._store  # pyright: ignore[reportPrivateUsage]
    users = list(store.users.values())
    for user in users:
        check_user(user)
    runs = [run for user in users for run in user.runs.values()]
    assert store.claims == len(runs)
    assert store.held == sum(user.held for user in users)
    assert store.events == sum(user.events for user in users)
    assert store.bytes == sum(user.bytes for user in users)
    assert set(store.trimmable) == {run for user in users for run in user.trimmable}
    assert set(store.ended) == {run for run in runs if run.is_ended}
    assert set(store.evictable) == {run for run in runs if run.is_ended and run.events}
    assert [run.ended_at for run in store.ended] == sorted(run.ended_at for run in store.ended)


def check_user(user: User) -> None:
    runs = list(user.runs.values())
    for each in runs:
        check_run(each)
    assert runs
    assert user.claims == {run.message_id: run for run in runs}
    threads = [run for thread in user.threads.values() for run in thread.values()]
    assert set(threads) == set(runs)
    assert user.events == sum(len(run.events) for run in runs)
    assert user.bytes == sum(run.bytes for run in runs)
    assert user.held == sum(not run.is_ended or bool(run.events) for run in runs)
    assert set(user.trimmable) == {run for run in runs if run.next_seq}
    ended = list(chain(user.oldest))
    assert set(ended) == {run for run in runs if run.is_ended}
    assert user.newest is (ended[-1] if ended else None)
    evictable = [run for run in ended if run.events]
    assert list(chain(user.evictable)) == evictable


def check_run(run: Run) -> None:
    assert run.bytes == sum(len(each.payload) for each in run.events)
    seqs = [each.seq for each in run.events]
    assert seqs == list(range(run.first_seq, run.last_seq + 1))
    assert run.next_seq in ((0,) if run.is_ended else (0, run.last_seq + 1))


def chain(run: Run | None) -> Iterator[Run]:
    while run is not None:
        yield run
        run = run.next_ended


@pytest.mark.parametrize("seed", range(20))
def test_what_is_counted_is_what_is_held_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    clock = HandClock()
    log = MemoryEventLog(
        runs_per_user=chance.choice([3, 50]),
        events_per_user=chance.choice([12, 500]),
        bytes_per_user=chance.choice([60, 5000]),
        claims_per_user=chance.choice([8, 50]),
        runs=chance.choice([5, 100]),
        events=chance.choice([20, 1000]),
        bytes=chance.choice([100, 9000]),
        claims=chance.choice([15, 100]),
        clock=clock.read,
    )
    trial = on_trial(log)

    async def main() -> None:
        under_way: dict[Lease, int] = {}
        for number in range(200):
            act = chance.random()
            if act < 0.3 and len(under_way) < 6:
                user_id = chance.choice(["ann", "bob"])
                thread_id = chance.choice(["t1", "t2"])
                under_way[await trial.claim(f"r{number}", user_id, thread_id=thread_id)] = 0
            elif act < 0.9 and under_way:
                lease = chance.choice(list(under_way))
                count = chance.choice([1, 1, 1, 2, 9])
                ends = chance.random() < 0.25
                seq = under_way[lease]
                kinds = [THINKING] * (count - ends) + [COMPLETED] * ends
                batch = [
                    event(seq + place, kind, "x" * chance.choice([0, 2, 7, 30]))
                    for place, kind in enumerate(kinds, 1)
                ]
                log.append(lease, batch)
                under_way[lease] += count
                if ends:
                    del under_way[lease]
                    with pytest.raises(LeaseLost):
                        log.append(lease, [event(seq + count + 1)])
            elif act < 0.97:
                await clock.advance(chance.choice([1.0, DAY / 2]))
            elif chance.random() < 0.3:
                user_id = chance.choice(["ann", "bob"])
                await log.forget(user_id)
                under_way = {lease: n for lease, n in under_way.items() if lease.user_id != user_id}
            check(log)

    run_virtual(main())
