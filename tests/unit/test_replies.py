"""Refusals are answered, counted and logged, whatever happens around them."""

import asyncio

import pytest

from agent_messaging import AgentMessageHandler, Limits, Message, NativeDialect, Run
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from support import chat
from support.clients import Client
from support.loop import steps


async def echo(run: Run) -> str:
    return run.request


PING = Message(type="ping", message_id="m1")


def test_a_refusal_is_one_control_frame() -> None:
    client = Client(AgentMessageHandler(echo, clock=loop_clock(1_700_000_000.5)))
    assert client.say(PING) is False
    (frame,) = client.frames
    assert frame == {
        "type": "error_message",
        "payload": {
            "code": "unsupported_type",
            "message": "no handler takes messages of this type",
            "message_id": "m1",
        },
        "timestamp": 1_700_000_000.5,
    }


def test_the_answer_is_out_when_the_call_returns() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(echo), RecordingTransport(seconds=2))
        assert await client.send(PING) is False
        assert client.types == ["error_message"]

    run_virtual(main())


def test_an_answer_waits_behind_the_frames_of_a_run() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(echo), RecordingTransport(seconds=1))
        await asyncio.gather(client.send(chat()), client.send(PING))
        assert client.types == ["agent_started", "agent_completed", "error_message"]

    run_virtual(main())


def test_the_wait_for_an_answer_is_bounded() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        handler = AgentMessageHandler(echo, final_send_timeout=3)
        client = Client(handler, RecordingTransport(hangs_at=1))
        assert await client.send(PING) is False
        assert loop.time() == 3
        await handler.aclose()
        assert client.frames == []

    run_virtual(main())


def test_a_refusal_is_answered_before_its_cancellation_is_raised_on() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(echo), RecordingTransport(seconds=1))
        task = client.start(PING)
        await steps(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types == ["error_message"]

    run_virtual(main())


def test_a_refusal_over_a_transport_that_fails_is_counted_and_raises_nothing() -> None:
    client = Client(AgentMessageHandler(echo), RecordingTransport(fails_at=1))
    assert client.say(PING) is False
    assert client.handler.get_stats()["errors"] == 1
    assert client.handler.get_stats()["undelivered_events"] == 0


def test_an_answer_is_no_event_of_a_run() -> None:
    handler = AgentMessageHandler(echo)
    Client(handler).say(PING)
    assert handler.processing_stats["golden_path_events_sent"] == 0
    assert sum(handler.processing_stats["events_sent"].values()) == 0
    assert "error_message" not in handler.processing_stats["events_sent"]


def failing_dumps(value: object) -> str:
    raise RuntimeError


@pytest.mark.parametrize(
    "dialect",
    [NativeDialect(dumps=failing_dumps), NativeDialect(limits=Limits(payload_bytes=1))],
    ids=["failing encoder", "tiny bound"],
)
def test_a_refusal_is_answered_whatever_the_hosts_encoder_and_bound(dialect: NativeDialect) -> None:
    client = Client(AgentMessageHandler(echo, dialect=dialect))
    assert client.say(PING) is False
    assert client.payload("error_message")["code"] == "unsupported_type"
