"""`RedisStreamsEventLog` while the server, or the way to it, is in trouble; in virtual time."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent_messaging import EventLogError, Notice
from agent_messaging.eventlog._redis_keys import Keys
from agent_messaging.eventlog.redis_streams import RedisLogError, RedisStreamsEventLog
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance._event_logs.closing import CALLS
from agent_messaging.testing.conformance._event_logs.trial import Trial, Wakes, event, story
from support import tasks_left
from support.lines import own_records
from support.redis_logs import FaultyClient, fake_client, redis_trial

#: Each method that asks the server.
ASKING = {name: call for name, call in CALLS.items() if not name.startswith("follow")}

SECRET = '{"text":"the payload"}'


class ReadOnlyError(Exception):
    """Named as what redis-py raises."""


class LostConnectionError(ConnectionError):
    """Derived from what has advice of its own."""


def in_trouble(main: Callable[[FaultyClient, Trial], Awaitable[None]], **options: Any) -> None:
    """Run with a client that may fail, and a log over it that is closed at the end."""

    async def whole() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial = redis_trial(faulty, random=lambda: 0.0, **options)
            async with asyncio.timeout(1000):  # a reader that goes on has always a timer
                await main(faulty, trial)
            await trial.log.aclose()
            assert not tasks_of_the_log()
            assert await faulty.client.execute_command("PING"), "the host's client stays open"

    run_virtual(whole())


def tasks_of_the_log() -> list[str]:
    """The log's tasks; the fake has one of its own for each read that waits."""
    names = [task.get_name() for task in tasks_left()]
    return [name for name in names if name.startswith("agent_messaging")]


# Calls.


@pytest.mark.parametrize("name", ASKING)
def test_whatever_a_client_raises_is_an_error_of_the_log(name: str) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.claim("run")
        for error in (LostConnectionError("lost"), ReadOnlyError(SECRET), ValueError(SECRET)):
            client.error = error
            with pytest.raises(RedisLogError) as caught:
                await ASKING[name](trial.log)
            assert caught.value.__cause__ is error
            assert type(error).__name__ in str(caught.value)
            assert "payload" not in str(caught.value)
            client.error = None
            await trial.log.find_run("ann", "run")
        await ASKING[name](trial.log)

    in_trouble(main)


@pytest.mark.parametrize("name", ASKING)
def test_an_error_that_the_server_answers_is_an_error_of_the_log(name: str) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.claim("run")
        client.reply = lambda _: ReadOnlyError("READONLY")
        with pytest.raises(RedisLogError, match="it is a replica"):
            await ASKING[name](trial.log)
        client.reply = None
        await ASKING[name](trial.log)

    in_trouble(main)


@pytest.mark.parametrize("name", ASKING)
def test_a_server_that_does_not_answer_is_given_up(name: str) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.claim("run")
        client.is_silent = True
        before = asyncio.get_running_loop().time()
        with pytest.raises(RedisLogError, match=r"TimeoutError: see whether the server is up"):
            await ASKING[name](trial.log)
        assert asyncio.get_running_loop().time() - before == pytest.approx(3)
        client.is_silent = False
        await ASKING[name](trial.log)

    in_trouble(main, timeout=3)


def test_what_is_wrong_is_said_with_what_to_do() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        client.error = LostConnectionError("lost")
        with pytest.raises(RedisLogError) as caught:
            await trial.claim("run")
        assert str(caught.value) == (
            "asked Redis to claim, expected an answer, got LostConnectionError: see whether the "
            "server is up; then ask again"
        )
        client.error = KeyError("x")
        with pytest.raises(RedisLogError, match="see the cause"):
            await trial.log.forget("ann")

    in_trouble(main)


def test_a_server_that_has_forgotten_the_scripts_is_told_them_again() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        await trial.append(lease, [event(1)])
        await client.client.execute_command("SCRIPT FLUSH")
        await asyncio.gather(trial.append(lease, [event(2)]), trial.log.find_run("ann", "run"))
        assert await trial.events("run") == [event(1), event(2)]

    in_trouble(main)


