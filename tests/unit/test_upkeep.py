"""What an endpoint sees to: its leases, the runs that others left, and who watches where."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_messaging import (
    AgentMessageHandler,
    ConfigurationError,
    Endpoint,
    EventLogError,
    Lease,
    LoggedEvent,
    MemoryEventLog,
    MessageType,
    Run,
    grace,
)
from agent_messaging.compat import adapt_service
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site, now, worker
from support.logs import TroubledLog, fails, hangs, loses, takes

STARTED, THINKING = MessageType.AGENT_STARTED, MessageType.AGENT_THINKING
EXECUTING, COMPLETED = MessageType.TOOL_EXECUTING, MessageType.TOOL_COMPLETED


def shared_log(**bounds: int) -> TroubledLog:
    """A log whose leases go by the loop's time."""
    return TroubledLog(is_prompt=True, inner=MemoryEventLog(clock=now, **bounds))


def tool(kind: MessageType, name: str) -> tuple[MessageType, str]:
    return kind, json.dumps({"tool_call_id": f"call {name}", "tool_name": name})


async def leave_behind(
    log: MemoryEventLog, name: str, events: Sequence[tuple[MessageType, str]] = ()
) -> None:
    """A run as a process leaves it that is killed."""
    lease = Lease("u1", name, "token")
    await log.claim(
        lease, thread_id="t", message_id=f"m of {name}", digest="", owner="gone", lease_seconds=25
    )
    for seq, (kind, payload) in enumerate(events, 1):
        await log.append(lease, (LoggedEvent(kind, payload, seq, now()),))


async def events_of(log: MemoryEventLog, name: str) -> list[tuple[int, str, dict[str, Any]]]:
    page = await log.read("u1", name, after=0, limit=1000)
    assert page is not None
    return [(seq, kind.value, json.loads(text)) for kind, text, seq, _ in page.events]


@asynccontextmanager
async def two(log: TroubledLog, **options: Any) -> AsyncGenerator[tuple[Site, Site], None]:
    """Two sites over one log, as two workers are."""
    first, second = Site(log=log, **options), Site(log=log, **options)
    first.log = second.log = log.inner
    async with first, second:
        yield first, second
        await asyncio.gather(first.endpoint.drain(), second.endpoint.drain())


def told(client: Connection, first: Site) -> list[str]:
    """What a client has, in the words of a site that knows the names."""
    return [first.words(received) for received in client.frames[1:]]


# What others left.


def test_a_run_whose_owner_is_gone_is_ended_with_its_open_tools() -> None:
    async def main() -> None:
        log = shared_log()
        past = [(STARTED, "{}"), tool(EXECUTING, "a"), tool(EXECUTING, "b"), tool(COMPLETED, "a")]
        await leave_behind(log.inner, "left", past)
        async with Site(log=log) as site:
            site.log = log.inner
            client = await site.connect()
            await client.send("resume", {"thread_id": "t"})
            await asyncio.sleep(24.0)
            assert len(await events_of(log.inner, "left")) == 4
            await asyncio.sleep(7.0)
            lacked = (await events_of(log.inner, "left"))[4:]
            assert [(seq, kind) for seq, kind, _ in lacked] == [
                (5, "tool_completed"),
                (6, "agent_failed"),
            ]
            interrupted, failed = (payload for _, _, payload in lacked)
            assert (interrupted["tool_call_id"], interrupted["tool_name"]) == ("call b", "b")
            assert interrupted["status"] == "interrupted"
            assert 25_000 <= interrupted["duration_ms"] <= 31_000
            assert (failed["code"], failed["retryable"]) == ("interrupted", True)
            assert failed["duration_ms"] == interrupted["duration_ms"]
            # Who watches it is told like everybody.
            assert [frame["seq"] for frame in client.frames if "seq" in frame] == [1, 2, 3, 4, 5, 6]
            assert site.endpoint.stats()["runs_recovered"] == 1
            assert site.endpoint.stats()["runs_failed"] == 0

    run_virtual(main())


