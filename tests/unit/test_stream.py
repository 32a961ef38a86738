"""Answers to single requests, as server-sent events."""

import asyncio
import gc
import json
import logging
from typing import Any, Final

import pytest

from agent_messaging import ErrorCode, Limits, MessageRouter, RemoteError, Stream
from agent_messaging.testing import run_virtual
from support import Json, tasks_left
from support.endpoints import Site, frame, now, settle, worker
from support.lines import lines
from support.logs import TroubledLog, fails, site_on

CHAT: Final = frame("chat", {"text": "answer"}, message_id="m", thread_id="t")
LONG: Final = frame("chat", {"text": "work 50"}, message_id="m", thread_id="t")


def opened(event: bytes) -> Json:
    """The frame in one server-sent event."""
    text = event.decode("ascii")
    assert text.startswith("data: ")
    assert text.endswith("\n\n")
    assert text.count("\n") == 2
    loaded: Json = json.loads(text.removeprefix("data: "))
    return loaded


async def words(site: Site, stream: Stream) -> str:
    """All that it says after its greeting, in words."""
    frames = [opened(event) async for event in stream]
    assert frames[0]["type"] == "connection_established"
    return ", ".join(site.words(frame) for frame in frames[1:])


# What it says.


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (CHAT, "m started, m completed"),
        (CHAT.encode(), "m started, m completed"),
        (frame("chat", {"text": "say 2"}, message_id="m"), "m started, {0}, {1}, m completed"),
        (frame("chat", {"text": "work 5"}, message_id="m"), "m started, m completed"),
        (frame("ping", {"id": 3}), "pong 3"),
        (frame("connect"), "connection_established"),
        (frame("stop_agent", {"run_id": "unknown"}), "stopped nothing"),
        (frame("resume", {"thread_id": "unknown"}), "resumed nothing"),
    ],
)
def test_it_says_what_there_is_to_say_to_one_frame_and_ends(body: str | bytes, said: str) -> None:
    async def main() -> None:
        async with Site() as site:
            stream = await site.endpoint.stream("u1", body)
            chunks = ("m response_chunk 0", "m response_chunk 1")
            assert await words(site, stream) == said.format(*chunks)
            assert stream.end is not None
            assert (stream.end.reason, stream.end.error) == ("completed", None)
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_its_headers_are_those_of_an_event_stream_that_nobody_keeps() -> None:
    assert dict(Stream.headers) == {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
    }
    with pytest.raises(TypeError):
        Stream.headers["Cache-Control"] = "keep"  # type: ignore[index] # pyright: ignore[reportIndexIssue]


def test_a_resumed_thread_is_streamed_until_its_runs_have_ended() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat("answer", "a", "t")
            await client.chat("work 5", "b", "t")
            stream = await site.endpoint.stream("u1", frame("resume", {"thread_id": "t"}))
            assert await words(site, stream) == (
                "resumed a 1-2 completed + b 1-1 running, "
                "a started, a completed, b started, b completed"
            )
            assert now() == pytest.approx(5, abs=0.1)

    run_virtual(main())


def test_a_stop_is_streamed_until_what_it_stopped_has_ended() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat("tidy 3", "a", "t")
            stream = await site.endpoint.stream("u1", frame("stop_agent", {"thread_id": "t"}))
            assert await words(site, stream) == "stopped a"
            assert now() == pytest.approx(3, abs=0.1)

    run_virtual(main())


def test_a_retry_streams_the_first_run_again() -> None:
    async def main() -> None:
        async with Site() as site:
            for _ in range(3):
                stream = await site.endpoint.stream("u1", CHAT)
                assert await words(site, stream) == "m started, m completed"
            assert site.endpoint.stats()["runs_accepted"] == 1

    run_virtual(main())


def test_a_silent_run_keeps_its_stream_alive_by_heartbeats() -> None:
    async def main() -> None:
        async with Site(heartbeat=10.0) as site:
            stream = await site.endpoint.stream("u1", frame("chat", {"text": "work 25"}))
            kinds = [opened(event)["type"] async for event in stream]
            assert kinds == [
                "connection_established",
                "agent_started",
                "heartbeat",
                "heartbeat",
                "agent_completed",
            ]

    run_virtual(main())


