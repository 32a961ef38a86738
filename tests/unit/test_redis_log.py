"""`RedisStreamsEventLog` beyond the contract: its keys, its bounds, and what expires."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import fakeredis
import pytest

from agent_messaging import ConfigurationError, Lease, LeaseLost, MessageType
from agent_messaging.eventlog import _redis_scripts as scripts
from agent_messaging.eventlog._redis_answers import text
from agent_messaging.eventlog._redis_keys import SHARDS, Keys
from agent_messaging.eventlog._redis_scripts import Script
from agent_messaging.eventlog.redis_streams import RedisLogError, RedisStreamsEventLog
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance._event_logs.trial import STARTED, Trial, event, story
from support.redis_logs import FaultyClient, fake_client, keys_in, redis_trial

HOUR = 3600
DAY = 24 * HOUR


def milliseconds(seconds: float, left: int) -> bool:
    """Whether what is left of so many seconds is nearly all."""
    return seconds * 1000 - 60_000 < left <= seconds * 1000


# What it is made with.


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": ""},
        {"prefix": "a{b}"},
        {"prefix": "a b"},
        {"prefix": "é"},
        {"prefix": "a\n"},
        {"events_per_run": 0},
        {"events_per_run": True},
        {"events_per_run": 1.5},
        {"keep_seconds": 0},
        {"keep_seconds": DAY + 1},
        {"claim_seconds": DAY - 1},
        {"claim_seconds": "long"},
        {"timeout": 0},
        {"waiting_calls": 0},
        {"waiting_calls": 2.0},
        {"block_seconds": -1},
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisStreamsEventLog(fake_client(), **options)


def test_making_a_log_needs_neither_a_loop_nor_a_server() -> None:
    RedisStreamsEventLog(fake_client(), "chat/eu-1:v2")


# Keys.


async def every_use(trial: Trial) -> None:
    """Use a log in every way that leaves something behind."""
    unfollow = trial.log.follow_notices("owner", lambda user_id, run_id, notice: None)
    await trial.finished("ended")
    lease = await trial.claim("under way")
    await trial.append(lease, [event(1)])
    await trial.log.notify("ann", "under way", "stop")
    await trial.claim("expired", "bob", lease_seconds=10)
    await trial.log.forget("nobody")
    await trial.advance(11)
    await trial.log.renew([lease], 60)
    await trial.taken()
    await trial.finished("of one who is forgotten", "eve")
    await trial.log.forget("eve")
    unfollow()


def test_all_keys_of_a_user_are_in_one_slot() -> None:
    keys = Keys("prefix")
    for user_id in ("ann", "bob", "{7}", "}{", "a:b", "漢字", "\ud800", ""):
        user = keys.user(user_id)
        tag = f"prefix:{{{user.shard}}}:"
        of_shard = (*keys.wakes(user.shard), keys.leases(user.shard))
        assert {key.startswith(tag) for key in (*user[2:], *of_shard)} == {True}
    assert len({keys.user(f"user {number}").shard for number in range(2000)}) == SHARDS


def test_the_keys_of_many_users_are_not_all_remembered() -> None:
    keys = Keys("prefix")
    known = [keys.user(f"user {number}") for number in range(3000)]
    assert len(keys._users) <= 1000  # pyright: ignore[reportPrivateUsage] - nothing else shows it
    assert [keys.user(f"user {number}") for number in range(3000)] == known


def test_logs_with_different_prefixes_share_nothing() -> None:
    async def main() -> None:
        async with fake_client() as client:
            one, other = redis_trial(client, prefix="one"), redis_trial(client, prefix="other")
            await one.finished("run")
            assert await other.log.find_run("ann", "run") is None
            await other.finished("run", length=5)
            await other.log.forget("ann")
            assert await one.events("run") == story(3)
            assert {key.split(":")[0] for key in await keys_in(client)} == {"one", "other"}

    run_virtual(main())


def test_every_key_expires_by_itself() -> None:
    async def main() -> None:
        async with fake_client() as client:
            await every_use(redis_trial(client))
            keys = await keys_in(client)
            assert len(keys) > 12
            left = {key: await client.pttl(key) for key in keys}
            assert {key for key, ms in left.items() if not 0 < ms <= DAY * 1000} == set()

    run_virtual(main())


def test_what_is_in_use_does_not_expire() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client, claim_seconds=2 * DAY)
            keys = Keys("agent_messaging").user("ann")
            lease = await trial.claim("run")
            await trial.append(lease, [event(1)])

            async def lapse() -> None:
                for key in (keys.runs, keys.events + "run"):
                    await client.pexpire(key, HOUR * 1000)

            async def was_kept() -> bool:
                left = [await client.pttl(key) for key in (keys.runs, keys.events + "run")]
                return all(milliseconds(2 * DAY, ms) for ms in left)

            await lapse()
            await trial.append(lease, [event(2)])
            assert not await was_kept(), "an event in between costs nothing more"
            await trial.append_each(lease, [event(seq) for seq in range(3, 65)])
            assert await was_kept()
            await lapse()
            await trial.log.renew([lease], 10)
            assert await was_kept()
            await lapse()
            await trial.advance(11)
            await trial.taken()
            assert await was_kept()

    run_virtual(main())


# Bounds.


def test_a_run_keeps_its_newest_events() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client, events_per_run=4)
            lease = await trial.claim("run")
            await trial.append_each(lease, story(9)[:8])
            page = await trial.page("run")
            assert [one.seq for one in page.events] == [5, 6, 7, 8]
            assert (page.first_seq, page.last_seq) == (5, 8)
            await trial.append(lease, [event(seq) for seq in range(9, 15)])
            page = await trial.page("run")
            assert [one.seq for one in page.events] == [11, 12, 13, 14]

    run_virtual(main())


def test_a_retry_of_a_batch_that_is_held_in_part_is_a_retry() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client, events_per_run=2)
            lease = await trial.claim("run")
            batch = [event(seq, payload=f'{{"n":{seq}}}') for seq in range(1, 6)]
            await trial.append(lease, batch)
            await trial.append(lease, batch)
            assert await trial.refuses(lease, [*batch[:4], event(5)])
            assert await trial.events("run") == batch[3:]

    run_virtual(main())


def test_the_events_of_a_run_that_has_ended_are_kept_for_a_while() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client, keep_seconds=600)
            keys = Keys("agent_messaging").user("ann")
            lease = await trial.claim("run")
            await trial.append_each(lease, story(3)[:2])
            assert milliseconds(DAY, await client.pttl(keys.events + "run"))
            await trial.append_each(lease, story(3)[2:])
            assert milliseconds(600, await client.pttl(keys.events + "run"))
            assert milliseconds(DAY, await client.pttl(keys.runs))

    run_virtual(main())


def test_a_run_whose_events_are_gone_is_known_without_them() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            keys = Keys("agent_messaging").user("ann")
            ended = await trial.finished("ended")
            lease = await trial.claim("under way")
            await trial.append_each(lease, story(9)[:5])
            await client.delete(keys.events + "ended", keys.events + encoded_space("under way"))
            page = await trial.page("ended")
            assert page.events == []
            assert (page.first_seq, page.last_seq, page.status) == (4, 3, "completed")
            record = await trial.log.find_claim("ann", "message of ended")
            assert record is not None
            assert (record.first_seq, record.last_seq) == (4, 3)
            assert record.is_ended
            assert await trial.refuses(ended, story(3)[2:]), "nobody knows any more"
            await trial.append(lease, [event(6)])
            assert (await trial.page("under way")).first_seq == 6

    run_virtual(main())


def encoded_space(name: str) -> str:
    return name.replace(" ", "%20")


async def fields(client: "fakeredis.FakeAsyncRedis", user_id: str = "ann") -> set[str]:
    """What is known of a user's runs, by kind and name."""
    held = await client.hgetall(Keys("agent_messaging").user(user_id).runs)
    return {text(name) for name in held}


