"""Floods: what is held stays under its bounds, and every refusal has its code."""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import pytest

from agent_messaging import AgentMessageHandler, Limits, MemoryEventLog, RemoteError, Run
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from soak import census
from support.endpoints import Connection, Site, frame, now, settle, worker

MANY: Final = 10_000
#: Where it is not the frames that are to be bounded.
NO_RATES: Final = Limits(frames_per_minute=None, messages_per_minute=None)


#: How many there are of the library's objects, by the name of their class.
Held: TypeAlias = Callable[[str], int]


@pytest.fixture
def held() -> Held:
    """What a test made; what was there before is set aside, and takes no time to look through."""
    gc.collect()
    gc.freeze()
    return lambda name: _objects()[name]


def _objects() -> Counter[str]:
    objects = Counter[str]()
    for kind, number in census.objects().items():
        objects[kind.rpartition(".")[2]] += number
    return objects


def blocks() -> int:
    """Blocks of memory that Python holds."""
    gc.collect()
    return sys.getallocatedblocks()


def unreported(agent: Callable[[Run], Awaitable[object]] = worker, **options: Any) -> Site:
    """A site that keeps no reports, whose errors would keep alive what is to be counted."""
    return Site(handler=AgentMessageHandler(agent, clock=loop_clock()), **options)


async def send_all(client: Connection, frames: Iterable[str]) -> None:
    """Hand in frame after frame, as a host's loop does."""
    for text in frames:
        await client.session.receive(text)


def codes(client: Connection) -> Counter[str]:
    """The codes of the refusals that the client read."""
    return Counter(
        sent["payload"]["code"] for sent in client.frames if sent["type"] == "error_message"
    )


def kinds(client: Connection) -> Counter[str]:
    """How many frames of each type the client read."""
    return Counter(sent["type"] for sent in client.frames)


def end(client: Connection) -> str | None:
    """Why the client's session ended."""
    return None if client.session.end is None else client.session.end.reason


def ping(number: int) -> str:
    return frame("ping", {"id": number})


def chat(text: str, message_id: str | None = None, thread_id: str | None = None) -> str:
    return frame("chat", {"text": text}, message_id=message_id, thread_id=thread_id)


@asynccontextmanager
async def flooded(
    frames: Iterable[str], *, limits: Limits = NO_RATES, **options: Any
) -> AsyncGenerator[tuple[Site, Connection]]:
    """A site at which one client has sent these frames, and read all answers."""
    async with unreported(limits=limits, **options) as site:
        client = await site.connect()
        await send_all(client, frames)
        await settle()
        yield site, client


# A socket that is not read.


@pytest.mark.parametrize(
    "flood",
    [
        [ping(number) for number in range(MANY)],
        [frame("connect")] * MANY,
        ["rubbish"] * MANY,
        [frame("stop_agent", {"run_id": "nobody's"})] * MANY,
        [frame("resume", {"after": {f"r{number}": 0 for number in range(100)}})] * MANY,
        [frame("resume", {"thread_id": "nothing"})] * MANY,
        [frame("sing")] * MANY,
    ],
    ids=["ping", "connect", "rubbish", "stop", "resume", "resume a thread", "unknown"],
)
def test_answers_to_a_client_that_does_not_read_are_bounded_until_it_is_ended(
    flood: list[str], held: Held
) -> None:
    async def main() -> None:
        async with unreported(limits=NO_RATES, send_timeout=30.0) as site:
            client = await site.connect()
            client.transport.hang()
            taken = 0

            async def send() -> None:
                nonlocal taken
                for text in flood:
                    await client.session.receive(text)
                    taken += 1

            sending = asyncio.create_task(send(), name="an agent's own")
            await asyncio.sleep(29.0)
            # One is being sent, and as many wait as may.
            assert taken == 1 + NO_RATES.pending_replies
            assert held("_Reply") == 1 + NO_RATES.pending_replies
            assert end(client) is None
            await asyncio.sleep(2.0)
            assert end(client) == "slow_consumer"
            await sending  # dropped, every one of them
            assert held("_Reply") == 0
            assert site.endpoint.stats()["slow_consumers"] == 1
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_frames_of_a_client_that_does_not_read_are_not_even_asked_for() -> None:
    async def main() -> None:
        asked_for = 0

        async def frames() -> AsyncIterator[str]:
            nonlocal asked_for
            for number in range(MANY):
                asked_for += 1
                yield ping(number)

        socket = RecordingTransport(hangs_at=1)
        async with unreported(limits=NO_RATES, send_timeout=30.0) as site:
            serving = asyncio.create_task(site.endpoint.serve("u1", frames(), socket))
            await asyncio.sleep(29.0)
            # The greeting is being sent, and one frame is at the door.
            assert asked_for == 1 + NO_RATES.pending_replies
            end = await serving
        assert end.reason == "slow_consumer"

    run_virtual(main())


