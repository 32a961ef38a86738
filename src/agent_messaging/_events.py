"""What goes out: the events of a run as a closed union, and the Golden Path."""

from typing import ClassVar, Final, Literal, TypeAlias, final

from agent_messaging._errors import PayloadError
from agent_messaging._limits import is_id
from agent_messaging._messages import MessageType
from agent_messaging._records import record

__all__ = [
    "GOLDEN_PATH",
    "RUN_EVENTS",
    "AgentCancelled",
    "AgentCompleted",
    "AgentEvent",
    "AgentFailed",
    "AgentProgress",
    "AgentQueued",
    "AgentResponseChunk",
    "AgentStarted",
    "AgentThinking",
    "CancelReason",
    "Outcome",
    "RunEvent",
    "TerminalEvent",
    "ToolCompleted",
    "ToolExecuting",
    "ToolStatus",
    "interrupted_tool",
]

#: The five events that a client can rely on, in their order.
GOLDEN_PATH: Final = (
    MessageType.AGENT_STARTED,
    MessageType.AGENT_THINKING,
    MessageType.TOOL_EXECUTING,
    MessageType.TOOL_COMPLETED,
    MessageType.AGENT_COMPLETED,
)

#: The types of every event of a run.
RUN_EVENTS: Final = (
    *GOLDEN_PATH,
    MessageType.AGENT_QUEUED,
    MessageType.AGENT_RESPONSE_CHUNK,
    MessageType.AGENT_PROGRESS,
    MessageType.AGENT_FAILED,
    MessageType.AGENT_CANCELLED,
)

ToolStatus: TypeAlias = Literal["ok", "error", "interrupted"]
CancelReason: TypeAlias = Literal["stopped", "replaced", "disconnected", "shutdown", "cancelled"]


@final
@record
class AgentQueued:
    """The message waits for its turn; ``position`` 1 is next."""

    type: ClassVar[Literal[MessageType.AGENT_QUEUED]] = MessageType.AGENT_QUEUED
    message_id: str
    position: int

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {"message_id": self.message_id, "position": self.position}


@final
@record
class AgentStarted:
    """The run began: ``agent`` works on the message ``message_id``."""

    type: ClassVar[Literal[MessageType.AGENT_STARTED]] = MessageType.AGENT_STARTED
    message_id: str
    agent: str

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {"message_id": self.message_id, "agent": self.agent}


@final
@record
class AgentThinking:
    """What the agent is about, in words for the user."""

    type: ClassVar[Literal[MessageType.AGENT_THINKING]] = MessageType.AGENT_THINKING
    text: str

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {"text": self.text}


@final
@record
class AgentResponseChunk:
    """The next piece of the answer; the pieces joined are the answer."""

    type: ClassVar[Literal[MessageType.AGENT_RESPONSE_CHUNK]] = MessageType.AGENT_RESPONSE_CHUNK
    text: str

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {"text": self.text}


@final
@record
class AgentProgress:
    """An event of the host's own: a ``name`` and any JSON ``data``."""

    type: ClassVar[Literal[MessageType.AGENT_PROGRESS]] = MessageType.AGENT_PROGRESS
    name: str
    data: object = None

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {"name": self.name, "data": self.data}


@final
@record
class ToolExecuting:
    """A tool call began; its id is opened once in a run."""

    type: ClassVar[Literal[MessageType.TOOL_EXECUTING]] = MessageType.TOOL_EXECUTING
    tool_call_id: str
    tool_name: str
    arguments: object = None

    def payload(self) -> dict[str, object]:
        """The payload on the wire.

        Raises:
            PayloadError: the id or the name is no id, so that the end could not be told.
        """
        if not (is_id(self.tool_call_id) and is_id(self.tool_name)):
            raise PayloadError("a tool's id and name must be 1 to 128 printable characters")
        return {
            "tool_call_id": self.tool_call_id,
            "tool_name": self.tool_name,
            "arguments": self.arguments,
        }


@final
@record
class ToolCompleted:
    """A tool call ended: ``result`` counts when it is ``ok``, ``error`` when it is not.

    ``duration_ms`` is measured by the run; what an agent puts there is replaced.
    """

    type: ClassVar[Literal[MessageType.TOOL_COMPLETED]] = MessageType.TOOL_COMPLETED
    tool_call_id: str
    tool_name: str
    status: ToolStatus = "ok"
    result: object = None
    error: str | None = None
    duration_ms: int = 0

    def payload(self) -> dict[str, object]:
        """The payload on the wire, with ``result`` or ``error``."""
        payload: dict[str, object] = {
            "tool_call_id": self.tool_call_id,
            "tool_name": self.tool_name,
            "status": self.status,
        }
        if self.status == "ok":
            payload["result"] = self.result
        else:
            payload["error"] = self.error
        payload["duration_ms"] = self.duration_ms
        return payload


def interrupted_tool(tool_call_id: str, tool_name: str, duration_ms: int) -> ToolCompleted:
    """The end of a tool call whose run ends before it does."""
    return ToolCompleted(
        tool_call_id=tool_call_id,
        tool_name=tool_name,
        status="interrupted",
        error="The run ended before the tool did.",
        duration_ms=duration_ms,
    )


@final
@record
class AgentCompleted:
    """The run ended well, with the agent's ``result``.

    An async generator agent yields it last to give its result; ``duration_ms`` is measured by
    the run, and what an agent puts there is replaced.
    """

    type: ClassVar[Literal[MessageType.AGENT_COMPLETED]] = MessageType.AGENT_COMPLETED
    result: object = None
    duration_ms: int = 0

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {"result": self.result, "duration_ms": self.duration_ms}


@final
@record
class AgentFailed:
    """The run failed; ``message`` is for the client and holds nothing private."""

    type: ClassVar[Literal[MessageType.AGENT_FAILED]] = MessageType.AGENT_FAILED
    code: str
    message: str
    retryable: bool = False
    duration_ms: int = 0

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {
            "code": str.__str__(self.code),
            "message": self.message,
            "retryable": self.retryable,
            "duration_ms": self.duration_ms,
        }


@final
@record
class AgentCancelled:
    """The run was ended from outside."""

    type: ClassVar[Literal[MessageType.AGENT_CANCELLED]] = MessageType.AGENT_CANCELLED
    reason: CancelReason
    duration_ms: int = 0

    def payload(self) -> dict[str, object]:
        """The payload on the wire."""
        return {"reason": self.reason, "duration_ms": self.duration_ms}


#: What ends a run; exactly one of these is its last event.
TerminalEvent: TypeAlias = AgentCompleted | AgentFailed | AgentCancelled

#: How a run ended: the type of its `TerminalEvent`.
Outcome: TypeAlias = Literal[
    MessageType.AGENT_COMPLETED, MessageType.AGENT_FAILED, MessageType.AGENT_CANCELLED
]

#: What an agent may emit itself; the run decides the start and the end.
AgentEvent: TypeAlias = (
    AgentThinking | AgentResponseChunk | AgentProgress | ToolExecuting | ToolCompleted
)

#: Every event of a run: ``match`` over it is exhaustive.
RunEvent: TypeAlias = AgentQueued | AgentStarted | AgentEvent | TerminalEvent
