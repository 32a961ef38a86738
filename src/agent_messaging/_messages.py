"""What comes in: the wire's type names, and a client's message."""

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum
from math import isfinite
from typing import Any, Final, NoReturn, cast, final

from agent_messaging._errors import ErrorCode, RemoteError
from agent_messaging._limits import is_id
from agent_messaging._records import record

__all__ = ["AGENT_MESSAGES", "Message", "MessageType"]


class MessageType(StrEnum):
    """Every ``type`` on the wire, both ways."""

    # agent messages, in
    START_AGENT = "start_agent"
    USER_MESSAGE = "user_message"
    CHAT = "chat"
    # control, in
    CONNECT = "connect"
    DISCONNECT = "disconnect"
    PING = "ping"
    STOP_AGENT = "stop_agent"
    RESUME = "resume"
    # golden path, out
    AGENT_STARTED = "agent_started"
    AGENT_THINKING = "agent_thinking"
    TOOL_EXECUTING = "tool_executing"
    TOOL_COMPLETED = "tool_completed"
    AGENT_COMPLETED = "agent_completed"
    # other run events, out
    AGENT_QUEUED = "agent_queued"
    AGENT_RESPONSE_CHUNK = "agent_response_chunk"
    AGENT_PROGRESS = "agent_progress"
    AGENT_FAILED = "agent_failed"
    AGENT_CANCELLED = "agent_cancelled"
    # control, out
    CONNECTION_ESTABLISHED = "connection_established"
    PONG = "pong"
    HEARTBEAT = "heartbeat"
    STOPPED = "stopped"
    RESUMED = "resumed"
    ERROR_MESSAGE = "error_message"


#: The messages that start a run.
AGENT_MESSAGES: Final = frozenset(
    {MessageType.START_AGENT, MessageType.USER_MESSAGE, MessageType.CHAT}
)

_START_AGENT: Final = MessageType.START_AGENT

#: Where a message's text stands; the first field that is not blank counts.
TEXT_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    MessageType.START_AGENT: ("user_request",),
    MessageType.USER_MESSAGE: ("message", "content", "text"),
    MessageType.CHAT: ("message", "content", "text"),
}


@final
@record
class Message:
    """One message of a client, validated when it is constructed.

    ``type`` is one of `MessageType` or a type of the host's own. Ids are strings of at most
    128 printable characters, ``timestamp`` is in Unix seconds; all but ``type`` may be left out.

    Raises:
        RemoteError: ``invalid_message``, a field has the wrong type or form.
    """

    type: str
    payload: dict[str, object] = field(default_factory=dict[str, object])
    thread_id: str | None = None
    run_id: str | None = None
    message_id: str | None = None
    timestamp: float | None = None
    user_id: str | None = None

    def __post_init__(self) -> None:
        if not is_id(self.type):
            self._refuse("type")
        if type(self.type) is not str:
            # A member of the host's enum is its value, on the wire and in the statistics.
            object.__setattr__(self, "type", str.__str__(self.type))
        if type(self.payload) is not dict:
            self._refuse("payload", "an object")
        if self.message_id is not None and not is_id(self.message_id):
            self._refuse("message_id")
        if self.thread_id is not None and not is_id(self.thread_id):
            self._refuse("thread_id")
        if self.run_id is not None and not is_id(self.run_id):
            self._refuse("run_id")
        if self.user_id is not None and not is_id(self.user_id):
            self._refuse("user_id")
        if self.timestamp is not None and not _is_time(self.timestamp):
            self._refuse("timestamp", "a finite number of Unix seconds")

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> "Message":
        """The message that a decoded frame holds; fields of other names are ignored.

        ``None`` counts as left out. ``Message.from_dict(m.to_dict()) == m``.

        Raises:
            RemoteError: ``invalid_message``, a field is missing or has the wrong type or form.
        """
        # The cast promises nothing: __post_init__ checks what is handed in.
        get = cast("Callable[[str], Any]", fields.get)
        payload = get("payload")
        return cls(
            type=get("type"),
            payload={} if payload is None else payload,
            thread_id=get("thread_id"),
            run_id=get("run_id"),
            message_id=get("message_id"),
            timestamp=get("timestamp"),
            user_id=get("user_id"),
        )

    def to_dict(self) -> dict[str, object]:
        """The message as a frame holds it, without what was left out; the payload is shared."""
        fields: dict[str, object] = {"type": self.type, "payload": self.payload}
        for name in ("thread_id", "run_id", "message_id", "timestamp", "user_id"):
            value: object = getattr(self, name)
            if value is not None:
                fields[name] = value
        return fields

    @property
    def request(self) -> str:
        """What the user asks, as sent.

        START_AGENT has it in ``user_request``, USER_MESSAGE, CHAT and types of the host's own
        in ``message``, ``content`` or ``text``: the first that is not blank.

        Raises:
            RemoteError: ``missing_content``, it is absent or blank; ``invalid_message``, it is
                not a text.
        """
        names = TEXT_FIELDS.get(self.type) or TEXT_FIELDS[MessageType.CHAT]
        for name in names:
            text = self.payload.get(name)
            if isinstance(text, str):
                if text and not text.isspace():
                    return text
            elif text is not None:
                self._refuse(f"payload.{name}", "a text")
        raise RemoteError(
            ErrorCode.MISSING_CONTENT,
            f"{self.type} needs text in payload.{' or payload.'.join(names)}",
            message_id=self.message_id,
        )

    @property
    def agent(self) -> str | None:
        """The agent that a START_AGENT names in ``payload.agent``; None for any other message.

        Raises:
            RemoteError: ``invalid_message``, it is no id.
        """
        if self.type != _START_AGENT:
            return None
        name = self.payload.get("agent")
        if name is not None and not is_id(name):
            self._refuse("payload.agent")
        return name

    def _refuse(
        self, name: str, expected: str = "a string of 1 to 128 printable characters"
    ) -> NoReturn:
        raise RemoteError(
            ErrorCode.INVALID_MESSAGE,
            f"{name} must be {expected}",
            message_id=self.message_id if is_id(self.message_id) else None,
        )


def _is_time(value: object) -> bool:
    if type(value) is float:
        return isfinite(value)
    return type(value) is int
