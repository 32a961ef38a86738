"""A log's runs as the rows of a table, and one run's events as a timeline."""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final, TypeAlias, cast, final

from agent_messaging._cli_text import payload_text, printable
from agent_messaging._messages import MessageType
from agent_messaging.eventlog._sqlite_reader import ListedRun
from agent_messaging.eventlog.protocol import LoggedEvent

__all__ = ["Table", "run_fields", "timeline"]

_HEADER: Final = ("when", "user", "thread", "run", "status", "events", "took")
_USER, _THREAD, _RUN, _STATUS, _EVENTS, _TOOK = range(1, 7)
#: The least of a run's id that is shown, as far as its runs differ in that; all of an id that is
#: hardly longer.
_ID_LENGTH: Final = 8
#: The longest status; columns whose widths are known need not wait for their rows.
_WIDEST: Final = {_STATUS: len("completed"), _TOOK: len("59m 59s")}
#: The least of a user's or a thread's id that is shown.
_NARROWEST: Final = 6
_GAP: Final = "  "

#: Characters of pieces of an answer that are shown together at most.
_TOGETHER: Final = 4000


def run_fields(run: ListedRun) -> dict[str, object]:
    """A run as the fields of a JSON object; nothing of what was said in it."""
    record = run.record
    return {
        "run_id": record.run_id,
        "user_id": run.user_id,
        "thread_id": record.thread_id,
        "message_id": record.message_id,
        "status": record.status,
        "claimed_at": run.claimed_at,
        "ended_at": run.ended_at,
        "first_seq": record.first_seq,
        "last_seq": record.last_seq,
        "owner": run.owner,
    }


# The table.