def test_one_call_that_fails_leaves_the_others_alone() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.finished("run")
        await trial.finished("run", "bob")
        keys = Keys("agent_messaging").user("bob")
        client.reply = lambda command: ReadOnlyError() if keys.runs in command else None
        found, failed = await asyncio.gather(
            trial.log.find_run("ann", "run"),
            trial.log.find_run("bob", "run"),
            return_exceptions=True,
        )
        assert not isinstance(found, BaseException)
        assert isinstance(failed, RedisLogError)

    in_trouble(main)


def test_a_call_that_is_cancelled_before_it_was_sent_is_not_made() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: trial.append(lease, [event(1)]),
            lambda: trial.log.renew([lease], 10),
        ]
        for call in calls:
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0)
            before = client.pipelines
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await asyncio.sleep(1)
            assert client.pipelines == before
        assert await trial.events("run") == []

    in_trouble(main)


def test_calls_that_wait_for_another_and_are_cancelled_leave_nothing() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        client.is_silent = True
        first = asyncio.ensure_future(trial.log.find_run("ann", "run"))
        await asyncio.sleep(0.1)
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await trial.log.find_run("ann", "run")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await trial.log.renew([lease], 10)
        assert isinstance(trial.log, RedisStreamsEventLog)
        calls = trial.log._calls  # pyright: ignore[reportPrivateUsage] - what waits is to be seen
        assert not calls._waiting  # pyright: ignore[reportPrivateUsage]
        client.is_silent = False
        before = client.pipelines
        await asyncio.wait([first])
        assert isinstance(first.exception(), RedisLogError)
        await asyncio.sleep(1)
        assert client.pipelines == before

    in_trouble(main)


def test_more_calls_than_go_together_go_one_after_the_other() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.claim("run")
        await trial.log.find_run("ann", "run")
        client.pipelines = 0
        found = await asyncio.gather(*[trial.log.find_run("ann", "run") for _ in range(300)])
        assert None not in found
        assert client.pipelines == 3

    in_trouble(main)


def test_calls_beyond_the_bound_fail_at_once_and_the_others_do_not() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        client.is_silent = True
        sent = asyncio.ensure_future(trial.log.find_run("ann", "run"))
        await asyncio.sleep(0.1)
        waiting = [asyncio.ensure_future(trial.log.find_run("ann", "run")) for _ in range(3)]
        await asyncio.sleep(0.1)
        before = asyncio.get_running_loop().time()
        for call in (lambda: trial.append(lease, [event(1)]), lambda: trial.log.renew([lease], 9)):
            with pytest.raises(RedisLogError) as caught:
                await call()
            assert "expected room among the 3 calls that may wait, got none" in str(caught.value)
        assert asyncio.get_running_loop().time() == before
        # One that is cancelled makes room for one.
        waiting.pop().cancel()
        await asyncio.sleep(0)
        appending = asyncio.ensure_future(trial.append(lease, [event(1)]))
        await asyncio.sleep(0)
        with pytest.raises(RedisLogError):
            await trial.log.find_run("ann", "run")
        client.is_silent = False
        await asyncio.wait([sent, *waiting, appending])
        assert isinstance(sent.exception(), RedisLogError)
        assert [task.exception() for task in (*waiting, appending)] == [None] * 3
        assert await trial.events("run") == [event(1)]

    in_trouble(main, waiting_calls=3)


def test_more_leases_than_calls_may_wait_are_renewed_and_taken_all_the_same() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        leases = [await trial.claim(f"{number}", lease_seconds=10) for number in range(7)]
        assert list(await trial.log.renew(leases, 20)) == []
        await trial.advance(21)
        assert len(await trial.take(limit=7)) == 7

    in_trouble(main, waiting_calls=3)


