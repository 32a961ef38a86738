"""Two endpoints over one log, as two workers are: one claim; stop and resume on either."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_messaging import Limits
from agent_messaging.eventlog.protocol import Lease
from agent_messaging.testing import run_virtual
from support import tasks_left
from support.endpoints import Connection, Site, frame, now, settle
from support.lines import lines
from support.logs import Act, Gate, TroubledLog, fails, hangs, takes, waits_for


@asynccontextmanager
async def two(
    log: TroubledLog | None = None, **options: Any
) -> AsyncGenerator[tuple[Site, Site], None]:
    """Two sites over one log, the second of which knows none of the first one's runs."""
    log = log or TroubledLog(is_prompt=True)
    first, second = Site(log=log, **options), Site(log=log, **options)
    first.log = second.log = log.inner
    async with first, second:
        yield first, second
        # Each looks for tasks that are left when it ends, and would find the other's.
        await asyncio.gather(first.endpoint.drain(), second.endpoint.drain())
    assert not log.faults


async def both(sites: tuple[Site, Site]) -> tuple[Connection, Connection]:
    """A connection of the same user to each."""
    return await sites[0].connect(), await sites[1].connect()


def told(client: Connection, first: Site) -> list[str]:
    """What a client of the second has, in the words of the first, which knows the names."""
    return [first.words(received) for received in client.frames[1:]]


# Resume and retry.


def test_a_run_may_be_resumed_at_the_other() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("work 5", "m1", "t1")
            assert await here.heard() == "m1 started"
            await there.resume(thread_id="t1")
            await asyncio.sleep(10.0)
            assert told(there, sites[0]) == ["resumed m1 1-1 running", "m1 started", "m1 completed"]
            assert sites[1].endpoint.stats()["runs_accepted"] == 0
            assert not there.session.delivery.watches

    run_virtual(main())


