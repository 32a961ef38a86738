"""What the log in an SQLite file lets go of: the oldest finished runs, a portion at a time."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_messaging import Lease, LeaseLost, LoggedEvent, RunRecord
from agent_messaging.eventlog._sqlite_retention import Retained, Retention
from agent_messaging.eventlog._sqlite_schema import upgrade
from agent_messaging.eventlog._sqlite_store import Store
from agent_messaging.testing.conformance._event_logs.trial import story
from support.event_logs import HandClock
from support.sqlite_logs import opened, until_gone

DAY = 24 * 3600.0
PORTION = 500


class Kept:
    """A store in memory, with what is kept of it; every call is a transaction."""

    def __init__(self, connection: sqlite3.Connection, **bounds: Any) -> None:
        self.clock = HandClock()
        kept: dict[str, Any] = {
            "runs_per_user": 1000,
            "events_per_user": 100_000,
            "keep_seconds": DAY,
            "claim_seconds": DAY,
        }
        self.retention = Retention(Retained(**(kept | bounds)), self.clock.read)
        self.store = Store(connection, self.clock.read, 1)
        upgrade(connection, 0)
        self.store.refresh()

    def finished(self, run_id: str, length: int = 3, user_id: str = "ann") -> None:
        self.append(self.claimed(run_id, user_id), story(length))

    def claimed(self, run_id: str, user_id: str = "ann") -> Lease:
        lease = Lease(user_id, run_id, "token")
        self.store.claim(lease, "thread", f"message of {run_id}", "digest", "owner", 3600)
        self.settle()
        return lease

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        self.store.append(lease, events)
        self.settle()

    def settle(self) -> None:
        self.store.flush()
        self.retention.look_at(self.store.grown)
        self.store.settle()

    def portions(self) -> Iterator[int]:
        """Remove what is due; how many rows each portion changed."""
        while self.retention.is_due:
            before = self.store.connection.total_changes
            self.retention.remove(self.store)
            self.settle()
            yield self.store.connection.total_changes - before

    def remove(self, after: float = 0.0) -> None:
        """Remove what is due by then."""
        for seconds in (0.0, after):
            self.clock.now += seconds
            for _ in self.portions():
                pass

    def held(self, user_id: str = "ann") -> dict[str, tuple[int, int]]:
        """The events that are held of each run."""
        runs = self.store.runs(user_id, "thread", 1000)
        return {run.run_id: (run.first_seq, run.last_seq) for run in runs}

    def counted(self) -> dict[str, tuple[int, int]]:
        rows = self.store.connection.execute("SELECT user_id, runs, events FROM users").fetchall()
        return {user_id: (runs, events) for user_id, runs, events in rows}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


# Too many of a user.


def test_of_too_many_runs_those_that_ended_first_lose_their_events(
    connection: sqlite3.Connection,
) -> None:
    kept = Kept(connection, runs_per_user=3)
    slow = kept.claimed("slow")
    for name in "abcd":
        kept.clock.now += 1
        kept.finished(name)
    kept.finished("another's", user_id="bob")
    kept.append(slow, story(3))
    kept.remove(after=60)
    gone, whole = (4, 3), (1, 3)
    assert kept.held() == {"slow": whole, "a": gone, "b": gone, "c": whole, "d": whole}
    assert kept.held("bob") == {"another's": whole}
    assert kept.counted() == {"ann": (3, 9), "bob": (1, 3)}


def test_of_too_many_events_whole_runs_go(connection: sqlite3.Connection) -> None:
    kept = Kept(connection, events_per_user=10)
    for name in "abc":
        kept.clock.now += 1
        kept.finished(name, 4)
    kept.remove(after=60)
    assert kept.held() == {"a": (5, 4), "b": (1, 4), "c": (1, 4)}


def test_a_run_that_goes_is_gone_wholly_even_where_less_would_do(
    connection: sqlite3.Connection,
) -> None:
    kept = Kept(connection, events_per_user=PORTION + 300)
    kept.finished("long", PORTION + 200)
    kept.clock.now += 100
    kept.finished("short", 200)
    portions = [kept.held()["long"] for _ in kept.portions()]
    last = PORTION + 200
    assert portions[:2] == [(PORTION + 1, last), (last + 1, last)]
    assert kept.held() == {"long": (last + 1, last), "short": (1, 200)}
    assert kept.counted() == {"ann": (1, 200)}


def test_a_run_that_has_just_ended_is_spared_for_a_minute(connection: sqlite3.Connection) -> None:
    kept = Kept(connection, events_per_user=10, runs_per_user=1)
    kept.finished("long", 25)
    kept.append(kept.claimed("new"), story(9)[:8])
    kept.remove(after=59)
    assert kept.held() == {"long": (1, 25), "new": (1, 8)}
    kept.remove(after=60)
    assert kept.held() == {"long": (26, 25), "new": (1, 8)}


def test_a_run_under_way_loses_nothing_where_those_that_ended_can_go(
    connection: sqlite3.Connection,
) -> None:
    kept = Kept(connection, events_per_user=10)
    kept.finished("ended", 6)
    lease = kept.claimed("under way")
    kept.append(lease, story(11)[:10])
    kept.remove(after=60)
    assert kept.held() == {"ended": (7, 6), "under way": (1, 10)}


def test_of_runs_under_way_the_longest_loses_its_oldest_events(
    connection: sqlite3.Connection,
) -> None:
    kept = Kept(connection, events_per_user=10)
    long, short = kept.claimed("long"), kept.claimed("short")
    kept.claimed("silent")
    kept.append(short, story(5)[:4])
    kept.append(long, story(30)[:20])
    kept.remove()
    assert kept.held() == {"long": (15, 20), "short": (1, 4), "silent": (1, 0)}
    kept.append(long, story(30)[20:])
    kept.remove()
    assert kept.held() == {"long": (15, 30), "short": (1, 4), "silent": (1, 0)}
    assert kept.counted() == {"ann": (1, 16)}


def test_beyond_all_bounds_a_run_under_way_keeps_its_newest_event(
    connection: sqlite3.Connection,
) -> None:
    kept = Kept(connection, events_per_user=1)
    leases = [kept.claimed(name) for name in "abc"]
    for lease in leases:
        kept.append(lease, story(9)[:5])
    kept.remove()
    assert kept.held() == {"a": (5, 5), "b": (5, 5), "c": (5, 5)}
    for lease in leases:
        kept.append(lease, story(9)[5:6])
        assert kept.store.find_run("ann", lease.run_id) == RunRecord(
            run_id=lease.run_id,
            thread_id="thread",
            message_id=f"message of {lease.run_id}",
            digest="digest",
            status="running",
            first_seq=5,
            last_seq=6,
        )


# Too old.


def test_events_go_after_their_time_and_claims_after_theirs(connection: sqlite3.Connection) -> None:
    kept = Kept(connection, keep_seconds=10, claim_seconds=200)
    under_way = kept.claimed("under way")
    kept.append(under_way, story(9)[:5])
    kept.finished("ended")
    kept.remove()
    assert kept.held() == {"under way": (1, 5), "ended": (1, 3)}
    kept.clock.now += 100
    kept.remove()
    assert kept.held() == {"under way": (1, 5), "ended": (4, 3)}
    assert kept.store.find_claim("ann", "message of ended") is not None
    assert kept.counted() == {}
    kept.clock.now += 100
    kept.remove()
    assert kept.held() == {"under way": (1, 5)}
    assert kept.store.find_claim("ann", "message of ended") is None
    assert kept.store.find_claim("ann", "message of under way") is not None


def test_a_claim_is_kept_no_shorter_than_the_events_of_its_run(
    connection: sqlite3.Connection,
) -> None:
    kept = Kept(connection, keep_seconds=300, claim_seconds=10)
    kept.finished("ended")
    kept.clock.now += 200
    kept.remove()
    assert kept.held() == {"ended": (1, 3)}
    kept.clock.now += 100
    kept.remove()
    assert kept.held() == {}


def test_what_is_old_is_looked_for_once_in_a_while(connection: sqlite3.Connection) -> None:
    kept = Kept(connection, keep_seconds=10)
    due = [kept.retention.is_due]
    kept.remove()
    for seconds in (0, 59, 1):
        kept.clock.now += seconds
        due.append(kept.retention.is_due)
    assert due == [True, False, False, True]


def test_notices_are_removed_after_a_minute(connection: sqlite3.Connection) -> None:
    kept = Kept(connection)
    kept.claimed("run")
    kept.store.notify("ann", "run", "stop")
    kept.clock.now += 30
    kept.store.notify("ann", "run", "watched")
    kept.remove()
    kept.clock.now += 60
    kept.remove()
    assert connection.execute("SELECT count(*) FROM notices").fetchone() == (0,)
    kept.store.notify("ann", "run", "stop")
    (number,) = connection.execute("SELECT number FROM notices").fetchone()
    assert number == 3, "no number is given again"


# Portions.


def test_no_portion_is_large(connection: sqlite3.Connection) -> None:
    kept = Kept(connection, events_per_user=1000, runs_per_user=5, keep_seconds=10)
    for number in range(40):
        kept.finished(f"run {number}", 200)
    kept.append(kept.claimed("long"), story(5000)[:-1])
    kept.claimed("silent")
    for _ in range(PORTION + 50):
        kept.store.notify("ann", "silent", "watched")
    portions = list(kept.portions())
    for seconds in (60, 2 * DAY):
        kept.clock.now += seconds
        portions += kept.portions()
    # Beside the rows that are removed: counts of runs and of users, and of removals.
    assert max(portions) <= 2 * PORTION
    assert len(portions) > 10
    assert kept.held() == {"long": (4000, 4999), "silent": (1, 0)}


def test_a_read_while_portions_go_tells_what_is_there(connection: sqlite3.Connection) -> None:
    kept = Kept(connection, keep_seconds=10)
    kept.finished("run", 3 * PORTION)
    kept.remove()
    kept.clock.now += 100
    firsts: list[int] = []
    for _ in kept.portions():
        page = kept.store.read("ann", "run", 0, 10_000)
        assert page is not None
        seqs = [event.seq for event in page.events]
        assert seqs == list(range(page.first_seq, page.last_seq + 1))
        assert (page.last_seq, page.status) == (3 * PORTION, "completed")
        firsts.append(page.first_seq)
    assert firsts[:3] == [PORTION + 1, 2 * PORTION + 1, 3 * PORTION + 1]


# In a log.


def test_a_log_removes_between_the_calls(tmp_path: Path) -> None:
    async def steps() -> None:
        async with opened(tmp_path / "log.db", runs_per_user=2) as trial:
            for number in range(5):
                await trial.finished(f"run {number}")
            await trial.advance(60)
            await until_gone(trial, "run 2")
            held = [len(await trial.events(f"run {number}")) for number in range(5)]
            assert held == [0, 0, 0, 3, 3]

    asyncio.run(steps())


def test_removing_that_fails_is_tried_again_later(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path, busy_seconds=0.02, keep_seconds=10) as trial:
            await trial.finished("run")
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await trial.advance(100)
                for _ in range(3):
                    assert await trial.events("run") == story(3)
            await trial.advance(100)
            await until_gone(trial, "run")

    asyncio.run(steps())


# Users that are forgotten.


def count(connection: sqlite3.Connection, table: str) -> int:
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - ours
    return int(rows)


def forgetting(connection: sqlite3.Connection) -> Kept:
    """A store of which a user was forgotten, and of which much is left to be removed."""
    kept = Kept(connection)
    lease = kept.claimed("under way")
    kept.append(lease, story(3000)[: 3 * PORTION])
    for number in range(2 * PORTION):
        kept.finished(f"short {number}", 2)
    kept.finished("hers", 3, "bob")
    assert kept.store.forget("ann")
    kept.settle()
    with pytest.raises(LeaseLost):
        kept.append(lease, story(3000)[3 * PORTION :][:1])
    assert kept.held() == {}
    assert kept.store.find_claim("ann", "message of under way") is None
    assert count(connection, "events") == 3 * PORTION + 4 * PORTION + 3 - PORTION
    return kept


def test_a_user_is_unknown_at_once_and_the_events_go_in_portions(
    connection: sqlite3.Connection,
) -> None:
    kept = forgetting(connection)
    kept.finished("under way")
    removed: list[int] = []
    before = count(connection, "events")
    while kept.store.remove_forgotten():
        removed.append(before - count(connection, "events"))
        before = count(connection, "events")
    assert len(removed) >= 5
    assert max(removed) <= PORTION
    assert (count(connection, "events"), count(connection, "forgotten")) == (6, 0)
    assert kept.held() == {"under way": (1, 3)}
    assert kept.held("bob") == {"hers": (1, 3)}


def test_what_was_left_of_a_user_is_removed_by_the_way(connection: sqlite3.Connection) -> None:
    kept = forgetting(connection)
    portions = list(kept.portions())
    assert len(portions) >= 6
    assert (count(connection, "events"), count(connection, "forgotten")) == (3, 0)


@pytest.mark.parametrize("user_id", ["ann", "somebody else"])
def test_forgetting_that_was_broken_off_is_finished_by_the_next(
    tmp_path: Path, user_id: str
) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial, opened(path) as other:
            lease = await trial.claim("run")
            await trial.append(lease, story(10 * PORTION)[:-1])
            gone = asyncio.create_task(trial.log.forget("ann"))
            looking = asyncio.create_task(trial.log.find_run("ann", "run"))
            assert await looking is None
            gone.cancel()
            await asyncio.wait([gone])
            assert gone.cancelled()
            with closing(sqlite3.connect(path)) as connection:
                assert count(connection, "events") > 0
                assert await other.log.find_run("ann", "run") is None
                await other.log.forget(user_id)
                assert (count(connection, "events"), count(connection, "forgotten")) == (0, 0)

    asyncio.run(steps())