def test_who_waits_behind_a_call_that_is_given_up_is_given_up_after_as_long() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.claim("run")
        client.is_silent = True
        loop = asyncio.get_running_loop()

        async def given_up_after() -> float:
            begun = loop.time()
            with pytest.raises(RedisLogError, match="TimeoutError"):
                await trial.log.find_run("ann", "run")
            return loop.time() - begun

        first = asyncio.ensure_future(given_up_after())
        await asyncio.sleep(0.1)
        # More than go to the server together, so that some would wait for two before them.
        others = [asyncio.ensure_future(given_up_after()) for _ in range(1000)]
        assert await first == pytest.approx(3)
        left = others.pop()
        await asyncio.sleep(3)
        left.cancel()  # in the turn in which it would be given up
        await asyncio.wait([*others, left])
        assert left.cancelled()
        assert max(task.result() for task in others) < 2 * 3

    in_trouble(main, timeout=3)


def test_leases_of_a_shard_in_trouble_are_not_taken_and_the_others_are() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        leases = [await trial.claim("run", user, lease_seconds=10) for user in ("ann", "bob")]
        await trial.advance(11)
        keys = Keys("agent_messaging")
        for which in (keys.user("bob").runs, keys.leases(keys.user("bob").shard)):

            def fails(command: tuple[Any, ...], which: str = which) -> object:
                return ReadOnlyError() if which in command else None

            client.reply = fails
            taken = await trial.take(lease_seconds=1)
            assert [one.lease.user_id for one in taken] == ["ann"]
            await trial.advance(2)
            with pytest.raises(RedisLogError):
                await trial.log.renew(leases, 10)
        client.reply = None
        await trial.advance(11)
        assert len(await trial.take()) == 2

    in_trouble(main)


# Closing.


def test_calls_under_way_are_told_that_the_log_was_closed() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        client.is_silent = True
        sent = [
            asyncio.ensure_future(trial.append(lease, [event(1)])),
            asyncio.ensure_future(trial.log.renew([lease], 10)),
        ]
        await asyncio.sleep(0.1)
        waiting = asyncio.ensure_future(trial.log.find_run("ann", "run"))
        await asyncio.sleep(0.1)
        await trial.log.aclose()
        await asyncio.wait([*sent, waiting])
        for task in (*sent, waiting):
            assert type(task.exception()) is EventLogError

    in_trouble(main)


def test_a_call_that_was_made_while_the_log_is_being_closed_comes_to_an_end() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        closing = asyncio.ensure_future(trial.log.aclose())
        # Its sender is cancelled before its first step.
        asking = asyncio.ensure_future(trial.log.find_run("ann", "run"))
        await asyncio.wait([closing, asking], timeout=10)
        assert asking.done()
        assert type(asking.exception()) is EventLogError

    in_trouble(main)


def test_a_log_whose_tasks_somebody_cancelled_goes_on() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        told, others = Told(), Told()
        trial.log.follow_notices("owner", told.tell)
        await asyncio.sleep(1)
        client.is_silent = True
        asking = [asyncio.ensure_future(trial.log.find_run("ann", "run")) for _ in range(2)]
        await asyncio.sleep(0.1)
        asking.append(asyncio.ensure_future(trial.log.find_run("ann", "run")))
        await asyncio.sleep(0.1)
        for task in tasks_left():
            if task.get_name().startswith("agent_messaging"):
                task.cancel()
        await asyncio.wait(asking)
        for one in asking:
            assert isinstance(one.exception(), RedisLogError)
        client.is_silent = False
        trial.log.follow_notices("owner", others.tell)
        await trial.append(lease, [event(1)])
        await trial.log.notify("ann", "run", "stop")
        await asyncio.sleep(3)
        assert told.all == others.all == [("ann", "run", "stop")]

    in_trouble(main)


def test_closing_ends_the_readers_whatever_they_do() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.claim("run")
        woken, told = Wakes(), Told()
        for user in ("ann", "bob"):
            trial.log.follow(user, "run", woken.wake)
        trial.log.follow_notices("owner", told.tell)
        await asyncio.sleep(1)
        client.error = LostConnectionError()
        trial.log.follow("eve", "run", woken.wake)
        await asyncio.sleep(1)
        assert len(tasks_of_the_log()) >= 4
        await trial.log.aclose()
        client.error = None
        assert not tasks_of_the_log()
        for name in CALLS:
            with pytest.raises(EventLogError):
                await CALLS[name](trial.log)

    in_trouble(main)


