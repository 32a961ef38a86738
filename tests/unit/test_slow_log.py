"""An endpoint over a log that takes its time: nothing is lost, and nothing comes too early."""

import asyncio
from typing import Any, cast

import pytest

from agent_messaging import Limits, OutboxFullError, Run
from agent_messaging.testing import run_virtual
from support.endpoints import frame, now, settle
from support.logs import FINE, Act, Gate, TroubledLog, appended, site_on, takes, waits_for

SLOW = takes(0.25)

#: Ways to take one's time, none of which may make a difference in the end.
PACES = [
    Act(),
    Act(yields=1),
    Act(yields_after=3),
    Act(seconds=0.25),
    Act(seconds_after=0.25),
    Act(seconds=0.1, yields_after=1),
]


@pytest.mark.parametrize("is_prompt", [True, False])
@pytest.mark.parametrize("act", PACES)
def test_every_event_comes_once_and_in_order(act: Act, is_prompt: bool) -> None:
    async def main() -> None:
        async with site_on(TroubledLog(act, is_prompt=is_prompt)) as site:
            first, second = await site.connect(), await site.connect()
            await first.chat("say 3", "m1", "t1")
            await second.resume(thread_id="t1")
            await asyncio.sleep(10.0)
            said = ", ".join(f"m1 response_chunk {number}" for number in range(3))
            assert await first.heard() == f"m1 started, {said}, m1 completed"
            assert (await second.heard()).endswith("m1 completed")
            assert second.ended() is None

    run_virtual(main())


#: Loops whose tasks start at once have these from Python 3.12 on.
EAGER: object = getattr(asyncio, "eager_task_factory", None)


@pytest.mark.parametrize("is_prompt", [True, False])
@pytest.mark.parametrize("act", PACES)
def test_a_loop_that_starts_tasks_at_once_changes_nothing(act: Act, is_prompt: bool) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(cast("Any", EAGER))
        async with site_on(TroubledLog(act, is_prompt=is_prompt)) as site:
            client, other = await site.connect(), await site.connect(turns=1)
            await client.chat("say 3", "m1", "t1")
            await client.chat("work 9", "m2", "t1")
            await other.chat("tidy 1", "m3", "t1")
            await asyncio.sleep(15.0)
            heard = await client.heard()
            assert heard.count("chunk") == 3
            assert heard.endswith("m2 completed")
            await client.stop(thread_id="t1")
            await asyncio.sleep(5.0)
            assert (await client.heard()) == "stopped m3"
            assert (await other.heard()).endswith("m3 started, m3 cancelled stopped")

    run_virtual(main())


def test_an_event_is_sent_when_it_is_in_the_log_and_not_before() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            log.plan("append", waits_for(gate, answer_alone=True))
            log.always("append", waits_for(gate))
            await client.chat("answer", "m1")
            assert await client.heard() == "m1 started"
            assert gate.waiting == 1
            gate.open()
            assert await client.heard() == "m1 completed"

    run_virtual(main())


# The end of a run waits for its terminal event.


def test_a_run_ends_when_its_terminal_event_is_in_the_log() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("work 1", "m1")
            await asyncio.sleep(0.5)
            log.plan("append", waits_for(gate))
            await asyncio.sleep(1.0)
            assert site.finished == []
            assert site.endpoint.users()["u1"]["runs_in_flight"] == 1
            gate.open()
            assert await client.heard() == "m1 started, m1 completed"
            assert site.endpoint.users()["u1"]["runs_in_flight"] == 0
            assert [finished.report.undelivered for finished in site.finished] == [0]

    run_virtual(main())


def test_the_next_of_a_queue_begins_when_the_terminal_event_is_in_the_log() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("work 1", "m1", "t1")
            await client.chat("answer", "m2", "t1")
            await asyncio.sleep(0.5)
            log.plan("append", waits_for(gate))
            await asyncio.sleep(1.0)
            assert await client.heard() == "m1 started, m2 queued 1"
            gate.open()
            assert await client.heard() == "m1 completed, m2 started, m2 completed"

    run_virtual(main())


def test_stopped_comes_behind_the_terminal_event_also_for_one_who_does_not_watch() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            await client.chat("work 9", "m1", "t1")
            await asyncio.sleep(0.5)
            log.plan("append", waits_for(gate))
            await other.stop("m1")
            await asyncio.sleep(3.0)
            assert await client.heard() == "m1 started"
            assert await other.heard() == ""
            gate.open()
            assert await client.heard() == "m1 cancelled stopped"
            assert await other.heard() == "stopped m1"

    run_virtual(main())


