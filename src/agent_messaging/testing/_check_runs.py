"""One run as a stream shows it: the order of its events, its lifecycle, and what is sent again."""

from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple, final

from agent_messaging._errors import LifecycleError
from agent_messaging._lifecycle import RunLifecycle, RunState
from agent_messaging._limits import is_id
from agent_messaging._messages import MessageType
from agent_messaging.eventlog.protocol import ENDED, STATUS_AFTER, TERMINAL
from agent_messaging.testing._check_rules import Fault, StreamRule

__all__ = ["SeenEvent", "SeenRun", "ToldRun"]

#: Open tool calls that are named; there may be very many.
_NAMED: Final = 5

_QUEUED: Final = MessageType.AGENT_QUEUED
_STARTED: Final = MessageType.AGENT_STARTED
_TOOL_EXECUTING: Final = MessageType.TOOL_EXECUTING
_TOOL_COMPLETED: Final = MessageType.TOOL_COMPLETED


class SeenEvent(NamedTuple):
    """An event whose envelope is sound, as far as it tells where it belongs.

    Attributes:
        kind: its type.
        payload: as on the wire, sound or not.
        seq: its number; None for one that has none, which is taken for the next.
        digest: stands for type and payload, in 64 bits; 0 if it could not be made.
        connection: the number of the connection that it came by.
        position: the number of its frame.
    """

    kind: MessageType
    payload: Mapping[str, object]
    seq: int | None
    digest: int
    connection: int
    position: int


class ToldRun(NamedTuple):
    """What RESUMED tells of a run."""

    status: str
    from_seq: int
    to_seq: int
    is_evicted: bool