def test_a_client_that_reads_gets_every_answer_of_a_flood() -> None:
    async def main() -> None:
        async with flooded(map(ping, range(MANY))) as (_, client):
            pongs = [sent["payload"]["id"] for sent in client.frames if sent["type"] == "pong"]
            assert pongs == list(range(MANY))

    run_virtual(main())


# Rates.


def test_pings_beyond_the_rate_are_refused_with_the_time_to_wait() -> None:
    async def main() -> None:
        async with flooded(map(ping, range(MANY)), limits=Limits()) as (site, client):
            assert kinds(client)["pong"] == 600
            assert codes(client) == {"rate_limited": MANY - 600}
            assert site.endpoint.stats()["refusals"] == {"rate_limited": MANY - 600}
            waits = {
                sent["payload"]["retry_after"]
                for sent in client.frames
                if sent["type"] == "error_message"
            }
            assert waits == {0.1}
            await asyncio.sleep(0.1)
            await client.session.receive(ping(1))
            await client.session.receive(ping(2))
            await settle()
            assert [sent["type"] for sent in client.frames[-2:]] == ["pong", "error_message"]

    run_virtual(main())


def test_more_sessions_are_no_way_around_the_rate() -> None:
    async def main() -> None:
        async with unreported() as site:
            clients = [await site.connect() for _ in range(8)]
            for number in range(1000):
                await clients[number % 8].session.receive(ping(number))
            await settle()
            await clients[0].close()
            late = await site.connect()
            await late.session.receive(ping(0))
            await settle()
            assert sum(kinds(client)["pong"] for client in [*clients, late]) == 600

    run_virtual(main())


def test_coming_back_as_a_new_session_is_no_way_around_the_rate() -> None:
    async def main() -> None:
        async with unreported() as site:
            pongs = 0
            for _ in range(100):
                client = await site.connect()
                await send_all(client, map(ping, range(10)))
                await client.heard()
                pongs += kinds(client)["pong"]
                await client.close()
            assert pongs == 600

    run_virtual(main())


def test_a_flood_of_disconnects_ends_one_session() -> None:
    async def main() -> None:
        async with flooded([frame("disconnect")] * MANY, limits=Limits()) as (site, client):
            assert end(client) == "disconnected"
            assert site.endpoint.stats()["refusals"] == {}

    run_virtual(main())


# Messages, threads and sessions.


def test_a_flood_of_messages_on_one_thread_runs_or_is_refused_each(held: Held) -> None:
    async def main() -> None:
        async with unreported(limits=Limits(frames_per_minute=None)) as site:
            client = await site.connect()
            await send_all(client, [chat("work 1000", f"m{number}", "t") for number in range(MANY)])
            await settle()
            accepted = kinds(client)["agent_started"] + kinds(client)["agent_queued"]
            assert accepted == 17
            assert codes(client) == {"queue_full": MANY - 17}
            assert held("ActiveRun") == held("Watch") == 17
            await client.stop(thread_id="t")
            assert kinds(client)["agent_cancelled"] == 17
            assert held("ActiveRun") == held("Watch") == 0

    run_virtual(main())


def test_ten_thousand_threads_of_one_user_run_four_at_once(held: Held) -> None:
    async def main() -> None:
        async with unreported(limits=NO_RATES) as site:
            client = await site.connect()
            await send_all(
                client, [chat("work 1000", None, f"t{number}") for number in range(MANY)]
            )
            await settle()
            assert kinds(client)["agent_started"] == 4
            assert codes(client) == {"too_many_runs": MANY - 4}
            assert held("Thread") == held("ActiveRun") == 4
            assert site.endpoint.users()["u1"]["runs_in_flight"] == 4

    run_virtual(main())


