"""What `MemoryEventLog` promises, worked out the slow way: lists, and a search for every answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent_messaging import Lease, LoggedEvent, RunRecord, RunStatus

__all__ = ["NaiveBounds", "NaiveLog", "NaiveRun"]

STATUS: dict[str, RunStatus] = {
    "agent_queued": "queued",
    "agent_completed": "completed",
    "agent_failed": "failed",
    "agent_cancelled": "cancelled",
}


@dataclass(frozen=True)
class NaiveBounds:
    """What is held at most."""

    runs: int
    events: int
    bytes: int
    claims: int


@dataclass(eq=False)
class NaiveRun:
    """One run, with every event that it ever had."""

    lease: Lease
    thread_id: str
    message_id: str
    owner: str
    expires: float
    events: list[LoggedEvent] = field(default_factory=list[LoggedEvent])
    first_seq: int = 1
    ended_at: float | None = None
    wakes: list[int] = field(default_factory=list[int])

    @property
    def user_id(self) -> str:
        return self.lease.user_id

    @property
    def held(self) -> list[LoggedEvent]:
        return self.events[self.first_seq - 1 :]

    @property
    def is_ended(self) -> bool:
        return self.ended_at is not None

    @property
    def is_held(self) -> bool:
        """Whether it is no mere claim."""
        return not self.is_ended or bool(self.held)

    @property
    def record(self) -> RunRecord:
        last = self.events[-1].type.value if self.events else "agent_queued"
        return RunRecord(
            run_id=self.lease.run_id,
            thread_id=self.thread_id,
            message_id=self.message_id,
            digest="digest",
            status=STATUS.get(last, "running"),
            first_seq=self.first_seq,
            last_seq=len(self.events),
        )


class NaiveLog:
    """The runs of all users, in the order of their claims.

    Attributes:
        runs: those that are known.
        ended: those of them that have ended, in that order.
        turns: those under way, in the order in which they are trimmed; one list for each user.
        turns_of_all: the same for all users.
    """

    def __init__(self, user_bounds: NaiveBounds, bounds: NaiveBounds, claim_seconds: float) -> None:
        self.user_bounds = user_bounds
        self.bounds = bounds
        self.claim_seconds = claim_seconds
        self.runs: list[NaiveRun] = []
        self.ended: list[NaiveRun] = []
        self.turns: dict[str, list[NaiveRun]] = {}
        self.turns_of_all: list[NaiveRun] = []

    # Answers.

    def of(self, user_id: str) -> list[NaiveRun]:
        return [run for run in self.runs if run.user_id == user_id]

    def find(self, user_id: str, run_id: str) -> NaiveRun | None:
        found = [run for run in self.of(user_id) if run.lease.run_id == run_id]
        return found[0] if found else None

    def find_claim(self, user_id: str, message_id: str) -> NaiveRun | None:
        found = [run for run in self.of(user_id) if run.message_id == message_id]
        return found[0] if found else None

    def thread(self, user_id: str, thread_id: str) -> list[NaiveRun]:
        return [run for run in self.of(user_id) if run.thread_id == thread_id]

    def expired(self, now: float) -> list[NaiveRun]:
        return [run for run in self.runs if not run.is_ended and run.expires <= now]

    # Changes.

    def sweep(self, now: float) -> None:
        for run in tuple(self.ended):
            if run.ended_at is not None and run.ended_at + self.claim_seconds <= now:
                self.drop([run])

    def has_room(self, user_id: str) -> bool:
        """Whether a claim more needs no run under way to go."""
        own = self.of(user_id)
        return (len(own) < self.user_bounds.claims or any(run.is_ended for run in own)) and (
            len(self.runs) < self.bounds.claims or bool(self.ended)
        )

    def claim(self, run: NaiveRun) -> None:
        self.runs.append(run)
        self.take_turn(run)
        if len(self.of(run.user_id)) > self.user_bounds.claims:
            self.drop([next(other for other in self.ended if other.user_id == run.user_id)])
        if len(self.runs) > self.bounds.claims:
            self.drop(self.ended[:1])
        self.make_room_for_runs(run.user_id)

    def append(self, run: NaiveRun, events: Sequence[LoggedEvent], now: float) -> None:
        run.events += events
        if run not in self.turns_of_all:
            self.take_turn(run)
        while self.is_over(self.of(run.user_id), self.user_bounds):
            turns = self.turns[run.user_id]
            if not self.evict_oldest(run.user_id) and not self.trim(run, self.user_bounds, turns):
                break
        while self.is_over(self.runs, self.bounds):
            if not self.evict_oldest(None) and not self.trim(run, self.bounds, self.turns_of_all):
                break
        if run.record.is_ended:
            self.make_room_for_runs(run.user_id)
            run.ended_at = now
            self.ended.append(run)
            self.lose_turn(run)
        run.wakes.append(len(run.events))

    def forget(self, user_id: str) -> None:
        self.drop(self.of(user_id))

    # Room.

    def make_room_for_runs(self, user_id: str) -> None:
        while self.is_over(self.of(user_id), self.user_bounds, counts_runs=True):
            if not self.evict_oldest(user_id):
                break
        while self.is_over(self.runs, self.bounds, counts_runs=True):
            if not self.evict_oldest(None):
                break

    def is_over(
        self, runs: Iterable[NaiveRun], bounds: NaiveBounds, *, counts_runs: bool = False
    ) -> bool:
        held = [run for run in runs if run.is_held]
        if counts_runs:
            return len(held) > bounds.runs
        payloads = [event.payload for run in held for event in run.held]
        return len(payloads) > bounds.events or sum(map(len, payloads)) > bounds.bytes

    def evict_oldest(self, user_id: str | None) -> bool:
        for run in self.ended:
            if run.held and user_id in {None, run.user_id}:
                run.first_seq = len(run.events) + 1
                return True
        return False

    def trim(self, grown: NaiveRun, bounds: NaiveBounds, turns: list[NaiveRun]) -> bool:
        """Whether there was a run under way to trim, or one to pass over."""
        sizes = [len(event.payload) for event in grown.held]
        if len(sizes) > 1 and (len(sizes) > bounds.events / 2 or sum(sizes) > bounds.bytes / 2):
            grown.first_seq += -(-len(sizes) // 8)
            return True
        if not turns:
            return False
        run = turns[0]
        self.lose_turn(run)
        if len(run.held) > 1:
            run.first_seq += -(-len(run.held) // 8)
            self.take_turn(run)
        return True

    def take_turn(self, run: NaiveRun) -> None:
        self.turns.setdefault(run.user_id, []).append(run)
        self.turns_of_all.append(run)

    def lose_turn(self, run: NaiveRun) -> None:
        if run in self.turns_of_all:
            self.turns[run.user_id].remove(run)
            self.turns_of_all.remove(run)

    def drop(self, runs: Sequence[NaiveRun]) -> None:
        for run in runs:
            self.runs.remove(run)
            if run in self.ended:
                self.ended.remove(run)
            self.lose_turn(run)
            run.wakes.append(0)
