"""An endpoint over a log that fails, hangs, loses runs, forgets, or lies."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agent_messaging import (
    AgentMessageHandler,
    EventLog,
    EventLogError,
    Limits,
    MemoryEventLog,
    MessageType,
    RemoteError,
    Run,
    TransportError,
)
from agent_messaging.eventlog.protocol import EventPage, LoggedEvent
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site, frame, now, settle, worker
from support.logs import (
    Act,
    Gate,
    TroubledLog,
    fails,
    hangs,
    loses,
    lost,
    site_on,
    takes,
    waits_for,
)


def hardy(told: list[str]) -> Callable[[Run], Awaitable[str]]:
    """An agent that goes on as long as it can, and notes what its emits raise."""

    async def agent(run: Run) -> str:
        for number in range(3):
            try:
                await run.chunk(str(number))
            except (TransportError, asyncio.CancelledError) as error:
                told.append(type(error).__name__)
        return "done"

    return agent


# Appends that fail for a while.


# A log that is not done at once gets the five events in two appends.
@pytest.mark.parametrize(
    ("failing", "is_prompt"), [(0, True), (1, True), (2, True), (4, True), (0, False), (1, False)]
)
@pytest.mark.parametrize("act", [fails(), fails(seconds=1.0), loses(), loses(seconds=1.0)])
def test_an_append_that_fails_is_tried_again_and_nobody_sees_it(
    failing: int, act: Act, is_prompt: bool
) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=is_prompt)
        log.plan("append", *[Act()] * failing, act, act)
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("say 3", "m1")
            await asyncio.sleep(10.0)
            said = ", ".join(f"m1 response_chunk {number}" for number in range(3))
            assert await client.heard() == f"m1 started, {said}, m1 completed"
            assert len(log.appends) > (5 if is_prompt and failing == 4 else 2)

    run_virtual(main())


# Appends that fail for good.


@asynccontextmanager
async def over(
    log: EventLog, agent: Callable[[Run], Awaitable[object]] = worker, **options: Any
) -> AsyncGenerator[Site, None]:
    """A site over a log that may have lost the ends of its runs."""
    async with Site(agent, log=log, **options) as site:
        yield site
    assert not site.endpoint.users()


@pytest.mark.parametrize("is_prompt", [True, False])
@pytest.mark.parametrize("act", [fails(), hangs(), takes(60.0)])
def test_a_run_that_cannot_be_kept_is_cancelled_and_its_watchers_are_told(
    act: Act, is_prompt: bool
) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=is_prompt)
        async with over(log, log_timeout=4.0) as site:
            client, second, other = [await site.connect() for _ in range(3)]
            await client.chat("work 2", "m1", "t1")
            await second.resume(thread_id="t1")
            await other.chat("work 100", "m2", "t2")
            await settle()
            log.always("append", act)
            await asyncio.sleep(3.0)
            assert client.ended() is second.ended() is None
            await asyncio.sleep(4.0)
            for watcher in (client, second):
                assert (await watcher.heard()).endswith("m1 started, error log_unavailable")
                assert watcher.ended() == "log_unavailable"
                assert watcher.transport.closed == ["log_unavailable"]
            # Who watches another run has nothing to do with it.
            assert await other.heard() == "m2 started"
            assert other.ended() is None
            assert len(site.endpoint.runs("u1")) == 1
            log.always("append", Act())
            await other.stop("m2")
            assert await other.heard() == "m2 cancelled stopped, stopped m2"

    run_virtual(main())


def test_all_runs_of_a_session_that_ends_for_one_of_them_are_left() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with over(log, log_timeout=2.0) as site:
            client = await site.connect()
            await client.chat("work 100", "m1", "t1")
            await client.chat("work 1", "m2", "t2")
            log.plan("append", waits_for(gate))
            await asyncio.sleep(5.0)
            assert client.ended() == "log_unavailable"
            assert {finished.reason for finished in site.finished} == {None, "disconnected"}
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_an_agent_that_is_done_before_the_log_is_given_up_has_completed_here() -> None:
    async def main() -> None:
        log, told = TroubledLog(), list[str]()
        log.always("append", fails())
        async with over(log, hardy(told), log_timeout=1.0) as site:
            client = await site.connect()
            await client.chat("go", "m1")
            await asyncio.sleep(5.0)
            assert told == []
            [finished] = site.finished
            assert finished.report.outcome is MessageType.AGENT_COMPLETED
            assert finished.report.undelivered == 5
            assert await client.heard() == "error log_unavailable"

    run_virtual(main())


@pytest.mark.parametrize("act", [fails(), hangs()])
def test_an_agent_that_waits_for_a_log_that_is_given_up_is_cancelled(act: Act) -> None:
    async def main() -> None:
        log, told = TroubledLog(), list[str]()
        log.always("append", act)
        limits = Limits(outbox_frames=1, outbox_overrun=2)
        async with over(log, hardy(told), log_timeout=1.0, limits=limits) as site:
            client = await site.connect()
            await client.chat("go", "m1")
            await asyncio.sleep(5.0)
            assert told == ["CancelledError", "TransportError", "TransportError"]
            [finished] = site.finished
            assert finished.report.outcome is MessageType.AGENT_CANCELLED
            # The start, the chunk, and the end.
            assert finished.report.undelivered == 3
            assert site.endpoint.stats()["undelivered_events"] == 3

    run_virtual(main())


@pytest.mark.parametrize("is_prompt", [True, False])
def test_what_a_lost_run_did_not_deliver_is_counted_once(is_prompt: bool) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=is_prompt)
        log.plan("append", Act(), fails(lost))
        handler = AgentMessageHandler(worker)
        async with Site(handler=handler, log=log) as site:
            client = await site.connect()
            await client.chat("say 1", "m1")
            await asyncio.sleep(10.0)
            # The chunk that was decided and lost, and the end.
            assert handler.get_stats()["undelivered_events"] == 2
            assert site.endpoint.stats()["undelivered_events"] == 2

    run_virtual(main())


def test_a_stop_while_the_log_is_down_is_answered_when_the_run_has_ended_here() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with over(log, log_timeout=3.0) as site:
            client, other = await site.connect(), await site.connect()
            await client.chat("work 100", "m1", "t1")
            log.always("append", hangs())
            await other.stop("m1")
            await asyncio.sleep(2.0)
            assert await other.heard() == ""
            await asyncio.sleep(2.0)
            assert await other.heard() == "stopped m1"
            assert client.ended() == "log_unavailable"

    run_virtual(main())


def test_the_next_of_a_queue_has_its_turn_when_the_log_was_given_up() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with over(log, log_timeout=3.0, on_disconnect="detach") as site:
            client = await site.connect()
            await client.chat("work 1", "m1", "t1")
            await client.chat("work 20", "m2", "t1")
            log.plan("append", hangs())
            await asyncio.sleep(10.0)
            assert client.ended() == "log_unavailable"
            second = await site.connect()
            await second.resume(thread_id="t1")
            await asyncio.sleep(20.0)
            assert (await second.heard()).endswith("m2 queued 1, m2 started, m2 completed")

    run_virtual(main())


def test_a_queued_run_that_cannot_be_kept_is_never_begun() -> None:
    async def main() -> None:
        log = TroubledLog()
        begun: list[str] = []

        async def agent(run: Run) -> None:
            begun.append(run.context.message_id)
            await asyncio.sleep(10.0)

        async with over(log, agent, log_timeout=3.0, on_disconnect="detach") as site:
            client = await site.connect()
            await client.chat("go", "m1", "t1")
            log.plan("append", hangs())
            await client.chat("go", "m2", "t1")
            await asyncio.sleep(30.0)
            assert begun == ["m1"]
            assert client.ended() == "log_unavailable"

    run_virtual(main())


def test_an_abandoned_run_whose_end_cannot_be_kept_frees_its_thread() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with over(log, log_timeout=3.0, cancel_grace=2.0, on_disconnect="detach") as site:
            client = await site.connect()
            await client.chat("deaf 30", "m1", "t1")
            await client.chat("answer", "m2", "t1")
            log.plan("append", hangs())
            await client.stop("m1")
            await asyncio.sleep(4.0)
            assert len(site.endpoint.runs("u1")) == 2
            await asyncio.sleep(4.0)
            assert site.endpoint.runs("u1") == ()
            await asyncio.sleep(60.0)

    run_virtual(main())


def test_leaving_is_bounded_while_the_log_hangs() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with over(log, log_timeout=3.0, drain_timeout=2.0) as site:
            client = await site.connect()
            await client.chat("work 100", "m1", "t1")
            await client.chat("work 100", "m2", "t1")
            log.always("append", hangs())
            begin = now()
        assert now() - begin <= 2.0 + 2 * 3.0

    run_virtual(main())


# Leases that are lost.


@pytest.mark.parametrize("is_prompt", [True, False])
@pytest.mark.parametrize("losing", range(5))
def test_a_lost_run_is_cancelled_and_nothing_more_is_said_in_its_name(
    losing: int, is_prompt: bool
) -> None:
    async def main() -> None:
        log = TroubledLog(Act() if is_prompt else takes(0.1), is_prompt=is_prompt)
        log.plan("append", *[log.usual] * losing, fails(lost))
        appends: list[int] = []

        async def agent(run: Run) -> str:
            for number in range(3):
                await run.chunk(str(number))
                appends.append(number)
                await asyncio.sleep(1.0)
            return "done"

        async with over(log, agent) as site:
            client = await site.connect()
            await client.chat("go", "m1", "t1")
            await asyncio.sleep(10.0)
            every = ["m1 started", *(f"m1 response_chunk {number}" for number in range(3))]
            assert await client.heard() == ", ".join(every[:losing])
            assert len(appends) == min(losing + (losing == 0 and not is_prompt), 3)
            # The session goes on, and so does the thread.
            assert client.ended() is None
            await client.send("ping", {"id": "p"})
            await client.chat("go", "m2", "t1")
            await asyncio.sleep(10.0)
            assert (await client.heard()).startswith("pong p, m2 started")
            assert site.endpoint.stats()["runs_accepted"] == 2
            assert len(log.appends) == losing + 1 + 5

    run_virtual(main())


def test_an_agent_whose_run_is_lost_cannot_emit() -> None:
    async def main() -> None:
        log, told = TroubledLog(is_prompt=True), list[str]()
        log.plan("append", Act(), fails(lost))
        async with over(log, hardy(told)) as site:
            client = await site.connect()
            await client.chat("go", "m1")
            # The first chunk is the one with which it was lost.
            assert told == ["TransportError", "TransportError"]

    run_virtual(main())


@pytest.mark.parametrize("is_prompt", [True, False])
def test_a_queued_run_that_is_lost_with_its_first_event_leaves_its_place(is_prompt: bool) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=is_prompt)
        async with over(log) as site:
            client = await site.connect()
            await client.chat("work 5", "m1", "t1")
            log.plan("append", fails(lost))
            await client.chat("answer", "m2", "t1")
            await client.chat("answer", "m3", "t1")
            assert await client.heard() == "m1 started, m3 queued 1"
            await asyncio.sleep(10.0)
            assert await client.heard() == "m1 completed, m3 started, m3 completed"
            assert site.endpoint.stats()["runs_cancelled"] == 1

    run_virtual(main())


@pytest.mark.parametrize("is_prompt", [True, False])
def test_a_stopped_run_that_is_lost_holds_up_no_answer(is_prompt: bool) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=is_prompt)
        async with over(log) as site:
            client, other = await site.connect(), await site.connect()
            await client.chat("work 50", "m1", "t1")
            await client.heard()
            log.plan("append", fails(lost))
            await client.stop("m1")
            await other.stop("m1")
            await client.send("ping", {"id": "p"})
            assert await client.heard() == "pong p"
            assert site.endpoint.users()["u1"]["runs_in_flight"] == 0

    run_virtual(main())


def test_what_a_new_owner_appends_is_read_as_any_other_event() -> None:
    async def main() -> None:
        time = [0.0]
        log = TroubledLog(inner=MemoryEventLog(clock=lambda: time[0]))
        async with over(log) as site:
            client = await site.connect()
            await client.chat("work 5", "m1", "t1")
            run_id = site.run_id("m1")
            time[0] = 1e9
            [taken] = await log.inner.take_expired("thief", 30.0, limit=100)
            await asyncio.sleep(6.0)
            assert await client.heard() == "m1 started"
            failed = LoggedEvent(MessageType.AGENT_FAILED, '{"code":"interrupted"}', 2, now())
            await log.inner.append(taken.lease, [failed])
            assert await client.heard() == "m1 failed interrupted"
            assert [finished.context.run_id for finished in site.finished] == [run_id]

    run_virtual(main())


# Reads that fail.


@pytest.mark.parametrize("act", [fails(), fails(lambda: TypeError("a fault")), fails(seconds=1.0)])
def test_a_read_that_fails_is_tried_again_and_nobody_sees_it(act: Act) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("read", act, act, Act(), act)
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("say 2", "m1")
            await asyncio.sleep(10.0)
            assert await client.heard() == (
                "m1 started, m1 response_chunk 0, m1 response_chunk 1, m1 completed"
            )

    run_virtual(main())


@pytest.mark.parametrize("act", [fails(), hangs()])
def test_a_session_that_cannot_read_is_told_and_the_others_go_on(act: Act) -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, log_timeout=3.0) as site:
            client, second = await site.connect(), await site.connect()
            await client.chat("work 20", "m1", "t1")
            await client.heard()
            log.always("read", act)
            await second.resume(thread_id="t1")
            await asyncio.sleep(5.0)
            assert (await second.heard()) == "resumed m1 1-1 running, error log_unavailable"
            assert second.ended() == "log_unavailable"
            assert second.transport.closed == ["log_unavailable"]
            log.always("read", Act())
            await asyncio.sleep(20.0)
            assert await client.heard() == "m1 completed"

    run_virtual(main())


# The control lane.


@pytest.mark.parametrize("act", [fails(), hangs()])
@pytest.mark.parametrize(
    ("method", "kind", "payload"),
    [
        ("runs", "resume", {"thread_id": "t1"}),
        ("find_run", "resume", {"after": {"r1": 0}}),
        ("runs", "stop_agent", {"thread_id": "t1"}),
        ("notify", "stop_agent", {"run_id": "r1"}),
    ],
)
def test_what_the_log_cannot_tell_is_refused_and_the_session_goes_on(
    method: str, kind: str, payload: dict[str, object], act: Act
) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always(method, act)
        async with site_on(log, log_timeout=3.0) as site:
            client = await site.connect()
            asked_at = now()
            await client.send(kind, payload)
            assert now() - asked_at == pytest.approx(3.0, abs=0.01)
            await client.send("ping")
            assert await client.heard() == "error log_unavailable, pong"
            log.always(method, Act())
            await client.send(kind, payload)
            nothing = "stopped nothing" if kind == "stop_agent" else "resumed nothing"
            assert await client.heard() == nothing
            assert site.endpoint.stats()["refusals"] == {"log_unavailable": 1}

    run_virtual(main())


@pytest.mark.parametrize("method", ["runs", "find_run", "notify"])
def test_the_control_lane_asks_again(method: str) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan(method, fails(), fails())
        async with site_on(log) as site:
            client = await site.connect()
            if method == "notify":
                await client.stop(run_id="r1")
                assert await client.heard() == "stopped nothing"
            else:
                named = {"thread_id": "t1"} if method == "runs" else {"after": {"r1": 0}}
                await client.send("resume", named)
                assert await client.heard() == "resumed nothing"
            assert log.calls[method] == 3

    run_virtual(main())


def test_a_stream_whose_log_is_down_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("claim", fails())
        async with site_on(log, log_timeout=2.0) as site:
            with pytest.raises(RemoteError) as caught:
                await site.endpoint.stream("u1", frame("chat", {"text": "answer"}))
            assert caught.value.code == "log_unavailable"
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_a_stream_whose_log_goes_down_ends() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with over(log, log_timeout=2.0) as site:
            stream = await site.endpoint.stream("u1", frame("chat", {"text": "work 5"}))
            log.always("append", hangs())
            chunks = [chunk async for chunk in stream]
            assert stream.end is not None
            assert stream.end.reason == "log_unavailable"
            assert b"log_unavailable" in chunks[-1]

    run_virtual(main())


# Endpoints.


def test_what_forgetting_raises_is_the_hosts_and_the_user_is_forgotten_the_next_time() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("forget", fails())
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("answer", "m1", "t1")
            run_id = site.run_id("m1")
            with pytest.raises(EventLogError):
                await site.endpoint.forget("u1")
            assert client.ended() == "forgotten"
            await site.endpoint.forget("u1")
            assert await log.inner.find_run("u1", run_id) is None

    run_virtual(main())


def test_a_log_that_is_closed_under_an_endpoint_is_trouble_like_any_other() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with over(log, log_timeout=2.0) as site:
            client = await site.connect()
            await client.chat("work 5", "m1", "t1")
            await client.heard()
            await log.aclose()
            await client.chat("answer", "m2", "t2")
            assert await client.heard() == "error log_unavailable m2"
            await asyncio.sleep(10.0)
            assert client.ended() == "log_unavailable"

    run_virtual(main())


# Eviction, and users who are forgotten.


def check_gaps(client: Connection) -> int:
    """See that each gap in a run's events was told right before it; how many there were."""
    cursor = gaps = 0
    told: int | None = None
    for received in client.frames:
        if received["type"] == "resumed":
            [resumed] = received["payload"]["runs"]
            told = resumed["from_seq"] if resumed["evicted"] else None
        elif "seq" in received:
            if received["seq"] != cursor + 1:
                assert received["seq"] == told
                gaps += 1
            else:
                assert told is None
            cursor, told = received["seq"], None
    return gaps