def test_a_claim_goes_a_day_after_the_end_of_its_run() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            await trial.finished("one")
            await trial.claim("two", thread_id="another")
            await trial.advance(DAY - 1)
            await trial.finished("three")
            assert await trial.log.find_run("ann", "one") is not None
            await trial.advance(2)
            await trial.claim("four", thread_id="new")
            assert await trial.log.find_run("ann", "one") is None
            assert await trial.log.find_claim("ann", "message of one") is None
            listed = await trial.log.runs("ann", "thread", limit=9)
            assert [record.run_id for record in listed] == ["three"]
            assert not {name for name in await fields(client) if name.endswith("one")}
            # What is sent under its id is a new message now.
            lease = await trial.claim("once more", message_id="message of one")
            await trial.append(lease, [completed()])
            await trial.advance(DAY)
            await trial.claim("five", thread_id="new")
            assert await fields(client) == {
                *("stwo", "rtwo", "cmessage%20of%20two", "tanother", "uanother"),
                *("sfour", "rfour", "cmessage%20of%20four", "tnew", "unew"),
                *("sfive", "rfive", "cmessage%20of%20five"),
            }

    run_virtual(main())


def test_a_thread_loses_its_oldest_run_first() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            lease = await trial.claim("old")
            await trial.finished("new")
            await trial.advance(DAY + 1)
            await trial.claim("another", thread_id="elsewhere")
            listed = await trial.log.runs("ann", "thread", limit=9)
            assert [record.run_id for record in listed] == ["old", "new"]
            await trial.append_each(lease, story(3))
            for number in range(2):
                await trial.advance(DAY + 1)
                await trial.claim(f"later {number}", thread_id="elsewhere")
            assert not await trial.log.runs("ann", "thread", limit=9)

    run_virtual(main())


