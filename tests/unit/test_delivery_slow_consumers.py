"""Clients that do not read: what becomes of them, of their runs, and of everybody else."""

import asyncio
from typing import Any, Final

import pytest

from agent_messaging import EventPage, Limits, MemoryEventLog, OnDisconnect, Run, grace
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site, frame

MANY: Final = Limits(sessions_per_user=60, frames_per_minute=None, messages_per_minute=None)


async def talker(run: Run) -> str:
    """Emits as many chunks as asked for, a hundred a second."""
    for number in range(int(run.request)):
        await run.chunk(str(number))
        await asyncio.sleep(0.01)
    return "done"


def chunks(connection: Connection) -> list[str]:
    """What chunks it got, in their order."""
    return [
        each["payload"]["text"]
        for each in connection.frames
        if each["type"] == "agent_response_chunk"
    ]


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


class Reads:
    """A log that keeps count of what its readers hold in their hands."""

    def __init__(self) -> None:
        self.log = MemoryEventLog()
        self.limits: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        self.limits.append(limit)
        return await self.log.read(user_id, run_id, after=after, limit=limit)


# One of many.


async def stall_one_of_many(site: Site) -> tuple[Connection, list[Connection]]:
    """A connection that does not read the run of ``m``, with 1,000 chunks; 50 that do."""
    stalled = await site.connect()
    lively = [await site.connect() for _ in range(50)]
    await stalled.chat("1000", "m", "t")
    for each in lively:
        await each.resume(thread_id="t")
    stalled.transport.hang()
    return stalled, lively


def test_one_that_does_not_read_delays_nobody_else_at_all() -> None:
    async def main() -> None:
        async with Site(talker, limits=MANY) as site:
            _, lively = await stall_one_of_many(site)
            await asyncio.sleep(60)
            for each in lively:
                assert chunks(each) == numbers(1000)
                live = list(zip(each.frames, each.transport.times, strict=True))[-900:]
                assert all(frame["timestamp"] == round(at, 6) for frame, at in live)

    run_virtual(main())


def test_one_that_falls_behind_by_more_than_the_bound_is_ended_and_told_and_counted() -> None:
    async def main() -> None:
        async with Site(talker, limits=MANY) as site:
            stalled, lively = await stall_one_of_many(site)
            read = len(chunks(stalled))
            await asyncio.sleep(2.5)
            assert stalled.ended() is None
            await asyncio.sleep(0.2)
            assert stalled.ended() == "slow_consumer"
            assert site.endpoint.stats()["slow_consumers"] == 1
            assert site.endpoint.users()["u1"]["sessions"] == 50
            stalled.transport.read_on()
            await asyncio.sleep(1)
            # The event whose send was under way, and the farewell.
            assert len(chunks(stalled)) == read + 1
            assert stalled.frames[-1]["payload"]["code"] == "slow_consumer"
            assert stalled.transport.closed == ["slow_consumer"]
            assert not any(each.session.end for each in lively)
            await lively[0].close()
            assert site.endpoint.stats()["slow_consumers"] == 1

    run_virtual(main())


def test_one_that_was_ended_resumes_to_the_complete_sequence() -> None:
    async def main() -> None:
        async with Site(talker, limits=MANY) as site:
            stalled, _ = await stall_one_of_many(site)
            await asyncio.sleep(5)
            assert stalled.ended() == "slow_consumer"
            last = stalled.frames[-1]["seq"]
            back = await site.connect()
            await back.resume(after={"m": last})
            await asyncio.sleep(20)
            assert chunks(stalled) + chunks(back) == numbers(1000)
            assert back.frames[-1]["type"] == "agent_completed"

    run_virtual(main())


def test_one_that_does_not_read_holds_one_page_of_events_and_asks_for_no_more() -> None:
    async def main() -> None:
        reads = Reads()
        async with Site(talker, on_disconnect="detach", limits=MANY, log=reads) as site:
            site.log = reads.log
            stalled = await site.connect()
            await stalled.chat("1000", "m", "t")
            stalled.transport.hang()
            await asyncio.sleep(0.1)
            reads.limits.clear()
            await asyncio.sleep(2)
            assert site.endpoint.runs("u1")[0].watchers == 1
            assert reads.limits == []
            await asyncio.sleep(20)
            assert stalled.ended() == "slow_consumer"
            late = await site.connect(seconds=0.01)
            await late.resume(after={"m": 0})
            await asyncio.sleep(20)
            assert chunks(late) == numbers(1000)
            assert max(reads.limits) <= 64
            assert len(reads.limits) <= 1002 // 64 + 2

    run_virtual(main())


def test_one_that_does_not_read_and_goes_on_asking_is_not_answered_without_bound() -> None:
    async def main() -> None:
        async with Site(limits=Limits(pending_replies=8, frames_per_minute=None)) as site:
            client = await site.connect()
            client.transport.hang()

            async def ask() -> None:
                for number in range(100):
                    await client.session.receive(frame("ping", {"id": number}))
                    asked.append(number)

            asked: list[int] = []
            asking = asyncio.create_task(ask())
            await asyncio.sleep(20)
            # One is being sent.
            assert len(asked) == 9
            client.transport.read_on()
            await asking
            assert await client.heard() == ", ".join(f"pong {number}" for number in range(100))

    run_virtual(main())