@final
class SeenRun:
    """What is known of one run, and what its next frame may be.

    After an event that came out of order it goes on from there, without a word about those that
    follow it well: whether frames are missing, one came twice, or a ``seq`` was wrong.

    Attributes:
        user_id: whose run it is; None before an event told it.
        thread_id: its conversation; likewise.
        position: the number of the last frame that told of it.
        is_open: whether its end is to come.
    """

    __slots__ = (
        "_again",
        "_connection",
        "_course",
        "_digests",
        "_doubt",
        "_end",
        "_first_seq",
        "_goes_on",
        "_last_seq",
        "_next",
        "_others",
        "_told",
        "is_open",
        "position",
        "thread_id",
        "user_id",
    )

    def __init__(self) -> None:
        self.user_id: str | None = None
        self.thread_id: str | None = None
        self.position: int = 0
        self.is_open: bool = False
        self._others: tuple[str | None, str | None] | None = None
        #: None once its terminal event came: a lifecycle holds the ids of all of its tool calls.
        self._course: _Course | None = _Course(has_gap=False)
        #: How it ended, and on which connection that was told.
        self._end: tuple[str | None, int] = (None, -1)
        #: Whether events after its end were reported.
        self._goes_on = False
        #: The last of its events, over all connections, and digests of those from some one on.
        self._last_seq = 0
        self._first_seq = 1
        self._digests = array("Q")
        # Of one connection: the event that is due; None while the run is not being sent.
        self._connection = -1
        self._next: int | None = None
        #: The event that comes next if the ``seq`` of one that was out of order was wrong.
        self._doubt: int | None = None
        #: The event that comes next if one that came again is the first of several.
        self._again: int | None = None
        self._told: ToldRun | None = None

    def is_sent(self, connection: int) -> bool:
        """Whether the run is being sent on that connection, and its end is to come there."""
        return self._connection == connection and self._next is not None

    def _enter(self, connection: int) -> None:
        if self._connection != connection:
            self._connection = connection
            self._next = self._doubt = self._again = None

    # Whose it is.

    def belongs(self, user_id: str | None, thread_id: str | None) -> Iterator[Fault]:
        """See that it is as before this user's run on this thread; None where that is not told."""
        self.user_id = self.user_id or user_id
        self.thread_id = self.thread_id or thread_id
        told = (user_id or self.user_id, thread_id or self.thread_id)
        if told not in ((self.user_id, self.thread_id), self._others):
            # Reported once, and not for each of the frames that follow.
            self._others = told
            name = "user" if told[0] != self.user_id else "thread"
            first, other = (self.user_id, told[0]) if name == "user" else (self.thread_id, told[1])
            yield Fault(
                StreamRule.RUN_CHANGED,
                f"the run is of {name} {first}, and this frame has it of {name} {other}",
            )

    # Its events.

    def event(self, event: SeenEvent) -> Iterator[Fault]:
        """The next event of the run."""
        self._enter(event.connection)
        self.position = event.position
        expected = self._next or 1
        seq = event.seq or (self._next or self._last_seq + 1)
        in_order = seq == expected or event.seq is None
        if in_order:
            self._doubt = self._again = None
        elif seq == self._doubt:
            self._go_back_to(seq - 1)
            self._doubt = self._again = None
        else:
            if seq != self._again and not self._is_beyond_its_end(seq):
                yield self._misplaced(seq, expected)
            self._doubt = expected + 1
            if seq < expected:
                self._again = seq + 1
                return
        yield from self._place(event, seq, is_compared=in_order)

    def _is_beyond_its_end(self, seq: int) -> bool:
        return self._course is None and seq > self._last_seq

    def _misplaced(self, seq: int, expected: int) -> Fault:
        if self._next is None:
            return Fault(
                StreamRule.SEQ,
                f"event 1 was due, as no resumed says that the run goes on later, and not {seq}",
            )
        return Fault(StreamRule.SEQ, f"event {expected} was due, and not {seq}")

    def _place(self, event: SeenEvent, seq: int, *, is_compared: bool) -> Iterator[Fault]:
        """Take an event for the one of that number."""
        if is_compared and self._differs(seq, event.digest):
            yield Fault(
                StreamRule.REPLAY_DIFFERS,
                f"event {seq} was sent before, with another type or payload",
            )
            self._go_back_to(seq - 1)
        if seq > self._last_seq:
            yield from self._take_new(event, seq)
        is_end = event.kind in TERMINAL
        yield from self._compare_with_told(event.kind, seq)
        self._next = None if is_end else seq + 1
        self.is_open = not (is_end or self._goes_on)

    def _differs(self, seq: int, digest: int) -> bool:
        if not self._first_seq <= seq <= self._last_seq:
            return False
        before = self._digests[seq - self._first_seq]
        return digest != before and 0 not in (digest, before)

    def _take_new(self, event: SeenEvent, seq: int) -> Iterator[Fault]:
        course = self._course
        if seq != self._last_seq + 1:
            if course is not None:
                course.miss_some()
            self._digests = array("Q")
            self._first_seq = seq
        self._digests.append(event.digest)
        self._last_seq = seq
        if course is not None:
            yield from course.advance(event.kind, event.payload)
            if event.kind in TERMINAL:
                self._course = None
                self._end = (STATUS_AFTER.get(event.kind), event.connection)
        elif event.kind in TERMINAL or not self._goes_on:
            self._goes_on = True
            yield Fault(StreamRule.AFTER_END, f"{event.kind} came after the run's terminal event")

    def _compare_with_told(self, kind: MessageType, seq: int) -> Iterator[Fault]:
        told = self._told
        if told is None:
            return
        if seq >= told.to_seq:
            self._told = None
        if told.status not in ENDED:
            # It may have gone on, and to its end, by the time that its events were sent.
            is_as_told = kind not in TERMINAL or seq > told.to_seq
        elif seq < told.to_seq:
            is_as_told = kind not in TERMINAL
        else:
            is_as_told = STATUS_AFTER.get(kind) == told.status
        if not is_as_told:
            yield Fault(
                StreamRule.RESUMED,
                f"resumed told of a run that is {told.status} with event {told.to_seq}, "
                f"and event {seq} is {kind}",
            )

    def _go_back_to(self, seq: int) -> None:
        """Take nothing for known that came after this event."""
        kept = seq + 1 - self._first_seq
        if 0 <= kept <= len(self._digests):
            del self._digests[kept:]
        else:
            self._digests = array("Q")
            self._first_seq = seq + 1
        self._last_seq = seq
        self._course = _Course(has_gap=seq > 0)
        self._goes_on = False

    # What is told of it.

    def resumed(self, told: ToldRun, connection: int, position: int) -> Iterator[Fault]:
        """RESUMED tells what follows of the run."""
        self._enter(connection)
        self.position = position
        due = self._next
        if due is not None and (told.from_seq < due if told.is_evicted else told.from_seq != due):
            yield Fault(
                StreamRule.RESUMED,
                f"event {due} of a run that is being sent was due, and resumed goes on with "
                f"{told.from_seq}",
            )
        if told.is_evicted and told.to_seq < self._last_seq:
            # The log has lost events that were sent, and others may come in their place.
            self._go_back_to(told.to_seq)
        if self._is_beyond_its_end(told.from_seq):
            yield from self._compare_with_end(told, connection)
            return
        self.is_open = told.status not in ENDED or told.from_seq <= told.to_seq
        self._next = told.from_seq if self.is_open else None
        self._doubt = self._again = None
        self._told = told

    def _compare_with_end(self, told: ToldRun, connection: int) -> Iterator[Fault]:
        """See that what is told of a run whose end was sent is that end."""
        if self._goes_on:
            return  # where it ended was reported
        status, told_on = self._end
        if told.status in ENDED:
            is_as_sent = (told.status, told.to_seq) == (status, self._last_seq)
        else:
            is_as_sent = connection == told_on  # the end was sent, while the answer was made
        if not is_as_sent:
            yield Fault(
                StreamRule.RESUMED,
                f"resumed tells of a run that is {told.status} with event {told.to_seq}, "
                f"and it was {status} with event {self._last_seq}",
            )


