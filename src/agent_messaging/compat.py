"""The former names, wire types and services: aliases and adapters, nothing implemented twice."""

import inspect
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, Protocol, TypeAlias, cast, final

from agent_messaging._errors import (
    ConfigurationError,
    ErrorCode,
    LifecycleError,
    PayloadError,
    RemoteError,
)
from agent_messaging._events import RUN_EVENTS
from agent_messaging._handler import AgentMessageHandler
from agent_messaging._limits import is_id
from agent_messaging._log import log
from agent_messaging._messages import Message, MessageType
from agent_messaging._run import Run, RunContext

__all__ = [
    "LEGACY_MESSAGE_TYPES",
    "AdaptedService",
    "AgentHandler",
    "AgentMessageHandler",
    "FormerService",
    "FormerWebSocket",
    "SSotAgentMessageHandler",
    "SessionFactory",
    "WebSocketContext",
    "WebSocketMessage",
    "adapt_service",
    "loads_legacy",
    "normalize_message_type",
]

_logger: Final = logging.getLogger("agent_messaging.compat")

AgentHandler = AgentMessageHandler
SSotAgentMessageHandler = AgentMessageHandler
WebSocketMessage = Message
WebSocketContext = RunContext

#: What the former front ends and services called the types; today's names stand for themselves.
LEGACY_MESSAGE_TYPES: Final[Mapping[str, MessageType]] = {
    "user": MessageType.USER_MESSAGE,
    "user_input": MessageType.USER_MESSAGE,
    "message": MessageType.USER_MESSAGE,
    "chat_message": MessageType.USER_MESSAGE,
    "agent": MessageType.START_AGENT,
    "agent_request": MessageType.START_AGENT,
    "agent_task": MessageType.START_AGENT,
    "execute_agent": MessageType.START_AGENT,
    "EXECUTE_AGENT": MessageType.START_AGENT,
    "connected": MessageType.CONNECT,
    "agent_start": MessageType.AGENT_STARTED,
    "tool_execute": MessageType.TOOL_EXECUTING,
    "tool_started": MessageType.TOOL_EXECUTING,
    "tool_complete": MessageType.TOOL_COMPLETED,
    "agent_complete": MessageType.AGENT_COMPLETED,
    "agent_response": MessageType.AGENT_COMPLETED,
    "agent_response_complete": MessageType.AGENT_COMPLETED,
    "legacy_response": MessageType.AGENT_COMPLETED,
    "stream_chunk": MessageType.AGENT_RESPONSE_CHUNK,
    "agent_status": MessageType.AGENT_PROGRESS,
    "agent_status_update": MessageType.AGENT_PROGRESS,
    "agent_update": MessageType.AGENT_PROGRESS,
    "agent_error": MessageType.AGENT_FAILED,
    "agent_fallback": MessageType.AGENT_FAILED,
    "agent_stopped": MessageType.AGENT_CANCELLED,
    "factory_connection_established": MessageType.CONNECTION_ESTABLISHED,
    "isolated_connection_established": MessageType.CONNECTION_ESTABLISHED,
    "legacy_connection_established": MessageType.CONNECTION_ESTABLISHED,
    "heartbeat_ack": MessageType.HEARTBEAT,
    "legacy_heartbeat": MessageType.HEARTBEAT,
    "error": MessageType.ERROR_MESSAGE,
}

#: What a service's frame can be as an event of a run; any other is progress of its own name.
_FORMER_EVENTS: Final[Mapping[str, MessageType]] = {
    **{name: kind for name, kind in LEGACY_MESSAGE_TYPES.items() if kind in RUN_EVENTS},
    **{str(kind): kind for kind in RUN_EVENTS},
}

#: What reading and emitting a service's frame raises where the frame is at fault.
_ILLEGAL: Final = (
    LifecycleError,
    PayloadError,
    ValueError,
    TypeError,
    KeyError,
    RecursionError,
)

#: How a tool ended that gave no result.
_FAILED_TOOLS: Final = ("error", "interrupted")

_ENVELOPE: Final = frozenset(
    {"type", "payload", "data", "user_id", "thread_id", "run_id", "seq", "timestamp"}
)


def normalize_message_type(message_type: str) -> MessageType:
    """Today's type for a former name of it, or for its own.

    Raises:
        RemoteError: ``unsupported_type``, it is neither.
    """
    legacy = LEGACY_MESSAGE_TYPES.get(message_type)
    if legacy is not None:
        return legacy
    try:
        return MessageType(message_type)
    except ValueError:
        raise RemoteError(
            ErrorCode.UNSUPPORTED_TYPE, "the type is neither one of today nor a former one"
        ) from None


def loads_legacy(text: str) -> object:
    """Parse a former front end's frame, for ``NativeDialect(loads=loads_legacy)``.

    Its type becomes today's, and the thread id, where it stands in the payload alone, the
    message's own, so that a conversation stays on its thread.

    Raises:
        ValueError: the text is not JSON.
    """
    fields: object = json.loads(text)
    if not isinstance(fields, dict):
        return fields
    frame = cast("dict[str, object]", fields)
    kind = frame.get("type")
    if isinstance(kind, str):
        frame["type"] = str(LEGACY_MESSAGE_TYPES.get(kind, kind))
    payload = frame.get("payload")
    if frame.get("thread_id") is None and isinstance(payload, dict):
        frame["thread_id"] = cast("dict[str, object]", payload).get("thread_id")
    return frame