def test_ten_thousand_threads_one_after_the_other_leave_what_the_log_may_hold(held: Held) -> None:
    async def main() -> None:
        log = MemoryEventLog()
        async with unreported(limits=NO_RATES, log=log) as site:
            client = await site.connect()
            for number in range(MANY):
                await client.session.receive(chat("answer", f"m{number}", f"t{number}"))
                await settle()
            assert kinds(client)["agent_completed"] == MANY
            assert held("Thread") == held("ActiveRun") == held("Watch") == 0
            # 200 runs keep their two events, 1,000 are known.
            assert held("LoggedEvent") == 400
            assert held("Lease") <= 1000
            assert len(await log.runs("u1", f"t{MANY - 1000}", limit=10)) == 1
            assert len(await log.runs("u1", f"t{MANY - 1001}", limit=10)) == 0

    run_virtual(main())


@pytest.mark.parametrize("policy", ["queue", "reject", "replace", "parallel"])
def test_a_flood_at_a_stubborn_agent_is_bounded_under_every_policy(policy: str, held: Held) -> None:
    async def main() -> None:
        async with unreported(limits=NO_RATES, thread_policy=policy) as site:
            client = await site.connect()
            await send_all(client, [chat("deaf 30", f"m{number}", "t") for number in range(1000)])
            await settle()
            # No more than run at once, and wait on a thread.
            assert held("ActiveRun") <= 4 + 16
            assert set(codes(client)) <= {"queue_full", "thread_busy", "too_many_runs"}
            await asyncio.sleep(100.0)

    run_virtual(main())


async def visit(site: Site, user_id: str) -> None:
    """A user comes, has one answer, and leaves."""
    socket = RecordingTransport()
    session = await site.endpoint.open(user_id, socket)
    await session.receive(chat("answer", "m"))
    await settle()
    assert '"agent_completed"' in socket.frames[-1]
    await session.close()


def test_ten_thousand_users_leave_nothing_after_a_minute(held: Held) -> None:
    async def main() -> None:
        log = MemoryEventLog(runs=100, claims=500)
        async with unreported(limits=NO_RATES, log=log) as site:
            for number in range(MANY):
                await visit(site, f"user-{number}")
            assert site.endpoint.stats()["runs_completed"] == MANY
            assert site.endpoint.users() == {}
            assert held("Session") == held("ActiveRun") == held("Watch") == 0
            assert held("LoggedEvent") == 200
            assert held("Lease") <= 500
            # How fast they were is known for a minute, and they all came within this one.
            assert held("TokenBucket") == 2 * MANY
            await asyncio.sleep(61.0)
            await visit(site, "the last one")
            assert held("TokenBucket") == 2

    run_virtual(main())


def test_sessions_beyond_the_bound_are_refused_and_leave_nothing(held: Held) -> None:
    async def main() -> None:
        async with unreported() as site:
            clients = [await site.connect() for _ in range(8)]
            before = blocks()
            for _ in range(1000):
                with pytest.raises(RemoteError) as refused:
                    await site.connect()
                assert refused.value.code == "too_many_sessions"
            assert blocks() - before < 100
            assert held("Session") == 8
            assert site.endpoint.stats()["refusals"] == {"too_many_sessions": 1000}
            await clients[0].close()
            await site.connect()

    run_virtual(main())


def test_a_served_connection_beyond_the_bound_is_told_so_and_never_listened_to() -> None:
    async def main() -> None:
        asked_for = 0

        async def frames() -> AsyncIterator[str]:
            nonlocal asked_for
            asked_for += 1
            yield ping(1)

        async with unreported(limits=Limits(sessions_per_user=1)) as site:
            await site.connect()
            socket = RecordingTransport()
            end = await site.endpoint.serve("u1", frames(), socket)
            assert end.reason == "refused"
            [told] = socket.frames
            assert '"code":"too_many_sessions"' in told
            assert asked_for == 0

    run_virtual(main())


def test_a_refused_connection_that_does_not_read_is_given_up() -> None:
    async def main() -> float:
        async def frames() -> AsyncIterator[str]:
            yield ping(1)

        async with unreported(limits=Limits(sessions_per_user=1), final_send_timeout=5.0) as site:
            await site.connect()
            start = now()
            await site.endpoint.serve("u1", frames(), RecordingTransport(hangs_at=1))
            return now() - start

    assert run_virtual(main()) == pytest.approx(5.0)


# Retries, stops and resumes.


def test_a_flood_of_retries_of_a_run_under_way_adds_nothing(held: Held) -> None:
    async def main() -> None:
        async with unreported(limits=NO_RATES) as site:
            client = await site.connect()
            await send_all(client, [chat("work 5", "m")] * MANY)
            await settle()
            assert held("Watch") == held("ActiveRun") == 1
            await asyncio.sleep(10.0)
            assert kinds(client) == {
                "connection_established": 1,
                "agent_started": 1,
                "agent_completed": 1,
            }
            assert site.endpoint.stats()["retries"] == MANY - 1

    run_virtual(main())