def test_a_claim_costs_no_more_the_more_claims_are_to_go() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            for number in range(20):
                await trial.claim(f"{number}", thread_id=f"{number}")
                await trial.append(Lease("ann", f"{number}", token(number)), [completed()])
            await trial.advance(DAY + 1)
            counts: list[int] = []
            for number in range(3):
                await trial.claim(f"new {number}", thread_id="new")
                old = {name for name in await fields(client) if name[:2] != "sn"}
                counts.append(len({name for name in old if name[0] == "s"}))
            assert counts == [12, 4, 0]

    run_virtual(main())


def token(number: int) -> str:
    return f"token of ann for {number}"


def completed() -> Any:
    return event(1, MessageType.AGENT_COMPLETED)


def test_what_outlived_what_it_belongs_to_is_cleared_away() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            keys = Keys("agent_messaging").user("ann")
            await trial.finished("ended")
            await trial.claim("under way", lease_seconds=10)
            await client.delete(keys.runs)  # as a server might that is set up to evict
            await trial.advance(DAY + 1)
            assert not await trial.take()
            assert await client.zcard(Keys("agent_messaging").leases(keys.shard)) == 0
            await trial.claim("new")
            assert await client.zcard(keys.ends) == 0

    run_virtual(main())


def test_a_run_that_has_ended_has_no_lease() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            leases = Keys("agent_messaging").leases(shard_of("ann"))
            lease = await trial.claim("run")
            assert await client.zcard(leases) == 1
            await trial.append(lease, [completed()])
            assert await client.zcard(leases) == 0
            assert list(await trial.log.renew([lease], 10)) == [lease]
            assert await client.zcard(leases) == 0

    run_virtual(main())


def test_a_run_begins_without_the_events_of_one_that_the_server_lost() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            await trial.finished("run")
            await client.delete(Keys("agent_messaging").user("ann").runs)
            lease = await trial.claim("run")
            assert await trial.events("run") == []
            await trial.append_each(lease, story(4))
            assert await trial.events("run") == story(4)

    run_virtual(main())


def test_no_more_runs_are_taken_from_all_shards_than_asked_for() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            users = [f"user {number}" for number in range(10)]
            assert len({shard_of(user) for user in users}) > 5
            for user in users:
                await trial.claim("run", user, lease_seconds=10)
            await trial.advance(11)
            shares = [await trial.take(limit=4) for _ in range(4)]
            assert [len(share) for share in shares] == [4, 4, 2, 0]

    run_virtual(main())


# Claims and their races.


def test_a_run_id_of_another_message_is_refused() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            await trial.claim("run")
            with pytest.raises(ConfigurationError):
                await trial.attempt(Lease("ann", "run", "t"), message_id="another")
            await trial.claim("run", "bob")

    run_virtual(main())


def before_first(
    script: Script, happens: Callable[[], Awaitable[object]]
) -> Callable[[tuple[Any, ...]], Awaitable[None]]:
    """Has something happen just before a script runs for the first time."""
    has_happened: list[bool] = []

    async def before(command: tuple[Any, ...]) -> None:
        if command[1] == script.text and not has_happened:
            has_happened.append(True)
            await happens()

    return before


def test_a_claim_whose_user_is_forgotten_meanwhile_is_made() -> None:
    async def main() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial, other = redis_trial(faulty), redis_trial(client)
            await other.claim("first", message_id="message")
            faulty.before = before_first(scripts.LOOK, lambda: other.log.forget("ann"))
            record = await trial.attempt(Lease("ann", "second", "t"), message_id="message")
            assert record.run_id == "second"

    run_virtual(main())