@pytest.mark.parametrize("seconds", [0.001, 0.01])
def test_a_reader_is_told_of_each_gap_and_of_nothing_else(seconds: float) -> None:
    async def agent(run: Run) -> None:
        for number in range(400):
            await run.chunk(str(number))
            await asyncio.sleep(0.002)

    async def main() -> None:
        log = MemoryEventLog(events_per_user=50)
        async with Site(agent, log=log, limits=Limits(lag_events=10_000)) as site:
            client = await site.connect(seconds=seconds)
            await client.chat("go", "m1", "t1")
            await asyncio.sleep(20.0)
            # A reader that keeps up misses nothing of a log that holds little.
            gaps = check_gaps(client)
            assert (gaps > 0) is (seconds > 0.002)
            assert client.frames[-1]["type"] == "agent_completed"
            site.connections.remove(client)

    run_virtual(main())


def test_a_run_whose_events_are_all_gone_is_told_and_watched_no_more() -> None:
    async def main() -> None:
        log = MemoryEventLog(runs_per_user=1)
        async with Site(log=log) as site:
            client = await site.connect()
            await client.chat("say 2", "m1", "t1")
            await client.chat("say 2", "m2", "t1")
            await client.heard()
            late = await site.connect()
            await late.resume(thread_id="t1")
            assert (await late.heard()).startswith(
                "resumed m1 5-4 completed evicted + m2 1-4 completed, m2 started"
            )
            # A retry of its message is answered with what there is.
            await late.chat("say 2", "m1")
            assert await late.heard() == "resumed m1 5-4 completed evicted"
            assert not late.session.delivery.watches

    run_virtual(main())


