"""The failure modes of the handlers that this replaces: one test each, named after it.

Two halves belong to rooms that are not built yet and come with them: retries that never fire
(13: the core retries nothing, appending to an event log will), and a replay that loses what it
fails to send (14: replaying is a session's).
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    Limits,
    Message,
    MessageRouter,
    MessageType,
    NativeDialect,
    OutboxFullError,
    Run,
    RunFinished,
)
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from support import chat, start_agent, tasks_left, user_message
from support.clients import Client
from support.lines import own_records

SECRET = "hunter2"


async def golden(run: Run) -> str:
    await run.thinking("Looking")
    async with run.tool("search"):
        pass
    return run.request


async def hang(run: Run) -> None:
    await asyncio.Event().wait()


async def fails_at_once(run: Run) -> None:
    raise ValueError(SECRET)


async def fails_late(run: Run) -> None:
    await golden(run)
    raise ValueError(SECRET)


async def fails_in_words(run: Run) -> None:
    raise AgentError("No", code="own")


async def fails_in_a_tool(run: Run) -> None:
    async with run.tool("search"):
        raise ValueError(SECRET)


async def fails_to_encode(run: Run) -> object:
    return object()


async def emits_what_it_must_not(run: Run) -> None:
    await run.tool_completed("never opened")


def failing_hook(details: RunFinished) -> None:
    raise ValueError(SECRET)


# 1.


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        *(
            (agent, chat())
            for agent in (
                fails_at_once,
                fails_late,
                fails_in_words,
                fails_in_a_tool,
                fails_to_encode,
                emits_what_it_must_not,
                hang,
            )
        ),
        (golden, Message(type="ping")),
        (golden, Message(type="chat")),
        (golden, Message(type="start_agent", payload={"user_request": 5})),
        (golden, start_agent(agent="nobody")),
        (golden, chat(user_id="another")),
    ],
)
def test_errors_are_counted_once_wherever_they_arise(
    agent: Callable[[Run], Awaitable[object]], message: Message
) -> None:
    """1. Errors counted twice, or not, depending on where they arose."""
    handler = AgentMessageHandler(agent, run_timeout=1, on_run_finished=failing_hook)
    client = Client(handler)
    for times in (1, 2, 3):
        assert client.say(message) is False
        assert handler.processing_stats["errors"] == times


# 2.


@pytest.mark.parametrize("agent", [golden, fails_at_once, fails_late, hang])
def test_events_sent_are_those_that_were_sent(agent: Callable[[Run], Awaitable[object]]) -> None:
    """2. "Events sent" raised by five after each message, whatever was sent."""
    handler = AgentMessageHandler(agent, run_timeout=1)
    client = Client(handler)
    client.say(chat())
    path = {"agent_started", "agent_thinking", "tool_executing", "tool_completed"}
    on_the_path = [kind for kind in client.types if kind in path | {"agent_completed"}]
    assert handler.processing_stats["golden_path_events_sent"] == len(on_the_path)


# 3.


def test_the_injected_service_is_the_one_that_works() -> None:
    """3. The injected service ignored, and another built for each message."""
    built: list[object] = []

    class Service:
        def __init__(self) -> None:
            built.append(self)
            self.worked = 0

        async def handle_start_agent(self, run: Run) -> None:
            self.worked += 1

        async def handle_user_message(self, run: Run) -> None:
            self.worked += 1

    service = Service()
    client = Client(AgentMessageHandler(service))
    for message in (start_agent(), user_message(), chat()):
        assert client.say(message)
    assert service.worked == 3
    assert built == [service]


# 4.


def test_a_log_line_never_fails_a_message(caplog: pytest.LogCaptureFixture) -> None:
    """4. A log statement that fails the message (serialising something that will not)."""

    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError(SECRET)

        __str__ = __repr__

    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

    async def agent(run: Run) -> None:
        if run.request == "fail":
            raise UnprintableError

    client = Client(AgentMessageHandler(agent))
    with caplog.at_level(logging.DEBUG):
        for text, outcome in (("work", True), ("fail", False)):
            payload: dict[str, object] = {"text": text, "odd": Unprintable()}
            assert client.say(Message(type="chat", payload=payload)) is outcome
        assert client.say(Message(type="ping", payload={"odd": Unprintable()})) is False
    assert client.types[-1] == "error_message"


# 5.


@pytest.mark.parametrize("kind", [*MessageType, "of_the_hosts_own"])
def test_every_message_gets_a_yes_or_a_no(kind: str) -> None:
    """5. A handler that falls through and returns None."""
    handler = AgentMessageHandler(golden)
    message = Message(type=kind, payload={"text": "x", "user_request": "x"})
    for receiver in (handler, MessageRouter(handler), MessageRouter()):
        for transport in (
            RecordingTransport(),
            RecordingTransport(fails_at=1),
            RecordingTransport(hangs_at=1),
        ):
            assert type(Client(receiver, transport).say(message)) is bool


# 6.


def test_what_the_user_could_not_be_told_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """6. A bare ``except: pass`` around telling the user."""
    handler = AgentMessageHandler(fails_at_once)
    client = Client(handler, RecordingTransport(fails_at=2))
    with caplog.at_level(logging.INFO, "agent_messaging"):
        assert client.say(chat()) is False
    assert handler.processing_stats["undelivered_events"] == 1
    (line,) = [each for each in own_records(caplog) if each.__dict__["event"] == "transport_failed"]
    assert (line.__dict__["error"], line.__dict__["undelivered"]) == ("ConnectionError", 1)


# 7.


def test_the_messages_of_one_conversation_stay_on_its_thread() -> None:
    """7. A fresh thread for each message of one conversation."""
    client = Client(AgentMessageHandler(golden))
    for message in (start_agent(thread_id="t1"), user_message(thread_id="t1")):
        assert client.say(message)
    assert {frame["thread_id"] for frame in client.frames} == {"t1"}


# 8.


def test_an_unknown_type_is_never_a_success() -> None:
    """8. Unknown types acknowledged as if handled; a fallback that reports success."""
    handler = AgentMessageHandler(golden)
    for receiver in (handler, MessageRouter(handler), MessageRouter()):
        client = Client(receiver)
        assert client.say(Message(type="teleport", payload={"text": "x"})) is False
        assert client.types == ["error_message"]
        assert client.payload("error_message")["code"] == "unsupported_type"
    assert handler.processing_stats["messages_processed"] == 0


# 9.


def test_no_enum_member_shows_on_the_wire_or_in_the_statistics() -> None:
    """9. Enum members leaking as ``MessageType.X`` into the wire or the statistics."""

    async def agent(run: Run) -> object:
        await run.progress("kinds", {"kind": MessageType.CHAT, MessageType.PING: 1})
        return [MessageType.CHAT]

    handler = AgentMessageHandler(agent)
    client = Client(MessageRouter(handler))
    client.say(Message(type=MessageType.CHAT, payload={"text": "x"}))
    client.say(Message(type=MessageType.CHAT))
    client.say(Message(type=MessageType.PING))
    assert "MessageType" not in "".join(client.transport.frames)
    assert client.payload("agent_progress")["data"] == {"kind": "chat", "ping": 1}
    written = repr([handler.get_stats(), client.handler.get_stats()])
    assert "MessageType" not in written
    assert "ErrorCode" not in written


# 10.


def test_no_payload_key_reaches_the_envelope() -> None:
    """10. Payload keys that overwrite the envelope's ``type``."""
    posing: dict[str, object] = {
        "type": "agent_completed",
        "payload": {},
        "user_id": "another",
        "thread_id": "another",
        "run_id": "another",
        "seq": 99,
        "timestamp": 0,
    }

    async def agent(run: Run) -> object:
        await run.progress("p", posing)
        await run.relay(MessageType.AGENT_PROGRESS, posing)
        async with run.tool("t", posing) as call:
            call.result = posing
        return posing

    client = Client(AgentMessageHandler(agent))
    payload = {**posing, "text": "x"}
    assert client.say(Message(type="chat", payload=payload, thread_id="t1"))
    assert [frame["seq"] for frame in client.frames] == list(range(1, 7))
    assert client.types[1:3] == ["agent_progress"] * 2
    assert {(frame["user_id"], frame["thread_id"]) for frame in client.frames} == {("user-1", "t1")}