class Told:
    """What an owner was told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, Notice]] = []

    def tell(self, user_id: str, run_id: str, notice: Notice) -> None:
        self.all.append((user_id, run_id, notice))


# Readers.


def test_a_reader_backs_off_and_wakes_all_when_the_server_is_back() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        loop = asyncio.get_running_loop()
        lease = await trial.claim("run")
        other = redis_trial(client.client)
        woken = Wakes()
        trial.log.follow("ann", "run", woken.wake)
        await asyncio.sleep(1)
        client.error = LostConnectionError()
        client.pipelines = 0
        lost_at = loop.time()
        tries: list[float] = []

        async def note(command: tuple[Any, ...]) -> None:
            tries.append(loop.time())

        client.before = note
        await asyncio.sleep(60)
        assert client.pipelines < 22, "0.05 s, doubled up to 5"
        assert client.pipelines > 12
        await other.append(lease, [event(1)])
        assert woken.seqs == []
        client.error = None
        await woken.until(1)
        assert loop.time() - lost_at < 66

    in_trouble(main)


def test_the_pauses_of_readers_differ() -> None:
    counts: list[int] = []
    for random in (0.0, 1.0):

        async def main(client: FaultyClient, trial: Trial) -> None:
            client.error = LostConnectionError()
            trial.log.follow("ann", "run", Wakes().wake)
            await asyncio.sleep(60)
            counts.append(client.pipelines)

        async def whole(random: float = random) -> None:
            async with fake_client() as client:
                faulty = FaultyClient(client)
                trial = redis_trial(faulty, random=lambda: random)
                await main(faulty, trial)
                await trial.log.aclose()

        run_virtual(whole())
    assert counts[1] > 1.5 * counts[0]


def test_a_reader_that_hears_nothing_at_all_asks_again() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        woken = Wakes()
        trial.log.follow("ann", "run", woken.wake)
        await asyncio.sleep(0.1)
        # A connection that is dead without anybody having been told.
        client.hears_nothing = True
        await asyncio.sleep(3)
        client.hears_nothing = False
        await trial.append(lease, [event(1)])
        await woken.until(1)

    in_trouble(main)


def test_readers_do_not_spin_where_nothing_happens() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        await trial.claim("run")
        trial.log.follow("ann", "run", Wakes().wake)
        trial.log.follow_notices("owner", Told().tell)
        await asyncio.sleep(100)
        assert len(client.reads) < 2 * 52
        assert client.pipelines < 2 * 52 + 10

    in_trouble(main)


def test_one_reader_serves_all_who_follow_runs_of_a_shard() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        keys = Keys("agent_messaging")
        users = [f"user {number}" for number in range(500)]
        mates = [user for user in users if keys.user(user).shard == 7]
        assert len(mates) > 2
        woken = {user: Wakes() for user in mates}
        for user in mates:
            lease = await trial.claim("run", user)
            for _ in range(3):
                trial.log.follow(user, "run", woken[user].wake)
            await trial.append(lease, [event(1)])
        await asyncio.sleep(10)
        assert len(client.reads) < 20
        for user in mates:
            assert set(woken[user].seqs) == {1}

    in_trouble(main)


def test_a_reader_ends_when_nobody_follows_and_begins_again() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        woken = Wakes()
        unfollow = trial.log.follow("ann", "run", woken.wake)
        await asyncio.sleep(1)
        unfollow()
        await asyncio.sleep(5)
        assert not tasks_of_the_log()
        reads = len(client.reads)
        await trial.append(lease, [event(1)])
        await asyncio.sleep(5)
        assert len(client.reads) == reads
        unfollow = trial.log.follow("ann", "run", woken.wake)
        await woken.until(1)
        await trial.append(lease, [event(2)])
        await woken.until(2)
        # In between somebody left and somebody came: the read under way goes on.
        unfollow()
        trial.log.follow("ann", "run", woken.wake)
        await trial.append(lease, [event(3)])
        await woken.until(3)
        unfollow()

    in_trouble(main)


def test_who_unfollows_late_takes_nothing_from_who_came_after() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        first, second = Wakes(), Wakes()
        unfollow = trial.log.follow("ann", "run", first.wake)
        unfollow()
        trial.log.follow("ann", "run", second.wake)
        unfollow()
        await trial.append(lease, [event(1)])
        await second.until(1)
        assert first.seqs == []

    in_trouble(main)


# Wake-ups that are lost.

WAKES, LAST = Keys("agent_messaging").wakes(Keys("agent_messaging").user("ann").shard)


async def cut(client: FaultyClient) -> None:
    """Keep one entry alone, as a short stream would."""
    await client.client.execute_command("XTRIM", WAKES, "MAXLEN", 1)


async def drop(client: FaultyClient) -> None:
    """Lose the stream, as when it expires."""
    await client.client.execute_command("DEL", WAKES, LAST)


async def go_back(client: FaultyClient) -> None:
    """Lose the newest entries, as a server does that comes back from an old snapshot."""
    page = await client.client.execute_command("XREVRANGE", WAKES, "+", "-")
    for entry in page[:3]:
        await client.client.execute_command("XDEL", WAKES, entry[0])
    await client.client.execute_command("SET", LAST, page[3][0])


@pytest.mark.parametrize("lose", [cut, drop, go_back])
def test_wake_ups_that_are_lost_are_missed_by_nobody(
    lose: Callable[[FaultyClient], Awaitable[None]],
) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        other = redis_trial(client.client)
        lease, quiet = await trial.claim("run"), await trial.claim("quiet")
        woken, waiting = Wakes(), Wakes()
        await other.append_each(lease, [event(seq) for seq in range(1, 6)])
        trial.log.follow("ann", "run", woken.wake)
        trial.log.follow("ann", "quiet", waiting.wake)
        await woken.until(5)
        # The reader hears nothing, and some entries are gone by the time when it does.
        client.is_silent = True
        await asyncio.sleep(3)
        await other.append(quiet, [event(1)])
        await other.append_each(lease, [event(seq) for seq in range(6, 12)])
        await lose(client)
        client.is_silent = False
        await waiting.until(1)
        await woken.until(11)
        await other.append(quiet, [event(2)])
        await waiting.until(2)

    in_trouble(main)


def test_entries_that_are_gone_while_a_reader_is_busy_are_missed_by_nobody() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        other = redis_trial(client.client)
        lease, quiet = await trial.claim("run"), await trial.claim("quiet")
        waiting = Wakes()

        def hold_up(_: int) -> None:
            hold.append(1)

        hold: list[int] = []
        trial.log.follow("ann", "run", hold_up)
        trial.log.follow("ann", "quiet", waiting.wake)
        await asyncio.sleep(1)
        # No error, and no answer without an entry: only what an entry says shows the gap.
        read = client.execute_command

        async def read_late(*args: Any) -> Any:
            await other.append(quiet, [event(1)])
            await other.append(lease, [event(1)])
            await cut(client)
            client.execute_command = read  # type: ignore[method-assign]
            return await read(*args)

        client.execute_command = read_late  # type: ignore[method-assign]
        await waiting.until(1)

    in_trouble(main)


def test_a_stream_that_goes_back_without_a_word_is_noticed() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        other = redis_trial(client.client)
        lease = await trial.claim("run")
        woken = Wakes()
        await other.append(lease, [event(1)])
        trial.log.follow("ann", "run", woken.wake)
        await woken.until(1)
        # A client that reconnects by itself to a server whose clock is behind.
        await drop(client)
        await client.client.execute_command("XADD", WAKES, "5-1", "after", "0-0", "ann:run", 2)
        await client.client.execute_command("SET", LAST, "5-1")
        woken.seqs.clear()
        await woken.until(1)

    in_trouble(main)


def test_who_follows_a_run_that_went_back_or_vanished_is_woken() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        keys = Keys("agent_messaging").user("ann")
        leases = {name: await trial.claim(name) for name in ("back", "empty", "gone")}
        woken = {name: Wakes() for name in leases}
        for name, lease in leases.items():
            trial.log.follow("ann", name, woken[name].wake)
            await trial.append_each(lease, story(5)[:4])
            await woken[name].until(4)
        state = "%d running token%%20of%%20ann%%20for%%20%s owner"
        await client.client.execute_command("HSET", keys.runs, "sback", state % (2, "back"))
        await client.client.execute_command("HSET", keys.runs, "sempty", state % (0, "empty"))
        await client.client.execute_command("HDEL", keys.runs, "sgone", "rgone")
        client.error = LostConnectionError()
        await asyncio.sleep(3)
        client.error = None
        await woken["back"].until(2)
        await woken["empty"].until(0)
        await woken["gone"].until(0)
        assert await trial.refuses(leases["back"], story(5)[4:])
        assert (await trial.page("back")).last_seq == 2

    in_trouble(main)


def test_a_reader_is_content_with_a_stream_whose_last_id_is_lost() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        lease = await trial.claim("run")
        await trial.append_each(lease, story(5)[:3])
        await client.client.execute_command("DEL", LAST)  # as a server might that evicts
        woken = Wakes()
        trial.log.follow("ann", "run", woken.wake)
        await woken.until(3)
        await asyncio.sleep(20)
        assert len(client.reads) < 15
        await trial.append(lease, [event(4)])
        await woken.until(4)
        await asyncio.sleep(20)
        assert len(client.reads) < 30

    in_trouble(main)


def test_a_reader_that_was_in_trouble_and_is_again_begins_with_short_pauses() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        trial.log.follow("ann", "run", Wakes().wake)
        await asyncio.sleep(1)
        for _ in range(3):
            client.error = LostConnectionError()
            await asyncio.sleep(30)
            client.error = None
            await asyncio.sleep(30)
            client.error = LostConnectionError()
            client.pipelines = 0
            await asyncio.sleep(4)
            assert client.pipelines > 3
            client.error = None
            await asyncio.sleep(30)

    in_trouble(main)


# Notices.


def test_notices_are_told_after_the_server_was_lost() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        other = redis_trial(client.client)
        await trial.claim("run")
        told = Told()
        trial.log.follow_notices("owner", told.tell)
        assert await other.log.notify("ann", "run", "watched")
        await asyncio.sleep(1)
        client.error = LostConnectionError()
        await asyncio.sleep(3)
        assert await other.log.notify("ann", "run", "stop")
        client.error = None
        await asyncio.sleep(5)
        assert told.all == [("ann", "run", "watched"), ("ann", "run", "stop")]

    in_trouble(main)


def test_notices_of_a_server_that_went_back_are_told() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        stream, last = Keys("agent_messaging").notices("owner")
        told = Told()
        trial.log.follow_notices("owner", told.tell)
        await trial.claim("run")
        await trial.log.notify("ann", "run", "watched")
        await asyncio.sleep(1)
        await client.client.execute_command("DEL", stream, last)
        await client.client.execute_command("XADD", stream, "5-1", "after", "0-0", "a:r", "stop")
        await client.client.execute_command("SET", last, "5-1")
        await asyncio.sleep(5)
        assert told.all == [("ann", "run", "watched"), ("a", "r", "stop")]

    in_trouble(main)


def test_who_listens_no_more_while_others_are_told_is_not_told() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        calls: list[int] = []

        def first(user_id: str, run_id: str, notice: Notice) -> None:
            calls.append(1)
            leave_second()

        def second(user_id: str, run_id: str, notice: Notice) -> None:
            calls.append(2)

        trial.log.follow_notices("owner", first)
        leave_second = trial.log.follow_notices("owner", second)
        await trial.claim("run")
        await trial.log.notify("ann", "run", "stop")
        await asyncio.sleep(1)
        assert calls == [1]

    in_trouble(main)


def test_owners_to_whom_nobody_listens_any_more_are_forgotten() -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        assert isinstance(trial.log, RedisStreamsEventLog)
        readers = trial.log._notice_readers  # pyright: ignore[reportPrivateUsage] - as above
        for number in range(50):
            trial.log.follow_notices(f"owner {number}", Told().tell)()
        told = Told()
        unfollow = trial.log.follow_notices("owner", told.tell)
        unfollow()
        unfollow = trial.log.follow_notices("owner", told.tell)
        await asyncio.sleep(10)
        assert set(readers) == {"owner"}
        await trial.claim("run")
        await trial.log.notify("ann", "run", "stop")
        await asyncio.sleep(1)
        assert told.all == [("ann", "run", "stop")]
        unfollow()
        await asyncio.sleep(10)
        assert not readers

    in_trouble(main)


# Log lines.


def lines_of_readers(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """The level and the event of each line that is not for debugging."""
    lines = [(one.levelno, one.getMessage().split()[0]) for one in own_records(caplog)]
    return [line for line in lines if "redis" in line[1] and line[0] > logging.DEBUG]


LOST = (logging.WARNING, "redis_read_failed")
BACK = (logging.INFO, "redis_read_recovered")


def test_a_server_that_is_lost_and_back_is_said_once_however_many_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        for number in range(500):
            trial.log.follow(f"user {number}", "run", Wakes().wake)
        await asyncio.sleep(1)
        for _ in range(2):
            client.error = LostConnectionError()
            await asyncio.sleep(30)
            # Who comes and goes meanwhile finds it lost, and that is no news.
            for number in range(5):
                trial.log.follow_notices(f"owner {number}", Told().tell)()
                await asyncio.sleep(10)
            client.error = None
            await asyncio.sleep(30)

    with caplog.at_level(logging.DEBUG, "agent_messaging"):
        in_trouble(main)
    assert lines_of_readers(caplog) == [LOST, BACK, LOST, BACK]


def test_a_server_is_not_back_while_a_stream_cannot_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        trial.log.follow("ann", "run", Wakes().wake)
        client.reply = lambda command: ReadOnlyError() if WAKES in command else None
        unfollow = trial.log.follow_notices("owner", Told().tell)
        await asyncio.sleep(30)
        assert lines_of_readers(caplog) == [LOST]
        unfollow()
        client.reply = None
        await asyncio.sleep(30)

    with caplog.at_level(logging.DEBUG, "agent_messaging"):
        in_trouble(main)
    assert lines_of_readers(caplog) == [LOST, BACK]


def test_a_reader_whom_nobody_needs_any_more_does_not_say_that_it_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        client.is_silent = True
        unfollow = trial.log.follow("ann", "run", Wakes().wake)
        await asyncio.sleep(1)
        unfollow()
        await asyncio.sleep(10)
        assert not tasks_of_the_log()

    with caplog.at_level(logging.DEBUG, "agent_messaging"):
        in_trouble(main)
    assert lines_of_readers(caplog) == []


def test_a_reader_that_loses_the_server_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main(client: FaultyClient, trial: Trial) -> None:
        trial.log.follow("ann", "run", Wakes().wake)
        await asyncio.sleep(1)
        client.error = ReadOnlyError(SECRET)
        await asyncio.sleep(30)
        client.error = None
        await asyncio.sleep(10)

    with caplog.at_level(logging.DEBUG, "agent_messaging"):
        in_trouble(main)
    lines = [
        (one.levelno, one.getMessage()) for one in own_records(caplog) if "redis" in one.message
    ]
    assert [level for level, _ in lines][:2] == [logging.WARNING, logging.DEBUG]
    assert [level for level, _ in lines].count(logging.WARNING) == 1
    form = (
        r"redis_read_failed stream=agent_messaging:\{\d+\}:wakes error=ReadOnlyError raised_at=\S+"
    )
    assert re.fullmatch(form, lines[0][1])
    assert "payload" not in caplog.text