def test_one_that_waited_gets_its_end_alone() -> None:
    async def main() -> None:
        log = shared_log()
        await leave_behind(log.inner, "left", [(MessageType.AGENT_QUEUED, "{}")])
        async with Site(log=log):
            await asyncio.sleep(40.0)
            _, (seq, kind, payload) = await events_of(log.inner, "left")
            assert (seq, kind, payload["duration_ms"]) == (2, "agent_failed", 0)

    run_virtual(main())


def test_one_without_events_is_said_to_have_waited_so_that_its_message_is_answered() -> None:
    async def main() -> None:
        log = shared_log()
        await leave_behind(log.inner, "left", [])
        async with Site(log=log):
            await asyncio.sleep(40.0)
            queued, (seq, kind, payload) = await events_of(log.inner, "left")
            assert queued == (1, "agent_queued", {"message_id": "m of left", "position": 1})
            assert (seq, kind, payload["duration_ms"]) == (2, "agent_failed", 0)

    run_virtual(main())


def test_tools_of_a_service_that_relays_what_it_likes_hold_nothing_up() -> None:
    async def main() -> None:
        log = shared_log()
        past = [(STARTED, "{}"), (EXECUTING, "[]"), (EXECUTING, '{"tool_call_id": 7}')]
        await leave_behind(log.inner, "left", [*past, (COMPLETED, "no JSON")])
        async with Site(log=log):
            await asyncio.sleep(40.0)
            page = await log.inner.read("u1", "left", after=4, limit=9)
            assert page is not None
            assert [event.type for event in page.events] == [COMPLETED, MessageType.AGENT_FAILED]
            assert json.loads(page.events[0].payload)["tool_call_id"] == "7"

    run_virtual(main())


def test_a_long_run_is_read_page_by_page_and_one_without_its_beginning_as_far_as_it_goes() -> None:
    async def main() -> None:
        log = shared_log(events_per_user=700)
        past = [(STARTED, "{}"), tool(EXECUTING, "a"), *[(THINKING, "{}")] * 600]
        await leave_behind(log.inner, "long", past)
        async with Site(log=log):
            await asyncio.sleep(40.0)
            assert [kind for _, kind, _ in (await events_of(log.inner, "long"))[-2:]] == [
                "tool_completed",
                "agent_failed",
            ]
        log = shared_log(events_per_user=100)
        await leave_behind(log.inner, "trimmed", [*past, tool(COMPLETED, "a")])
        async with Site(log=log):
            await asyncio.sleep(40.0)
            seq, kind, _ = (await events_of(log.inner, "trimmed"))[-1]
            assert (seq, kind) == (604, "agent_failed")

    run_virtual(main())


def test_however_many_look_for_them_each_run_is_ended_once() -> None:
    async def main() -> None:
        log = shared_log()
        names = [f"run {number}" for number in range(100)]
        for name in names:
            await leave_behind(log.inner, name, [(STARTED, "{}")])
        async with two(log) as sites:
            await asyncio.sleep(26.0)
            counts = await asyncio.gather(*[site.endpoint.recover() for site in (*sites, *sites)])
            await asyncio.sleep(100.0)
            for name in names:
                kinds = [kind for _, kind, _ in await events_of(log.inner, name)]
                assert kinds == ["agent_started", "agent_failed"]
            assert sum(site.endpoint.stats()["runs_recovered"] for site in sites) == 100
            assert sum(counts) == 100
            assert await sites[0].endpoint.recover() == 0

    run_virtual(main())


def test_an_end_whose_answer_was_lost_is_counted_once() -> None:
    async def main() -> None:
        log = shared_log()
        await leave_behind(log.inner, "left", [(STARTED, "{}")])
        log.plan("append", loses())
        async with Site(log=log) as site:
            await asyncio.sleep(60.0)
            assert len(await events_of(log.inner, "left")) == 2
            assert site.endpoint.stats()["runs_recovered"] == 1

    run_virtual(main())