def test_a_stop_of_all_of_a_thread_waits_for_every_terminal_event() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            for number in range(3):
                await client.chat("work 9", f"m{number}", "t1")
            await asyncio.sleep(0.5)
            gates = [Gate() for _ in range(3)]
            log.plan("append", *[waits_for(gate) for gate in gates])
            await other.stop(thread_id="t1")
            # In whichever order they get there, none of those that wait is begun.
            for gate in reversed(gates):
                assert await other.heard() == ""
                gate.open()
            assert await other.heard() == "stopped m1 m2 m0"
            ends = "m{0} cancelled stopped"
            heard = (await client.heard()).split(", ")
            assert heard[:3] == ["m0 started", "m1 queued 1", "m2 queued 2"]
            assert sorted(heard[3:]) == [ends.format(number) for number in range(3)]
            assert site.endpoint.stats()["runs_cancelled"] == 3

    run_virtual(main())


def test_a_message_right_behind_stopped_begins_at_once() -> None:
    async def main() -> None:
        async with site_on(TroubledLog(SLOW)) as site:
            client = await site.connect()
            await client.chat("work 9", "m1", "t1")
            await asyncio.sleep(1.0)
            await client.stop("m1")
            await asyncio.sleep(1.0)
            assert await client.heard() == "m1 started, m1 cancelled stopped, stopped m1"
            await client.chat("answer", "m2", "t1")
            await asyncio.sleep(2.0)
            assert await client.heard() == "m2 started, m2 completed"

    run_virtual(main())


def test_one_that_replaces_begins_when_the_terminal_event_is_in_the_log() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, thread_policy="replace") as site:
            client = await site.connect()
            await client.chat("work 9", "m1", "t1")
            await asyncio.sleep(0.5)
            log.plan("append", Act(), waits_for(gate))
            await client.chat("answer", "m2", "t1")
            await asyncio.sleep(2.0)
            assert await client.heard() == "m1 started, m2 queued 1"
            gate.open()
            assert await client.heard() == "m1 cancelled replaced, m2 started, m2 completed"

    run_virtual(main())


def test_a_queued_run_that_ends_while_its_turn_comes_is_not_begun() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("work 1", "m1", "t1")
            await client.chat("answer", "m2", "t1")
            await client.chat("answer", "m3", "t1")
            await asyncio.sleep(0.5)
            log.plan("append", waits_for(gate))
            await client.stop("m2")
            await asyncio.sleep(1.0)
            # The end of m2 is on its way, and m3 waits for it.
            assert await client.heard() == ("m1 started, m2 queued 1, m3 queued 2, m1 completed")
            gate.open()
            assert await client.heard() == (
                "m2 cancelled stopped, stopped m2, m3 started, m3 completed"
            )

    run_virtual(main())


# Agents that do not end.


def test_an_abandoned_run_ends_when_its_terminal_event_is_in_the_log() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, cancel_grace=2.0) as site:
            client = await site.connect()
            await client.chat("deaf 30", "m1", "t1")
            await client.chat("answer", "m2", "t1")
            await asyncio.sleep(0.5)
            log.plan("append", waits_for(gate))
            await client.stop("m1")
            await asyncio.sleep(5.0)
            assert site.endpoint.stats()["agents_abandoned"] == 1
            assert await client.heard() == "m1 started, m2 queued 1"
            gate.open()
            assert await client.heard() == (
                "m1 cancelled stopped, stopped m1, m2 started, m2 completed"
            )
            await asyncio.sleep(60.0)
            assert await client.heard() == ""

    run_virtual(main())


def test_an_agent_that_is_done_while_the_end_of_its_run_is_on_its_way_changes_nothing() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, cancel_grace=2.0) as site:
            client = await site.connect()
            await client.chat("deaf 4", "m1", "t1")
            await asyncio.sleep(0.5)
            log.plan("append", waits_for(gate))
            await client.stop("m1")
            await asyncio.sleep(10.0)
            assert site.endpoint.stats()["agents_abandoned"] == 1
            assert await client.heard() == "m1 started"
            gate.open()
            assert await client.heard() == "m1 cancelled stopped, stopped m1"
            assert site.endpoint.stats()["agents_abandoned_alive"] == 0

    run_virtual(main())


