"""Rows of a log's tables as records and events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent_messaging._messages import MessageType
from agent_messaging.eventlog._sqlite_errors import SqliteLogError
from agent_messaging.eventlog.protocol import STATUS_AFTER, LoggedEvent, RunRecord, RunStatus

__all__ = ["EVENT_COLUMNS", "RECORD_COLUMNS", "event_of", "record_of"]

#: The status of a run by the type of its last event, where that is not ``running``.
_STATUS: Final[Mapping[str | None, RunStatus]] = {
    None: "queued",
    **{kind.value: status for kind, status in STATUS_AFTER.items()},
}

_TYPES: Final[Mapping[str, MessageType]] = {kind.value: kind for kind in MessageType}

#: What `record_of` is made from, of ``runs``; its subqueries take no longer in a long run.
RECORD_COLUMNS: Final = """
    run_id, thread_id, message_id, digest,
    coalesce(
        last_type,
        (SELECT type FROM events WHERE run = runs.number ORDER BY seq DESC LIMIT 1)
    ),
    (SELECT min(seq) FROM events WHERE run = runs.number),
    coalesce(last_seq, (SELECT max(seq) FROM events WHERE run = runs.number), 0)
"""

#: What `event_of` is made from, of ``events``.
EVENT_COLUMNS: Final = "type, payload, seq, timestamp"


def record_of(row: Sequence[Any]) -> RunRecord:
    """What is known of a run, from the first columns of a row."""
    run_id, thread_id, message_id, digest, last_type, first_seq, last_seq = row[:7]
    return RunRecord(
        run_id=run_id,
        thread_id=thread_id,
        message_id=message_id,
        digest=digest,
        status=_STATUS.get(last_type, "running"),
        first_seq=last_seq + 1 if first_seq is None else first_seq,
        last_seq=last_seq,
    )


def event_of(row: tuple[str, str, int, float]) -> LoggedEvent:
    """An event, as it was appended.

    Raises:
        SqliteLogError: ``newer_schema``, its type is not known yet.
    """
    name, payload, seq, timestamp = row
    kind = _TYPES.get(name)
    if kind is None:
        raise SqliteLogError(
            "newer_schema",
            f"an event of type {name!r} was read, which this package does not know;"
            " use the package that has written it, or a later one",
        )
    return LoggedEvent(kind, payload, seq, timestamp)
