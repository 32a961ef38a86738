"""What a client received: frames, and the events of runs in them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import groupby
from typing import Any, Final, cast, final

from agent_messaging._events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentProgress,
    AgentQueued,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    RunEvent,
    ToolCompleted,
    ToolExecuting,
)
from agent_messaging._messages import MessageType
from agent_messaging.testing._troubles import RunKey

__all__ = ["ReceivedFrame", "listed", "received", "run_key"]

_EVENTS: Final[Mapping[str, type[RunEvent]]] = {
    event.type: event
    for event in (
        AgentQueued,
        AgentStarted,
        AgentThinking,
        AgentResponseChunk,
        AgentProgress,
        ToolExecuting,
        ToolCompleted,
        AgentCompleted,
        AgentFailed,
        AgentCancelled,
    )
}

#: Lines of frames in a failure's message, the first ones and the last; a long answer has thousands
#: of chunks.
_FIRST: Final = 20
_LAST: Final = 80
#: Characters of one frame in such a list.
_LINE: Final = 160


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFrame:
    """One frame that a client received.

    Attributes:
        text: the frame as it was sent.
        type: its type; a `MessageType`, or one of the host's own. Empty if it is no frame of the
            native dialect, of which nothing more than its text is known.
        payload: what it says, as the JSON gives it.
        user_id: whose run it is about; None where it is not the event of a run.
        thread_id: likewise.
        run_id: likewise, and of frames of the host's own whatever they say.
        seq: which event of the run it is, from 1.
        timestamp: when the event was decided, in seconds of the host's clock.
    """

    text: str
    type: str = ""
    payload: Mapping[str, object] = field(default_factory=dict[str, object])
    user_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    seq: int | None = None
    timestamp: float | None = None

    @property
    def event(self) -> RunEvent | None:
        """The event of a run, with its types; None for any other frame.

        Fields that its type does not know, as a relayed event may have, are in the payload alone;
        one that lacks a field that its type must have is None.
        """
        if not self.is_of_run:
            return None
        kind = _EVENTS[self.type]
        known = {each.name for each in fields(kind)}
        said = {name: value for name, value in self.payload.items() if name in known}
        if any(each.default is MISSING and each.name not in said for each in fields(kind)):
            return None
        event: RunEvent = cast("Any", kind)(**said)
        return event

    @property
    def is_of_run(self) -> bool:
        """Whether it is the event of a run."""
        return self.type in _EVENTS and self.run_id is not None

    def __str__(self) -> str:
        """Its type and payload in a line, cut where it is long."""
        said = " ".join(f"{name}={value!r}" for name, value in self.payload.items())
        line = f"{self.type} {said}".rstrip() if self.type else self.text
        return line if len(line) <= _LINE else f"{line[:_LINE]}..."


def received(text: str) -> ReceivedFrame:
    """The frame that is sent as this text, whatever that is."""
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):
        decoded = None
    said = cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else {}
    kind, payload = said.get("type"), said.get("payload", {})
    if not (isinstance(kind, str) and isinstance(payload, dict)):
        return ReceivedFrame(text=text)
    return ReceivedFrame(
        text=text,
        type=MessageType(kind) if kind in _TYPES else kind,
        payload=cast("dict[str, object]", payload),
        user_id=said.get("user_id"),
        thread_id=said.get("thread_id"),
        run_id=said.get("run_id"),
        seq=said.get("seq"),
        timestamp=said.get("timestamp"),
    )


_TYPES: Final = frozenset(MessageType)


def run_key(frame: ReceivedFrame) -> RunKey:
    """The run that an event is of."""
    return frame.user_id, frame.thread_id, frame.run_id


def listed(frames: Iterable[ReceivedFrame]) -> str:
    """The frames for a failure's message: a numbered line each, the middle left out of many.

    Heartbeats in a row are one line: whoever waits for long gets thousands.
    """
    lines: list[str] = []
    for are_heartbeats, group in groupby(enumerate(frames, 1), _is_heartbeat):
        listing = [f"  {number:3} {frame}" for number, frame in group]
        if are_heartbeats and len(listing) > 1:
            listing = [f"{listing[-1]} (the last of {len(listing)})"]
        lines += listing
    if not lines:
        return "  nothing"
    left_out = len(lines) - _FIRST - _LAST
    if left_out > 0:
        lines[_FIRST:-_LAST] = [f"  ... {left_out} more"]
    return "\n".join(lines)


def _is_heartbeat(numbered: tuple[int, ReceivedFrame]) -> bool:
    return numbered[1].type == MessageType.HEARTBEAT
