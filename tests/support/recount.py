"""Statistics and reports counted again from bytes; nothing of the package is used here.

What a transport accepted is read from its frames. What a run decided beyond them is read from
the payloads that went through the dialect's ``dumps``, whose form tells their type.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from support.frames import Json

#: What a test's wall clock shows when its loop's clock shows 0; sums with it are exact.
EPOCH = 2.0**30

GOLDEN = ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed")
TOOLS = ("tool_executing", "tool_completed")
TERMINAL = ("agent_completed", "agent_failed", "agent_cancelled")
OTHERS = ("agent_queued", "agent_response_chunk", "agent_progress")

_KINDS = {
    frozenset({"message_id", "agent"}): "agent_started",
    frozenset({"name", "data"}): "agent_progress",
    frozenset({"tool_call_id", "tool_name", "arguments"}): "tool_executing",
    frozenset({"tool_call_id", "tool_name", "status", "result", "duration_ms"}): "tool_completed",
    frozenset({"tool_call_id", "tool_name", "status", "error", "duration_ms"}): "tool_completed",
    frozenset({"result", "duration_ms"}): "agent_completed",
    frozenset({"code", "message", "retryable", "duration_ms"}): "agent_failed",
    frozenset({"reason", "duration_ms"}): "agent_cancelled",
}


@dataclass(frozen=True, slots=True)
class Decided:
    """One event that a run decided: its payload's bytes, and when in seconds of the loop."""

    text: str
    at: float

    @property
    def payload(self) -> Json:
        payload: Json = json.loads(self.text)
        return payload

    @property
    def kind(self) -> str:
        """The event's type; texts say by their first word whether they are thoughts or chunks."""
        payload = self.payload
        if payload.keys() == {"text"}:
            thought = payload["text"].startswith("thinking")
            return "agent_thinking" if thought else "agent_response_chunk"
        return _KINDS[frozenset(payload)]


def in_order(encoded: Iterable[Decided]) -> list[Decided]:
    """What was encoded in the order in which it was decided.

    An end is encoded before the open tools are interrupted, to see that it will encode.
    """
    decided: list[Decided] = []
    for event in encoded:
        follows_the_end = bool(decided) and decided[-1].kind in TERMINAL
        interrupted = follows_the_end and event.payload.get("status") == "interrupted"
        decided.insert(len(decided) - interrupted, event)
    return decided


@dataclass(frozen=True, slots=True)
class Counted:
    """One run as it is counted: the type of its message, what it decided, what was accepted."""

    message_type: str
    decided: Sequence[Decided]
    frames: Sequence[Json]
    #: Whether what is not accepted by now never will be.
    lost: bool


def milliseconds(start: float, end: float) -> int:
    return int((end - start) * 1000)


def kinds(decided: Iterable[Decided]) -> list[str]:
    return [event.kind for event in decided]


def statistics(runs: Sequence[Counted]) -> Json:
    """What the handler's ``get_stats`` has to be after these runs, none of them refused."""
    ends = [(run.message_type, run.decided[-1]) for run in runs if run.decided]
    outcomes = Counter(end.kind for _, end in ends)
    completed = [(kind, end.at) for kind, end in ends if end.kind == "agent_completed"]
    messages = Counter(kind for kind, _ in completed)
    durations = [end.payload["duration_ms"] for _, end in ends]
    sent = Counter(frame["type"] for run in runs for frame in run.frames)
    return {
        "messages_processed": len(completed),
        "start_agent_requests": messages["start_agent"],
        "user_messages": messages["user_message"],
        "chat_messages": messages["chat"],
        "errors": outcomes["agent_failed"],
        "last_processed_time": max((EPOCH + at for _, at in completed), default=None),
        "golden_path_events_sent": sum(sent[kind] for kind in GOLDEN),
        "v3_pattern_usage": len(ends),
        "user_isolation_instances": len(ends),
        "runs_in_flight": 0,
        "runs_completed": outcomes["agent_completed"],
        "runs_failed": outcomes["agent_failed"],
        "runs_cancelled": outcomes["agent_cancelled"],
        "events_sent": {kind: sent[kind] for kind in (*GOLDEN, *OTHERS, *TERMINAL[1:])},
        "undelivered_events": sum(len(run.decided) - len(run.frames) for run in runs if run.lost),
        "refusals": {},
        "hook_errors": 0,
        "durations": {
            "count": len(durations),
            "total_ms": sum(durations),
            "max_ms": max(durations, default=0),
        },
        "handler_type": "SSOT_CANONICAL",
        "consolidation_issue": "#1093",
        "supported_message_types": 3,
    }


def report(decided: Sequence[Decided], accepted: int) -> Json:
    """What the run's report has to say once the transport accepted that many of its events."""
    by_kind = Counter(kinds(decided))
    delivered = Counter(kinds(decided[:accepted]))
    first: dict[str, float] = {}
    for event in decided:
        first.setdefault(event.kind, event.at)
    start, end = decided[0].at, decided[-1].at
    expected = [kind for kind in GOLDEN if kind not in TOOLS or "tool_executing" in by_kind]
    order = tuple(kind for kind in first if kind in GOLDEN)
    undelivered = tuple(kind for kind in expected if kind not in delivered)
    return {
        "outcome": decided[-1].kind if decided[-1].kind in TERMINAL else None,
        "decided": dict(by_kind),
        "delivered": dict(delivered),
        "first_at_ms": {kind: milliseconds(start, at) for kind, at in first.items()},
        "duration_ms": milliseconds(start, end),
        "undelivered": len(decided) - accepted,
        "order": order,
        "missing": tuple(kind for kind in expected if kind not in by_kind),
        "undelivered_kinds": undelivered,
        "is_complete": not undelivered and order == tuple(k for k in GOLDEN if k in by_kind),
    }
