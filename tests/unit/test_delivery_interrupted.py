"""Connections that are cut in the middle: by strangers, by a log in trouble, by their own end."""

import asyncio
from typing import Any, Final

import pytest

from agent_messaging import EventPage, Lease, Limits, LoggedEvent, MemoryEventLog, MessageType
from agent_messaging.testing import run_virtual
from support import tasks_left
from support.endpoints import Connection, Site, frame, now, settle
from support.logs import TroubledLog, fails, lost, site_on, takes


def strangle(name: str) -> int:
    """Cancel the tasks of this name, as nobody of the package does; how many there were."""
    tasks = [task for task in tasks_left() if task.get_name().startswith(f"agent_messaging {name}")]
    for task in tasks:
        task.cancel()
    return len(tasks)


# Sockets that hold on to what they have.


def test_a_send_that_minds_no_cancellation_holds_up_a_close_for_a_bounded_time() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            client.transport.swallows = 1000
            client.transport.hang()
            await client.session.receive(frame("ping"))
            await settle()
            before = now()
            await client.session.close()
            assert now() - before == 10.0  # twice the final_send_timeout
            client.transport.swallows = 0
            assert strangle("session") == 1
            await settle()

    run_virtual(main())


# Strangers that cancel what is not theirs.


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_writer_that_is_cancelled_by_a_stranger_ends_its_session(has_begun: bool) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat("work 5", "a")
            client.transport.hang()
            await client.session.receive(frame("ping"))
            if has_begun:
                await settle()
            assert strangle("session") == 1
            await settle()
            assert client.ended() == "transport_failed"
            assert client.transport.closed == ["transport_failed"]
            assert client.transport.sends == (3 if has_begun else 2)

    run_virtual(main())


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_run_that_is_cancelled_by_a_stranger_has_its_end(has_begun: bool) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.session.receive(
                frame("chat", {"text": "work 5"}, message_id="a", thread_id="t")
            )
            await client.session.receive(
                frame("chat", {"text": "answer"}, message_id="b", thread_id="t")
            )
            if has_begun:
                await settle()
            assert strangle("run") == 1
            assert (await client.heard()).endswith("a cancelled cancelled, b started, b completed")
            starts = [each["payload"] for each in client.frames if each["type"] == "agent_started"]
            assert starts == [{"message_id": name, "agent": "worker"} for name in ("a", "b")]

    run_virtual(main())


# Ends in the middle of something.


def test_a_resume_whose_answer_is_never_sent_replays_nothing() -> None:
    async def main() -> None:
        async with Site() as site:
            past = await site.connect()
            await past.chat("say 3", "a", "t")
            client = await site.connect()
            client.transport.hang()
            await client.send("ping")
            await client.resume(thread_id="t")
            await client.close()
            client.transport.read_on()
            assert await client.heard() == ""
            assert client.transport.sends == 2

    run_virtual(main())


def test_a_resume_whose_answer_is_sent_as_its_session_ends_replays_nothing() -> None:
    async def main() -> None:
        async with Site() as site:
            past = await site.connect()
            await past.chat("say 3", "a", "t")
            client = await site.connect()
            client.transport.hang()
            await client.resume(thread_id="t")
            leaving = asyncio.create_task(
                site.endpoint.__aexit__(None, None, None), name="an agent's own"
            )
            await asyncio.sleep(8)
            client.transport.read_on()
            await leaving
            assert await client.heard() == "resumed a 1-5 completed, error shutting_down"

    run_virtual(main())


def test_a_frame_whose_receive_is_cancelled_as_it_waits_makes_room_for_others() -> None:
    async def main() -> None:
        async with Site(limits=Limits(pending_replies=1)) as site:
            client = await site.connect()
            client.transport.hang()
            for _ in range(2):
                await client.send("ping")
            for _ in range(2):
                waiting = asyncio.create_task(client.send("ping"), name="an agent's own")
                await asyncio.sleep(1)
                waiting.cancel()
                await asyncio.wait([waiting])
            client.transport.read_on()
            await client.send("ping", {"id": "last"})
            assert await client.heard() == "pong, pong, pong last"

    run_virtual(main())


@pytest.mark.parametrize("way", ["its session ends", "its run ends"])
def test_a_read_that_comes_too_late_is_sent_to_nobody(way: str) -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, on_disconnect="detach") as site:
            client = await site.connect()
            log.plan("read", takes(2))
            await client.chat("work 1", "a")
            if way == "its session ends":
                await client.session.receive(frame("disconnect"))
            await asyncio.sleep(5)
            heard = await client.heard()
            assert heard == ("" if way == "its session ends" else "a started, a completed")

    run_virtual(main())


