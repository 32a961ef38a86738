"""Frames as a client gets them, written by hand; nothing of the package is used here."""

from typing import Final

from support.frames import Json

_LIMITS: Final = {
    "frame_bytes": 1000,
    "json_depth": 32,
    "messages_per_minute": None,
    "frames_per_minute": 600,
    "runs_per_user": 4,
    "queued_per_thread": 16,
    "sessions_per_user": 8,
}

#: A sound payload of each type of event and control frame.
PAYLOADS: Final[dict[str, Json]] = {
    "agent_queued": {"message_id": "m", "position": 1},
    "agent_started": {"message_id": "m", "agent": "demo"},
    "agent_thinking": {"text": "hm"},
    "agent_response_chunk": {"text": "so"},
    "agent_progress": {"name": "step", "data": [1, None]},
    "tool_executing": {"tool_call_id": "c1", "tool_name": "search", "arguments": {}},
    "tool_completed": {
        "tool_call_id": "c1",
        "tool_name": "search",
        "status": "ok",
        "result": None,
        "duration_ms": 5,
    },
    "agent_completed": {"result": "done", "duration_ms": 9},
    "agent_failed": {"code": "own", "message": "no", "retryable": False, "duration_ms": 9},
    "agent_cancelled": {"reason": "stopped", "duration_ms": 9},
    "connection_established": {"connection_id": "k1", "protocol": "1.0", "limits": _LIMITS},
    "pong": {"id": 7},
    "heartbeat": {},
    "stopped": {"run_ids": ["r1"]},
    "resumed": {"runs": []},
    "error_message": {"code": "rate_limited", "message": "slow down", "retry_after": 0.5},
}


def event(kind: str, seq: int, run: str = "r1", **payload: object) -> Json:
    """A run's event of a type, whose name may lack ``agent_``."""
    kind = kind if kind in PAYLOADS else f"agent_{kind}"
    return {
        "type": kind,
        "payload": PAYLOADS[kind] | payload,
        "user_id": "ann",
        "thread_id": "t1",
        "run_id": run,
        "seq": seq,
        "timestamp": 1.5,
    }


def control(kind: str, **payload: object) -> Json:
    """A control frame."""
    return {"type": kind, "payload": PAYLOADS[kind] | payload, "timestamp": 1.5}


def greeting(connection: str = "k1") -> Json:
    """The first frame of a connection."""
    return control("connection_established", connection_id=connection)


def resumed(
    from_seq: int,
    to_seq: int,
    status: str = "running",
    *,
    run: str = "r1",
    evicted: bool = False,
    thread: str = "t1",
) -> Json:
    """What is told of one run."""
    told = {"run_id": run, "thread_id": thread, "status": status}
    return control(
        "resumed", runs=[{**told, "from_seq": from_seq, "to_seq": to_seq, "evicted": evicted}]
    )


def a_run(*kinds: str, run: str = "r1", first: int = 1) -> list[Json]:
    """The events of a run, numbered; a tool's ``c2`` is that of the call ``c2``."""
    events: list[Json] = []
    for seq, kind in enumerate(kinds, first):
        name, _, call = kind.partition(" ")
        payload = {"tool_call_id": call} if call else {}
        events.append(event(name, seq, run, **payload))
    return events