def test_an_agent_that_has_ended_in_time_is_not_abandoned_for_a_slow_log() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, cancel_grace=2.0) as site:
            client = await site.connect()
            await client.chat("tidy 1", "m1", "t1")
            log.plan("append", waits_for(gate))
            await client.stop("m1")
            await asyncio.sleep(5.0)
            gate.open()
            assert await client.heard() == "m1 started, m1 cancelled stopped, stopped m1"
            assert site.endpoint.stats()["agents_abandoned"] == 0

    run_virtual(main())


def test_a_run_whose_end_is_on_its_way_is_cancelled_by_nothing() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, cancel_grace=1.0, log_timeout=100.0) as site:
            client = await site.connect()
            await client.chat("work 1", "m1", "t1")
            await asyncio.sleep(0.5)
            log.plan("append", waits_for(gate))
            await asyncio.sleep(1.0)
            await client.stop("m1")
            await asyncio.sleep(5.0)
            gate.open()
            assert await client.heard() == "m1 started, m1 completed, stopped m1"
            assert site.endpoint.stats()["agents_abandoned"] == 0

    run_virtual(main())


# Room.


def test_an_agent_waits_for_a_log_that_it_is_too_fast_for() -> None:
    async def main() -> None:
        emitted: list[float] = []

        async def agent(run: Run) -> None:
            for _ in range(12):
                await run.chunk("x")
                emitted.append(now())

        log = TroubledLog()
        log.always("append", takes(1.0))
        limits = Limits(outbox_frames=3, outbox_overrun=100)
        async with site_on(log, agent, limits=limits) as site:
            client = await site.connect()
            await client.chat("go", "m1")
            await asyncio.sleep(60.0)
            assert (await client.heard()).count("chunk") == 12
        begin = emitted[0]
        paces = [round(at - begin) for at in emitted]
        # At no time more wait than there is room for, and the one that is being waited for.
        assert paces == sorted(paces)
        assert paces[-1] >= 2
        [finished] = site.finished
        batches = appended(log, finished.context.run_id)
        assert max(map(len, batches)) <= 4

    run_virtual(main())


def test_events_that_nobody_awaits_are_refused_when_too_many_wait_for_the_log() -> None:
    async def main() -> None:
        refused: list[int] = []

        async def agent(run: Run) -> str:
            for number in range(8):
                try:
                    run.chunk(str(number))
                except OutboxFullError:
                    refused.append(number)
            await run.chunk("awaited")
            return "done"

        log = TroubledLog(SLOW)
        limits = Limits(outbox_frames=2, outbox_overrun=5)
        async with site_on(log, agent, limits=limits) as site:
            client = await site.connect()
            await client.chat("go", "m1")
            await asyncio.sleep(10.0)
            heard = await client.heard()
        # The start waits too.
        assert refused == [4, 5, 6, 7]
        assert heard.count("chunk") == 4
        assert heard.endswith("m1 failed agent_error")

    run_virtual(main())


# Reading.


@pytest.mark.parametrize("act", PACES)
def test_a_reader_that_waits_for_the_log_misses_nothing(act: Act) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        log.always("read", act)
        async with site_on(log) as site:
            client, late = await site.connect(), await site.connect()
            await client.session.receive(frame("chat", {"text": "say 200"}, message_id="m1"))
            site.run_id("m1")
            await asyncio.sleep(0.3)
            await late.resume(after={site.run_id("m1"): 7})
            await asyncio.sleep(30.0)
            heard = await client.heard()
            assert heard.count("chunk") == 200
            assert heard.endswith("m1 completed")
            assert (await late.heard()).count("chunk") == 200 + 1 - 7
            assert site.endpoint.stats()["slow_consumers"] == 0

    run_virtual(main())


def test_a_log_that_is_read_slowly_makes_nobody_a_slow_consumer() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        log.always("read", takes(5.0))
        async with site_on(log, limits=Limits(lag_events=10)) as site:
            client = await site.connect()
            await client.chat("say 100", "m1", "t1")
            await client.send("ping", {"id": "now"})
            # One connection has one writer, which reads for it, too.
            await asyncio.sleep(60.0)
            heard = await client.heard()
            assert heard.count("chunk") == 100
            assert "pong now" in heard
            assert client.ended() is None

    run_virtual(main())