@pytest.mark.parametrize("bound", [1, 8])
def test_a_frame_that_waits_to_be_received_is_let_go_when_its_session_ends(bound: int) -> None:
    async def main() -> None:
        async with Site(limits=Limits(pending_replies=bound)) as site:
            client = await site.connect()
            client.transport.hang()

            async def ask() -> None:
                for _ in range(20):
                    await client.session.receive(frame("ping"))

            asking = asyncio.create_task(ask())
            await asyncio.sleep(31)
            assert client.ended() == "slow_consumer"
            await asking

    run_virtual(main())


# The runs of one that was ended.


def cancelled(at: int) -> str:
    return f"m started at 0, m cancelled disconnected at {at}"


@pytest.mark.parametrize(
    ("policy", "history"),
    [
        # The client is ended at 30 seconds, when its first send has taken so long.
        ("cancel", cancelled(60)),
        ("detach", "m started at 0, m completed at 100"),
        (grace(10), cancelled(60)),
        (grace(50), cancelled(80)),
    ],
)
def test_the_runs_of_one_that_was_too_slow_have_a_grace(policy: OnDisconnect, history: str) -> None:
    async def main() -> None:
        async with Site(on_disconnect=policy) as site:
            client = await site.connect()
            await client.chat("work 100", "m")
            client.transport.hang()
            await client.send("ping")
            await asyncio.sleep(200)
            assert await site.history("m") == history

    run_virtual(main())


def test_the_grace_is_the_endpoints_and_whoever_comes_in_it_takes_the_runs_up() -> None:
    async def main() -> None:
        async with Site(slow_consumer_grace=20.0) as site:
            slow = await site.connect()
            await slow.chat("work 100", "m", "t")
            await slow.chat("work 5", "waits", "t")
            slow.transport.hang()
            await slow.send("ping")
            await asyncio.sleep(49)
            back = await site.connect()
            await back.resume(thread_id="t")
            await asyncio.sleep(100)
            assert await back.heard() == (
                "resumed m 1-1 running + waits 1-1 queued, m started, waits queued 1, "
                "m completed, waits started, waits completed"
            )

    run_virtual(main())


def test_the_grace_holds_though_another_that_watches_leaves_in_it() -> None:
    async def main() -> None:
        async with Site(on_disconnect="cancel") as site:
            slow, other = await site.connect(), await site.connect()
            await slow.chat("work 100", "m", "t")
            await other.resume(thread_id="t")
            slow.transport.hang()
            await slow.send("ping")
            await asyncio.sleep(40)
            await other.close()
            await asyncio.sleep(100)
            assert await site.history("m") == cancelled(60)

    run_virtual(main())


def test_the_grace_is_over_once_and_for_all() -> None:
    async def main() -> None:
        async with Site(on_disconnect="cancel") as site:
            slow, other = await site.connect(), await site.connect()
            await slow.chat("work 100", "m", "t")
            await other.resume(thread_id="t")
            slow.transport.hang()
            await slow.send("ping")
            await asyncio.sleep(70)
            await other.close()
            await asyncio.sleep(100)
            assert await site.history("m") == cancelled(70)

    run_virtual(main())


# Agents that wait for them.


def test_an_endpoint_may_have_its_agents_wait_for_whoever_reads_slowly() -> None:
    async def main() -> None:
        async with Site(slow_consumers="wait") as site:
            client = await site.connect(seconds=0.1)
            await client.chat("say 1000", "m")
            await asyncio.sleep(50)
            (run,) = site.endpoint.runs("u1")
            assert run.state == "running"
            await asyncio.sleep(100)
            assert chunks(client) == numbers(1000)
            assert client.ended() is None

    run_virtual(main())


def test_an_agent_waits_for_the_slowest_of_those_that_watch() -> None:
    async def main() -> None:
        async with Site(slow_consumers="wait", send_timeout=100.0) as site:
            slow, prompt = await site.connect(), await site.connect()
            await slow.chat("work 1", "first", "t")
            await slow.chat("say 1000", "m", "t")
            await prompt.resume(thread_id="t")
            slow.transport.hang()
            await asyncio.sleep(50)
            assert chunks(slow) == []
            assert len(chunks(prompt)) == 255
            slow.transport.read_on()
            await asyncio.sleep(1)
            assert chunks(slow) == chunks(prompt) == numbers(1000)

    run_virtual(main())


@pytest.mark.parametrize("way", ["it leaves", "its send takes too long", "it is stopped"])
def test_an_agent_that_waits_for_one_goes_on_when_that_one_is_gone(way: str) -> None:
    async def main() -> None:
        async with Site(slow_consumers="wait", on_disconnect="detach") as site:
            slow, other = await site.connect(), await site.connect()
            await slow.chat("say 1000", "m")
            slow.transport.hang()
            await slow.chat("say 1000", "n")
            await asyncio.sleep(20)
            if way == "it leaves":
                await slow.close()
            elif way == "it is stopped":
                await other.stop("n")
                assert await other.heard() == "stopped n"
            await asyncio.sleep(20)
            assert slow.ended() == ("disconnected" if way == "it leaves" else "slow_consumer")
            end = "cancelled stopped at 20" if way == "it is stopped" else "completed at"
            assert f"n {end}" in await site.history("n")

    run_virtual(main())