def test_a_run_that_another_takes_meanwhile_is_left_to_it() -> None:
    async def main() -> None:
        log = shared_log()
        await leave_behind(log.inner, "left", [(STARTED, "{}")])
        async with two(log, log_timeout=100.0) as (slow, quick):
            await asyncio.sleep(26.0)
            log.plan("read", takes(50.0))  # longer than the lease of who takes it first
            assert await slow.endpoint.recover() == 0
            assert len(await events_of(log.inner, "left")) == 2
            recovered = [site.endpoint.stats()["runs_recovered"] for site in (slow, quick)]
            assert sum(recovered) == 1

    run_virtual(main())


def test_a_user_who_is_forgotten_meanwhile_leaves_nothing_to_end() -> None:
    async def main() -> None:
        log = shared_log()
        await leave_behind(log.inner, "left", [(STARTED, "{}")])
        log.plan("read", takes(5.0))
        async with Site(log=log) as site:
            await asyncio.sleep(32.0)
            await log.inner.forget("u1")
            await asyncio.sleep(60.0)
            assert await log.inner.find_run("u1", "left") is None
            assert site.endpoint.stats()["runs_recovered"] == 0

    run_virtual(main())


def test_what_is_left_while_the_log_is_down_is_ended_when_it_is_back() -> None:
    async def main() -> None:
        log = shared_log()
        await leave_behind(log.inner, "left", [(STARTED, "{}")])
        log.always("take_expired", fails())
        async with Site(log=log, log_timeout=1.0) as site:
            await asyncio.sleep(100.0)
            with pytest.raises(EventLogError):
                await site.endpoint.recover()
            log.always("take_expired", takes(0.0))
            assert await site.endpoint.recover() == 1

    run_virtual(main())


def test_a_run_that_cannot_be_read_or_ended_holds_up_none_behind_it() -> None:
    async def main() -> None:
        for method in ("read", "append"):
            log = shared_log()
            for number in range(100):
                await leave_behind(log.inner, f"run {number}", [(STARTED, "{}")])
            async with Site(log=log, log_timeout=4.0) as site:
                await asyncio.sleep(26.0)
                log.plan(method, hangs())
                with pytest.raises(EventLogError):
                    await site.endpoint.recover()
                assert site.endpoint.stats()["runs_recovered"] == 99
                await asyncio.sleep(60.0)  # until it can be taken again
                assert site.endpoint.stats()["runs_recovered"] == 100

    run_virtual(main())


def test_what_a_log_raises_or_holds_that_nobody_expects_is_trouble_and_ends_no_upkeep() -> None:
    async def main() -> None:
        log = shared_log()
        deep = "[" * 100_000
        await leave_behind(log.inner, "left", [(STARTED, "{}"), (EXECUTING, deep)])
        log.plan("take_expired", fails(KeyError))
        log.plan("renew", fails(KeyError), fails(KeyError))
        log.plan("append", fails(KeyError))
        log.plan("read", hangs())
        async with Site(log=log, log_timeout=0.01) as site:
            await asyncio.sleep(150.0)
            page = await log.inner.read("u1", "left", after=2, limit=9)
            assert page is not None
            assert [event.type for event in page.events] == [COMPLETED, MessageType.AGENT_FAILED]
            assert site.endpoint.stats()["runs_recovered"] == 1

    run_virtual(main())


def test_a_page_that_cannot_be_meant_is_trouble_of_its_run_alone() -> None:
    async def main() -> None:
        log = shared_log()
        await leave_behind(log.inner, "odd")
        await leave_behind(log.inner, "left", [(STARTED, "{}")])
        odd = LoggedEvent(STARTED, "{}", 1, float("nan"))
        await log.inner.append(Lease("u1", "odd", "token"), (odd,))
        async with Site(log=log) as site:
            await asyncio.sleep(26.0)
            with pytest.raises(EventLogError):
                await site.endpoint.recover()
            assert len(await events_of(log.inner, "left")) == 2
            await leave_behind(log.inner, "later", [(STARTED, "{}")])
            await asyncio.sleep(60.0)
            assert len(await events_of(log.inner, "later")) == 2

    run_virtual(main())