def test_a_run_that_is_evicted_between_two_reads_is_told() -> None:
    async def main() -> None:
        log = TroubledLog(inner=MemoryEventLog(runs_per_user=1), is_prompt=True)
        async with Site(log=log) as site:
            client, late = await site.connect(), await site.connect()
            await client.chat("say 100", "m1", "t1")
            gate = Gate()
            log.plan("read", Act(), waits_for(gate))
            await late.resume(thread_id="t1")
            await settle()
            await client.chat("answer", "m2", "t2")
            gate.open()
            heard = await late.heard()
            assert heard.count("m1 response_chunk") == 63
            assert heard.endswith("m1 response_chunk 62, resumed m1 103-102 completed evicted")
            assert not late.session.delivery.watches

    run_virtual(main())


@pytest.mark.parametrize("is_running", [True, False])
def test_a_user_who_is_forgotten_in_the_log_is_told_so_and_nothing_more(is_running: bool) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with over(log) as site:
            client = await site.connect()
            await client.chat("work 5" if is_running else "say 100", "m1", "t1")
            site.run_id("m1")
            late, gate = await site.connect(), Gate()
            if not is_running:
                log.plan("read", Act(), waits_for(gate))
            await late.resume(thread_id="t1")
            await late.heard()
            await log.inner.forget("u1")
            gate.open()
            told = "error log_unavailable" if is_running else "resumed m1 65-64 completed evicted"
            assert await late.heard() == told
            assert not late.session.delivery.watches
            await asyncio.sleep(10.0)
            assert await late.heard() == ""
            assert late.ended() == ("log_unavailable" if is_running else None)
            # Nothing of the run can be kept any more.
            assert site.endpoint.runs("u1") == ()

    run_virtual(main())