class FormerService(Protocol):
    """A service written for the former handlers; its parameters' types are the host's own."""

    def handle_start_agent(
        self, *, user_id: str, payload: Any, db_session: Any, websocket: Any
    ) -> Awaitable[object]:
        """Work on a START_AGENT, sending JSON frames on ``websocket``."""
        ...

    def handle_user_message(
        self, *, user_id: str, payload: Any, db_session: Any, websocket: Any
    ) -> Awaitable[object]:
        """Work on a USER_MESSAGE or CHAT, sending JSON frames on ``websocket``."""
        ...


#: Opens a database session for one message: as a context manager, or as a generator that yields
#: it once.
SessionFactory: TypeAlias = (
    Callable[[], AbstractAsyncContextManager[object]] | Callable[[], AsyncGenerator[object, None]]
)


def adapt_service(
    service: FormerService, session_factory: SessionFactory | None = None
) -> "AdaptedService":
    """A service of the former handlers as an agent for `AgentMessageHandler`.

    It is called as it was, with the message's payload (thread and run id filled in), a session
    from ``session_factory`` (None without one) and a stand-in for the websocket. Each JSON frame
    that it sends there becomes an event of the run: the payload keeps its content and gets the
    run's envelope, and the fields that today's clients expect where they are missing. A start or
    an end that the service does not send is supplied.

    Raises:
        ConfigurationError: the service lacks one of its two coroutine functions.
    """
    for name in ("handle_start_agent", "handle_user_message"):
        if not inspect.iscoroutinefunction(getattr(service, name, None)):
            raise ConfigurationError(
                f"{type(service).__name__}.{name} must be a coroutine function"
            )
    return AdaptedService(service, session_factory)


@final
class AdaptedService:
    """What `adapt_service` makes.

    Attributes:
        agent_name: what the service is called in agent_started: its class's name.
        dropped_frames: how many frames were dropped since they were no JSON objects, or illegal
            where they came.
    """

    def __init__(self, service: FormerService, session_factory: SessionFactory | None) -> None:
        self.agent_name: Final[str] = type(service).__name__
        # The runtime then leaves the start to the service, and supplies it if none comes.
        self._agent_messaging_relays = self.agent_name
        self.dropped_frames: int = 0
        self._service = service
        self._session_factory = session_factory

    async def handle_start_agent(self, run: Run) -> None:
        """Have the service work on a START_AGENT."""
        await self._call(self._service.handle_start_agent, run)

    async def handle_user_message(self, run: Run) -> None:
        """Have the service work on a USER_MESSAGE or CHAT."""
        await self._call(self._service.handle_user_message, run)

    async def _call(self, method: Callable[..., Awaitable[object]], run: Run) -> None:
        # The run's own, whatever the client put there.
        ids = {
            "user_id": run.context.user_id,
            "thread_id": run.context.thread_id,
            "run_id": run.context.run_id,
        }
        async with self._session() as db_session:
            # What it returns was never looked at, so it is no result either.
            await method(
                user_id=run.context.user_id,
                payload={**run.message.payload, **ids},
                db_session=db_session,
                websocket=FormerWebSocket(run, self),
            )

    def _session(self) -> AbstractAsyncContextManager[object]:
        factory = self._session_factory
        if factory is None:
            return nullcontext()
        if inspect.isasyncgenfunction(factory):
            return asynccontextmanager(factory)()
        return cast("AbstractAsyncContextManager[object]", factory())