def test_an_endpoint_that_stood_still_takes_none_of_its_own_runs() -> None:
    async def main() -> None:
        slept = 0.0
        inner = MemoryEventLog(clock=lambda: now() + slept)
        log = TroubledLog(is_prompt=True, inner=inner)
        log.always("renew", takes(0.05))
        async with Site(log=log) as site:
            client = await site.connect()
            await client.chat("work 100", "m1")
            await asyncio.sleep(15.0)
            slept = 40.0
            await asyncio.sleep(200.0)
            assert await client.heard() == "m1 started, m1 completed"

    run_virtual(main())


def test_where_nothing_can_be_ended_no_more_is_taken_over() -> None:
    async def main() -> None:
        log = shared_log()
        for number in range(100):
            await leave_behind(log.inner, f"run {number}", [(STARTED, "{}")])
        log.always("append", fails())
        async with Site(log=log, log_timeout=1.0) as site:
            await asyncio.sleep(26.0)
            log.calls.clear()
            with pytest.raises(EventLogError):
                await site.endpoint.recover()
            assert log.calls["take_expired"] == 1

    run_virtual(main())


def test_a_run_that_was_given_up_in_a_log_that_was_down_gets_its_end_when_it_is_back() -> None:
    async def main() -> None:
        log = shared_log()
        async with Site(log=log, log_timeout=2.0) as site:
            site.log = log.inner
            client = await site.connect()
            await client.chat("work 5", "m1", "t1")
            run_id = site.run_id("m1")
            log.always("append", fails())
            await asyncio.sleep(10.0)
            assert await client.heard() == "m1 started, error log_unavailable"
            assert site.endpoint.users() == {}
            assert len(await events_of(log.inner, run_id)) == 1
            await asyncio.sleep(60.0)  # its lease expires, and nobody can end it
            log.always("append", takes(0.0))
            await asyncio.sleep(60.0)
            kinds = [kind for _, kind, _ in await events_of(log.inner, run_id)]
            assert kinds == ["agent_started", "agent_failed"]
            client = await site.connect()
            await client.resume(thread_id="t1")
            assert await client.heard() == (
                "resumed m1 1-2 failed, m1 started, m1 failed interrupted"
            )

    run_virtual(main())


def test_recovering_needs_an_endpoint_that_was_entered() -> None:
    with pytest.raises(ConfigurationError):
        run_virtual(Endpoint(AgentMessageHandler(worker), log=MemoryEventLog()).recover())


# Leases.


def test_a_long_run_stays_its_owners() -> None:
    async def main() -> None:
        async with two(shared_log()) as (here, there):
            client = await here.connect()
            await client.chat("work 500", "m1")
            await asyncio.sleep(600.0)
            assert await client.heard() == "m1 started, m1 completed"
            assert there.endpoint.stats()["runs_recovered"] == 0

    run_virtual(main())


def test_a_renewal_or_two_may_fail() -> None:
    async def main() -> None:
        log = shared_log()
        log.plan("renew", fails(), fails(), hangs(), fails())
        async with two(log, log_timeout=5.0) as (here, _):
            client = await here.connect()
            await client.chat("work 100", "m1")
            await asyncio.sleep(200.0)
            assert await client.heard() == "m1 started, m1 completed"

    run_virtual(main())


def test_a_lease_outlasts_a_log_that_is_away_for_most_of_its_time() -> None:
    async def main() -> None:
        log = shared_log()
        async with two(log, log_timeout=3.0) as (here, _):
            client = await here.connect()
            await client.chat("work 100", "m1")
            await asyncio.sleep(10.5)  # it has just been renewed
            log.always("renew", fails())
            await asyncio.sleep(27.5)
            log.always("renew", takes(0.0))
            await asyncio.sleep(200.0)
            assert await client.heard() == "m1 started, m1 completed"

    run_virtual(main())