# 11.


def test_a_message_whose_transport_gave_up_was_not_sent() -> None:
    """11. "Sent" returned after the transport gave up."""
    for fails_at in range(1, 6):
        client = Client(AgentMessageHandler(golden), RecordingTransport(fails_at=fails_at))
        assert client.say(chat()) is False
        assert client.handler.get_stats()["undelivered_events"]


# 12.


def test_the_user_is_the_connections_whatever_a_frame_says() -> None:
    """12. A thread id used as a user id; a cross-user check that misses the plain key."""
    users: list[str] = []

    async def agent(run: Run) -> None:
        users.append(run.context.user_id)

    client = Client(MessageRouter(AgentMessageHandler(agent)))
    frame = {"type": "chat", "payload": {"text": "x", "user_id": "victim"}, "thread_id": "victim"}
    router = MessageRouter(AgentMessageHandler(agent))
    assert run_virtual(router.handle_frame("user-1", client.transport, json.dumps(frame))) is True
    assert users == ["user-1"]
    assert {each["user_id"] for each in client.frames} == {"user-1"}
    posing = json.dumps(frame | {"user_id": "victim"})
    assert run_virtual(router.handle_frame("user-1", client.transport, posing)) is False
    assert client.payload("error_message")["code"] == "identity_mismatch"
    assert users == ["user-1"]


