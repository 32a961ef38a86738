"""What the clients were sent, and whether it is what they may be sent; synchronous, no network.

A `Line` is what may come on one connection, a `Device` what one client has of its runs over all
its connections, an `Account` what the devices of one user asked for, a `Ledger` all of them.
Nothing is raised for what is wrong: it is noted in the ledger, by kind.
"""

import json
import zlib
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, final

from soak.agents import ASKED_FOR, ENDINGS
from support import Json

TERMINAL: Final = frozenset({"agent_completed", "agent_failed", "agent_cancelled"})

#: Refusals that the clients' acts can lead to.
REFUSALS: Final = frozenset(
    {
        "frame_too_large",
        "identity_mismatch",
        "invalid_message",
        "malformed_frame",
        "message_id_conflict",
        "missing_content",
        "queue_full",
        "rate_limited",
        "slow_consumer",
        "too_many_runs",
        "too_many_sessions",
        "unsupported_type",
    }
)

#: What became of a message, as its sender knows.
Fate: TypeAlias = Literal["unknown", "accepted", "refused"]

#: Faults of one kind of which the words are kept.
_KEPT: Final = 20


def check_sum(kind: str, payload: str) -> int:
    """Stands for one event's content."""
    return zlib.crc32(payload.encode(), zlib.crc32(kind.encode()))


def fingerprint(events: Iterable[tuple[str, str]]) -> int:
    """Stands for the types and payloads (JSON texts) of events, in their order."""
    return fingerprint_of(array("I", (check_sum(*event) for event in events)))


def fingerprint_of(check_sums: "array[int]") -> int:
    """The fingerprint of the events with these check sums."""
    return zlib.crc32(check_sums.tobytes())


@final
class Ledger:
    """What all clients were sent.

    Attributes:
        faults: what was wrong, by kind.
        counts: what happened, by name.
        refusals: the refusals, by code.
        connection_ids: of every session; none comes twice.
        owners: the user that was sent events of a run, by run id.
        recent: the run ids that were seen last.
        stopped: the users that were told that a run has been stopped, with that run's id.
    """

    def __init__(self) -> None:
        self.faults: dict[str, list[str]] = {}
        self.fault_counts: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.connection_ids: set[str] = set()
        self.owners: dict[str, str] = {}
        self.recent: deque[str] = deque(maxlen=50)
        self.stopped: set[tuple[str, str]] = set()

    def fault(self, kind: str, words: str) -> None:
        """Something is wrong."""
        self.fault_counts[kind] += 1
        kept = self.faults.setdefault(kind, [])
        if len(kept) < _KEPT:
            kept.append(words)


@dataclass(slots=True)
class Account:
    """One user: what its devices asked to be stopped."""

    user_id: str
    stopped_runs: set[str] = field(default_factory=set[str])
    stopped_threads: set[str] = field(default_factory=set[str])


@dataclass(slots=True)
class SeenRun:
    """What one device has of a run: its events from the first on, and how it ended."""

    run_id: str
    thread_id: str
    message_id: str
    check_sums: "array[int]" = field(default_factory=lambda: array("I"))
    end: str | None = None

    @property
    def cursor(self) -> int:
        """The last event that the device has."""
        return len(self.check_sums)


@dataclass(slots=True)
class Sent:
    """A message of a device.

    Attributes:
        frame: as it is sent, and sent again.
        behaviour: what it asks the agent for.
        fate: what became of it.
        run_id: its run.
        lines: connections that it was sent on.
    """

    frame: str
    behaviour: str
    fate: Fate = "unknown"
    run_id: str | None = None
    lines: int = 0


@final
class Device:
    """What one client has, over all its connections."""

    def __init__(self, name: str, account: Account, ledger: Ledger) -> None:
        self.name = name
        self.account = account
        self.ledger = ledger
        self.messages: dict[str, Sent] = {}
        self.runs: dict[str, SeenRun] = {}

    @property
    def unknown(self) -> list[Sent]:
        """The messages of which the device cannot know whether they were accepted."""
        return [sent for sent in self.messages.values() if sent.fate == "unknown"]

    @property
    def unended(self) -> dict[str, int]:
        """The runs whose end the device has not seen, and its cursor in each."""
        return {run.run_id: run.cursor for run in self.runs.values() if run.end is None}

    @property
    def is_settled(self) -> bool:
        """Whether all that the device began has come to its end."""
        return not (self.unknown or self.unended)

    def fault(self, kind: str, words: str) -> None:
        """Something is wrong at this device."""
        self.ledger.fault(kind, f"{self.name}: {words}")


