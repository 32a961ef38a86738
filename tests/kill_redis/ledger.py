"""What the clients were sent, and whether it is what they may be sent; synchronous, no network.

A `Line` is what may come on one connection, a `Device` what one client has over all of them, a
`Ledger` what all have. Nothing is raised for what is wrong: it is noted in the ledger, by kind.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, final

from kill_redis.agents import ASKED_FOR, BEHAVIOURS
from support import Json

TERMINAL: Final = frozenset({"agent_completed", "agent_failed", "agent_cancelled"})

#: What must hold, by the kind of fault that speaks against it.
CLAIMS: Final[Mapping[str, str]] = {
    "gap": "what each client was sent is gapless, over all its connections and workers",
    "twice": "nothing came twice on a connection, unless it was asked for again",
    "changed": "nothing came again with other content",
    "after the end": "nothing of a run came after its end",
    "ending": "every run ended in one of its ways",
    "barrier": "stopped came after the end of what it stopped",
    "unasked": "nothing came that was not asked for, and no refusal",
    "unsettled": "every client came to its end: an answer to each message, an end of each run",
    "lost": "every frame that a client saw is in the log, or it was told of the loss",
    "log": "each run in the log is gapless, with one terminal event, its last",
    "accepted": "every accepted message has its one run in the log",
    "executed twice": "no message was executed twice",
    "recovery": "what dead and frozen workers left was ended by the others, in time",
    "recovered twice": "no run was ended twice, whoever looked for it",
    "fencing": "a worker that was frozen for too long changed nothing of the runs that it had lost",
    "records": "no trouble in the workers' logs but what the kills lead to",
    "workers": "workers came up, and ended with no task and no unheard error left",
    "tried": "everything that was to be tried was",
}

#: Faults of one kind of which the words are kept.
_KEPT: Final = 20


class Event(NamedTuple):
    """One event, as a client got it and as the log has it."""

    kind: str
    payload: str
    timestamp: str

    @classmethod
    def at(cls, kind: str, payload: str, timestamp: float) -> "Event":
        """On the wire, Unix seconds have six digits behind the point."""
        return cls(kind, payload, f"{timestamp:.6f}")


@dataclass(slots=True)
class SeenRun:
    """What one device has of a run.

    Attributes:
        events: from the first on.
        end: how it ended, as far as the device knows.
        is_lost_told: whether the device was told that the log may have lost some of it.
    """

    run_id: str
    thread_id: str
    message_id: str
    events: list[Event] = field(default_factory=list[Event])
    end: str | None = None
    is_lost_told: bool = False

    @property
    def cursor(self) -> int:
        """The last event that the device has."""
        return len(self.events)


@dataclass(slots=True)
class Sent:
    """A message of a device; ``run_id`` is None until it is known to be accepted."""

    frame: str
    behaviour: str
    run_id: str | None = None


@final
class Ledger:
    """What all clients were sent.

    Attributes:
        may_lose: whether the server may lose what it has acknowledged.
        threads: of each user.
    """

    def __init__(self, *, may_lose: bool) -> None:
        self.may_lose = may_lose
        self.is_over = False
        self.faults: dict[str, list[str]] = {}
        self.counts: Counter[str] = Counter()
        self.threads: set[tuple[str, str]] = set()
        self._news = asyncio.Event()

    def fault(self, kind: str, words: str) -> None:
        """Something is wrong."""
        kept = self.faults.setdefault(kind, [])
        if len(kept) < _KEPT:
            kept.append(words)

    def tell(self) -> None:
        """Have those who wait for something look."""
        self._news.set()

    async def until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so, looking whenever there is news; whether it is by then."""
        try:
            async with asyncio.timeout(seconds):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return is_so()
        return True