@pytest.mark.parametrize(
    ("act", "level", "error", "at"),
    [
        (fails(), logging.WARNING, "EventLogError", 0.0),
        (fails(LookupError), logging.ERROR, "LookupError", 0.0),
        (hangs(), logging.ERROR, "TimeoutError", 3.0),
    ],
)
def test_an_owner_that_cannot_be_told_that_its_run_is_watched_costs_a_line_and_no_event(
    act: Act, level: int, error: str, at: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with two(log, log_timeout=3.0) as sites:
            here, there = await both(sites)
            await here.chat("work 5", "m1", "t1")
            log.plan("notify", act)
            begun = now()
            await there.resume(thread_id="t1")
            await asyncio.sleep(at)
            [line] = lines(caplog, "log_failed")
            assert (line["levelno"], line["error"]) == (level, error)
            assert now() - begun == pytest.approx(at, abs=0.01)
            await asyncio.sleep(10.0)
            assert told(there, sites[0]) == ["resumed m1 1-1 running", "m1 started", "m1 completed"]

    run_virtual(main())


def test_a_retry_at_the_other_is_answered_with_the_runs_events() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("work 5", "m1", "t1")
            await there.chat("work 5", "m1", "t1")
            await asyncio.sleep(10.0)
            assert await here.heard() == "m1 started, m1 completed"
            assert told(there, sites[0]) == ["m1 started", "m1 completed"]
            assert [site.endpoint.stats()["runs_accepted"] for site in sites] == [1, 0]
            assert [site.endpoint.stats()["retries"] for site in sites] == [0, 1]

    run_virtual(main())


def test_other_content_at_the_other_is_a_conflict() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("work 5", "m1", "t1")
            await there.chat("work 6", "m1", "t1")
            assert told(there, sites[0]) == ["error message_id_conflict m1"]

    run_virtual(main())


def test_another_users_run_is_no_run_at_the_other_either() -> None:
    async def main() -> None:
        async with two() as sites:
            here = await sites[0].connect("u1")
            there = await sites[1].connect("u2")
            await here.chat("work 5", "m1", "t1")
            run_id = sites[0].run_id("m1")
            await there.resume(thread_id="t1")
            await there.resume(after={run_id: 0})
            await there.stop(run_id=run_id)
            await there.stop(thread_id="t1")
            await there.chat("answer", "m1", "t1")
            assert told(there, sites[0])[:4] == ["resumed nothing"] * 2 + ["stopped nothing"] * 2
            assert sites[1].endpoint.stats()["runs_completed"] == 1
            await asyncio.sleep(10.0)
            assert await here.heard() == "m1 started, m1 completed"

    run_virtual(main())


@pytest.mark.parametrize(
    "claims",
    [
        (Act(), Act()),
        (takes(2.0), takes(1.0)),
        (takes(1.0), takes(2.0)),
        (takes(0.0, after=2.0), takes(1.0)),
        (takes(1.0), takes(0.0, after=2.0)),
        (fails(), takes(1.0)),
    ],
)
def test_the_same_message_at_both_at_once_is_one_run_and_both_get_its_events(
    claims: tuple[Act, Act],
) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        log.plan("claim", *claims)
        async with two(log) as sites:
            clients = await both(sites)
            text = frame("chat", {"text": "work 5"}, message_id="m1", thread_id="t1")
            await asyncio.gather(*[client.session.receive(text) for client in clients])
            await asyncio.sleep(10.0)
            for client in clients:
                kinds = [received["type"] for received in client.frames[1:]]
                assert kinds == ["agent_started", "agent_completed"]
            assert sum(site.endpoint.stats()["runs_accepted"] for site in sites) == 1
            assert sum(site.endpoint.stats()["retries"] for site in sites) == 1
            assert all(site.endpoint.stats()["refusals"] == {} for site in sites)

    run_virtual(main())


# Stop.


def test_a_stop_at_the_other_is_answered_behind_the_terminal_event() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("tidy 3", "m1", "t1")
            await asyncio.sleep(1.0)
            await there.resume(thread_id="t1")
            await there.stop(run_id=sites[0].run_id("m1"))
            assert told(there, sites[0]) == ["resumed m1 1-1 running", "m1 started"]
            begin = now()
            await asyncio.sleep(3.0)
            assert told(there, sites[0])[2:] == ["m1 cancelled stopped", "stopped m1"]
            assert there.transport.times[-1] == pytest.approx(begin + 3.0, abs=0.01)
            assert await here.heard() == "m1 started, m1 cancelled stopped"

    run_virtual(main())


def test_a_stop_of_a_thread_stops_its_runs_wherever_they_are() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("tidy 3", "m1", "t1")
            await here.chat("answer", "m2", "t1")
            await there.chat("tidy 1", "m3", "t1")
            sites[1].run_id("m3")
            await there.stop(thread_id="t1")
            await asyncio.sleep(2.0)
            assert await there.heard() == "m3 started, m3 cancelled stopped"
            await asyncio.sleep(2.0)
            stopped = there.frames[-1]
            assert stopped["type"] == "stopped"
            names = [sites[0].run_id("m1"), sites[0].run_id("m2"), sites[1].run_id("m3")]
            assert sorted(stopped["payload"]["run_ids"]) == sorted(names)
            assert await here.heard() == (
                "m1 started, m2 queued 1, m2 cancelled stopped, m1 cancelled stopped"
            )

    run_virtual(main())


def test_a_stop_of_what_has_ended_at_the_other_stops_nothing() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("answer", "m1", "t1")
            await there.stop(run_id=sites[0].run_id("m1"))
            await there.stop(thread_id="t1")
            assert await there.heard() == "stopped nothing, stopped nothing"

    run_virtual(main())


def test_a_stop_for_which_the_log_finds_a_run_that_is_not_of_this_endpoint_any_more() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with Site(log=log) as site:
            client = await site.connect()
            # Of this worker in a former life, so to say.
            owner = site.endpoint._owner  # pyright: ignore[reportPrivateUsage]
            await orphan(log, owner=owner)
            await client.stop(run_id="r1")
            await client.send("ping")
            assert await client.heard() == "pong"

    run_virtual(main())


def test_a_notice_of_a_run_whose_user_is_not_of_this_endpoint_any_more_changes_nothing() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with Site(log=log) as site:
            await orphan(log, owner=site.endpoint._owner)  # pyright: ignore[reportPrivateUsage]
            assert await log.notify("u1", "r1", "stop")
            assert await log.notify("u1", "r1", "watched")
            assert site.endpoint.users() == {}

    run_virtual(main())


async def orphan(log: TroubledLog, owner: str = "gone") -> None:
    """A run whose owner does nothing about it."""
    await log.inner.claim(
        Lease("u1", "r1", "token"),
        thread_id="t1",
        message_id="m1",
        digest="",
        owner=owner,
        lease_seconds=30.0,
    )


def test_a_stop_of_a_run_whose_owner_is_gone_holds_up_nothing_and_ends_with_the_session() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with Site(log=log) as site:
            client = await site.connect()
            await orphan(log)
            await client.stop(run_id="r1")
            await client.stop(thread_id="t1")
            await client.send("ping")
            await client.chat("answer", "m2", "t1")
            assert await client.heard() == "pong, m2 started, m2 completed"
            await client.close()
            await settle()
            assert tasks_left() == []

    run_virtual(main())


@pytest.mark.parametrize("method", ["runs", "notify"])
def test_a_session_that_ends_while_the_log_is_asked_for_a_stop_waits_for_nothing(
    method: str,
) -> None:
    async def main() -> None:
        log, gate = TroubledLog(is_prompt=True), Gate()
        async with Site(log=log) as site:
            client = await site.connect()
            await orphan(log)
            log.plan(method, waits_for(gate))
            text = frame("stop_agent", {"thread_id": "t1"})
            stopping = asyncio.create_task(client.session.receive(text))
            await settle()
            await client.close()
            gate.open()
            await stopping
            await settle()
            assert tasks_left() == []
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_a_stop_of_a_thread_reaches_a_run_behind_any_number_that_have_ended() -> None:
    async def main() -> None:
        async with two(limits=Limits(resumed_runs=2)) as sites:
            here, there = await both(sites)
            await here.chat("tidy 1", "m0", "t1")
            for number in range(1, 5):
                await there.chat("answer", f"m{number}", "t1")
            await there.heard()
            await there.stop(thread_id="t1")
            await asyncio.sleep(5.0)
            assert await here.heard() == "m0 started, m0 cancelled stopped"
            assert told(there, sites[0])[-1] == "stopped m0"

    run_virtual(main())


def test_a_stop_at_the_other_begins_none_of_the_queued_messages_that_it_stops() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with two(log) as sites:
            here, there = await both(sites)
            for name in ("m1", "m2", "m3"):
                await here.chat("work 300", name, "t1")
            await here.heard()
            log.always("notify", takes(0.01, 0.01))
            await there.stop(thread_id="t1")
            await asyncio.sleep(1.0)
            assert "started" not in await here.heard()
            assert told(there, sites[0])[-1] == "stopped m1 m2 m3"
            log.always("notify", takes(0.0))

    run_virtual(main())


def test_a_drain_leaves_a_stop_to_its_answer() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("tidy 2", "m1", "t1")
            await there.stop(thread_id="t1")
            await sites[1].endpoint.drain()
            assert now() < 1.0
            await asyncio.sleep(5.0)
            assert told(there, sites[0]) == ["stopped m1"]

    run_virtual(main())


def test_leaving_does_not_wait_for_the_owner_of_a_stopped_run_who_may_be_gone() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with Site(log=log, drain_timeout=3.0) as site:
            client = await site.connect()
            await orphan(log)
            await client.stop(run_id="r1")
        assert now() < 0.1
        # Nobody has seen its end, and so nobody says so.
        assert await client.heard() == "error shutting_down"

    run_virtual(main())


@pytest.mark.parametrize("act", [fails(), hangs()])
def test_where_the_log_cannot_say_whether_a_run_has_ended_the_client_is_told_that(act: Act) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with Site(log=log, log_timeout=2.0) as site:
            client = await site.connect()
            await orphan(log)
            log.always("find_run", act)
            await client.stop(run_id="r1")
            await asyncio.sleep(3.0)
            assert await client.heard() == "error log_unavailable"
            assert site.endpoint.stats()["refusals"] == {"log_unavailable": 1}
            assert client.ended() is None

    run_virtual(main())


def test_a_stream_that_stops_a_run_elsewhere_ends_when_it_has_ended() -> None:
    async def main() -> None:
        async with two() as sites:
            here = await sites[0].connect()
            await here.chat("tidy 3", "m1", "t1")
            body = frame("stop_agent", {"thread_id": "t1"})
            stream = await sites[1].endpoint.stream("u1", body)
            chunks = [chunk async for chunk in stream]
            assert now() == pytest.approx(3.0, abs=0.01)
            assert b'"stopped"' in chunks[-1]
            assert stream.end is not None
            assert stream.end.reason == "completed"

    run_virtual(main())


def test_a_stream_that_the_log_fails_meanwhile_ends_too() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with two(log, log_timeout=2.0) as sites:
            here = await sites[0].connect()
            await here.chat("tidy 3", "m1", "t1")
            log.always("find_run", fails())
            body = frame("stop_agent", {"thread_id": "t1"})
            stream = await sites[1].endpoint.stream("u1", body)
            chunks = [chunk async for chunk in stream]
            assert b'"log_unavailable"' in chunks[-1]
            assert stream.end is not None
            assert stream.end.reason == "completed"

    run_virtual(main())


def test_a_stop_at_the_other_waits_for_an_append_of_the_owner() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with two(log) as sites:
            here, there = await both(sites)
            await here.chat("work 50", "m1", "t1")
            await here.heard()
            log.plan("append", waits_for(gate))
            await there.stop(run_id=sites[0].run_id("m1"))
            await asyncio.sleep(2.0)
            assert await there.heard() == ""
            gate.open()
            await settle()
            assert told(there, sites[0]) == ["stopped m1"]
            assert await here.heard() == "m1 cancelled stopped"

    run_virtual(main())


# The ends of users and of endpoints.


def test_a_user_who_is_forgotten_at_the_other_loses_the_runs_here() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("work 5", "m1", "t1")
            await here.heard()
            await sites[1].endpoint.forget("u1")
            assert there.ended() == "forgotten"
            assert await here.heard() == "error log_unavailable"
            await asyncio.sleep(10.0)
            assert here.ended() == "log_unavailable"
            here = await sites[0].connect()
            await here.chat("answer", "m1", "t1")
            assert (await here.heard()).endswith("completed")

    run_virtual(main())


def test_runs_go_on_here_when_the_other_is_left() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with Site(log=log) as first:
            here = await first.connect()
            second = Site(log=log)
            async with second.endpoint:
                there = await second.connect()
                await here.chat("work 5", "m1", "t1")
                await there.resume(thread_id="t1")
                await there.heard()
            assert there.ended() == "shutdown"
            await asyncio.sleep(10.0)
            assert await here.heard() == "m1 started, m1 completed"

    run_virtual(main())


def test_a_client_of_the_other_sees_the_end_of_a_run_that_is_shut_down_here() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with Site(log=log) as second:
            there = await second.connect()
            async with Site(log=log, drain_timeout=1.0) as first:
                here = await first.connect()
                await here.chat("work 50", "m1", "t1")
                await there.resume(thread_id="t1")
                await there.heard()
            await there.heard()
            assert there.frames[-1]["payload"]["reason"] == "shutdown"

    run_virtual(main())


# A run that is gone from the log.


def test_the_sessions_of_a_run_that_is_gone_under_way_end_and_find_out() -> None:
    async def main() -> None:
        async with two() as sites:
            here, there = await both(sites)
            await here.chat("work 5", "m1", "t1")
            await there.resume(thread_id="t1")
            await sites[0].log.forget("u1")
            assert await here.heard() == "m1 started, error log_unavailable"
            assert told(there, sites[0])[-1] == "error log_unavailable"
            for client in (here, there):
                assert client.ended() == "log_unavailable"
                again = await client.site.connect()
                await again.resume(thread_id="t1")
                assert await again.heard() == "resumed nothing"

    run_virtual(main())


@pytest.mark.parametrize("where", [0, 1])
def test_one_who_has_not_read_the_end_of_a_run_that_is_gone_is_told_what_is_known(
    where: int,
) -> None:
    async def main() -> None:
        async with two(slow_consumers="wait") as sites:
            here, there = await both(sites)
            await here.chat("work 5", "m1", "t1")
            await there.resume(thread_id="t1")
            client = (here, there)[where]
            client.transport.hang()
            await client.send("ping")
            await asyncio.sleep(5.0)
            await sites[0].log.forget("u1")
            client.transport.read_on()
            await settle()
            # Its owner knows how it has ended.
            expected = ("resumed m1 2-1 completed evicted", "error log_unavailable")
            assert told(client, sites[0])[-1] == expected[where]

    run_virtual(main())