@pytest.mark.parametrize("act", ["work 1000", "deaf 5", "tidy 3"])
def test_an_owner_that_loses_its_lease_ends_the_agent_and_says_nothing_more(act: str) -> None:
    async def main() -> None:
        log = shared_log()
        # Detached, so that nothing ends the agent but the loss.
        async with two(log, log_timeout=1.0, on_disconnect="detach") as (stalled, other):
            client = await stalled.connect()
            await client.chat(act, "m1", "t1")
            run_id = stalled.run_id("m1")
            log.always("renew", fails())
            await asyncio.sleep(45.0)
            assert await other.endpoint.recover() == 0  # it was found already
            stats = [site.endpoint.stats()["runs_recovered"] for site in (stalled, other)]
            assert sum(stats) == 1
            log.always("renew", takes(0.0))
            await asyncio.sleep(60.0)
            assert stalled.endpoint.runs("u1") == ()
            assert stalled.endpoint.stats()["runs_cancelled"] == 1
            assert await client.heard() == "m1 started, m1 failed interrupted"
            kinds = [kind for _, kind, _ in await events_of(log.inner, run_id)]
            assert kinds == ["agent_started", "agent_failed"]

    run_virtual(main())


def test_a_service_that_relays_its_end_and_goes_on_keeps_its_run() -> None:
    async def main() -> None:
        log = shared_log()
        service = _GoesOn()
        async with Site(handler=AgentMessageHandler(adapt_service(service)), log=log) as site:
            client = await site.connect()
            await client.chat("x", "m1")
            await asyncio.sleep(100.0)
            assert service.has_ended
            kinds = [frame["type"] for frame in client.frames[1:]]
            assert kinds == ["agent_started", "agent_completed"]

    run_virtual(main())


class _GoesOn:
    """A former service that has work left when it has sent the run's end."""

    has_ended = False

    async def handle_start_agent(
        self, *, user_id: str, payload: object, db_session: object, websocket: object
    ) -> None: ...

    async def handle_user_message(
        self, *, user_id: str, payload: object, db_session: object, websocket: Any
    ) -> None:
        await websocket.send_text('{"type": "agent_completed", "payload": {"result": "x"}}')
        await asyncio.sleep(40.0)
        self.has_ended = True


def test_what_an_agent_emits_after_its_lease_was_lost_goes_nowhere() -> None:
    async def agent(run: Run) -> None:
        await asyncio.sleep(100.0)
        await run.chunk("too late")

    async def main() -> None:
        log = shared_log()
        async with two(log, agent=agent, log_timeout=1.0) as (stalled, _):
            client = await stalled.connect()
            log.always("renew", fails())
            await client.chat("go", "m1", "t1")
            await asyncio.sleep(200.0)
            assert await client.heard() == "m1 started, m1 failed interrupted"

    run_virtual(main())


def test_a_run_that_ends_while_its_lease_is_renewed_is_not_taken_for_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        log = shared_log()
        log.always("renew", takes(3.0))
        async with Site(log=log) as site:
            site.log = log.inner
            client = await site.connect()
            for number in range(8):
                await client.chat(f"work {9 + number / 2}", f"m{number}", f"t{number % 4}")
            await asyncio.sleep(100.0)
            assert site.endpoint.stats()["runs_completed"] == 8

    run_virtual(main())
    assert "lease_lost" not in caplog.text


def test_the_tasks_of_the_upkeep_end_with_the_endpoint_and_an_own_log_needs_none() -> None:
    def names() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks()} - {"main"}

    async def main() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.set_name("main")
        async with Endpoint(AgentMessageHandler(worker), log=shared_log()):
            kinds = ("leases", "recovery", "watchers")
            assert names() == {f"agent_messaging {kind}" for kind in kinds}
        assert names() == set()
        async with Endpoint(AgentMessageHandler(worker)):
            assert names() == set()

    run_virtual(main())


# Who watches where.


