"""How a run decides its events: encoded, allowed by the lifecycle, posted and counted."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, final

from agent_messaging._events import (
    AgentStarted,
    RunEvent,
    TerminalEvent,
    ToolCompleted,
    ToolExecuting,
    ToolStatus,
    interrupted_tool,
)
from agent_messaging._lifecycle import RunLifecycle, RunState
from agent_messaging._messages import MessageType
from agent_messaging._outbox import Receipt
from agent_messaging._stats import Statistics
from agent_messaging.dialects.native import NativeDialect

__all__ = ["Clock", "Encode", "RunEmitter", "Sink"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)

# A tuple: a union in an isinstance call is made anew at each call.
_TOOL_EVENTS: Final = (ToolExecuting, ToolCompleted)
_FAILED: Final = MessageType.AGENT_FAILED
_TERMINAL: Final = frozenset(
    {MessageType.AGENT_COMPLETED, MessageType.AGENT_FAILED, MessageType.AGENT_CANCELLED}
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Where time comes from: ``wall`` in Unix seconds, ``monotonic`` in seconds."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Encode(Protocol[T_co]):
    """Makes of a decided event what its sink takes."""

    def __call__(self, kind: MessageType, payload: str, seq: int, timestamp: float, /) -> T_co:
        """``payload`` is JSON text, ``timestamp`` in Unix seconds."""
        ...


class Sink(Protocol[T_contra]):
    """Where a run's events go: a connection's outbox, or the log that sessions read."""

    @property
    def is_blocked(self) -> bool:
        """Whether `check` has anything to say."""
        ...

    @property
    def failed(self) -> bool:
        """Whether nothing goes anywhere any more."""
        ...

    @property
    def websocket(self) -> object:
        """The host's websocket, where there is one."""
        ...

    def check(self) -> None:
        """See that an agent's event can be taken; raises what the agent is to get."""
        ...

    def post(self, event: T_contra, kind: MessageType, receipt: Receipt, /) -> Awaitable[None]:
        """Take one event; awaiting the result waits while there is no room."""
        ...


