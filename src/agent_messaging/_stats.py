"""What a handler counts, and its detached snapshot."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Final, Literal, TypedDict, final

from agent_messaging._errors import ErrorCode
from agent_messaging._events import GOLDEN_PATH, RUN_EVENTS
from agent_messaging._messages import MessageType

__all__ = ["DurationStats", "HandlerStats", "ProcessingStats", "RouterStats", "Statistics"]


_GOLDEN: Final = frozenset(GOLDEN_PATH)
_COMPLETED: Final = MessageType.AGENT_COMPLETED
_FAILED: Final = MessageType.AGENT_FAILED

#: The counters of messages by their type.
_PROCESSED: Final[
    Mapping[str, Literal["start_agent_requests", "user_messages", "chat_messages"]]
] = {
    MessageType.START_AGENT: "start_agent_requests",
    MessageType.USER_MESSAGE: "user_messages",
    MessageType.CHAT: "chat_messages",
}


class DurationStats(TypedDict):
    """How long ended runs took, in milliseconds."""

    count: int
    total_ms: int
    max_ms: int


class ProcessingStats(TypedDict):
    """The live counters of an `AgentMessageHandler`.

    Keys: ``messages_processed`` and the three by type move when a message's run completed;
    ``errors`` once for each message that was refused or whose run failed;
    ``golden_path_events_sent`` and ``events_sent`` when the transport accepted an event;
    ``undelivered_events`` when it is known that it never will; ``refusals`` by code.
    """

    messages_processed: int
    start_agent_requests: int
    user_messages: int
    chat_messages: int
    errors: int
    last_processed_time: float | None
    golden_path_events_sent: int
    v3_pattern_usage: int
    user_isolation_instances: int
    runs_in_flight: int
    runs_completed: int
    runs_failed: int
    runs_cancelled: int
    events_sent: dict[str, int]
    undelivered_events: int
    refusals: dict[str, int]
    hook_errors: int
    durations: DurationStats


class HandlerStats(ProcessingStats):
    """A detached copy of the counters, and what the handler is."""

    handler_type: str
    consolidation_issue: str
    supported_message_types: int


class RouterStats(TypedDict):
    """A detached copy of what a `MessageRouter` refused, and of its handlers' counters."""

    errors: int
    refusals: dict[str, int]
    handlers: list[dict[str, object]]


@final
class Statistics:
    """The one place where a handler's counters move."""

    __slots__ = ("live",)

    def __init__(self) -> None:
        self.live: ProcessingStats = {
            "messages_processed": 0,
            "start_agent_requests": 0,
            "user_messages": 0,
            "chat_messages": 0,
            "errors": 0,
            "last_processed_time": None,
            "golden_path_events_sent": 0,
            "v3_pattern_usage": 0,
            "user_isolation_instances": 0,
            "runs_in_flight": 0,
            "runs_completed": 0,
            "runs_failed": 0,
            "runs_cancelled": 0,
            # The keys stand before the first event, as plain strings: counting with an enum
            # member then never puts the member into the dictionary.
            "events_sent": {str(kind): 0 for kind in RUN_EVENTS},
            "undelivered_events": 0,
            "refusals": {},
            "hook_errors": 0,
            "durations": {"count": 0, "total_ms": 0, "max_ms": 0},
        }

    def refused(self, code: ErrorCode) -> None:
        """A message was refused."""
        self.live["errors"] += 1
        refusals = self.live["refusals"]
        refusals[str(code)] = refusals.get(str(code), 0) + 1

    def started(self) -> None:
        """An isolated run context was made and goes through the one path there is."""
        live = self.live
        live["v3_pattern_usage"] += 1
        live["user_isolation_instances"] += 1
        live["runs_in_flight"] += 1

    def ended(self, outcome: MessageType, duration_ms: int) -> None:
        """A run decided its terminal event."""
        live = self.live
        live["runs_in_flight"] -= 1
        if outcome is _COMPLETED:
            live["runs_completed"] += 1
        elif outcome is _FAILED:
            live["runs_failed"] += 1
            live["errors"] += 1
        else:
            live["runs_cancelled"] += 1
        durations = live["durations"]
        durations["count"] += 1
        durations["total_ms"] += duration_ms
        if duration_ms > durations["max_ms"]:
            durations["max_ms"] = duration_ms

    def processed(self, message_type: str, now: float) -> None:
        """A message's run completed, at ``now`` in Unix seconds."""
        live = self.live
        live["messages_processed"] += 1
        live["last_processed_time"] = now
        counter = _PROCESSED.get(message_type)
        if counter is not None:
            live[counter] += 1

    def sent(self, kind: MessageType) -> None:
        """The transport accepted an event."""
        live = self.live
        live["events_sent"][kind] += 1
        if kind in _GOLDEN:
            live["golden_path_events_sent"] += 1

    def undelivered(self) -> None:
        """An event was decided that the transport never accepts."""
        self.live["undelivered_events"] += 1

    def hook_failed(self) -> None:
        """A finish hook raised."""
        self.live["hook_errors"] += 1

    def snapshot(self) -> ProcessingStats:
        """A copy that shares nothing with the live counters."""
        return deepcopy(self.live)
