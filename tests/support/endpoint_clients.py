"""Clients of an endpoint: what each may be shown, checked frame by frame as it comes."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from agent_messaging.testing import StreamChecker
from support.endpoint_witness import History, Witness
from support.frames import Json
from support.loop import TICK
from support.recount import TERMINAL
from support.scheduling import Pauses

_EVENT: Final = {"type", "payload", "user_id", "thread_id", "run_id", "seq", "timestamp"}
_CONTROL: Final = {"type", "payload", "timestamp"}
#: The last words to a client, by their codes.
_FAREWELLS: Final = {"slow_consumer", "shutting_down", "log_unavailable"}

#: What RESUMED may say of each run: from_seq, to_seq, status and evicted, or several of these.
Told: TypeAlias = dict[str, set[tuple[int, int, str, bool]]]


@dataclass(slots=True)
class Due:
    """An answer that a connection is to be given, in the order of what it asked.

    Attributes:
        kind: its type.
        payload: what its payload has to hold.
        codes: the codes that an error may have.
        told: what a RESUMED has to tell, where that is known.
        is_optional: whether it need not come.
    """

    kind: str
    payload: Json = field(default_factory=dict[str, object])
    codes: frozenset[str] = frozenset()
    told: Told | None = None
    is_optional: bool = False

    def fits(self, kind: str, payload: Json) -> bool:
        """Whether this frame is it."""
        if kind != self.kind or any(payload.get(key) != self.payload[key] for key in self.payload):
            return False
        if kind == "error_message":
            return payload["code"] in self.codes
        if self.told is not None:
            runs = {run["run_id"]: run for run in payload["runs"]}
            return (
                len(runs) == len(payload["runs"])
                and runs.keys() == self.told.keys()
                and all(
                    (run["from_seq"], run["to_seq"], run["status"], run["evicted"])
                    in self.told[run_id]
                    for run_id, run in runs.items()
                )
            )
        return True


class Memory:
    """What one client has seen of its user's runs, over all of its connections.

    Attributes:
        seen: of each run, which events.
        lost: of each run, up to which event it was told that there are none to be had.
        frames: those of each of its connections.
    """

    def __init__(self) -> None:
        self.frames: list[list[str]] = []
        self.seen: dict[str, set[int]] = {}
        self.lost: dict[str, int] = {}
        self._reached: dict[str, int] = {}

    def reached(self, run_id: str) -> int:
        """The last event before which none is missing: the cursor of an honest client."""
        seen, at = self.seen.get(run_id, ()), self._reached.get(run_id, 0)
        at = max(at, self.lost.get(run_id, 0))
        while at + 1 in seen:
            at += 1
        self._reached[run_id] = at
        return at


class Screen:
    """What one connection shows, checked against what the log was told.

    Args:
        user_id: whose connection it is.
        witness: knows the events of each run.
        memory: the client's.
        is_owned: whether the endpoint has a run that has not ended, by its id.

    Attributes:
        faults: in words, what no client may be shown.
        events: how many events of each type it was shown.
        dues: the answers that it waits for.
        stops: the STOPPED that it waits for, as the runs that each has to name, if that is known.
        spare_stops: how many more may come.
        resumes: how many RESUMED it waits for, where it is not known what they have to tell.
        cursors: the last event of each run that it watches, as the endpoint has to know it.
        newest_end: the run whose last event was the last frame.
        shown_ends: the runs whose last event it was shown.
        told_ends: the runs of which it was told that no event follows.
        evictions: how often it was told, in the middle of a run, that some events are gone.
    """

    def __init__(
        self, user_id: str, witness: Witness, memory: Memory, is_owned: Callable[[str], bool]
    ) -> None:
        self.faults: list[str] = []
        self.events: Counter[str] = Counter()
        self.dues: deque[Due] = deque([Due("connection_established")])
        self.stops: list[frozenset[str] | None] = []
        self.spare_stops = 0
        self.cursors: dict[str, int] = {}
        self.resumes = 0
        self.evictions = 0
        self.newest_end: str | None = None
        self.shown_ends: set[str] = set()
        self.told_ends: set[str] = set()
        self._user_id = user_id
        self._witness = witness
        self._memory = memory
        self._is_owned = is_owned
        self._next: dict[str, int] = {}
        #: How often a run may be shown from its first event: once for each message and retry.
        self._credits: Counter[str] = Counter()
        self._is_over = False
        self._perhaps = 0
        self._checker = StreamChecker()
        self._frames: list[str] = []
        memory.frames.append(self._frames)

    def may_show(self, message_id: str | None) -> None:
        """A message was sent on this connection, or sent again; None for one without an id."""
        self._credits[message_id or ""] += 1

    @property
    def shows(self) -> Collection[str]:
        """The runs of which it was shown some events, and not the last."""
        return self._next

    def read(self, text: str) -> None:
        """One frame has come."""
        if self._is_over:
            self._fault("a frame after the last words", text)
        if not text.isascii():
            self._fault("not ASCII", text)
        self._frames.append(text)
        for broken in self._checker.feed(text):
            self._fault("the checker of streams says", broken)
        frame: Json = json.loads(text)
        self.newest_end = frame.get("run_id") if frame["type"] in TERMINAL else None
        if "run_id" in frame:
            self._read_event(frame)
        else:
            self._read_control(frame)

    def _fault(self, what: str, about: object = "") -> None:
        self.faults.append(f"{self._user_id}'s socket: {what} {about}")

    # A run's events.

    def _read_event(self, frame: Json) -> None:
        run_id, seq, kind = frame["run_id"], frame["seq"], frame["type"]
        if frame.keys() != _EVENT:
            self._fault("not an event's envelope", frame)
        self.events[kind] += 1
        if self._is_dropped(run_id):
            return
        history = self._witness.histories.get((self._user_id, run_id))
        if history is None or frame["user_id"] != self._user_id:
            self._fault("an event of a run that is not this user's", frame)
            return
        self._compare(frame, history)
        expected = self._next.get(run_id)
        if expected is None:
            expected = 1
            credit = history.message_id if self._credits[history.message_id] else ""
            self._credits[credit] -= 1
            if self._credits[credit] < 0:
                self._fault("nobody asked for", frame)
        if seq != expected:
            self._fault(f"event {expected} was to come, and not", frame)
        self._next[run_id] = seq + 1
        self.cursors[run_id] = seq
        self._memory.seen.setdefault(run_id, set()).add(seq)
        if kind in TERMINAL:
            if self._is_owned(run_id):
                self._fault("the end of a run which still has its place in the thread", frame)
            del self._next[run_id]
            self.shown_ends.add(run_id)
            self.cursors.pop(run_id, None)

    def _is_dropped(self, run_id: str) -> bool:
        """Whether the user was forgotten while this was on its way."""
        return self._witness.has_dropped(self._user_id, run_id)

    def _compare(self, frame: Json, history: History) -> None:
        seq: int = frame["seq"]
        if not 0 < seq <= len(history.events):
            self._fault("not in the log", frame)
            return
        event = history.events[seq - 1]
        payload: Json = json.loads(event.payload)
        logged = (event.type.value, payload, history.thread_id)
        if (frame["type"], frame["payload"], frame["thread_id"]) != logged:
            self._fault(f"the log has {logged}, and not", frame)
        if abs(frame["timestamp"] - event.timestamp) > 1e-6:
            self._fault(f"the log has the time {event.timestamp}, and not", frame)

    # The control lane.

    def _read_control(self, frame: Json) -> None:
        kind, payload = frame["type"], frame["payload"]
        if frame.keys() != _CONTROL:
            self._fault("not a control frame's envelope", frame)
        if kind == "heartbeat":
            return
        if kind == "stopped":
            self._read_stopped(frame)
            return
        if kind == "resumed" and (self._answers_a_resume(payload) or self._is_unasked(payload)):
            self._read_resumed(payload)
            return
        is_farewell = kind == "error_message" and "message_id" not in payload
        skipped = 0
        for due in self.dues:
            if due.fits(kind, payload):
                break
            if not due.is_optional:
                skipped = len(self.dues)
                break
            skipped += 1
        if skipped < len(self.dues):
            for _ in range(skipped):
                self.dues.popleft()
            if self.dues.popleft().is_optional:
                self._doubt_next(kind, payload)
        elif is_farewell and payload["code"] in _FAREWELLS:
            self._is_over = True
        else:
            self._fault(f"not what was asked for ({list(self.dues)[:3]}):", frame)
        if kind == "resumed":
            self._read_resumed(payload)

    def _doubt_next(self, kind: str, payload: Json) -> None:
        """What answered the one that need not be answered may have answered the next that must."""
        due = next((due for due in self.dues if not due.is_optional), None)
        if due is not None and due.fits(kind, payload):
            due.is_optional = True

    def _answers_a_resume(self, payload: Json) -> bool:
        """Count an answer of which nobody knows what it has to tell.

        One of a single run that lacks events may be asked for or not, and counts as both.
        """
        if self._witness.is_prompt:
            return False
        runs = payload["runs"]
        if len(runs) == 1 and runs[0]["evicted"]:
            self._perhaps += 1
        self.resumes -= 1
        return self.resumes + self._perhaps >= 0

    def _is_unasked(self, payload: Json) -> bool:
        """Whether it says that the log let go of events which were to come."""
        if len(payload["runs"]) != 1 or not payload["runs"][0]["evicted"]:
            return False
        due = next((due for due in self.dues if not due.is_optional), None)
        return due is None or not due.fits("resumed", payload)

    def _read_stopped(self, frame: Json) -> None:
        run_ids = frozenset[str](frame["payload"]["run_ids"])
        asked = next((stop for stop in self.stops if stop is None or stop == run_ids), run_ids)
        if asked is None or asked in self.stops:
            self.stops.remove(asked)
        elif self.spare_stops:
            self.spare_stops -= 1
        else:
            self._fault(f"none of the stops {self.stops} is answered by", frame)
        for run_id in run_ids:
            if self._is_dropped(run_id):
                return
            history = self._witness.histories.get((self._user_id, run_id))
            if history is None or not history.is_ended:
                self._fault("a run is said to have stopped that goes on:", frame)
            if run_id in self._next:
                self._fault("a run's last event was to come before", frame)

    def _read_resumed(self, payload: Json) -> None:
        for run in payload["runs"]:
            run_id, from_seq, to_seq = run["run_id"], run["from_seq"], run["to_seq"]
            if self._is_dropped(run_id):
                return
            history = self._witness.histories.get((self._user_id, run_id))
            if history is None or history.thread_id != run["thread_id"]:
                self._fault("resumed a run that is not this user's", run)
                return
            if to_seq > len(history.events) or from_seq > to_seq + 1:
                self._fault("resumed more than there is", run)
            expected = self._next.get(run_id)
            if run["evicted"]:
                first = self._witness.first_seq(history)
                if expected is not None:
                    self.evictions += 1
                    if from_seq < expected:
                        self._fault(f"events up to {expected} were shown, and will be again", run)
                if first < from_seq:
                    self._fault(f"the log still has events from {first} on, and not", run)
                self._memory.lost[run_id] = max(from_seq - 1, self._memory.lost.get(run_id, 0))
            elif expected is not None and expected != from_seq:
                self._fault(f"event {expected} is the next to come, and not as in", run)
            ended = run["status"] in ("completed", "failed", "cancelled")
            if ended and from_seq > to_seq:
                self.told_ends.add(run_id)
                self._next.pop(run_id, None)
                self.cursors.pop(run_id, None)
            else:
                self._next[run_id] = from_seq
                if run["evicted"]:
                    self.cursors[run_id] = from_seq - 1


#: How a socket takes frames: at once, after turns of the loop, after a time, not until it reads
#: on, or never again.
Pace: TypeAlias = Literal["prompt", "turns", "slow", "stalled", "broken"]


class Socket:
    """The host's end of one connection; the client behind it reads at the pace that it is told.

    Attributes:
        screen: what the client is shown.
        pace: set by `read_at`.
        closed: the reasons that its ``close`` was called with.
        faults: in words, what no transport may be asked to do.
    """

    def __init__(self, screen: Screen, pauses: Pauses, pace: Pace = "prompt") -> None:
        self.screen: Final = screen
        self.pace: Pace = pace
        self.closed: list[str] = []
        self.faults: list[str] = []
        self._pauses = pauses
        self._changed = asyncio.Event()
        self._is_sending = False

    def read_at(self, pace: Pace) -> None:
        """Take frames so from now on, the one under way too."""
        self.pace = pace
        self._changed.set()
        self._changed = asyncio.Event()

    async def send(self, text: str) -> None:
        """What the endpoint sends with."""
        if self._is_sending:
            self.faults.append("two sends at once on one connection")
        self._is_sending = True
        task = asyncio.current_task()
        try:
            await self.take_time()
        finally:
            self._is_sending = False
            if asyncio.current_task() is not task:
                self.faults.append("a send that ended in another task")
        self.screen.read(text)

    async def take_time(self) -> None:
        """As long as the client takes over one frame."""
        while self.pace == "stalled":
            await self._changed.wait()
        if self.pace == "turns":
            await self._pauses()
        elif self.pace == "slow":
            await asyncio.sleep(TICK)
        if self.pace == "broken":
            raise ConnectionError("the connection is gone")

    async def close(self, reason: str) -> None:
        """What the endpoint closes with."""
        self.closed.append(reason)
        if len(self.closed) > 1:
            self.faults.append(f"closed more than once: {self.closed}")