@final
class RunEmitter:
    """One run's events on their way; bound to its user, thread and run.

    What an agent emits goes through `emit` and `relay`, which refuse when the sink takes no more.
    What the code around it decides goes through `decide`, whatever became of the sink.
    """

    __slots__ = (
        "_clock",
        "_dialect",
        "_encode",
        "_sink",
        "_started_at",
        "_statistics",
        "has_relayed_end",
        "lifecycle",
        "relayed_code",
    )

    def __init__(
        self,
        encode: Encode[T],
        dialect: NativeDialect,
        sink: Sink[T],
        statistics: Statistics,
        clock: Clock,
    ) -> None:
        self.lifecycle: Final[RunLifecycle] = RunLifecycle()
        #: Whether the agent relayed the end; it may go on all the same.
        self.has_relayed_end: bool = False
        #: The code of a relayed failure.
        self.relayed_code: str | None = None
        self._encode: Encode[Any] = encode
        self._dialect = dialect
        self._sink: Sink[Any] = sink
        self._statistics = statistics
        self._clock = clock
        self._started_at = clock.monotonic()

    @property
    def failed(self) -> bool:
        """Whether nothing goes anywhere any more."""
        return self._sink.failed

    @property
    def websocket(self) -> object:
        """The host's websocket, where there is one."""
        return self._sink.websocket

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the run started."""
        return self._since(self._started_at)

    # What an agent emits.

    def emit_text(self, kind: MessageType, text: str) -> Awaitable[None]:
        """Emit an event that holds a text and nothing else: the shortest way, for chunks."""
        sink = self._sink
        if sink.is_blocked:
            sink.check()
        return self._post(kind, self._dialect.encode_text(text), None, "")

    def emit(self, event: RunEvent) -> Awaitable[None]:
        """Check the sink, then `decide`."""
        sink = self._sink
        if sink.is_blocked:
            sink.check()
        return self.decide(event)

    def complete_tool(
        self, tool_call_id: str, status: ToolStatus, result: object, error: str | None
    ) -> Awaitable[None]:
        """Emit the end of a tool call, with the name and the duration that belong to it."""
        name, started_at = self.lifecycle.open_tools.get(tool_call_id, ("", 0.0))
        return self.emit(
            ToolCompleted(
                tool_call_id=tool_call_id,
                tool_name=name,
                status=status,
                result=result,
                error=error,
                duration_ms=self._since(started_at),
            )
        )

    def relay(
        self, kind: MessageType, payload: Mapping[str, object], tool_call_id: str | None
    ) -> Awaitable[None]:
        """Emit a payload of another making; an end interrupts the open tool calls first."""
        self._sink.check()
        text = self._dialect.encode_payload(payload)
        if kind in _TERMINAL and self.lifecycle.state is RunState.RUNNING:
            self._interrupt_tools()
            self.has_relayed_end = True
            code = payload.get("code")
            self.relayed_code = code if kind is _FAILED and isinstance(code, str) else None
        posted = self._post(kind, text, tool_call_id, str(payload.get("tool_name", "")))
        if kind is MessageType.AGENT_STARTED:
            self._started_at = self._clock.monotonic()
        return posted

    # What the code around the agent decides.

    def start(self, message_id: str, agent: str) -> None:
        """Decide the start."""
        self._started_at = self._clock.monotonic()
        self._decide_own(AgentStarted(message_id=message_id, agent=agent))

    def end(self, event: TerminalEvent, duration_ms: int) -> None:
        """Interrupt the open tool calls, and decide the end.

        Raises:
            PayloadError: the end holds what the host gave, and that will not encode.
        """
        payload = event.payload()
        payload["duration_ms"] = duration_ms
        text = self._dialect.encode_payload(payload)
        self._interrupt_tools()
        self._post(event.type, text, None, "")

    def end_plainly(self, event: TerminalEvent, duration_ms: int) -> None:
        """As `end`, for an event that holds nothing of the host's."""
        payload = event.payload()
        payload["duration_ms"] = duration_ms
        self._interrupt_tools()
        self._post(event.type, self._dialect.encode_own(payload), None, "")

    def decide(self, event: RunEvent) -> Awaitable[None]:
        """Encode the payload, move the lifecycle, post the frame; in this order, or not at all."""
        payload = self._dialect.encode_payload(event.payload())
        if isinstance(event, _TOOL_EVENTS):
            return self._post(event.type, payload, event.tool_call_id, event.tool_name)
        return self._post(event.type, payload, None, "")

    def _decide_own(self, event: RunEvent) -> None:
        payload = self._dialect.encode_own(event.payload())
        tool_call_id = event.tool_call_id if isinstance(event, ToolCompleted) else None
        self._post(event.type, payload, tool_call_id, "")

    def _post(
        self, kind: MessageType, payload: str, tool_call_id: str | None, tool_name: str
    ) -> Awaitable[None]:
        clock = self._clock
        timestamp = clock.wall()
        seq = self.lifecycle.advance(kind, clock.monotonic(), tool_call_id, tool_name)
        return self._sink.post(self._encode(kind, payload, seq, timestamp), kind, self.receipt)

    def receipt(self, kind: MessageType, accepted: bool) -> None:
        """Count one event as delivered, or as one that never will be."""
        if accepted:
            self.lifecycle.deliver(kind)
            self._statistics.sent(kind)
        else:
            self._statistics.undelivered()

    def _interrupt_tools(self) -> None:
        for tool_call_id, (name, started_at) in tuple(self.lifecycle.open_tools.items()):
            self._decide_own(interrupted_tool(tool_call_id, name, self._since(started_at)))

    def _since(self, start: float) -> int:
        return int((self._clock.monotonic() - start) * 1000)