def test_a_session_that_ends_while_it_reads_is_sent_nothing_more() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, on_disconnect="detach") as site:
            client = await site.connect()
            log.plan("read", waits_for(gate))
            await client.chat("answer", "m1", "t1")
            await client.close()
            gate.open()
            assert await client.heard() == ""
            assert site.endpoint.users() == {}

    run_virtual(main())


# The end of the process.


def test_draining_waits_for_what_is_on_its_way_into_the_log() -> None:
    async def main() -> None:
        log = TroubledLog(takes(3.0))
        async with site_on(log, drain_timeout=60.0) as site:
            client = await site.connect()
            await client.chat("work 10", "m1", "t1")
            await client.chat("work 10", "m2", "t1")
            await site.endpoint.drain()
            assert (await client.heard()).split(", ")[-1] == "m2 completed"

    run_virtual(main())


def test_draining_cancels_at_last_what_a_slow_log_still_has_to_be_told() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("append", takes(3.0))
        async with site_on(log) as site:
            client = await site.connect()
            for number in range(3):
                await client.chat("work 100", f"m{number}", "t1")
            begin = now()
            await site.endpoint.drain(5.0)
            assert now() - begin == pytest.approx(5.0 + 3.0, abs=0.01)
            heard = (await client.heard()).split(", ")
            ends = [words for words in heard if "cancelled" in words]
            assert sorted(ends) == [f"m{number} cancelled shutdown" for number in range(3)]

    run_virtual(main())


def test_leaving_without_draining_first_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with site_on(TroubledLog(takes(1.0)), drain_timeout=2.0) as site:
            client = await site.connect()
            await client.chat("work 100", "m1", "t1")
            await client.chat("work 100", "m2", "t1")
        assert [finished.reason for finished in site.finished] == ["shutdown", "shutdown"]
        assert client.ended() == "shutdown"

    run_virtual(main())


def test_a_user_is_forgotten_when_the_ends_of_the_runs_are_in_the_log() -> None:
    async def main() -> None:
        log = TroubledLog(takes(1.0))
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("work 100", "m1", "t1")
            await asyncio.sleep(3.0)
            await site.endpoint.forget("u1")
            assert client.ended() == "forgotten"
            assert log.calls["forget"] == 1
            [finished] = site.finished
            assert await log.inner.find_run("u1", finished.context.run_id) is None

    run_virtual(main())


def test_behind_stopped_the_thread_is_free_also_if_the_log_had_not_answered_the_claim() -> None:
    async def main() -> None:
        log, claims, appends = TroubledLog(), Gate(), Gate()
        async with site_on(log, thread_policy="reject") as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", waits_for(claims, answer_alone=True))
            log.plan("append", FINE, waits_for(appends, answer_alone=True))
            sending = asyncio.create_task(client.chat("work 9", "m1", "t1"))
            await settle()
            await other.stop(thread_id="t1")
            claims.open()
            await sending
            assert await client.heard() == "m1 started"
            assert await other.heard() == ""
            appends.open()
            assert await other.heard() == "stopped m1"
            await other.chat("answer", "m2", "t1")
            assert await other.heard() == "m2 started, m2 completed"

    run_virtual(main())


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("act", ["answer", "work 1"])
def test_whoever_has_read_the_end_of_a_run_finds_its_thread_free(act: str, resumes: bool) -> None:
    async def main() -> None:
        log, appends = TroubledLog(), Gate()
        async with site_on(log, thread_policy="reject") as site:
            client, other = await site.connect(), await site.connect()
            log.plan("append", FINE, waits_for(appends, answer_alone=True))
            await client.chat(act, "m1", "t1")
            await asyncio.sleep(2.0)
            if resumes:  # after which the end is the next to come, of a replay
                client = other
                await client.resume(thread_id="t1")
                assert await client.heard() == "resumed m1 1-2 completed, m1 started"
            else:
                assert await client.heard() == "m1 started"
            page = await log.inner.read("u1", site.run_id("m1"), after=0, limit=9)
            assert page is not None
            assert page.is_ended
            appends.open()
            assert await client.heard() == "m1 completed"
            await client.chat("answer", "m2", "t1")
            assert await client.heard() == "m2 started, m2 completed"

    run_virtual(main())