def test_a_read_that_comes_as_the_endpoint_is_left_makes_way_for_the_farewell() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            client = await site.connect()
            log.plan("read", takes(7))
            await client.chat("answer", "a")
        assert await client.heard() == "error shutting_down"

    run_virtual(main())


# A log in trouble.


def test_a_queued_message_whose_run_is_lost_with_its_first_event_never_begins() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        async with site_on(log, is_kept=False) as site:
            client = await site.connect()
            await client.chat("work 2", "a", "t")
            log.plan("append", fails(lost))
            await client.chat("work 2", "b", "t")
            assert [info.message_id for info in site.endpoint.runs("u1")] == ["a"]
            await client.chat("work 2", "c", "t")
            await asyncio.sleep(5)
            assert await client.heard() == (
                "a started, c queued 1, a completed, c started, c completed"
            )

    run_virtual(main())


def test_a_session_that_cannot_read_the_log_is_told_and_ends_and_its_runs_go_on() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, on_disconnect="detach") as site:
            client = await site.connect()
            log.always("read", fails())
            await client.chat("work 20", "a")
            await asyncio.sleep(9)
            assert client.ended() is None
            await asyncio.sleep(3)
            assert client.ended() == "log_unavailable"
            assert await client.heard() == "error log_unavailable"
            assert client.transport.closed == ["log_unavailable"]
            log.always("read", takes(0))
            back = await site.connect()
            await back.resume(after={"a": 0})
            await asyncio.sleep(20)
            assert await back.heard() == "resumed a 1-1 running, a started, a completed"

    run_virtual(main())


def test_a_session_whose_run_can_be_kept_no_more_is_told_and_ends() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, is_kept=False) as site:
            client, other = await site.connect(), await site.connect()
            await client.chat("work 2", "a", "t")
            await other.resume(thread_id="t")
            log.always("append", fails())
            await asyncio.sleep(30)
            assert client.ended() == other.ended() == "log_unavailable"
            assert await client.heard() == "a started, error log_unavailable"

    run_virtual(main())


class Lacking:
    """A log that says that it has events which it does not give out: those after the second."""

    def __init__(self, log: MemoryEventLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        page = await self._log.read(user_id, run_id, after=after, limit=limit)
        assert page is not None
        return page._replace(events=[event for event in page.events if event.seq <= 2])


def test_a_log_that_keeps_events_to_itself_is_one_in_trouble() -> None:
    async def main() -> None:
        log = MemoryEventLog()
        async with Site(log=Lacking(log), on_disconnect="detach") as site:
            site.log = log
            client = await site.connect()
            await client.chat("say 5", "a")
            await asyncio.sleep(15)
            assert await client.heard() == ("a started, a response_chunk 0, error log_unavailable")
            assert client.ended() == "log_unavailable"

    run_virtual(main())


# Runs of another worker over the same log.

_LEASE: Final = Lease("u1", "r", "token")


async def begin_elsewhere(site: Site) -> None:
    await site.log.claim(
        _LEASE, thread_id="t", message_id="m", digest="", owner="another", lease_seconds=30
    )
    await site.log.append(_LEASE, [LoggedEvent(MessageType.AGENT_STARTED, "{}", 1, 0.0)])


async def emit_elsewhere(site: Site, first: int, last: int) -> None:
    chunk = MessageType.AGENT_RESPONSE_CHUNK
    events = [LoggedEvent(chunk, '{"text":"x"}', seq, now()) for seq in range(first, last + 1)]
    await site.log.append(_LEASE, events)


def seqs(connection: Connection) -> list[int]:
    return [each["seq"] for each in connection.frames if "seq" in each]


@pytest.mark.parametrize("policy", ["end", "wait"])
def test_many_events_at_once_of_another_workers_run_are_sent_one_by_one(policy: str) -> None:
    async def main() -> None:
        async with Site(slow_consumers=policy) as site:
            await begin_elsewhere(site)
            client = await site.connect(turns=3)
            await client.resume(thread_id="t")
            await emit_elsewhere(site, 2, 300)
            await settle()
            assert seqs(client) == list(range(1, 301))

    run_virtual(main())


@pytest.mark.parametrize("policy", ["end", "wait"])
def test_another_workers_run_cannot_be_made_to_wait(policy: str) -> None:
    async def main() -> None:
        async with Site(slow_consumers=policy) as site:
            await begin_elsewhere(site)
            client = await site.connect()
            await client.resume(thread_id="t")
            client.transport.hang()
            await emit_elsewhere(site, 2, 2)
            await settle()
            await emit_elsewhere(site, 3, 400)
            await settle()
            assert client.ended() == ("slow_consumer" if policy == "end" else None)
            client.transport.read_on()
            await settle()
            assert seqs(client) == list(range(1, 3 if policy == "end" else 401))

    run_virtual(main())
