"""The log in an SQLite file: its thread, its batches, its bounds, its beginning and its end."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from agent_messaging import ConfigurationError, EventLogError, Lease, LeaseLost
from agent_messaging.eventlog import sqlite
from agent_messaging.eventlog._sqlite_schema import upgrade
from agent_messaging.eventlog._sqlite_store import Store
from agent_messaging.eventlog._sqlite_thread import LogThread
from agent_messaging.eventlog.sqlite import SqliteEventLog, SqliteLogError
from agent_messaging.testing.conformance import LogOnTrial
from agent_messaging.testing.conformance._event_logs.trial import (
    Notices,
    Trial,
    Wakes,
    event,
    story,
)
from support.event_logs import HandClock
from support.sqlite_logs import GateClock, opened


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "event-log" in thread.name]


def thread_of(log: SqliteEventLog) -> LogThread:
    thread = log._thread  # pyright: ignore[reportPrivateUsage]
    assert thread is not None
    return thread


def waiting(log: SqliteEventLog) -> tuple[int, int]:
    """How many calls the thread has been handed, and how many wait for there to be fewer."""
    return log._under_way, len(log._room)  # pyright: ignore[reportPrivateUsage]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often other threads had something called."""

    answers = 0

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        self.answers += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


# The beginning.


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    async def steps() -> None:
        log = SqliteEventLog(tmp_path / "log.db")
        assert not (tmp_path / "log.db").exists()
        assert threads() == []
        assert await log.find_run("ann", "run") is None
        assert (tmp_path / "log.db").exists()
        assert len(threads()) == 1
        await log.aclose()

    asyncio.run(steps())


def test_a_log_is_opened_by_entering_it_and_closed_by_leaving(tmp_path: Path) -> None:
    async def steps() -> None:
        async with SqliteEventLog(tmp_path / "log.db") as log:
            assert (tmp_path / "log.db").exists()
        assert threads() == []
        with pytest.raises(EventLogError):
            await log.find_run("ann", "run")

    asyncio.run(steps())


def test_a_log_that_cannot_be_opened_says_so_when_it_is_entered(tmp_path: Path) -> None:
    async def steps() -> None:
        log = SqliteEventLog(tmp_path / "missing" / "log.db")
        with pytest.raises(SqliteLogError) as raised:
            await log.__aenter__()
        assert raised.value.reason == "io"
        assert threads() == []

    asyncio.run(steps())


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "paper"},
        {"runs_per_user": 0},
        {"events_per_user": 1.5},
        {"keep_seconds": 0},
        {"claim_seconds": -1},
        {"claim_seconds": 24 * 3600 - 1},
        {"max_bytes": 0},
        {"waiting_calls": 0},
        {"busy_seconds": "5"},
        {"poll_seconds": 0},
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, options: Any) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=name):
        SqliteEventLog(tmp_path / "log.db", **options)
    assert list(tmp_path.iterdir()) == []


def test_public_names_report_the_module_that_users_import_them_from() -> None:
    assert SqliteEventLog.__module__ == SqliteLogError.__module__ == sqlite.__name__


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_appended_is_there_for_another_log_of_the_file(
    tmp_path: Path, durability: Any
) -> None:
    async def steps() -> None:
        async with opened(tmp_path / "log.db", durability=durability) as first:
            lease = await first.claim("run")
            await first.append_each(lease, story(5)[:3])
        async with opened(tmp_path / "log.db", durability=durability) as second:
            assert await second.events("run") == story(5)[:3]
            await second.append_each(lease, story(5)[3:])
            assert await second.events("run") == story(5)

    asyncio.run(steps())