@final
class Table:
    """Makes rows of runs, under one header.

    Columns are as wide as the widest of the rows that come together, and never become narrower.

    Args:
        width: of the terminal, in columns: ids are shortened to fit; None to leave them whole.
    """

    def __init__(self, width: int | None) -> None:
        self._width = width
        self._id_length = _ID_LENGTH
        self._widths = [len(name) for name in _HEADER]
        for column, least in _WIDEST.items():
            self._widths[column] = least
        self._has_header = False

    def rows(self, runs: Sequence[ListedRun]) -> Iterator[str]:
        """The lines for these runs."""
        self._lengthen_ids([run.record.run_id for run in runs])
        cells = [self._cells(run) for run in runs]
        if not self._has_header:
            self._has_header = True
            cells.insert(0, _HEADER)
        for row in cells:
            for column, text in enumerate(row):
                self._widths[column] = max(self._widths[column], _columns(text))
        widths = self._fitting()
        for row in cells:
            line = _GAP.join(
                _filled(text, width, right=column in (_EVENTS, _TOOK))
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            yield line.rstrip()

    def _lengthen_ids(self, run_ids: Sequence[str]) -> None:
        """Show as much of runs' ids as tells them apart."""
        different = len(set(run_ids))
        while len({run_id[: self._id_length] for run_id in run_ids}) < different:
            self._id_length += 1

    def _cells(self, run: ListedRun) -> tuple[str, ...]:
        record = run.record
        run_id = record.run_id if self._width is None else record.run_id[: self._id_length]
        took = "-" if run.ended_at is None else _duration(run.ended_at - run.claimed_at)
        ids = (printable(text) for text in (run.user_id, record.thread_id, run_id))
        return (_day_and_time(run.claimed_at), *ids, record.status, str(record.last_seq), took)

    def _fitting(self) -> Sequence[int]:
        """The widths of the columns on the terminal."""
        widths = list(self._widths)
        if self._width is not None:
            excess = sum(widths) + len(_GAP) * (len(widths) - 1) - self._width
            for _ in range(excess):
                column = max(_USER, _THREAD, key=lambda each: widths[each])
                if widths[column] <= _NARROWEST:
                    # Better an id that names several than lines of two lines each.
                    column = _RUN
                widths[column] = max(widths[column] - 1, _NARROWEST)
        return widths


def _filled(text: str, width: int, *, right: bool) -> str:
    """The text in a column of this width; cut, it ends in ``~``."""
    missing = width - _columns(text)
    if missing >= 0:
        return " " * missing + text if right else text + " " * missing
    kept = text[: width - 1]
    while _columns(kept) >= width:
        kept = kept[:-1]
    return kept + "~" + " " * (width - 1 - _columns(kept))


def _columns(text: str) -> int:
    """How many columns of a terminal printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _duration(seconds: float) -> str:
    """In seven characters, unless it takes some months."""
    if not isfinite(seconds):
        return str(seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02}m"
    return "{}d {:02}h".format(*divmod(hours, 24))


def _local(timestamp: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(timestamp, UTC).astimezone()
    except (ValueError, OverflowError, OSError):  # a clock of the host's may show anything
        return None


def _day_and_time(timestamp: float) -> str:
    """As ``Jun 01 12:34:56``: a log keeps weeks, not years."""
    local = _local(timestamp)
    return str(timestamp) if local is None else f"{local:%b %d %H:%M:%S}"


# The timeline.


def timeline(run: ListedRun, events: Iterable[LoggedEvent]) -> Iterator[str]:
    """What became of a run, and its events with the seconds since the first.

    The call of a tool and its end have one number. Pieces of an answer that follow each other are
    shown as one.
    """
    record = run.record
    local = _local(run.claimed_at)
    when = str(run.claimed_at) if local is None else f"{local:%Y-%m-%d %H:%M:%S %z}"
    took = "" if run.ended_at is None else f" after {_duration(run.ended_at - run.claimed_at)}"
    yield f"run      {record.run_id}"
    yield f"user     {run.user_id}"
    yield f"thread   {record.thread_id}"
    yield f"message  {record.message_id}"
    yield f"claimed  {when}"
    yield f"status   {record.status}{took}"
    yield ""
    if record.first_seq > 1:
        yield f"The events 1 to {record.first_seq - 1} are not kept any more."
    story = _Story()
    for together in _together(events):
        yield story.line(together)
    yield from story.open_tools()


#: Events that are one line, and the payload of that.
_Together: TypeAlias = tuple[LoggedEvent, LoggedEvent, dict[str, Any]]


@final
class _Story:
    """Makes lines of a run's events."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._tools: dict[object, tuple[int, object]] = {}
        self._count = 0

    def line(self, together: _Together) -> str:
        """One line."""
        first, last, payload = together
        if self._begun is None:
            self._begun = first.timestamp
        place = f"{first.seq}" if first is last else f"{first.seq}-{last.seq}"
        parts = [f"{place:>9}  {first.timestamp - self._begun:+9.3f}  {first.type}"]
        tool = self._tool(first.type, payload)
        if tool:
            parts.append(f"#{tool}")
        return " ".join([*parts, payload_text(first.type, payload)]).rstrip()

    def _tool(self, kind: MessageType, payload: dict[str, Any]) -> int | None:
        """The number of a tool's call."""
        tool_call_id = str(payload.get("tool_call_id"))
        if kind == MessageType.TOOL_EXECUTING:
            self._count += 1
            self._tools[tool_call_id] = self._count, payload.get("tool_name")
            return self._count
        if kind == MessageType.TOOL_COMPLETED and tool_call_id in self._tools:
            return self._tools.pop(tool_call_id)[0]
        return None

    def open_tools(self) -> Iterator[str]:
        """What is still under way."""
        for number, name in self._tools.values():
            yield f"The tool #{number} {name} is under way."


def _together(events: Iterable[LoggedEvent]) -> Iterator[_Together]:
    """Each event by itself, and pieces of an answer that follow each other together."""
    pieces: list[LoggedEvent] = []
    texts: list[str] = []
    for event in events:
        payload = _payload(event)
        text = payload.get("text")
        is_piece = event.type == MessageType.AGENT_RESPONSE_CHUNK and isinstance(text, str)
        if pieces and not (is_piece and sum(map(len, texts)) < _TOGETHER):
            yield pieces[0], pieces[-1], {"text": "".join(texts)}
            pieces, texts = [], []
        if is_piece:
            pieces.append(event)
            texts.append(cast("str", text))
        else:
            yield event, event, payload
    if pieces:
        yield pieces[0], pieces[-1], {"text": "".join(texts)}


def _payload(event: LoggedEvent) -> dict[str, Any]:
    try:
        payload: object = json.loads(event.payload)
    except (ValueError, RecursionError):
        payload = None
    if isinstance(payload, dict):
        return cast("dict[str, Any]", payload)
    # Nothing else is appended by endpoints; what others have put there is shown as it is.
    return {"payload": event.payload}