@dataclass(slots=True)
class Place:
    """Where one connection is in a run.

    Attributes:
        expected: the ``seq`` that comes next.
        restarts: where the run may begin anew, since a RESUMED said so.
        has_ended: whether the terminal event has come on this connection.
    """

    expected: int = 1
    restarts: Counter[int] = field(default_factory=Counter[int])
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """A RESUME that is to be answered."""

    after: Mapping[str, int]
    thread_id: str | None


@final
class Line:
    """What may come on one connection."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._ledger = device.ledger
        self._is_greeted = False
        self._pings: deque[int] = deque()
        self._resumes: deque[Resume] = deque()
        self._places: dict[str, Place] = {}
        #: How often each message was sent; that often its run may begin with its first event.
        self._messages: Counter[str] = Counter()
        self._refusable: set[str] = set()
        self._anonymous_refusals = 0
        self._stops = 0
        self._readers: Final[Mapping[str, Callable[[Json], None]]] = {
            "connection_established": self._greeting,
            "heartbeat": self._heartbeat,
            "pong": self._pong,
            "stopped": self._stopped,
            "resumed": self._resumed,
            "error_message": self._error,
        }

    # What the client sends.

    def sends_message(self, message_id: str) -> None:
        """A message goes out, for the first time or again."""
        sent = self._device.messages[message_id]
        sent.lines += message_id not in self._messages
        self._messages[message_id] += 1
        if sent.fate == "refused":
            sent.fate = "unknown"

    def sends_ping(self, number: int) -> None:
        """A PING goes out."""
        self._pings.append(number)

    def sends_stop(self) -> None:
        """A STOP_AGENT goes out."""
        self._stops += 1

    def sends_resume(self, after: Mapping[str, int], thread_id: str | None = None) -> None:
        """A RESUME goes out."""
        self._resumes.append(Resume(dict(after), thread_id))

    def sends_rubbish(self, message_id: str | None) -> None:
        """What is to be refused goes out."""
        if message_id is None:
            self._anonymous_refusals += 1
        else:
            self._refusable.add(message_id)

    # What comes.

    def takes(self, text: str) -> Json:
        """One frame of the server."""
        frame: Json = json.loads(text)
        kind = frame["type"]
        if not self._is_greeted and kind not in ("connection_established", "error_message"):
            self._device.fault("unasked", f"{kind} before the greeting")
        if "run_id" in frame:
            self._ledger.counts["events"] += 1
            self._event(frame)
        elif kind in self._readers:
            self._ledger.counts["answers"] += 1
            self._readers[kind](frame["payload"])
        else:
            self._device.fault("unasked", f"a frame of the type {kind}")
        return frame

    def _greeting(self, payload: Json) -> None:
        connection_id = payload["connection_id"]
        if self._is_greeted or connection_id in self._ledger.connection_ids:
            self._device.fault("unasked", f"a second greeting of {connection_id}")
        self._is_greeted = True
        self._ledger.connection_ids.add(connection_id)

    def _heartbeat(self, payload: Json) -> None:
        self._ledger.counts["heartbeats"] += 1

    def _pong(self, payload: Json) -> None:
        if not self._pings or self._pings.popleft() != payload.get("id"):
            self._device.fault("wrong client", f"a pong {payload}")

    def _stopped(self, payload: Json) -> None:
        self._stops -= 1
        if self._stops < 0:
            self._device.fault("unasked", "stopped")
        for run_id in payload["run_ids"]:
            self._ledger.stopped.add((self._device.account.user_id, run_id))
            place = self._places.get(run_id)
            if place is not None and not place.has_ended:
                self._device.fault("barrier", f"stopped before the end of {run_id}")

    def _error(self, payload: Json) -> None:
        code, message_id = payload["code"], payload.get("message_id")
        self._ledger.refusals[code] += 1
        if code not in REFUSALS:
            self._device.fault("unknown code", f"{payload}")
        if message_id is None:
            if code not in ("slow_consumer", "too_many_sessions"):
                self._anonymous_refusals -= 1
                if self._anonymous_refusals < 0:
                    self._device.fault("unasked", f"{payload}")
        elif message_id not in self._messages.keys() | self._refusable:
            self._device.fault("wrong client", f"{payload}")
        else:
            sent = self._device.messages.get(message_id)
            if sent is not None and sent.fate == "unknown":
                sent.fate = "refused"

    def _resumed(self, payload: Json) -> None:
        if not self._resumes:
            self._device.fault("unasked", f"resumed {payload}")
            return
        resume = self._resumes.popleft()
        for told in payload["runs"]:
            run_id, from_seq = told["run_id"], told["from_seq"]
            if run_id not in resume.after and told["thread_id"] != resume.thread_id:
                self._device.fault("wrong client", f"resumed {told}")
            if told["evicted"]:
                self._device.fault("gap", f"evicted {told}")
            place = self._places.get(run_id)
            if place is None:
                asked_for = resume.after.get(run_id, 0) + 1
                # Where a retry was first, its events are on their way already.
                if from_seq != asked_for and not (from_seq == 1 and self._was_sent(run_id)):
                    self._device.fault("gap", f"resumed from {from_seq}, not {asked_for}")
                self._places[run_id] = Place(from_seq)
            elif place.has_ended:
                place.restarts[from_seq] += 1
            elif from_seq > place.expected:
                self._device.fault("gap", f"goes on at {from_seq}, not {place.expected}")

    # The events of runs.

    def _event(self, frame: Json) -> None:
        device = self._device
        user_id, run_id, seq = frame["user_id"], frame["run_id"], frame["seq"]
        if user_id != device.account.user_id:
            device.fault("wrong client", f"an event of {user_id}: {frame}")
            return
        if run_id not in self._ledger.owners:
            self._ledger.owners[run_id] = user_id
            self._ledger.recent.append(run_id)
        place = self._places.get(run_id)
        if place is None:
            place = self._first_of(run_id, frame)
            if place is None:
                return
        if seq != place.expected or place.has_ended:
            if place.restarts[seq]:
                place.restarts[seq] -= 1
            elif seq == 1 and self._was_sent(run_id):
                self._messages[frame["payload"]["message_id"]] -= 1
            else:
                kind = "after the end" if place.has_ended else "gap"
                kind = "twice" if seq < place.expected else kind
                device.fault(kind, f"event {seq} of {run_id}, not {place.expected}")
        place.expected = seq + 1
        place.has_ended = frame["type"] in TERMINAL
        self._keep(frame, run_id, seq)

    def _first_of(self, run_id: str, frame: Json) -> Place | None:
        """A run that comes on this connection for the first time, unannounced."""
        message_id = frame["payload"].get("message_id")
        if frame["seq"] != 1 or not self._messages[message_id]:
            self._device.fault("wrong client", f"{frame}")
            return None
        self._messages[message_id] -= 1
        sent = self._device.messages[message_id]
        if sent.run_id not in (None, run_id):
            self._device.fault("twice", f"{message_id} runs as {sent.run_id} and {run_id}")
        place = self._places[run_id] = Place()
        return place

    def _was_sent(self, run_id: str) -> bool:
        """Whether a run that the device knows may begin anew, since its message was sent again."""
        run = self._device.runs.get(run_id)
        return run is not None and self._messages[run.message_id] > 0

    def _keep(self, frame: Json, run_id: str, seq: int) -> None:
        """Put an event to those that the device has, or compare it with the one that it has."""
        device = self._device
        payload: Json = frame["payload"]
        run = device.runs.get(run_id)
        if run is None:
            message_id = payload.get("message_id", "")
            run = device.runs[run_id] = SeenRun(run_id, frame["thread_id"], message_id)
            if message_id in device.messages:
                device.messages[message_id].fate = "accepted"
                device.messages[message_id].run_id = run_id
        check = check_sum(frame["type"], json.dumps(payload, separators=(",", ":")))
        if seq <= run.cursor:
            if run.check_sums[seq - 1] != check:
                device.fault("gap", f"event {seq} of {run_id} has changed")
            return
        if seq > run.cursor + 1:
            device.fault("gap", f"event {seq} of {run_id} after {run.cursor}")
        if run.end is not None:
            device.fault("after the end", f"event {seq} of {run_id}")
        run.check_sums.append(check)
        self._read(frame, run)

    def _read(self, frame: Json, run: SeenRun) -> None:
        """See that the content is the run's own."""
        device = self._device
        payload: Json = frame["payload"]
        name = f"{device.account.user_id} {run.message_id}"
        kind = frame["type"]
        text = payload.get("text", name)
        if not text.startswith(name) or (kind == "agent_completed" and payload["result"] != name):
            device.fault("wrong client", f"{frame}")
        if kind in TERMINAL:
            run.end = kind
            self._ledger.counts[kind] += 1
            if not self._may_end(frame, run):
                device.fault("ending", f"{frame}")

    def _may_end(self, frame: Json, run: SeenRun) -> bool:
        payload: Json = frame["payload"]
        kind = frame["type"]
        if kind == "agent_cancelled":
            account = self._device.account
            reason = payload["reason"]
            self._ledger.counts[f"cancelled as {reason}"] += 1
            return reason == "disconnected" or (
                reason == "stopped"
                and (run.run_id in account.stopped_runs or run.thread_id in account.stopped_threads)
            )
        if kind == "agent_failed" and payload["code"] != ASKED_FOR:
            return False
        sent = self._device.messages.get(run.message_id)
        return sent is None or ENDINGS[sent.behaviour] == kind