def test_a_path_may_hold_what_means_something_in_an_address(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "a?mode=memory&b#c %41.db"
        async with opened(path) as trial:
            await trial.claim("run")
        assert path.exists()

    asyncio.run(steps())


# Batches.


def test_all_that_waits_is_one_transaction_and_is_answered_by_one_call(tmp_path: Path) -> None:
    loop = CountingLoop()

    async def steps() -> None:
        clock = GateClock()
        async with SqliteEventLog(tmp_path / "log.db", clock=clock.read) as log:
            trial = Trial(LogOnTrial(log, HandClock().advance))
            leases = [await trial.claim(f"run {number}") for number in range(50)]
            clock.shut()
            held_up = asyncio.create_task(trial.claim("another"))
            await clock.reached()
            calls = [asyncio.create_task(trial.append(lease, [event(1)])) for lease in leases]
            calls += [asyncio.create_task(trial.append(leases[0], [event(9)]))]
            reads = [asyncio.create_task(log.find_run("ann", lease.run_id)) for lease in leases]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            before = loop.answers
            clock.open()
            await held_up
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert results[:-1] == [None] * len(leases)
            assert isinstance(results[-1], LeaseLost), "and the others do not mind"
            assert all(record is not None for record in await asyncio.gather(*reads))
            # The claim may have been held up before its batch was taken, or in it.
            assert loop.answers - before in {1, 2}

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(steps())


def test_a_call_that_cannot_be_kept_fails_alone(tmp_path: Path) -> None:
    async def steps() -> None:
        async with opened(tmp_path / "log.db") as trial:
            lease = await trial.claim("run")
            bad = "\ud800"
            results = await asyncio.gather(
                trial.append(lease, [event(1)]),
                trial.claim(bad),
                trial.log.find_run("ann", bad),
                trial.log.read("ann", "run", after=2**80, limit=1),
                trial.log.find_claim("ann", "message of run"),
                trial.claim("another"),
                return_exceptions=True,
            )
            kinds = [isinstance(result, ConfigurationError) for result in results]
            assert kinds == [False, True, True, True, False, False]
            assert await trial.events("run") == [event(1)]
            assert await trial.log.find_run("ann", "another") is not None

    asyncio.run(steps())


def test_the_id_of_another_messages_run_is_refused_as_the_callers_mistake(tmp_path: Path) -> None:
    async def steps() -> None:
        async with opened(tmp_path / "log.db") as trial:
            await trial.claim("run")
            with pytest.raises(ConfigurationError, match="run ids must be new"):
                await trial.attempt(Lease("ann", "run", "t"), message_id="other")

    asyncio.run(steps())


def test_a_caller_who_was_cancelled_while_waiting_leaves_nothing_and_bothers_nobody(
    tmp_path: Path,
) -> None:
    async def steps() -> None:
        clock = GateClock()
        async with SqliteEventLog(tmp_path / "log.db", clock=clock.read) as log:
            trial = Trial(LogOnTrial(log, HandClock().advance))
            lease = await trial.claim("run")
            clock.shut()
            held_up = asyncio.create_task(trial.claim("another"))
            await clock.reached()
            given_up = asyncio.create_task(trial.append(lease, [event(1)]))
            other = asyncio.create_task(log.find_run("ann", "run"))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            clock.open()
            await held_up
            assert await other is not None
            assert given_up.cancelled()
            assert await trial.events("run") == []
            await trial.append(lease, story(3))

    asyncio.run(steps())


def test_what_the_clock_raises_is_raised_to_who_needed_the_time(tmp_path: Path) -> None:
    async def steps() -> None:
        clock = HandClock()
        readable = True

        def read() -> float:
            if not readable:
                raise LookupError("no time")
            return clock.now

        async with SqliteEventLog(tmp_path / "log.db", clock=read) as log:
            trial = Trial(LogOnTrial(log, clock.advance))
            await trial.claim("run")
            readable = False
            results = await asyncio.gather(
                trial.claim("another"),
                log.find_run("ann", "run"),
                return_exceptions=True,
            )
            assert isinstance(results[0], LookupError)
            readable = True
            assert results[1] == await log.find_run("ann", "run")
            await trial.claim("another")

    asyncio.run(steps())


# Room.


def test_calls_beyond_the_bound_wait_for_their_turn(tmp_path: Path) -> None:
    async def steps() -> None:
        clock = GateClock()
        async with SqliteEventLog(tmp_path / "log.db", clock=clock.read, waiting_calls=3) as log:
            trial = Trial(LogOnTrial(log, HandClock().advance))
            await trial.claim("run")
            clock.shut()
            held_up = asyncio.create_task(trial.claim("another"))
            await clock.reached()
            calls = [asyncio.create_task(log.find_run("ann", "run")) for _ in range(20)]
            for _ in range(5):
                await asyncio.sleep(0)
            assert waiting(log) == (3, 18)
            calls[10].cancel()
            clock.open()
            await held_up
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 1
            assert waiting(log) == (0, 0)

    asyncio.run(steps())


def test_who_waits_for_room_hears_that_the_log_was_closed(tmp_path: Path) -> None:
    async def steps() -> None:
        clock = GateClock()
        log = SqliteEventLog(tmp_path / "log.db", clock=clock.read, waiting_calls=1)
        trial = Trial(LogOnTrial(log, HandClock().advance))
        lease = await trial.claim("run")
        clock.shut()
        held_up = asyncio.create_task(trial.claim("another"))
        await clock.reached()
        waiting = asyncio.create_task(trial.append(lease, [event(1)]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(log.aclose())
        await asyncio.sleep(0)
        clock.open()
        await closing
        assert (await held_up).run_id == "another"
        with pytest.raises(EventLogError):
            await waiting

    asyncio.run(steps())


# The end.


def test_closing_waits_for_what_was_asked_for_and_for_the_thread(tmp_path: Path) -> None:
    async def steps() -> None:
        log = SqliteEventLog(tmp_path / "log.db")
        trial = Trial(LogOnTrial(log, HandClock().advance))
        claims = [asyncio.create_task(trial.claim(f"run {number}")) for number in range(9)]
        await asyncio.sleep(0)
        await asyncio.gather(log.aclose(), log.aclose())
        assert threads() == []
        assert [lease.run_id for lease in await asyncio.gather(*claims)] == [
            f"run {number}" for number in range(9)
        ]

    asyncio.run(steps())
    # The last one to leave puts everything into the one file.
    assert [path.name for path in tmp_path.iterdir()] == ["log.db"]


def test_a_log_whose_closing_is_cancelled_is_closed_all_the_same(tmp_path: Path) -> None:
    async def steps() -> None:
        log = SqliteEventLog(tmp_path / "log.db")
        await log.find_run("ann", "run")
        closing = asyncio.create_task(log.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await log.aclose()
        assert threads() == []

    asyncio.run(steps())


def test_a_log_that_nobody_closed_lets_its_thread_go_with_its_loop(tmp_path: Path) -> None:
    clock = GateClock()
    log = SqliteEventLog(tmp_path / "log.db", clock=clock.read)
    trial = Trial(LogOnTrial(log, HandClock().advance))

    async def steps() -> None:
        await trial.claim("run")
        clock.shut()
        task = asyncio.create_task(trial.claim("another"))
        await clock.reached()
        task.cancel()

    asyncio.run(steps())
    clock.open()
    asyncio.run(thread_of(log).wait())
    assert threads() == []


def test_a_log_that_nobody_closed_and_nobody_asked_may_still_be_told_to_end(
    tmp_path: Path,
) -> None:
    log = SqliteEventLog(tmp_path / "log.db")

    async def steps() -> None:
        await log.find_run("ann", "run")

    asyncio.run(steps())
    thread_of(log).end()
    asyncio.run(thread_of(log).wait())
    assert threads() == []


# What is remembered.


def test_runs_beyond_those_that_are_remembered_are_appended_to_like_any(tmp_path: Path) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    upgrade(connection, 0)
    store = Store(connection, HandClock().read, 100)
    store.refresh()
    leases = [Lease("ann", f"run {number}", "token") for number in range(10_100)]
    for lease in leases:
        store.claim(lease, "thread", f"message of {lease.run_id}", "digest", "owner", 60.0)
    for lease in leases[:200]:
        store.append(lease, [event(1)])
    store.flush()
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (200,)
    connection.close()


# Following, within a process.


def test_who_follows_a_run_that_has_events_may_be_woken_at_once(tmp_path: Path) -> None:
    async def steps() -> None:
        async with opened(tmp_path / "log.db") as trial:
            lease = await trial.claim("run")
            await trial.append_each(lease, story(6)[:4])
            wakes = Wakes()
            trial.log.follow("ann", "run", wakes.wake)
            await wakes.until(4)
            await trial.append_each(lease, story(6)[4:])
            await wakes.until(6)
            assert wakes.seqs == sorted(wakes.seqs)

    asyncio.run(steps())


def test_the_thread_looks_around_only_while_somebody_follows(tmp_path: Path) -> None:
    async def steps() -> None:
        async with opened(tmp_path / "log.db") as trial:
            log = trial.log
            assert isinstance(log, SqliteEventLog)
            news = thread_of(log)._news  # pyright: ignore[reportPrivateUsage]
            await trial.claim("run")
            wanted = [news.is_wanted]
            unfollows = [
                log.follow("ann", "run", Wakes().wake),
                log.follow("ann", "run", Wakes().wake),
                log.follow_notices("one", Notices().tell),
                log.follow_notices("two", Notices().tell),
            ]
            for unfollow in unfollows:
                await log.find_run("ann", "run")
                wanted.append(news.is_wanted)
                unfollow()
                unfollow()
            await log.find_run("ann", "run")
            wanted.append(news.is_wanted)
            assert wanted == [False, True, True, True, True, False]

    asyncio.run(steps())


def test_a_run_of_a_user_who_was_forgotten_is_followed_no_more_when_it_comes_again(
    tmp_path: Path,
) -> None:
    async def steps() -> None:
        async with opened(tmp_path / "log.db") as trial:
            await trial.finished("run")
            wakes = Wakes()
            trial.log.follow("ann", "run", wakes.wake)
            await wakes.until(3)
            await trial.log.forget("ann")
            await wakes.until(0)
            await trial.finished("run")
            assert wakes.seqs == [3, 0]

    asyncio.run(steps())
