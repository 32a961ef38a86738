"""What the clients saw, and whether it is what they may see; synchronous, no process.

A `Client` is one device with all that it has of its runs, over all its connections and whatever
became of the host. A `Ledger` is all of them, and what the hosts told of themselves. Nothing is
raised for what is wrong: it is noted in the ledger.
"""

import json
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias, final

from kill.points import ASKED_FOR, Behaviour, Phase, Point
from support import Json

TERMINAL: Final = frozenset({"agent_completed", "agent_failed", "agent_cancelled"})


class Claim(Enum):
    """What is claimed of a sweep, until a fault speaks against it."""

    SAW = "every frame that a client saw is in the log, as it was"
    ACKNOWLEDGED = "whatever the log acknowledged is in it"
    RUNS = "every accepted message has one terminal event, its last, and no open tool"
    EXECUTED = "no message was executed twice, and none that was not claimed"
    CLAIMS = "no message has two runs"
    COMPLETE = "each client has exactly the events of the log"
    ORDER = "no client was sent anything twice, out of order, or after an end"
    STOPPED = "stopped comes after the end of what it stopped"
    UNASKED = "nothing was refused, and nothing sent that was not asked for"
    UNSETTLED = "each client came to the end of all that it began, after each restart"
    LEASES = "runs were interrupted only where their host was killed, or the machine stalled"
    HOST = "hosts ended by the signal alone, and told of no trouble"
    REACHED = "every point was reached at which a host was to be killed"


#: An event as clients see it: type, payload, seq, and the time, of which frames have microseconds.
Event: TypeAlias = tuple[str, str, int, str]

#: Faults of one claim of which the words are kept.
_KEPT: Final = 10


def as_seen(kind: str, payload: str, seq: int, timestamp: float) -> Event:
    """An event as clients see it."""
    return kind, payload, seq, f"{timestamp:.6f}"


@dataclass(slots=True)
class Acknowledged:
    """What the host's log acknowledged of a run.

    Attributes:
        user_id: whose it is.
        thread_id: its conversation.
        message_id: its message.
        life: the host that claimed it, by its number.
        last_seq: the last event that was appended.
    """

    user_id: str
    thread_id: str
    message_id: str
    life: int
    last_seq: int = 0


@final
class Ledger:
    """What all saw.

    Attributes:
        life: the number of the host that is at work.
        faults: what was wrong, by the claim that it speaks against.
        counts: what happened, by name.
        kills: the kills, by phase.
        struck: the runs that were under way when a host was killed, by where they were.
        runs: what the logs acknowledged, by run id.
        places: where the messages under way are, by what this life's host told.
        stalls: the lives in which the machine stalled.
        interrupted_alive: runs that a host has recovered though they were its own, with its life.
        threads: the threads of each user.
    """

    def __init__(self) -> None:
        self.life = 0
        self.faults: dict[Claim, list[str]] = {}
        self.counts: Counter[str] = Counter()
        self.kills: Counter[Phase] = Counter()
        self.struck: Counter[Phase] = Counter()
        self.runs: dict[str, Acknowledged] = {}
        self.places: dict[str, Point] = {}
        self.stalls: set[int] = set()
        self.interrupted_alive: list[tuple[int, str]] = []
        self.threads: dict[str, dict[str, None]] = {}

    def fault(self, claim: Claim, words: str) -> None:
        """Something is wrong."""
        self.counts["faults"] += 1
        kept = self.faults.setdefault(claim, [])
        if len(kept) < _KEPT:
            kept.append(f"life {self.life}: {words}")

    # What a host tells.

    def told(self, line: Json) -> None:
        """One line of a host that is no frame."""
        match line:
            case {"point": "claimed", "message_id": message_id, "run_id": run_id}:
                self.places[message_id] = "claimed"
                self.claimed(run_id, line["user_id"], line["thread_id"], message_id, self.life)
            case {"point": "recovering"}:
                self.counts["taken over"] += 1
            case {"point": point, "message_id": message_id}:
                self.places[message_id] = point
            case {"appended": run_id, "seq": seq, "is_recovery": is_recovery}:
                run = self.runs.get(run_id)
                if run is not None:
                    run.last_seq = max(seq, run.last_seq)
                if is_recovery:
                    self.counts["recovered"] += 1
                    if run is not None and run.life == self.life:
                        self.interrupted_alive.append((self.life, run_id))
            case {"renewed": _}:
                self.counts["renewals"] += 1
            case {"stalled": _}:
                self.stalls.add(self.life)
                self.counts["stalls of the machine"] += 1
            case {"record": record}:
                # It says of a run that it ended otherwise than by completing, or by whom.
                if record not in ("run_recovered", "run_finished") and not (
                    record == "lease_lost" and self.life in self.stalls
                ):
                    self.fault(Claim.HOST, f"{line['text']}")
            case {"session_end": reason, "error": error}:
                self.fault(Claim.HOST, f"a session has ended as {reason}: {error}")
            case {"loop_error": words}:
                self.fault(Claim.HOST, words)
            case _:
                pass

    def claimed(
        self, run_id: str, user_id: str, thread_id: str, message_id: str, life: int
    ) -> None:
        """A message has this run, as the log says."""
        self.runs.setdefault(run_id, Acknowledged(user_id, thread_id, message_id, life))

    # What is asked for.

    def under_way(self) -> dict[str, Point]:
        """Where the messages are whose runs have not ended."""
        return {id_: place for id_, place in self.places.items() if place != "ended"}


