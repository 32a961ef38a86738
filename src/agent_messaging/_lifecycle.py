"""The lifecycle of a run: everything that affects a transition is in this file.

`TRANSITIONS` is the whole of it, with two rules beside the table: a tool call's id is opened
once in a run and only an open id is completed; a run with open tool calls does not end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NoReturn, cast, final

from agent_messaging._errors import LifecycleError
from agent_messaging._events import GOLDEN_PATH, Outcome
from agent_messaging._messages import MessageType

__all__ = ["TRANSITIONS", "GoldenPathReport", "RunLifecycle", "RunState"]


class RunState(StrEnum):
    """Where a run is; every run ends in DONE."""

    NEW = "new"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


#: From each state, the events that are allowed and where they lead; all else is an error.
TRANSITIONS: Final[Mapping[RunState, Mapping[MessageType, RunState]]] = {
    RunState.NEW: {
        MessageType.AGENT_QUEUED: RunState.QUEUED,
        MessageType.AGENT_STARTED: RunState.RUNNING,
        MessageType.AGENT_FAILED: RunState.DONE,
        MessageType.AGENT_CANCELLED: RunState.DONE,
    },
    RunState.QUEUED: {
        MessageType.AGENT_STARTED: RunState.RUNNING,
        MessageType.AGENT_FAILED: RunState.DONE,
        MessageType.AGENT_CANCELLED: RunState.DONE,
    },
    RunState.RUNNING: {
        MessageType.AGENT_THINKING: RunState.RUNNING,
        MessageType.AGENT_RESPONSE_CHUNK: RunState.RUNNING,
        MessageType.AGENT_PROGRESS: RunState.RUNNING,
        MessageType.TOOL_EXECUTING: RunState.RUNNING,
        MessageType.TOOL_COMPLETED: RunState.RUNNING,
        MessageType.AGENT_COMPLETED: RunState.DONE,
        MessageType.AGENT_FAILED: RunState.DONE,
        MessageType.AGENT_CANCELLED: RunState.DONE,
    },
    RunState.DONE: {},
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPathReport:
    """What a run decided, and what the transport accepted of it, at one moment.

    Attributes:
        outcome: the terminal event's type; None while the run goes on.
        decided: how many events of each type the run decided; types with none are left out.
        delivered: how many of those the transport accepted.
        first_at_ms: for each type decided, when its first event was: milliseconds after the
            run's first event.
        duration_ms: from the run's first event to its last so far, in milliseconds.
    """

    outcome: Outcome | None
    decided: Mapping[MessageType, int]
    delivered: Mapping[MessageType, int]
    first_at_ms: Mapping[MessageType, int]
    duration_ms: int

    @property
    def undelivered(self) -> int:
        """How many decided events the transport has not accepted."""
        return sum(self.decided.values()) - sum(self.delivered.values())

    @property
    def order(self) -> tuple[MessageType, ...]:
        """The Golden Path events that were decided, by their first occurrence."""
        return tuple(kind for kind in self.decided if kind in GOLDEN_PATH)

    @property
    def missing(self) -> tuple[MessageType, ...]:
        """The Golden Path events that were not decided; a run without tools misses no tool."""
        return self._without(self.decided)

    @property
    def undelivered_kinds(self) -> tuple[MessageType, ...]:
        """The Golden Path events that the transport accepted none of, as `missing` counts."""
        return self._without(self.delivered)

    @property
    def is_complete(self) -> bool:
        """Whether the client got every event of the path that this run had to send, in order."""
        return not self.undelivered_kinds and self.order == tuple(
            kind for kind in GOLDEN_PATH if kind in self.decided
        )

    def _without(self, counts: Mapping[MessageType, int]) -> tuple[MessageType, ...]:
        tools = MessageType.TOOL_EXECUTING in self.decided
        return tuple(
            kind
            for kind in GOLDEN_PATH
            if kind not in counts
            and (tools or kind not in (MessageType.TOOL_EXECUTING, MessageType.TOOL_COMPLETED))
        )


_TOOL_EXECUTING: Final = MessageType.TOOL_EXECUTING
_TOOL_COMPLETED: Final = MessageType.TOOL_COMPLETED
_NEW: Final = RunState.NEW
_DONE: Final = RunState.DONE


@final
class RunLifecycle:
    """Which event may come next in one run, its ``seq``, and a count of what came.

    Synchronous and without a clock: the caller says when each event is.
    """

    __slots__ = (
        "_calls",
        "_decided",
        "_delivered",
        "_first",
        "_last",
        "_made",
        "_open",
        "_state",
        "seq",
    )

    def __init__(self) -> None:
        self._state = _NEW
        #: The number of the last decided event; they count 1, 2, 3.
        self.seq: int = 0
        self._calls: set[str] = set()
        self._made = 0
        self._open: dict[str, tuple[str, float]] = {}
        self._decided: dict[MessageType, int] = {}
        self._delivered: dict[MessageType, int] = {}
        self._first: dict[MessageType, float] = {}
        self._last = 0.0

    @property
    def state(self) -> RunState:
        """Where the run is."""
        return self._state

    @property
    def outcome(self) -> Outcome | None:
        """The terminal event's type, once the run is DONE."""
        return cast("Outcome", next(reversed(self._decided))) if self._state is _DONE else None

    @property
    def open_tools(self) -> Mapping[str, tuple[str, float]]:
        """The calls under way, oldest first: by id, the tool's name and its start in seconds.

        Not to be changed, and not to be kept: it is the lifecycle's own.
        """
        return self._open

    def new_tool_call_id(self) -> str:
        """An id that no call of the run has had, or was given here: ``call_1``, ``call_2``..."""
        while True:
            self._made += 1
            tool_call_id = f"call_{self._made}"
            if tool_call_id not in self._calls:
                return tool_call_id

    def advance(
        self,
        kind: MessageType,
        at: float,
        tool_call_id: str | None = None,
        tool_name: str = "",
    ) -> int:
        """Decide one event and return its ``seq``.

        Args:
            kind: the event's type.
            at: when it is, in seconds of a monotonic clock.
            tool_call_id: the call that a tool event opens or closes.
            tool_name: the tool that is opened.

        Raises:
            LifecycleError: the event may not come here; nothing has changed.
        """
        successor = TRANSITIONS[self._state].get(kind)
        if successor is None:
            self._refuse(kind, f"is not allowed while the run is {self._state}")
        if kind == _TOOL_EXECUTING:
            if tool_call_id is None or tool_call_id in self._calls:
                self._refuse(kind, f"needs an id that is new in this run, not {tool_call_id!r}")
            self._calls.add(tool_call_id)
            self._open[tool_call_id] = (tool_name, at)
        elif kind == _TOOL_COMPLETED:
            if tool_call_id is None or tool_call_id not in self._open:
                self._refuse(kind, f"needs the id of an open call, not {tool_call_id!r}")
            del self._open[tool_call_id]
        elif successor is _DONE and self._open:
            self._refuse(kind, f"must wait for the open tool calls {', '.join(self._open)}")
        self._state = successor
        self._last = at
        self.seq = seq = self.seq + 1
        decided = self._decided
        if kind in decided:
            decided[kind] += 1
        else:
            decided[kind] = 1
            self._first[kind] = at
        return seq

    def deliver(self, kind: MessageType) -> None:
        """Note that the transport accepted one event of this type."""
        delivered = self._delivered
        delivered[kind] = delivered.get(kind, 0) + 1

    @property
    def undelivered(self) -> int:
        """How many decided events the transport has not accepted."""
        return self.seq - sum(self._delivered.values())

    def report(self) -> GoldenPathReport:
        """What was decided and delivered up to now, detached from the run."""
        start = min(self._first.values(), default=0.0)
        return GoldenPathReport(
            outcome=self.outcome,
            decided=MappingProxyType(self._decided.copy()),
            delivered=MappingProxyType(self._delivered.copy()),
            first_at_ms=MappingProxyType(
                {kind: int((at - start) * 1000) for kind, at in self._first.items()}
            ),
            duration_ms=int((self._last - start) * 1000),
        )

    def _refuse(self, kind: MessageType, why: str) -> NoReturn:
        raise LifecycleError(f"{kind} {why}")