def test_a_claim_whose_user_is_forgotten_while_it_is_looked_for_is_not_found() -> None:
    async def main() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial, other = redis_trial(faulty), redis_trial(client)
            await other.claim("run", message_id="message")
            faulty.before = before_first(scripts.LOOK, lambda: other.log.forget("ann"))
            assert await trial.log.find_claim("ann", "message") is None

    run_virtual(main())


def test_a_user_who_begins_a_run_meanwhile_is_forgotten_with_it() -> None:
    async def main() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial, other = redis_trial(faulty), redis_trial(client)
            await other.finished("first")
            faulty.before = before_first(scripts.FORGET, lambda: other.finished("second"))
            await trial.log.forget("ann")
            assert not await keys_in(client, "*ann*")

    run_virtual(main())


def test_a_user_whose_runs_are_others_meanwhile_is_forgotten_with_them() -> None:
    async def main() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial, other = redis_trial(faulty), redis_trial(client)
            await other.finished("first")

            async def change() -> None:
                await other.log.forget("ann")
                await other.finished("second")

            faulty.before = before_first(scripts.FORGET, change)
            await trial.log.forget("ann")
            assert not await keys_in(client, "*ann*")

    run_virtual(main())


def test_a_user_who_begins_runs_all_the_time_is_told_of() -> None:
    async def main() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial, other = redis_trial(faulty), redis_trial(client)

            async def claim_before_it_forgets(command: tuple[Any, ...]) -> None:
                if command[1] in (scripts.FORGET.text, scripts.FORGET.digest):
                    await other.claim(f"run {faulty.pipelines}")

            faulty.before = claim_before_it_forgets
            with pytest.raises(RedisLogError, match="new runs each time"):
                await trial.log.forget("ann")
            faulty.before = None
            await trial.log.forget("ann")
            assert not await keys_in(client, "*ann*")

    run_virtual(main())


def test_a_user_with_many_runs_is_forgotten() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            for number in range(700):
                await trial.claim(f"{number}")
            woken: list[int] = []
            unfollow = trial.log.follow("ann", "699", woken.append)
            await trial.log.forget("ann")
            wakes, _ = Keys("agent_messaging").wakes(shard_of("ann"))
            page = cast("list[Any]", await client.xrange(wakes))
            assert [len(entry) for _, entry in page] == [501, 201]
            assert not await keys_in(client, "*ann*")
            unfollow()
            await trial.log.aclose()

    run_virtual(main())


def shard_of(user_id: str) -> int:
    return Keys("agent_messaging").user(user_id).shard


# Events.


def test_an_append_that_cannot_be_right_asks_nobody() -> None:
    async def main() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial = redis_trial(faulty)
            lease = await trial.claim("run")
            before = faulty.pipelines
            await trial.append(lease, [])
            for events in (
                [event(0)],
                [event(-1), event(0)],
                [event(1), event(3)],
                [event(1), event(1)],
                [completed(), event(2)],
            ):
                with pytest.raises(LeaseLost):
                    await trial.append(lease, events)
            assert faulty.pipelines == before

    run_virtual(main())


def test_appends_that_are_made_together_go_together() -> None:
    async def main() -> None:
        async with fake_client() as client:
            faulty = FaultyClient(client)
            trial = redis_trial(faulty)
            leases = [await trial.claim(f"run {number}", f"user {number}") for number in range(9)]
            mine = [await trial.claim(f"run {number}") for number in range(5)]
            await trial.finished("first")  # from now on the server knows the scripts
            calls: list[Any] = []

            async def count(command: tuple[Any, ...]) -> None:
                calls.append(command)

            faulty.before, faulty.pipelines = count, 0
            await gathered(*[trial.append(lease, [event(1, STARTED)]) for lease in leases + mine])
            assert faulty.pipelines == 1
            shards = {shard_of(lease.user_id) for lease in leases + mine}
            assert len(calls) == len(shards), "one script for each shard"
            calls.clear()
            wrong = mine[1]._replace(token="wrong")
            told = await gathered(
                *[trial.refuses(lease, [event(2)]) for lease in (mine[0], wrong, mine[2])]
            )
            assert told == [False, True, False]
            assert len(calls) == 1

    run_virtual(main())


async def gathered(*works: Any) -> list[Any]:
    return list(await asyncio.gather(*works))


def test_a_page_of_none_is_none() -> None:
    async def main() -> None:
        async with fake_client() as client:
            trial = redis_trial(client)
            await trial.finished("run")
            page = await trial.page("run", after=-5, limit=2)
            assert [one.seq for one in page.events] == [1, 2]
            assert not await trial.log.runs("ann", "thread", limit=0)

    run_virtual(main())
