"""The end of a run whose owner is gone."""

import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from agent_messaging._errors import ErrorCode
from agent_messaging._events import AgentFailed, AgentQueued, ToolCompleted, interrupted_tool
from agent_messaging._messages import MessageType
from agent_messaging.dialects.native import NativeDialect
from agent_messaging.eventlog.protocol import EventPage, LoggedEvent, RunRecord

__all__ = ["missing_events"]

#: Reads some of a run's events.
Read: TypeAlias = Callable[[int], Awaitable[EventPage | None]]


async def missing_events(
    read: Read, dialect: NativeDialect, wall: Callable[[], float], record: RunRecord
) -> tuple[LoggedEvent, ...]:
    """What the owner of a run did not come to append: the ends of open tools, and of the run.

    A run that has no events yet is said to have waited, which names its message. Durations go by
    the times of the events, which another machine's clock may have told.

    Args:
        read: the run's events behind a cursor, or some of them; None if it is gone.
        dialect: encodes what was missing.
        wall: the time, in Unix seconds.
        record: the run, where it was taken over.
    """
    past = await _past(read, record.first_seq - 1, record.last_seq)
    now = wall()
    ends: list[AgentQueued | ToolCompleted | AgentFailed] = [
        interrupted_tool(tool_call_id, name, _milliseconds(since, now))
        for tool_call_id, (name, since) in past.open_tools.items()
    ]
    if record.last_seq == 0:
        # A client that sent the message knows nothing of the run, and would send it for ever.
        ends.append(AgentQueued(message_id=record.message_id, position=1))
    failure = AgentFailed(
        code=ErrorCode.INTERRUPTED,
        message="The agent was interrupted. Send the message again.",
        retryable=True,
        duration_ms=0 if past.started_at is None else _milliseconds(past.started_at, now),
    )
    return tuple(
        LoggedEvent(event.type, dialect.encode_own(event.payload()), seq, now)
        for seq, event in enumerate((*ends, failure), record.last_seq + 1)
    )


class _Past(NamedTuple):
    """What a run's events tell: its open tools, oldest first, and when it started."""

    open_tools: dict[str, tuple[str, float]]
    started_at: float | None


async def _past(read: Read, cursor: int, last_seq: int) -> _Past:
    open_tools: dict[str, tuple[str, float]] = {}
    started_at: float | None = None
    while cursor < last_seq:
        page = await read(cursor)
        if page is None or not page.events:
            break  # it was forgotten, or trimmed: an append will tell
        for kind, payload, _, timestamp in page.events:
            if kind is MessageType.TOOL_EXECUTING:
                tool_call_id, name = _call(payload)
                open_tools[tool_call_id] = name, timestamp
            elif kind is MessageType.TOOL_COMPLETED:
                open_tools.pop(_call(payload)[0], None)
            elif kind is MessageType.AGENT_STARTED:
                started_at = timestamp
        cursor = page.events[-1].seq
    return _Past(open_tools, started_at)


def _call(payload: str) -> tuple[str, str]:
    """The id and the name of a tool's call, empty where they are not told.

    A service that relays its events may leave them out, and a log may keep its text badly; the
    run is to end all the same.
    """
    try:
        call = json.loads(payload)
        return str(call.get("tool_call_id", "")), str(call.get("tool_name", ""))
    except (ValueError, AttributeError, RecursionError):  # no JSON, no object, or too deep
        return "", ""


def _milliseconds(since: float, now: float) -> int:
    return max(int((now - since) * 1000), 0)