@final
class Device:
    """What one client has, over all its connections.

    Attributes:
        past: what it had of runs that the log has lost.
    """

    def __init__(self, name: str, user_id: str, ledger: Ledger) -> None:
        self.name = name
        self.user_id = user_id
        self.ledger = ledger
        self.messages: dict[str, Sent] = {}
        self.runs: dict[str, SeenRun] = {}
        self.past: list[SeenRun] = []

    @property
    def unknown(self) -> list[str]:
        """The messages of which it cannot know whether they were accepted."""
        return [key for key, sent in self.messages.items() if sent.run_id is None]

    @property
    def unended(self) -> dict[str, int]:
        """The runs whose end it has not seen, and its cursor in each."""
        return {run.run_id: run.cursor for run in self.runs.values() if run.end is None}

    @property
    def is_settled(self) -> bool:
        """Whether all that it began and watched has come to its end."""
        return not (self.unknown or self.unended)

    def fault(self, kind: str, words: str) -> None:
        """Something is wrong at this device."""
        self.ledger.fault(kind, f"{self.name}: {words}")

    def lose(self, run_id: str) -> None:
        """The log has not what the device has of a run: what comes is taken as new."""
        run = self.runs.pop(run_id, None)
        if run is None:
            return
        if not self.ledger.may_lose:
            self.fault("lost", f"{run_id} up to {run.cursor}, ended as {run.end}")
        run.is_lost_told = True
        self.past.append(run)
        sent = self.messages.get(run.message_id)
        if sent is not None:
            sent.run_id = None