@final
class _Course:
    """The lifecycle of a run that has not ended, as far as the stream tells it.

    Where some events are not known, whatever may have been before is taken to have been.
    """

    __slots__ = ("_has_gap", "_lifecycle")

    def __init__(self, *, has_gap: bool) -> None:
        self._has_gap = has_gap
        self._lifecycle = RunLifecycle()

    def miss_some(self) -> None:
        """Some events are not known."""
        has_started = self._lifecycle.state is RunState.RUNNING
        self._has_gap = True
        self._lifecycle = RunLifecycle()
        if has_started:
            self._lifecycle.advance(_STARTED, 0.0)

    def advance(self, kind: MessageType, payload: Mapping[str, object]) -> Iterator[Fault]:
        """The next event."""
        ids = [payload.get(name) for name in ("tool_call_id", "tool_name")]
        tool_call_id, tool_name = (value if is_id(value) else None for value in ids)
        fault = self._take(kind, tool_call_id, tool_name or "")
        if fault is not None:
            yield fault
            self.miss_some()  # and go on as if this had been right

    def _take(self, kind: MessageType, tool_call_id: str | None, tool_name: str) -> Fault | None:
        lifecycle = self._lifecycle
        if self._has_gap:
            self._presume(kind, tool_call_id, tool_name)
        opened = lifecycle.open_tools
        if kind in TERMINAL and opened:
            named = ", ".join(islice(opened, _NAMED)) + ", ..." * (len(opened) > _NAMED)
            return Fault(StreamRule.OPEN_TOOLS, f"{kind} came while tool calls are open: {named}")
        name, _ = opened.get(tool_call_id or "", (tool_name, 0.0))
        try:
            lifecycle.advance(kind, 0.0, tool_call_id, tool_name)
        except LifecycleError as error:
            is_tool = kind in (_TOOL_EXECUTING, _TOOL_COMPLETED)
            is_paired = is_tool and lifecycle.state is RunState.RUNNING
            return Fault(StreamRule.TOOL if is_paired else StreamRule.LIFECYCLE, str(error))
        if kind is _TOOL_COMPLETED and name and name != tool_name:
            return Fault(StreamRule.TOOL, f"the call {tool_call_id} began with another tool_name")
        return None

    def _presume(self, kind: MessageType, tool_call_id: str | None, tool_name: str) -> None:
        """Take for known what has to have been before this event."""
        lifecycle = self._lifecycle
        if lifecycle.state is RunState.NEW:
            lifecycle.advance(_QUEUED if kind is _STARTED else _STARTED, 0.0)
        if kind is _TOOL_COMPLETED and tool_call_id not in lifecycle.open_tools:
            with suppress(LifecycleError):  # it was completed already
                lifecycle.advance(_TOOL_EXECUTING, 0.0, tool_call_id, tool_name)