# A log that lies.


class ReadOverAndOverError(BaseException):
    """A log is read without a pause, and nothing else happens in the loop."""


class Liar:
    """A memory log whose pages are not what it holds."""

    def __init__(self, lie: Callable[[EventPage, int], EventPage]) -> None:
        self.inner = MemoryEventLog()
        self.reads = 0
        self._lie = lie

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        self.reads += 1
        if self.reads > 100:
            raise ReadOverAndOverError
        page = await self.inner.read(user_id, run_id, after=after, limit=limit)
        return None if page is None else self._lie(page, after)


def backwards(page: EventPage, after: int) -> EventPage:
    """It holds fewer events than it once did."""
    return page if after < 2 else page._replace(events=(), last_seq=1, status="running")


def replaced(page: EventPage, after: int) -> EventPage:
    """It has lost what was sent last, and another owner has ended the run in its place."""
    return page if after < 2 else page._replace(events=(), last_seq=after, status="failed")


async def leisurely(run: Run) -> None:
    for number in range(4):
        await run.chunk(str(number))
        await asyncio.sleep(1.0)


@pytest.mark.parametrize("lie", [backwards, replaced])
def test_a_log_that_goes_backwards_ends_the_sessions_that_watch(
    lie: Callable[[EventPage, int], EventPage],
) -> None:
    async def main() -> None:
        log = Liar(lie)
        async with over(cast("EventLog", log), leisurely) as site:
            client = await site.connect()
            await client.chat("go", "m1", "t1")
            await asyncio.sleep(10.0)
            heard = "m1 started, m1 response_chunk 0, error log_unavailable"
            assert await client.heard() == heard
            assert client.ended() == "log_unavailable"

    run_virtual(main())


def forgetful(page: EventPage, after: int) -> EventPage:
    """It does not have what it says it has."""
    return page._replace(events=page.events[: max(0, 2 - after)])


def test_a_log_that_has_not_what_it_says_is_not_read_without_a_pause() -> None:
    async def main() -> None:
        log = Liar(forgetful)
        async with over(cast("EventLog", log), leisurely, log_timeout=2.0) as site:
            client = await site.connect()
            await client.chat("go", "m1", "t1")
            await asyncio.sleep(2.0)
            assert await client.heard() == "m1 started, m1 response_chunk 0"
            assert client.ended() is None
            await asyncio.sleep(2.0)
            assert await client.heard() == "error log_unavailable"
            assert client.ended() == "log_unavailable"

    run_virtual(main())