def test_a_handler_of_the_hosts_own_is_streamed_until_it_returns() -> None:
    class Dancer:
        supported_types = ("dance",)

        def can_handle(self, message_type: str) -> bool:
            return message_type == "dance"

        async def handle_message(self, user_id: str, websocket: Any, message: Any) -> bool:
            await websocket('{"type": "left", "payload": {}}')
            await asyncio.sleep(2)
            await websocket('{"type": "right", "payload": {}}')
            return True

        def get_stats(self) -> dict[str, object]:
            return {}

    async def main() -> None:
        async with Site(handler=MessageRouter(Dancer())) as site:
            stream = await site.endpoint.stream("u1", frame("dance"))
            assert await words(site, stream) == "left, right"
            assert now() == pytest.approx(2, abs=0.1)

    run_virtual(main())


# What it refuses, before any byte.


@pytest.mark.parametrize(
    ("body", "code", "retry_after"),
    [
        ("{", ErrorCode.MALFORMED_FRAME, None),
        (frame("dance"), ErrorCode.UNSUPPORTED_TYPE, None),
        (frame("chat"), ErrorCode.MISSING_CONTENT, None),
        (frame("resume"), ErrorCode.INVALID_MESSAGE, None),
        (frame("chat", {"text": "x"}, user_id="u2"), ErrorCode.IDENTITY_MISMATCH, None),
        (frame("chat", {"text": "other"}, message_id="first"), ErrorCode.MESSAGE_ID_CONFLICT, None),
        (frame("chat", {"text": "answer"}), ErrorCode.RATE_LIMITED, 60.0),
    ],
)
def test_a_frame_that_is_refused_is_no_stream(
    body: str, code: ErrorCode, retry_after: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Site(limits=Limits(messages_per_minute=1)) as site:
            await words(site, await site.endpoint.stream("u1", CHAT.replace('"m"', '"first"')))
            with (
                caplog.at_level(logging.INFO, "agent_messaging"),
                pytest.raises(RemoteError) as refused,
            ):
                await site.endpoint.stream("u1", body)
            [ended] = lines(caplog, "session_ended")
            assert ended["reason"] == "refused"
            assert refused.value.code is code
            assert refused.value.retry_after == retry_after
            assert site.endpoint.users() == {}
            assert site.endpoint.stats()["refusals"] == {str(code): 1}
            await settle()
            assert tasks_left() == []

    run_virtual(main())


def test_a_stream_is_one_of_the_users_sessions() -> None:
    async def main() -> None:
        async with Site(limits=Limits(sessions_per_user=1)) as site:
            stream = await site.endpoint.stream("u1", LONG)
            with pytest.raises(RemoteError, match="too_many_sessions"):
                await site.endpoint.stream("u1", CHAT)
            assert site.endpoint.stats()["sessions"] == 1
            await stream.aclose()
            await words(site, await site.endpoint.stream("u1", frame("ping")))

    run_virtual(main())


def test_a_call_that_is_cancelled_before_there_is_a_stream_leaves_the_message_to_the_policy() -> (
    None
):
    log = TroubledLog()

    async def main() -> None:
        async with site_on(log) as site:
            log.plan("claim", fails(seconds=1.0))
            calling = asyncio.create_task(site.endpoint.stream("u1", LONG), name="an agent's own")
            await asyncio.sleep(0.5)
            calling.cancel()
            await asyncio.wait([calling])
            assert calling.cancelled()
            assert site.endpoint.stats()["sessions"] == 0
            await asyncio.sleep(5)
            assert "m cancelled disconnected" in await site.history("m")

    run_virtual(main())


# How it ends, if it is not read to its end.


async def first_event(stream: Stream) -> Json:
    return opened(await anext(stream))


@pytest.mark.parametrize("reads", [0, 1])
@pytest.mark.parametrize("way", ["closed", "dropped", "cancelled"])
def test_one_that_is_not_gone_on_with_ends_its_session_at_once(way: str, reads: int) -> None:
    async def main() -> None:
        async with Site() as site:
            stream = await site.endpoint.stream("u1", LONG)
            for _ in range(reads):
                await first_event(stream)
            if way == "closed":
                await stream.aclose()
                assert site.endpoint.stats()["sessions"] == 0
                await stream.aclose()
            elif way == "dropped":
                del stream
                gc.collect()
            else:
                reading = asyncio.create_task(words(site, stream), name="an agent's own")
                await asyncio.sleep(1)
                reading.cancel()
                await asyncio.wait([reading])
                assert site.endpoint.stats()["sessions"] == 0
            await settle()
            assert site.endpoint.users() == {}
            assert [each.reason for each in site.finished] == ["disconnected"]

    run_virtual(main())


@pytest.mark.parametrize("reads", [0, 1])
def test_one_that_is_not_read_for_long_was_a_slow_consumer_and_its_run_has_a_grace(
    reads: int,
) -> None:
    async def main() -> None:
        async with Site(send_timeout=10.0, slow_consumer_grace=20.0) as site:
            stream = await site.endpoint.stream("u1", LONG)
            for _ in range(reads):
                await first_event(stream)
            await asyncio.sleep(11)
            assert stream.end is not None
            assert stream.end.reason == "slow_consumer"
            assert site.endpoint.stats()["slow_consumers"] == 1
            # What had been handed over is still there, and no more.
            assert len([event async for event in stream]) == 1
            assert len([event async for event in stream]) == 0
            await asyncio.sleep(10)
            assert site.endpoint.runs("u1")[0].state == "running"
            await asyncio.sleep(10)
            assert site.endpoint.runs("u1") == ()

    run_virtual(main())


def test_one_that_falls_behind_is_told_so_as_the_last_thing() -> None:
    async def main() -> None:
        async def agent(run: Any) -> None:
            for number in range(1000):
                await run.chunk(str(number))
                await asyncio.sleep(0.01)

        async with Site(agent) as site:
            stream = await site.endpoint.stream("u1", CHAT)
            await first_event(stream)
            await asyncio.sleep(4)
            frames = [opened(event) async for event in stream]
            assert [each["type"] for each in frames] == ["agent_started", "error_message"]
            assert frames[1]["payload"]["code"] == "slow_consumer"

    run_virtual(main())


def test_one_that_is_read_to_its_end_stays_at_its_end() -> None:
    async def main() -> None:
        async with Site() as site:
            stream = await site.endpoint.stream("u1", CHAT)
            await words(site, stream)
            for _ in range(2):
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            await stream.aclose()
            assert stream.end is not None
            assert stream.end.reason == "completed"

    run_virtual(main())


def test_one_whose_frame_says_goodbye_says_nothing() -> None:
    async def main() -> None:
        async with Site() as site:
            stream = await site.endpoint.stream("u1", frame("disconnect"))
            assert [event async for event in stream] == []
            assert stream.end is not None
            assert stream.end.reason == "disconnected"

    run_virtual(main())


def test_draining_an_endpoint_sees_its_streams_to_their_ends() -> None:
    async def main() -> None:
        async with Site() as site:
            stream = await site.endpoint.stream("u1", LONG)
            reading = asyncio.create_task(words(site, stream), name="an agent's own")
            await asyncio.sleep(1)
            await site.endpoint.drain(2)
            assert await reading == "m started, m cancelled shutdown"
            assert now() == pytest.approx(3, abs=0.1)

    run_virtual(main())


def test_one_that_is_dropped_when_its_loop_is_gone_is_let_go_in_silence() -> None:
    streams: list[Stream] = []

    async def main() -> None:
        site = Site(worker)
        await site.endpoint.__aenter__()
        streams.append(await site.endpoint.stream("u1", LONG))

    run_virtual(main())
    streams.clear()
    gc.collect()
