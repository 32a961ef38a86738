"""The former names are the one handler; former services and front ends go on as they were."""

import importlib
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import agent_messaging
from agent_messaging import (
    AgentMessageHandler,
    ConfigurationError,
    Message,
    MessageRouter,
    MessageType,
    NativeDialect,
    RemoteError,
    RunContext,
    RunFinished,
    compat,
)
from agent_messaging.testing import RecordingTransport, run_virtual
from support import chat, decoded, start_agent, user_message
from support.lines import own_records

LAYOUT = Path(__file__).parents[2] / "docs" / "examples" / "former_layout"

Script = Callable[[Any, dict[str, Any]], Awaitable[object]]


class Service:
    """A service of the former handlers that does what ``script`` does with the websocket."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[tuple[str, str, dict[str, Any], object]] = []

    async def handle_start_agent(
        self, user_id: str, payload: dict[str, Any], db_session: object, websocket: Any
    ) -> object:
        self.calls.append(("start", user_id, payload, db_session))
        return await self.script(websocket, payload)

    async def handle_user_message(
        self, user_id: str, payload: dict[str, Any], db_session: object, websocket: Any
    ) -> object:
        self.calls.append(("message", user_id, payload, db_session))
        return await self.script(websocket, payload)


def frames_of(*sent: dict[str, object], raises: Exception | None = None) -> list[dict[str, Any]]:
    """What the client gets from a service that sends these frames with ``send_json``."""

    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        for frame in sent:
            await websocket.send_json(frame)
        if raises is not None:
            raise raises

    transport = RecordingTransport()
    handler = AgentMessageHandler(compat.adapt_service(Service(script)))
    run_virtual(
        handler.handle_message("u1", transport, start_agent(message_id="m1", thread_id="t1"))
    )
    return decoded(transport.frames)


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


def test_every_former_name_is_the_canonical_object() -> None:
    assert compat.AgentMessageHandler is AgentMessageHandler
    assert compat.AgentHandler is AgentMessageHandler
    assert compat.SSotAgentMessageHandler is AgentMessageHandler
    assert compat.WebSocketMessage is Message
    assert compat.WebSocketContext is RunContext


def test_a_package_laid_out_like_the_former_one_resolves_every_import_to_the_one_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [str(LAYOUT), *sys.path])
    core = "netra_backend.app.websocket_core"
    handler = importlib.import_module(f"{core}.agent_handler")
    canonical = importlib.import_module(f"{core}.ssot_agent_message_handler")
    assert handler.AgentMessageHandler is AgentMessageHandler
    assert handler.AgentHandler is AgentMessageHandler
    assert canonical.SSotAgentMessageHandler is AgentMessageHandler
    assert canonical.AgentMessageHandler is AgentMessageHandler
    assert canonical.AgentHandler is AgentMessageHandler


def test_importing_the_package_does_not_import_the_compatibility_module() -> None:
    assert "compat" not in agent_messaging.__all__


def test_a_former_service_runs_unchanged_and_its_frames_become_the_runs_events() -> None:
    frames = frames_of(
        {"type": "agent_started", "payload": {"agent_type": "report"}},
        {"type": "agent_thinking", "payload": {"thought": "Reading"}},
        {"type": "tool_executing", "payload": {"tool_name": "query", "sql": "select"}},
        {"type": "tool_completed", "payload": {"tool_name": "query", "rows": 3}},
        {"type": "agent_completed", "payload": {"summary": "done"}},
    )
    assert types(frames) == [str(kind) for kind in agent_messaging.GOLDEN_PATH]
    assert [frame["seq"] for frame in frames] == [1, 2, 3, 4, 5]
    assert {frame["thread_id"] for frame in frames} == {"t1"}
    started, thinking, executing, completed, ended = (frame["payload"] for frame in frames)
    assert started == {"message_id": "m1", "agent": "Service", "agent_type": "report"}
    assert thinking == {"text": "Reading", "thought": "Reading"}
    assert executing == {
        "tool_call_id": "former_1",
        "tool_name": "query",
        "arguments": None,
        "sql": "select",
    }
    assert completed["tool_call_id"] == "former_1"
    assert (completed["status"], completed["result"], completed["rows"]) == ("ok", None, 3)
    assert completed["duration_ms"] >= 0
    assert ended["summary"] == "done"
    assert ended["result"] is None


def test_the_service_is_called_as_it_was() -> None:
    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        await websocket.send_json({"type": "agent_thinking", "payload": {"text": "Hm"}})

    async def sessions() -> AsyncGenerator[str, None]:
        yield "session"

    service = Service(script)
    handler = AgentMessageHandler(compat.adapt_service(service, sessions))

    async def messages() -> None:
        for message in (start_agent("go", thread_id="t1"), user_message(), chat()):
            assert await handler.handle_message("u1", RecordingTransport(), message)

    run_virtual(messages())
    assert [call[0] for call in service.calls] == ["start", "message", "message"]
    kind, user_id, payload, session = service.calls[0]
    assert (kind, user_id, session) == ("start", "u1", "session")
    assert payload["user_request"] == "go"
    assert payload["thread_id"] == "t1"
    assert payload["run_id"]


def test_the_ids_that_a_service_reads_are_the_runs_whatever_the_client_puts_there() -> None:
    async def script(websocket: Any, payload: dict[str, Any]) -> None: ...

    service = Service(script)
    message = Message(
        type="chat",
        thread_id="t1",
        payload={"text": "x", "thread_id": "t2", "run_id": "mine", "user_id": "u2"},
    )
    run_virtual(
        AgentMessageHandler(compat.adapt_service(service)).handle_message(
            "u1", RecordingTransport(), message
        )
    )
    payload = service.calls[0][2]
    assert (payload["user_id"], payload["thread_id"]) == ("u1", "t1")
    assert payload["run_id"] != "mine"


def test_a_frame_that_nests_too_deeply_to_read_is_dropped() -> None:
    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        await websocket.send_text("[" * 200_000)

    service = compat.adapt_service(Service(script))
    assert run_virtual(
        AgentMessageHandler(service).handle_message("u1", RecordingTransport(), chat())
    )
    assert service.dropped_frames == 1


def test_the_code_that_a_service_ends_with_is_the_runs() -> None:
    finished: list[RunFinished] = []

    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        await websocket.send_json({"type": "agent_error", "payload": {"code": "quota"}})

    handler = AgentMessageHandler(
        compat.adapt_service(Service(script)), on_run_finished=finished.append
    )
    run_virtual(handler.handle_message("u1", RecordingTransport(), chat()))
    assert finished[0].code == "quota"


def test_a_session_factory_may_give_context_managers() -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def session() -> AsyncGenerator[str, None]:
        yield "session"
        closed.append("session")

    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        pass

    service = Service(script)
    handler = AgentMessageHandler(compat.adapt_service(service, session))
    assert run_virtual(handler.handle_message("u1", RecordingTransport(), chat()))
    assert service.calls[0][3] == "session"
    assert closed == ["session"]


def test_without_a_session_factory_the_session_is_none() -> None:
    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        pass

    service = Service(script)
    assert run_virtual(
        AgentMessageHandler(compat.adapt_service(service)).handle_message(
            "u1", RecordingTransport(), chat()
        )
    )
    assert service.calls[0][3] is None


def test_a_missing_start_and_end_are_supplied() -> None:
    frames = frames_of({"type": "agent_thinking", "payload": {"text": "Hm"}})
    assert types(frames) == ["agent_started", "agent_thinking", "agent_completed"]
    assert frames[0]["payload"] == {"message_id": "m1", "agent": "Service"}


def test_a_service_that_sends_nothing_has_a_start_and_an_end() -> None:
    assert types(frames_of()) == ["agent_started", "agent_completed"]


def test_a_service_that_fails_before_its_end_has_a_failed_run() -> None:
    frames = frames_of({"type": "agent_started"}, raises=ValueError("private"))
    assert types(frames) == ["agent_started", "agent_failed"]
    assert "private" not in json.dumps(frames)


def test_a_service_that_fails_after_its_end_has_the_end_that_it_sent() -> None:
    finished: list[RunFinished] = []
    error = ValueError("late")

    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        await websocket.send_json({"type": "agent_completed", "payload": {"result": 1}})
        raise error

    transport = RecordingTransport()
    handler = AgentMessageHandler(
        compat.adapt_service(Service(script)), on_run_finished=finished.append
    )
    run_virtual(handler.handle_message("u1", transport, chat()))
    assert types(decoded(transport.frames)) == ["agent_started", "agent_completed"]
    assert finished[0].error is error


def test_an_illegal_frame_is_dropped_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        await websocket.send_text("{")
        await websocket.send_text('"text"')
        await websocket.send_json({"no": "type"})
        await websocket.send_json({"type": "tool_completed", "payload": {"tool_name": "none"}})
        await websocket.send_json({"type": "agent_thinking", "payload": {"text": object()}})
        await websocket.send_json({"type": "agent_started"})
        await websocket.send_json({"type": "agent_completed"})
        await websocket.send_json({"type": "agent_completed"})
        await websocket.send_json({"type": "x" * 200})

    transport = RecordingTransport()
    service = compat.adapt_service(Service(script))
    assert run_virtual(AgentMessageHandler(service).handle_message("u1", transport, chat()))
    assert types(decoded(transport.frames)) == ["agent_started", "agent_completed"]
    assert service.dropped_frames == 8
    dropped = [
        record for record in own_records(caplog) if record.getMessage().startswith("frame_dropped")
    ]
    assert len(dropped) == 8
    assert "x" * 200 not in caplog.text


def test_an_end_interrupts_the_tools_that_the_service_left_open() -> None:
    frames = frames_of(
        {"type": "tool_executing", "payload": {"tool": "query"}},
        {"type": "agent_error", "payload": {"error": "no database"}},
    )
    assert types(frames) == ["agent_started", "tool_executing", "tool_completed", "agent_failed"]
    assert frames[2]["payload"]["status"] == "interrupted"
    assert frames[3]["payload"]["message"] == "no database"
    assert frames[3]["payload"]["code"] == "agent_error"
    assert frames[3]["payload"]["retryable"] is False


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"error": "no"}, {"status": "error", "error": "no"}),
        ({"status": "error", "message": "no"}, {"status": "error", "error": "no"}),
        ({"status": "interrupted"}, {"status": "interrupted", "error": ""}),
    ],
)
def test_a_tool_that_failed_has_the_status_that_says_so_and_an_error(
    said: dict[str, str], told: dict[str, str]
) -> None:
    frames = frames_of(
        {"type": "tool_executing", "payload": {"tool_name": "a"}},
        {"type": "tool_completed", "payload": {"tool_name": "a", **said}},
    )
    payload = frames[2]["payload"]
    assert {name: payload[name] for name in told} == told
    assert "result" not in payload


def test_tools_without_ids_pair_by_name_oldest_first_and_ids_are_kept() -> None:
    frames = frames_of(
        {"type": "tool_executing", "payload": {"tool_name": "a"}},
        {"type": "tool_executing", "payload": {"tool_name": "b"}},
        {"type": "tool_executing", "payload": {"tool_name": "a"}},
        {"type": "tool_executing", "payload": {"tool_name": "a", "tool_call_id": "mine"}},
        {"type": "tool_completed", "payload": {"tool_name": "a", "tool_call_id": "mine"}},
        {"type": "tool_completed", "payload": {"tool_name": "a"}},
        {"type": "tool_completed", "payload": {"tool_name": "b"}},
        {"type": "tool_completed", "payload": {"tool_name": "a"}},
    )
    completed = [f["payload"]["tool_call_id"] for f in frames if f["type"] == "tool_completed"]
    assert completed == ["mine", "former_1", "former_2", "former_3"]


@pytest.mark.parametrize(
    ("sent", "payload"),
    [
        ({"type": "agent_update", "payload": {"a": 1}}, {"name": "agent_update", "data": {"a": 1}}),
        ({"type": "thread_created", "id": 7}, {"name": "thread_created", "data": {"id": 7}}),
        ({"type": "pong"}, {"name": "pong", "data": {}}),
        (
            {"type": "agent_progress", "payload": {"name": "step", "of": 3}},
            {"name": "step", "data": None, "of": 3},
        ),
    ],
)
def test_a_frame_that_is_no_event_of_today_is_progress_of_its_name(
    sent: dict[str, object], payload: dict[str, object]
) -> None:
    frames = frames_of(sent)
    assert types(frames) == ["agent_started", "agent_progress", "agent_completed"]
    assert frames[1]["payload"] == payload


def test_a_payload_cannot_overwrite_the_envelope() -> None:
    frames = frames_of({"type": "agent_thinking", "payload": {"type": "x", "seq": 9, "run_id": 1}})
    assert types(frames) == ["agent_started", "agent_thinking", "agent_completed"]
    assert frames[1]["seq"] == 2
    assert frames[1]["run_id"] == frames[0]["run_id"]
    assert frames[1]["payload"]["text"] == ""


def test_a_chunk_and_a_stop_have_their_former_names() -> None:
    frames = frames_of(
        {"type": "stream_chunk", "data": {"content": "Hi"}},
        {"type": "agent_stopped", "payload": {}},
    )
    assert types(frames) == ["agent_started", "agent_response_chunk", "agent_cancelled"]
    assert frames[1]["payload"]["text"] == "Hi"
    assert frames[2]["payload"]["reason"] == "stopped"


def test_every_way_of_sending_that_a_socket_had_is_there() -> None:
    frame = {"type": "agent_thinking", "payload": {"text": "Hm"}}
    text = json.dumps(frame)

    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        await websocket.send_json(frame, mode="binary")
        await websocket.send_text(text)
        await websocket.send_str(text)
        await websocket.send_bytes(text.encode())
        await websocket.send(text)
        await websocket.send(frame)
        await websocket.send({"type": "websocket.send", "text": text})
        await websocket.send({"type": "websocket.send", "bytes": text.encode()})

    transport = RecordingTransport()
    handler = AgentMessageHandler(compat.adapt_service(Service(script)))
    assert run_virtual(handler.handle_message("u1", transport, chat()))
    assert types(decoded(transport.frames))[1:-1] == ["agent_thinking"] * 8


def test_what_a_socket_has_beside_sending_is_the_hosts_own() -> None:
    class Socket:
        state = "the host's"

        async def send_text(self, data: str) -> None:
            await transport(data)

    transport = RecordingTransport()
    states: list[object] = []

    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        states.append(websocket.state)
        with pytest.raises(AttributeError):
            _ = websocket.nothing_of_that_name

    handler = AgentMessageHandler(compat.adapt_service(Service(script)))
    socket = Socket()

    async def both() -> None:
        assert await handler.handle_message("u1", socket, chat())
        assert await handler.handle_message("u1", socket.send_text, chat())

    run_virtual(both())
    assert states == ["the host's", "the host's"]


def test_a_service_whose_connection_is_gone_reads_the_transport_error() -> None:
    errors: list[Exception] = []

    async def script(websocket: Any, payload: dict[str, Any]) -> None:
        try:
            for _ in range(1000):
                await websocket.send_json({"type": "agent_thinking", "payload": {"text": "Hm"}})
        except agent_messaging.TransportError as error:
            errors.append(error)
            raise

    handler = AgentMessageHandler(compat.adapt_service(Service(script)))
    assert (
        run_virtual(handler.handle_message("u1", RecordingTransport(fails_at=3), chat())) is False
    )
    assert len(errors) == 1
    assert handler.processing_stats["runs_cancelled"] == 1


def test_a_service_without_its_two_coroutine_functions_is_refused() -> None:
    class Half:
        async def handle_start_agent(self, **_: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Half\.handle_user_message"):
        compat.adapt_service(Half())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", sorted(compat.LEGACY_MESSAGE_TYPES))
def test_a_former_type_has_a_name_of_today(name: str) -> None:
    assert compat.normalize_message_type(name) is compat.LEGACY_MESSAGE_TYPES[name]
    assert name not in set(MessageType)


@pytest.mark.parametrize("kind", list(MessageType))
def test_a_type_of_today_stands_for_itself(kind: MessageType) -> None:
    assert compat.normalize_message_type(kind) is kind
    assert compat.normalize_message_type(str(kind)) is kind


def test_an_unknown_type_is_never_taken_for_another() -> None:
    with pytest.raises(RemoteError) as caught:
        compat.normalize_message_type("resilience_test")
    assert caught.value.code == "unsupported_type"


def test_a_former_front_end_is_understood_and_stays_on_its_thread() -> None:
    async def agent(run: agent_messaging.Run) -> str:
        return run.request

    transport = RecordingTransport()
    router = MessageRouter(
        AgentMessageHandler(agent), dialect=NativeDialect(loads=compat.loads_legacy)
    )

    async def conversation() -> None:
        for frame in (
            '{"type":"execute_agent","payload":{"user_request":"a","thread_id":"t1"}}',
            '{"type":"chat_message","payload":{"content":"b","thread_id":"t1"}}',
            '{"type":"chat","thread_id":"t2","payload":{"content":"c","thread_id":"t1"}}',
        ):
            assert await router.handle_frame("u1", transport, frame)
        for frame in ("[1]", '{"type":5}', '{"type":"chat","payload":5}', "{", '{"type":"x"}'):
            assert not await router.handle_frame("u1", transport, frame)

    run_virtual(conversation())
    frames = decoded(transport.frames)
    threads = [f["thread_id"] for f in frames if f["type"] == "agent_completed"]
    assert threads == ["t1", "t1", "t2"]
    codes = [f["payload"]["code"] for f in frames if f["type"] == "error_message"]
    assert codes == [
        "malformed_frame",
        "invalid_message",
        "invalid_message",
        "malformed_frame",
        "unsupported_type",
    ]