# 13.


def test_ids_do_not_collide_within_a_moment() -> None:
    """13. Event ids that collide within a millisecond."""
    client = Client(AgentMessageHandler(golden, clock=loop_clock()))

    async def main() -> None:
        await asyncio.gather(*(client.send(chat()) for _ in range(300)))

    run_virtual(main())
    assert len({frame["timestamp"] for frame in client.frames}) == 1
    assert len({(frame["run_id"], frame["seq"]) for frame in client.frames}) == 300 * 5
    ids = {frame["payload"]["message_id"] for frame in client.frames if frame["seq"] == 1}
    assert len(ids) == 300


# 14.


def emit_without_awaiting(run: Run) -> None:
    for number in range(100):
        run.chunk(str(number))


def test_a_full_outbox_drops_nothing_and_still_takes_the_end() -> None:
    """14. A full buffer that drops the critical event and keeps the trivial one."""

    async def agent(run: Run) -> None:
        await run.tool_executing("c1", "search")
        with pytest.raises(OutboxFullError):
            emit_without_awaiting(run)
        raise AgentError("Too much", code="own")

    limits = Limits(outbox_frames=2, outbox_overrun=10)
    client = Client(AgentMessageHandler(agent, limits=limits), RecordingTransport(turns=1))
    assert client.say(chat()) is False
    assert [frame["seq"] for frame in client.frames] == list(range(1, len(client.frames) + 1))
    assert client.types[-2:] == ["tool_completed", "agent_failed"]
    assert client.payload("agent_failed")["code"] == "own"


# 15.


def test_closing_ends_whatever_the_transport_does() -> None:
    """15. A ``close()`` that deadlocks."""

    async def main() -> None:
        handler = AgentMessageHandler(golden, final_send_timeout=1)
        router = MessageRouter(handler, final_send_timeout=1)
        for connection in (
            RecordingTransport(hangs_at=1),
            RecordingTransport(seconds=100),
            RecordingTransport(turns=3),
        ):
            for receiver in (handler, router):
                await receiver.handle_message("user-1", connection, chat())
        await asyncio.gather(handler.aclose(), router.aclose(), handler.aclose())
        await handler.aclose()
        assert tasks_left() == []

    run_virtual(main())


def test_an_agent_may_close_its_own_handler() -> None:
    """15. A ``close()`` that deadlocks: here, called from within."""

    async def agent(run: Run) -> None:
        await handler.aclose()

    handler = AgentMessageHandler(agent, final_send_timeout=1)
    assert Client(handler).say(chat()) is True
    assert Client(handler, RecordingTransport(hangs_at=1)).say(chat()) is False


# 16.


def test_what_is_sent_passes_the_librarys_own_validation() -> None:
    """16. Validators that reject what the emitter sends."""

    async def agent(run: Run) -> object:
        await run.progress("p", {"text": "\u2028 \x00 \U0001f600", "big": 10**90, "none": None})
        await golden(run)
        await fails_in_a_tool(run)
        return None

    client = Client(AgentMessageHandler(agent))
    client.say(chat())
    client.say(Message(type="ping"))
    dialect = NativeDialect()
    for frame in client.transport.frames:
        message = dialect.decode(frame)
        assert message.type in set(MessageType)
        assert Message.from_dict(message.to_dict()) == message
    assert client.types[-2:] == ["agent_failed", "error_message"]


# 17.


def test_statistics_are_handed_out_detached() -> None:
    """17. ``get_stats()`` handed out by reference."""
    handler = AgentMessageHandler(golden)
    router = MessageRouter(handler)
    Client(router).say(chat())
    Client(router).say(Message(type="ping"))
    for receiver in (handler, router):
        first, second = receiver.get_stats(), receiver.get_stats()
        assert first == second
        shared = [
            name
            for name, value in first.items()
            if isinstance(value, dict | list) and value is second[name]  # type: ignore[literal-required]
        ]
        assert shared == []


# 18.


def test_nothing_is_validated_by_sleeping() -> None:
    """18. Validation by sleeping."""

    async def main() -> None:
        client = Client(MessageRouter(AgentMessageHandler(golden)))
        for message in (start_agent(), user_message(), chat(), Message(type="ping")):
            await client.send(message)
        assert asyncio.get_running_loop().time() == 0

    run_virtual(main())