@dataclass(slots=True)
class Sent:
    """A message of a client.

    Attributes:
        message_id: which.
        frame: as it is sent, and sent again.
        behaviour: what it asks the agent for.
        thread_id: its conversation.
        is_to_stop: whether its client stops it once it waits.
        run_id: its run, as the client knows.
        times: how often this client has sent it.
    """

    message_id: str
    frame: str
    behaviour: Behaviour
    thread_id: str
    is_to_stop: bool
    run_id: str | None = None
    times: int = 0


@dataclass(slots=True)
class Seen:
    """What one client has of a run."""

    run_id: str
    thread_id: str
    message_id: str
    events: list[Event] = field(default_factory=list[Event])

    @property
    def cursor(self) -> int:
        """The last event that it has."""
        return len(self.events)

    @property
    def has_ended(self) -> bool:
        """Whether that is the end."""
        return bool(self.events) and self.events[-1][0] in TERMINAL


@dataclass(slots=True)
class Resume:
    """A RESUME that is to be answered."""

    after: dict[str, int]
    thread_id: str | None


@final
class Client:
    """One device.

    Attributes:
        name: which.
        user_id: whose.
        messages: what it has sent, by message id.
        runs: what it has seen, by run id.
        reactions: what it is about to send, since it has seen something.
        stops_all: whether it stops whatever waits, to come to an end.
    """

    def __init__(self, name: str, user_id: str, ledger: Ledger) -> None:
        self.name = name
        self.user_id = user_id
        self.ledger = ledger
        self.messages: dict[str, Sent] = {}
        self.runs: dict[str, Seen] = {}
        self.reactions: list[str] = []
        self.stops_all = False
        self._is_greeted = False
        self._resumes: deque[Resume] = deque()
        self._stops = 0

    def fault(self, claim: Claim, words: str) -> None:
        """Something is wrong at this client."""
        self.ledger.fault(claim, f"{self.name}: {words}")

    @property
    def unknown(self) -> list[Sent]:
        """The messages of which it does not know whether they were accepted."""
        return [sent for sent in self.messages.values() if sent.run_id is None]

    @property
    def unended(self) -> dict[str, int]:
        """The runs whose end it has not seen, and its cursor in each."""
        return {run.run_id: run.cursor for run in self.runs.values() if not run.has_ended}

    @property
    def is_settled(self) -> bool:
        """Whether all that it began has come to its end."""
        return not (self.unknown or self.unended or self._resumes or self._stops)

    def open_ends(self) -> str:
        """What it waits for."""
        runs = [self.runs[run_id] for run_id in self.unended]
        words = [f"{run.run_id} of {run.message_id} after {run.events[-1:]}" for run in runs]
        words += [f"an answer to {sent}" for sent in self.unknown]
        return f"waits for {words}, {len(self._resumes)} resumed, {self._stops} stopped"

    # What it sends; each returns a frame.

    def connects(self) -> None:
        """It has a new connection, whatever became of the one before."""
        self._is_greeted = False
        self._resumes.clear()
        self._stops = 0
        self.reactions.clear()

    def sends(self, sent: Sent) -> str:
        """A message, for the first time or again."""
        self.messages[sent.message_id] = sent
        sent.times += 1
        return sent.frame

    def resumes(self, thread_id: str | None = None) -> str | None:
        """A RESUME of all runs that have not ended, and of a thread; None if there is nothing.

        One for all: what is named by two may be sent twice.
        """
        runs = self.runs.values()
        known = {run.run_id: run.cursor for run in runs if run.thread_id == thread_id}
        after = self.unended | known
        payload: Json = {"after": after}
        if thread_id is not None:
            payload["thread_id"] = thread_id
        elif not after:
            return None
        self._resumes.append(Resume(after, thread_id))
        self.ledger.counts["resumes"] += 1
        return json.dumps({"type": "resume", "payload": payload})

    def stops(self, run_id: str) -> str:
        """A STOP_AGENT."""
        self._stops += 1
        self.ledger.counts["stops"] += 1
        return json.dumps({"type": "stop_agent", "payload": {"run_id": run_id}})

    # What comes.

    def takes(self, text: str) -> None:
        """One frame of the host."""
        frame: Json = json.loads(text)
        kind, payload = frame["type"], frame["payload"]
        self.ledger.counts["frames"] += 1
        if "run_id" in frame:
            self._event(frame)
            return
        match kind:
            case "connection_established" if not self._is_greeted:
                self._is_greeted = True
            case "resumed" if self._resumes:
                self._resumed(self._resumes.popleft(), payload["runs"])
            case "stopped":
                self._stopped(payload["run_ids"])
            case "heartbeat":
                pass
            case _:
                self.fault(Claim.UNASKED, text)

    def _resumed(self, resume: Resume, runs: Iterable[Json]) -> None:
        told = {run["run_id"]: run for run in runs}
        for run_id, cursor in resume.after.items():
            if run_id not in told:
                self.fault(
                    Claim.SAW, f"nothing is known of {run_id}, of which it has {cursor} events"
                )
        for run_id, run in told.items():
            if run_id not in resume.after and run["thread_id"] != resume.thread_id:
                self.fault(Claim.UNASKED, f"resumed {run}")
            seen = self.runs.setdefault(run_id, Seen(run_id, run["thread_id"], ""))
            if run["evicted"] or run["from_seq"] != seen.cursor + 1:
                self.fault(Claim.SAW, f"resumed after {seen.cursor} events with {run}")

    def _stopped(self, run_ids: Iterable[str]) -> None:
        self._stops -= 1
        if self._stops < 0:
            self.fault(Claim.UNASKED, f"stopped {run_ids}")
        for run_id in run_ids:
            if run_id in self.runs and not self.runs[run_id].has_ended:
                self.fault(Claim.STOPPED, f"{run_id} has not ended")

    def _event(self, frame: Json) -> None:
        run_id, seq = frame["run_id"], frame["seq"]
        if frame["user_id"] != self.user_id:
            self.fault(Claim.UNASKED, f"of another user: {frame}")
            return
        run = self.runs.get(run_id)
        if run is None:
            run = self.runs[run_id] = Seen(run_id, frame["thread_id"], self._message_of(frame))
            if seq == 1 and run.message_id not in self.messages:
                self.fault(Claim.UNASKED, f"{frame}")
                return
        payload = json.dumps(frame["payload"], separators=(",", ":"))
        event = as_seen(frame["type"], payload, seq, frame["timestamp"])
        if seq <= run.cursor:
            sent = self.messages.get(run.message_id)
            if run.events[seq - 1] != event or sent is None or sent.times < 2:
                self.fault(Claim.ORDER, f"{frame} again, which was {run.events[seq - 1]}")
            return
        if run.has_ended or seq != run.cursor + 1:
            self.fault(Claim.ORDER, f"event {seq} after {run.cursor}: {frame}")
            return
        run.events.append(event)
        if seq == 1:
            self._begins(run, frame)
        self._sees(run, frame)

    def _message_of(self, frame: Json) -> str:
        message_id: str | None = frame["payload"].get("message_id")
        if message_id is None:
            # A run that had not begun when its host was killed has its end alone, which does not
            # say whose it is.
            self.ledger.counts["ends that name no message"] += 1
            known = self.ledger.runs.get(frame["run_id"])
            message_id = "" if known is None else known.message_id
        return message_id

    def _begins(self, run: Seen, frame: Json) -> None:
        run.message_id = run.message_id or self._message_of(frame)
        sent = self.messages.get(run.message_id)
        if sent is not None:
            if sent.run_id not in (None, run.run_id):
                self.fault(Claim.CLAIMS, f"{sent.message_id} has {sent.run_id} and {run.run_id}")
            sent.run_id = run.run_id

    def _sees(self, run: Seen, frame: Json) -> None:
        sent = self.messages.get(run.message_id)
        if sent is None:
            return  # another device's
        kind, payload = frame["type"], frame["payload"]
        if kind == "tool_executing" and sent.behaviour == "waits":
            if sent.is_to_stop or self.stops_all:
                self.reactions.append(self.stops(run.run_id))
        elif kind in TERMINAL and not self._may_end(sent, kind, payload):
            self.fault(Claim.RUNS, f"{sent} ended with {frame}")

    def _may_end(self, sent: Sent, kind: str, payload: Json) -> bool:
        if kind == "agent_failed" and payload["code"] == "interrupted":
            return True  # whether it had reason to is seen in the log
        match sent.behaviour:
            case "talks" | "works":
                return kind == "agent_completed" and payload["result"] == sent.message_id
            case "fails":
                return kind == "agent_failed" and payload["code"] == ASKED_FOR
            case "waits":
                return kind == "agent_cancelled" and payload["reason"] == "stopped"