@pytest.mark.parametrize("on_disconnect", ["cancel", grace(5.0)])
@pytest.mark.parametrize("comes", ["resumes", "retries"])
def test_a_run_that_is_watched_at_another_goes_on(on_disconnect: Any, comes: str) -> None:
    async def main() -> None:
        async with two(shared_log(), on_disconnect=on_disconnect) as (here, there):
            client = await here.connect()
            await client.chat("work 200", "m1", "t1")
            other = await there.connect()
            if comes == "resumes":
                await other.resume(thread_id="t1")
            else:
                await other.chat("work 200", "m1", "t1")
            await client.close()
            await asyncio.sleep(300.0)
            assert told(other, here)[-1] == "m1 completed"

    run_virtual(main())


def test_it_goes_on_though_its_owner_cannot_be_told_for_a_while() -> None:
    async def main() -> None:
        log = shared_log()
        async with two(log) as (first, second):
            here, there = await first.connect(), await second.connect()
            await here.chat("work 300", "m1", "t1")
            await there.resume(thread_id="t1")
            await here.close()
            await asyncio.sleep(9.5)
            log.always("notify", fails())
            await asyncio.sleep(13.0)
            log.always("notify", takes(0.0))
            await asyncio.sleep(300.0)
            assert told(there, first)[-1] == "m1 completed"

    run_virtual(main())


@pytest.mark.parametrize("on_disconnect", ["cancel", grace(5.0)])
def test_it_is_cancelled_a_lease_after_the_last_has_left_there(on_disconnect: Any) -> None:
    async def main() -> None:
        async with two(shared_log(), on_disconnect=on_disconnect) as (here, there):
            client, other = await here.connect(), await there.connect()
            await client.chat("work 1000", "m1", "t1")
            await other.resume(thread_id="t1")
            await client.close()
            await asyncio.sleep(95.0)
            await other.close()
            await asyncio.sleep(19.0)
            assert here.endpoint.runs("u1")[0].state == "running"
            await asyncio.sleep(12.0)
            assert here.endpoint.runs("u1") == ()
            assert [finished.reason for finished in here.finished] == ["disconnected"]

    run_virtual(main())


def test_a_client_that_comes_back_elsewhere_within_the_grace_keeps_its_run() -> None:
    async def main() -> None:
        async with two(shared_log(), on_disconnect=grace(20.0)) as (here, there):
            client = await here.connect()
            await client.chat("work 100", "m1", "t1")
            await client.close()
            await asyncio.sleep(15.0)
            other = await there.connect()
            await other.resume(thread_id="t1")
            await asyncio.sleep(200.0)
            assert told(other, here)[-1] == "m1 completed"

    run_virtual(main())


def test_no_number_of_runs_to_be_told_of_keeps_a_lease_from_being_renewed() -> None:
    async def main() -> None:
        log = shared_log()
        log.always("notify", takes(15.0))
        async with two(log, log_timeout=20.0) as (here, there):
            client, other = await here.connect(), await there.connect()
            third = await there.connect("u2")
            for number in range(3):
                await client.chat("work 300", f"m{number}", f"t{number}")
                await other.resume(thread_id=f"t{number}")
            await third.chat("work 200", "own")
            await asyncio.sleep(400.0)
            assert told(third, there)[-1] == "own completed"
            assert here.endpoint.stats()["runs_recovered"] == 0

    run_virtual(main())


def test_a_notice_that_comes_after_the_end_of_its_run_is_nothing() -> None:
    async def main() -> None:
        log = shared_log()
        async with two(log) as (here, there):
            client, other = await here.connect(), await there.connect()
            await client.chat("work 5", "m1", "t1")
            log.plan("notify", takes(8.0))
            await other.resume(thread_id="t1")
            await asyncio.sleep(20.0)
            assert told(other, here)[-1] == "m1 completed"

    run_virtual(main())


def test_one_that_nobody_can_be_told_of_is_watched_all_the_same() -> None:
    async def main() -> None:
        log = shared_log()
        log.always("notify", fails())
        async with two(log, log_timeout=1.0) as (here, there):
            client, other = await here.connect(), await there.connect()
            await client.chat("work 5", "m1", "t1")
            await other.resume(thread_id="t1")
            await asyncio.sleep(20.0)
            assert told(other, here)[-1] == "m1 completed"

    run_virtual(main())