def test_a_flood_of_retries_by_a_client_that_does_not_read_is_one_replay(held: Held) -> None:
    async def main() -> None:
        async with unreported(limits=NO_RATES) as site:
            client = await site.connect()
            await client.chat("say 500", "m")
            client.transport.hang()
            before = blocks()
            await send_all(client, [chat("say 500", "m")] * MANY)
            await settle()
            assert held("Watch") == 1
            assert blocks() - before < 1000
            client.transport.read_on()
            await settle()
            assert kinds(client)["agent_completed"] == 2
            site.connections.clear()  # whose check allows of no run twice

    run_virtual(main())


def test_a_flood_of_retries_with_other_content_is_a_conflict_each() -> None:
    async def main() -> None:
        frames = [chat("answer", "m"), *(chat(f"work {n}", "m") for n in range(1000))]
        async with flooded(frames) as (site, client):
            assert codes(client) == {"message_id_conflict": 1000}
            assert site.endpoint.stats()["runs_accepted"] == 1

    run_virtual(main())


def test_retries_of_more_messages_than_are_known_are_new_messages() -> None:
    async def main() -> None:
        log = MemoryEventLog(claims_per_user=10)
        frames = [chat("answer", f"m{number % 20}") for number in range(1000)]
        async with unreported(limits=NO_RATES, log=log) as site:
            client = await site.connect()
            for text in frames:
                await client.session.receive(text)
                await settle()
            assert kinds(client)["agent_completed"] == 1000
            assert site.endpoint.stats()["retries"] == 0

    run_virtual(main())


def test_of_a_flood_of_stops_no_more_wait_for_the_run_to_end_than_answers_may() -> None:
    async def main() -> None:
        async with unreported(limits=NO_RATES) as site:
            client = await site.connect()
            await client.chat("deaf 100", "m", "t")
            may_wait = NO_RATES.pending_replies
            stop = frame("stop_agent", {"run_id": site.run_id("m")})
            await send_all(client, [stop] * 1000)
            await settle()
            assert kinds(client)["stopped"] == 0
            assert kinds(client)["error_message"] == 1000 - may_wait
            assert client.frames[-1]["payload"]["code"] == "rate_limited"
            await asyncio.sleep(100.0)
            assert kinds(client)["stopped"] == may_wait
            assert kinds(client)["agent_cancelled"] == 1
            # Of a run that has ended there is nothing to stop.
            await send_all(client, [stop] * 1000)
            await settle()
            assert [sent["payload"] for sent in client.frames[-1000:]] == [{"run_ids": []}] * 1000

    run_virtual(main())


def test_a_flood_of_resumes_of_all_runs_by_a_client_that_reads_slowly_is_bounded(
    held: Held,
) -> None:
    async def main() -> None:
        async with unreported(limits=NO_RATES) as site:
            client = await site.connect()
            for number in range(100):
                await client.chat("say 50", f"m{number}", "t")
            client.transport.hang()
            sending = asyncio.create_task(
                send_all(client, [frame("resume", {"thread_id": "t"})] * 1000),
                name="an agent's own",
            )
            await asyncio.sleep(10.0)
            assert held("Watch") == 100
            assert held("_Reply") == 1 + NO_RATES.pending_replies
            client.transport.read_on()
            await sending
            site.connections.clear()  # whose check allows of no run twice

    run_virtual(main())


# An agent's own flood.


async def endless(run: Run) -> None:
    """Emits for as long as it is let, and awaits none of it."""
    for _ in range(MANY):
        run.chunk("." * 1000)
        await asyncio.sleep(0)
    await asyncio.Event().wait()


def test_a_flood_of_events_at_a_client_that_does_not_read_stays_within_the_logs_bound(
    held: Held,
) -> None:
    async def main() -> None:
        log = MemoryEventLog(events_per_user=500)
        async with unreported(endless, limits=NO_RATES, log=log) as site:
            client = await site.connect()
            client.transport.hang()
            await client.session.receive(chat("go", "m"))
            await asyncio.sleep(1.0)
            assert end(client) == "slow_consumer"
            assert held("LoggedEvent") <= 500
            await asyncio.sleep(100.0)
            assert held("ActiveRun") == 0

    run_virtual(main())
