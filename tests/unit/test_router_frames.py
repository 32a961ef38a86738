"""A router from the frame on: decoding, its own replies, and its connections."""

import asyncio

from agent_messaging import AgentMessageHandler, Limits, Message, MessageRouter, NativeDialect, Run
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from support import chat
from support.clients import Client

PING = Message(type="ping", message_id="m1")


async def echo(run: Run) -> str:
    return run.request


def test_a_frame_is_decoded_and_handled() -> None:
    transport = RecordingTransport()
    router = MessageRouter(AgentMessageHandler(echo))
    for frame in (
        '{"type":"chat","payload":{"text":"a"}}',
        b'{"type":"chat","payload":{"text":"a"}}',
    ):
        assert run_virtual(router.handle_frame("u1", transport, frame)) is True
    assert len(transport.frames) == 4


def test_a_frame_that_does_not_decode_is_answered_and_the_connection_lives_on() -> None:
    router = MessageRouter(
        AgentMessageHandler(echo),
        dialect=NativeDialect(limits=Limits(frame_bytes=80)),
        clock=loop_clock(),
    )
    client = Client(router)
    frames = ["{", "[]", '{"type":5,"message_id":"m1"}', '{"type":"chat","x":"' + "x" * 80 + '"}']
    for frame in frames:
        assert run_virtual(router.handle_frame("u1", client.transport, frame)) is False
    assert [payload["code"] for payload in client.payloads("error_message")] == [
        "malformed_frame",
        "malformed_frame",
        "invalid_message",
        "frame_too_large",
    ]
    assert client.payloads("error_message")[2]["message_id"] == "m1"
    assert router.get_stats()["errors"] == 4
    assert client.say(chat()) is True


def test_closing_a_router_waits_for_what_cancelled_calls_left_behind() -> None:
    async def main() -> None:
        router = MessageRouter(AgentMessageHandler(echo, final_send_timeout=1))
        client = Client(router, RecordingTransport(seconds=1))
        assert await client.send(chat()) is False
        await router.aclose()
        assert client.types == ["agent_started", "agent_completed"]
        await router.aclose()

    run_virtual(main())


# Its own replies and connections.


def test_a_reply_of_the_router_is_timed_by_its_clock() -> None:
    client = Client(MessageRouter(clock=loop_clock(1_700_000_000.5)))
    client.say(PING)
    assert client.frames[0]["timestamp"] == 1_700_000_000.5


def test_the_wait_for_a_reply_is_five_seconds_unless_the_host_says_otherwise() -> None:
    async def main() -> None:
        router = MessageRouter()
        assert await Client(router, RecordingTransport(hangs_at=1)).send(PING) is False
        assert asyncio.get_running_loop().time() == 5
        await router.aclose()

    run_virtual(main())


def test_a_failed_connection_is_tried_anew_by_the_next_message_and_the_next_frame() -> None:
    async def main() -> None:
        transport = RecordingTransport(fails_at=1)
        router = MessageRouter(AgentMessageHandler(echo))
        for sends in (1, 2):
            assert await router.handle_message("u1", transport, PING) is False
            assert transport.sends == sends
        for sends in (3, 4):
            assert await router.handle_frame("u1", transport, "{") is False
            assert transport.sends == sends

    run_virtual(main())