@final
class Line:
    """What may come on one connection."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._counts = device.ledger.counts
        self._expected: dict[str, int] = {}
        #: Where runs may begin anew on this connection, since a RESUMED said so.
        self._restarts: Counter[tuple[str, int]] = Counter()
        #: How often each message was sent; that often its run may begin with its first event.
        self._messages: Counter[str] = Counter()
        self._stops = 0
        #: RESUMEs that are to be answered, by the number of the PING behind each.
        self._resumes: dict[int, set[str]] = {}
        self._readers: Final[Mapping[str, Callable[[Json], None]]] = {
            "connection_established": self._passes,
            "heartbeat": self._passes,
            "pong": self._pong,
            "stopped": self._stopped,
            "resumed": self._resumed,
            "error_message": self._error,
        }

    # What the client sends.

    def sends_message(self, message_id: str) -> str:
        """The frame of a message, for the first time or again."""
        self._messages[message_id] += 1
        return self._device.messages[message_id].frame

    def sends_resume(self, after: Mapping[str, int], thread_id: str | None = None) -> list[str]:
        """A RESUME, and a PING: what the first was answered by has come before the PONG."""
        number = self._counts["resumes"]
        self._counts["resumes"] += 1
        self._resumes[number] = set(after)
        payload = (
            {"after": after} if thread_id is None else {"after": after, "thread_id": thread_id}
        )
        return [
            json.dumps({"type": "resume", "payload": payload}),
            json.dumps({"type": "ping", "payload": {"id": number}}),
        ]

    def sends_stop(self, run_id: str) -> str:
        """A STOP_AGENT of a run."""
        self._stops += 1
        self._counts["stops"] += 1
        return json.dumps({"type": "stop_agent", "payload": {"run_id": run_id}})

    # What comes.

    def takes(self, text: str) -> None:
        """One frame of the server."""
        frame: Json = json.loads(text)
        self._counts["frames"] += 1
        if "run_id" in frame:
            self._event(frame)
        else:
            self._readers[frame["type"]](frame["payload"])

    def _passes(self, _: Json) -> None:
        pass

    def _pong(self, payload: Json) -> None:
        for run_id in self._resumes.pop(payload["id"]):
            self._device.lose(run_id)  # no RESUMED has named it

    def _stopped(self, payload: Json) -> None:
        self._stops -= 1
        if self._stops < 0:
            self._device.fault("unasked", "stopped")
        for run_id in payload["run_ids"]:
            run = self._device.runs.get(run_id)
            is_watched = run_id in self._expected and not self._device.ledger.may_lose
            if is_watched and run is not None and run.end is None:
                self._device.fault("barrier", f"stopped before the end of {run_id}")

    def _error(self, payload: Json) -> None:
        device = self._device
        self._counts[f"refused as {payload['code']}"] += 1
        if not device.ledger.may_lose or payload["code"] != "log_unavailable":
            device.fault("unasked", f"{payload}")
        if "message_id" not in payload:  # the connection's end
            for run in device.runs.values():
                run.is_lost_told = run.is_lost_told or run.end is None

    def _resumed(self, payload: Json) -> None:
        device = self._device
        for told in payload["runs"]:
            run_id, from_seq = told["run_id"], told["from_seq"]
            for asked in self._resumes.values():
                asked.discard(run_id)
            if told["evicted"]:
                self._counts["told of a loss"] += 1
                device.lose(run_id)
            self._restarts[run_id, from_seq] += 1
            run = device.runs.get(run_id)
            has_ended = told["status"] not in ("queued", "running")
            if run is None or run.end is not None:
                continue
            if has_ended and told["to_seq"] <= run.cursor:
                # The log has other events in the place of those that the device has.
                self._counts["ended otherwise"] += 1
                run.end = "otherwise"
                if not device.ledger.may_lose:
                    device.fault("ending", f"{told}, and its end did not come")

    # The events of runs.

    def _event(self, frame: Json) -> None:
        device = self._device
        run_id, seq = frame["run_id"], frame["seq"]
        if frame["user_id"] != device.user_id:
            device.fault("unasked", f"another user's {frame}")
            return
        if seq != self._expected.get(run_id) and not self._may_restart(frame):
            expected = self._expected.get(run_id)
            kind = "gap" if expected is not None and seq > expected else "twice"
            device.fault(kind, f"event {seq} of {run_id}, not {expected}")
        self._expected[run_id] = seq + 1
        run = device.runs.get(run_id)
        if run is None:
            message_id = frame["payload"].get("message_id")
            if message_id is None:
                device.fault("gap", f"{run_id} begins with {frame}")
                return
            run = device.runs[run_id] = SeenRun(run_id, frame["thread_id"], message_id)
            self._know(message_id, run_id)
        payload = json.dumps(frame["payload"], separators=(",", ":"))
        event = Event.at(frame["type"], payload, frame["timestamp"])
        self._keep(run, seq, event, frame)

    def _may_restart(self, frame: Json) -> bool:
        key = frame["run_id"], frame["seq"]
        if self._restarts[key]:
            self._restarts[key] -= 1
            return True
        message_id = frame["payload"].get("message_id")
        if frame["seq"] == 1 and self._messages[message_id]:
            self._messages[message_id] -= 1
            return True
        return False

    def _know(self, message_id: str, run_id: str) -> None:
        sent = self._device.messages.get(message_id)
        if sent is None:
            return  # another device's
        if sent.run_id not in (None, run_id):
            if self._device.ledger.may_lose:
                self._counts["messages run anew"] += 1
                self._device.lose(str(sent.run_id))
            else:
                self._device.fault("executed twice", f"{message_id} as {sent.run_id} and {run_id}")
        sent.run_id = run_id

    def _keep(self, run: SeenRun, seq: int, event: Event, frame: Json) -> None:
        """Put an event to those that the device has, or compare it with the one that it has."""
        device = self._device
        if seq <= run.cursor:
            if run.events[seq - 1] != event:
                if device.ledger.may_lose:
                    self._counts["replaced unnoticed"] += 1
                else:
                    device.fault("changed", f"event {seq} of {run.run_id}: {event}")
            return
        if run.end is not None:
            device.fault("after the end", f"event {seq} of {run.run_id}: {event}")
        if seq > run.cursor + 1:
            device.fault("gap", f"event {seq} of {run.run_id} after {run.cursor}")
            return
        run.events.append(event)
        if event.kind in TERMINAL:
            run.end = event.kind
            self._counts[event.kind] += 1
            if not self._may_end(run, frame["payload"]):
                device.fault("ending", f"{frame}")

    def _may_end(self, run: SeenRun, payload: Json) -> bool:
        if run.end == "agent_cancelled":
            self._counts[f"cancelled as {payload['reason']}"] += 1
            return payload["reason"] in ("stopped", "disconnected")
        if run.end == "agent_failed" and payload["code"] == "interrupted":
            self._counts["interrupted"] += 1
            return payload["retryable"] is True
        sent = self._device.messages.get(run.message_id)
        if run.end == "agent_failed" and payload["code"] != ASKED_FOR:
            return False
        return sent is None or BEHAVIOURS[sent.behaviour][1] == run.end
