"""What `check_stream` reports: the rules of a stream of native frames, and the breaking of one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, final

__all__ = ["BrokenRule", "Fault", "StreamRule"]


class StreamRule(StrEnum):
    """The rules of a stream, by their stable names."""

    # of one frame
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TYPE = "type"
    ENVELOPE = "envelope"
    PAYLOAD = "payload"
    # of one run
    SEQ = "seq"
    LIFECYCLE = "lifecycle"
    TOOL = "tool"
    OPEN_TOOLS = "open_tools"
    AFTER_END = "after_end"
    UNENDED = "unended"
    RUN_CHANGED = "run_changed"
    REPLAY_DIFFERS = "replay_differs"
    # of one connection
    CONNECTION = "connection"
    USER = "user"
    RESUMED = "resumed"
    STOPPED = "stopped"
    SESSION_OVER = "session_over"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRule:
    """One rule that a stream broke.

    Attributes:
        position: the number of the frame, from 1. Where something is missing it is the frame that
            came in its place; for a run without an end, the last one that told of the run.
        rule: which rule.
        meaning: what was expected and what came, in a sentence; of what was said in the
            conversation there is nothing in it but ids and names of types.
        run_id: whose frame it is; None for one that is no run's.
    """

    position: int
    rule: StreamRule
    meaning: str
    run_id: str | None = None


class Fault(NamedTuple):
    """A rule that is broken, before it is known by which frame."""

    rule: StreamRule
    meaning: str