@final
class FormerWebSocket:
    """The host's websocket as a former service sees it: what it sends goes through the run.

    Sending raises TransportError once the connection is gone. Everything beside sending is the
    host's own.
    """

    def __init__(self, run: Run, service: AdaptedService) -> None:
        self._run = run
        self._service = service
        self._started = False
        self._tools: dict[str, tuple[str, int]] = {}
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        websocket = self._run.websocket
        # A bound send method stands for the socket that it is bound to.
        return getattr(getattr(websocket, "__self__", websocket), name)

    async def send_json(self, data: object, mode: str = "text") -> None:  # noqa: ARG002
        """Relay one frame, given as an object; ``mode`` is there for what Starlette's takes."""
        await self._relay(data)

    async def send_text(self, data: str) -> None:
        """Relay one frame, given as JSON text."""
        await self._relay(data)

    async def send_str(self, data: str) -> None:
        """Relay one frame, given as JSON text."""
        await self._relay(data)

    async def send_bytes(self, data: bytes) -> None:
        """Relay one frame, given as JSON in UTF-8."""
        await self._relay(data)

    async def send(self, data: object) -> None:
        """Relay one frame, given as JSON text or UTF-8, or as an ASGI message."""
        if isinstance(data, dict):
            message = cast("dict[str, object]", data)
            if message.get("type") == "websocket.send":
                await self._relay(message.get("text") or message.get("bytes"))
                return
        await self._relay(data)  # pyright: ignore[reportUnknownArgumentType]

    async def _relay(self, data: object) -> None:
        kind = "unreadable"
        try:
            if isinstance(data, str | bytes | bytearray):
                data = json.loads(data)
            frame = dict(cast("dict[str, object]", data))
            kind = str(frame["type"])
            posted = self._emit(kind, _payload(frame))
        except _ILLEGAL as error:
            self._service.dropped_frames += 1
            fields: dict[str, object] = {
                "run_id": self._run.context.run_id,
                "type": kind if is_id(kind) else "unreadable",
                "error": type(error).__name__,
            }
            log(_logger, logging.WARNING, "frame_dropped", fields)
            return
        await posted

    def _emit(self, wire_type: str, payload: dict[str, object]) -> Awaitable[None]:
        kind = _FORMER_EVENTS.get(wire_type, MessageType.AGENT_PROGRESS)
        if not self._started:
            self._started = True
            if kind is not MessageType.AGENT_STARTED:
                start = MessageType.AGENT_STARTED
                self._run.relay(start, self._completed(start, start, {}))
        tool_call_id = None
        if kind is MessageType.TOOL_EXECUTING:
            tool_call_id = self._opened(payload)
        elif kind is MessageType.TOOL_COMPLETED:
            tool_call_id = self._closed(payload)
        return self._run.relay(kind, self._completed(kind, wire_type, payload), tool_call_id)

    def _opened(self, payload: dict[str, object]) -> str:
        """The id of a tool call that begins, in the payload too; the former ones had none."""
        tool_call_id = payload.get("tool_call_id")
        if not is_id(tool_call_id):
            self._calls += 1
            tool_call_id = f"former_{self._calls}"
            payload["tool_call_id"] = tool_call_id
        self._tools.setdefault(tool_call_id, (_tool_name(payload), self._run.elapsed_ms))
        return tool_call_id

    def _closed(self, payload: dict[str, object]) -> str | None:
        """The id of the call that ends: its own, or the oldest open one of the same tool."""
        tool_call_id = payload.get("tool_call_id")
        if not is_id(tool_call_id):
            name = _tool_name(payload)
            same = (key for key, (tool, _) in self._tools.items() if tool == name)
            tool_call_id = next(same, None)
            payload["tool_call_id"] = tool_call_id
        _, started_ms = self._tools.pop(str(tool_call_id), ("", 0))
        payload.setdefault("duration_ms", self._run.elapsed_ms - started_ms)
        return tool_call_id

    def _completed(
        self, kind: MessageType, wire_type: str, payload: dict[str, object]
    ) -> dict[str, object]:
        """The payload with the fields that it lacks; what it has stays."""
        context = self._run.context
        duration_ms = self._run.elapsed_ms
        lacking: dict[str, object]
        match kind:
            case MessageType.AGENT_STARTED:
                name = self._service.agent_name
                lacking = {"message_id": context.message_id, "agent": name}
            case MessageType.AGENT_THINKING | MessageType.AGENT_RESPONSE_CHUNK:
                lacking = {"text": _text(payload)}
            case MessageType.TOOL_EXECUTING:
                lacking = {"tool_name": _tool_name(payload), "arguments": None}
            case MessageType.TOOL_COMPLETED:
                failed = bool(payload.get("error")) or payload.get("status") in _FAILED_TOOLS
                lacking = {"tool_name": _tool_name(payload), "status": "error" if failed else "ok"}
                lacking |= {"error": _text(payload)} if failed else {"result": None}
            case MessageType.AGENT_COMPLETED:
                lacking = {"result": None, "duration_ms": duration_ms}
            case MessageType.AGENT_FAILED:
                lacking = {"code": str(ErrorCode.AGENT_ERROR), "message": _text(payload)}
                lacking |= {"retryable": False, "duration_ms": duration_ms}
            case MessageType.AGENT_CANCELLED:
                lacking = {"reason": "stopped", "duration_ms": duration_ms}
            case _:
                if "name" not in payload:
                    return {"name": wire_type, "data": payload}
                lacking = {"data": None}
        return lacking | payload


def _payload(frame: dict[str, object]) -> dict[str, object]:
    """What a former frame says: in ``payload``, in ``data``, or beside its type."""
    for name in ("payload", "data"):
        content = frame.get(name)
        if isinstance(content, dict):
            return dict(cast("dict[str, object]", content))
    return {name: value for name, value in frame.items() if name not in _ENVELOPE}


def _text(payload: dict[str, object]) -> str:
    for name in ("text", "thought", "reasoning", "message", "content", "chunk", "error"):
        text = payload.get(name)
        if isinstance(text, str):
            return text
    return ""


def _tool_name(payload: dict[str, object]) -> str:
    name = payload.get("tool_name") or payload.get("tool") or payload.get("name")
    return name if is_id(name) else "tool"
