"""What a log in memory holds of users and runs, and what it lets go of where there is no room."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

from agent_messaging._messages import MessageType
from agent_messaging._records import record
from agent_messaging.eventlog.protocol import Lease, LoggedEvent, RunRecord, RunStatus

__all__ = ["Bounds", "Run", "RunStore", "User"]

#: The status of a run by the type of its last event, where that is not ``running``.
_STATUS: Final[Mapping[MessageType, RunStatus]] = {
    MessageType.AGENT_QUEUED: "queued",
    MessageType.AGENT_COMPLETED: "completed",
    MessageType.AGENT_FAILED: "failed",
    MessageType.AGENT_CANCELLED: "cancelled",
}


@final
@record
class Bounds:
    """What is held at most; of one user, or of all."""

    runs: int
    events: int
    bytes: int
    claims: int


@final
class User:
    """What is held of one user.

    Attributes:
        user_id: the user.
        runs: the user's runs by their ids.
        claims: the same by the ids of their messages.
        threads: the same by thread and run, in the order of their claims.
        trimmable: an ordered set of the runs under way that may hold several events.
        held: how many runs there are that were not evicted.
        events: how many events there are.
        bytes: how long their payloads are.
        oldest: the first that ended of the runs; they go on by ``next_ended``.
        newest: the last that ended.
        evictable: the first of them that was not evicted; nor was any after it.
    """

    __slots__ = (
        "bytes",
        "claims",
        "events",
        "evictable",
        "held",
        "newest",
        "oldest",
        "runs",
        "threads",
        "trimmable",
        "user_id",
    )

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.runs: dict[str, Run] = {}
        self.claims: dict[str, Run] = {}
        self.threads: dict[str, dict[str, Run]] = {}
        self.trimmable: dict[Run, None] = {}
        self.held = 0
        self.events = 0
        self.bytes = 0
        self.oldest: Run | None = None
        self.newest: Run | None = None
        self.evictable: Run | None = None


@final
class Run:
    """What is held of one run.

    Attributes:
        user: what is held of its user.
        lease: the last lease; good for appending while the run is under way.
        thread_id: its conversation.
        message_id: the message that it works on.
        digest: stands for that message's content.
        owner: who is told to stop it.
        lease_seconds: for how long it was leased last.
        expires: when that lease ends.
        is_ended: whether its terminal event was appended.
        ended_at: when that was.
        next_ended: the user's next run that ended.
        events: the events that are held.
        first_seq: the first of them, or the next one if there are none.
        next_seq: the event that may be appended, while nothing is to be seen to before; else 0.
        evicted_status: the status where no events are held.
        followers: who is woken.
    """

    __slots__ = (
        "digest",
        "ended_at",
        "events",
        "evicted_status",
        "expires",
        "first_seq",
        "followers",
        "is_ended",
        "lease",
        "lease_seconds",
        "message_id",
        "next_ended",
        "next_seq",
        "owner",
        "thread_id",
        "user",
    )

    def __init__(
        self, user: User, lease: Lease, thread_id: str, message_id: str, digest: str
    ) -> None:
        self.user = user
        self.lease = lease
        self.thread_id = thread_id
        self.message_id = message_id
        self.digest = digest
        self.owner = ""
        self.lease_seconds = 0.0
        self.expires = 0.0
        self.is_ended = False
        self.ended_at = 0.0
        self.next_ended: Run | None = None
        self.events: list[LoggedEvent] = []
        self.first_seq = 1
        self.next_seq = 1
        self.evicted_status: RunStatus = "queued"
        self.followers: tuple[Follower, ...] = ()

    @property
    def last_seq(self) -> int:
        """The last event that was appended; 0 if none was."""
        return self.first_seq + len(self.events) - 1

    @property
    def status(self) -> RunStatus:
        """Where the run is."""
        events = self.events
        return _STATUS.get(events[-1].type, "running") if events else self.evicted_status

    def describe(self) -> RunRecord:
        """What the log tells of it."""
        return RunRecord(
            run_id=self.lease.run_id,
            thread_id=self.thread_id,
            message_id=self.message_id,
            digest=self.digest,
            status=self.status,
            first_seq=self.first_seq,
            last_seq=self.last_seq,
        )

    def ends_with(self, events: Sequence[LoggedEvent]) -> bool:
        """Whether these were the last that were appended, as far as they are held."""
        if not self.events or events[-1].seq != self.last_seq:
            return False
        count = min(len(events), len(self.events))
        return self.events[-count:] == list(events[-count:])

    def follow(self, wake: Callable[[int], object]) -> "Follower":
        """Have ``wake`` called from now on, until what is returned is called."""
        follower = Follower(self, wake)
        self.followers += (follower,)
        return follower

    def dismiss(self) -> None:
        """Tell the followers that the run is known no more."""
        self.next_ended = None
        followers, self.followers = self.followers, ()
        for follower in followers:
            follower.wake(0)


@final
class Follower:
    """Who is woken by a run; called, it is woken no more.

    Attributes:
        wake: what wakes it.
    """

    __slots__ = ("_run", "wake")

    def __init__(self, run: Run, wake: Callable[[int], object]) -> None:
        self._run = run
        self.wake = wake

    def __call__(self) -> None:
        # An append that wakes others just now has this one still in its hands.
        self.wake = bool
        self._run.followers = tuple(
            follower for follower in self._run.followers if follower is not self
        )


@final
class RunStore:
    """The runs of all users, within their bounds.

    Attributes:
        user_bounds: what is held of one user at most.
        bounds: what is held of all together at most.
        users: those of whom anything is held.
        claims: how many runs there are.
        held: how many of them were not evicted.
        events: how many events there are.
        bytes: how long their payloads are.
        ended: an ordered set of the runs that have ended.
        evictable: those of them that were not evicted.
        trimmable: those under way that may hold several events.
    """

    __slots__ = (
        "bounds",
        "bytes",
        "claims",
        "ended",
        "events",
        "evictable",
        "held",
        "trimmable",
        "user_bounds",
        "users",
    )

    def __init__(self, user_bounds: Bounds, bounds: Bounds) -> None:
        self.user_bounds: Final = user_bounds
        self.bounds: Final = bounds
        self.users: dict[str, User] = {}
        self.claims = 0
        self.held = 0
        self.events = 0
        self.bytes = 0
        # A plain dict would take its time to find its first key, after many that were deleted.
        self.ended: OrderedDict[Run, None] = OrderedDict()
        self.evictable: OrderedDict[Run, None] = OrderedDict()
        self.trimmable: OrderedDict[Run, None] = OrderedDict()

    # Runs come, end and go.

    def has_room(self, user: User) -> bool:
        """Whether a run can be added without dropping one that is under way."""
        return (len(user.runs) < self.user_bounds.claims or user.oldest is not None) and (
            self.claims < self.bounds.claims or bool(self.ended)
        )

    def add(self, run: Run) -> None:
        """Add a new run, and make room for it."""
        user = run.user
        run_id = run.lease.run_id
        self.users[user.user_id] = user
        user.runs[run_id] = user.claims[run.message_id] = run
        thread = user.threads.get(run.thread_id)
        if thread is None:
            user.threads[run.thread_id] = {run_id: run}
        else:
            thread[run_id] = run
        user.trimmable[run] = self.trimmable[run] = None
        user.held += 1
        self.held += 1
        self.claims += 1
        if len(user.runs) > self.user_bounds.claims and user.oldest is not None:
            self._drop(user.oldest)
        if self.claims > self.bounds.claims and self.ended:
            self._drop(next(iter(self.ended)))
        self._make_room_for_runs(user)

    def end(self, run: Run, now: float) -> None:
        """Put a run behind those that ended before."""
        user = run.user
        # As long as the run counts as one under way: it is to be read, whatever room there is.
        self._make_room_for_runs(user)
        run.is_ended = True
        run.ended_at = now
        run.next_seq = 0
        user.trimmable.pop(run, None)
        self.trimmable.pop(run, None)
        self.ended[run] = self.evictable[run] = None
        if user.newest is None:
            user.oldest = run
        else:
            user.newest.next_ended = run
        user.newest = run
        if user.evictable is None:
            user.evictable = run

    def _make_room_for_runs(self, user: User) -> None:
        while user.held > self.user_bounds.runs and user.evictable is not None:
            self._evict(user.evictable)
        while self.held > self.bounds.runs and self.evictable:
            self._evict(next(iter(self.evictable)))

    def drop_until(self, time: float) -> None:
        """Drop the runs that ended until then."""
        while self.ended:
            run = next(iter(self.ended))
            if run.ended_at > time:
                break
            self._drop(run)

    def forget(self, user: User) -> None:
        """Drop a user, and all runs."""
        del self.users[user.user_id]
        self.claims -= len(user.runs)
        self.held -= user.held
        self.events -= user.events
        self.bytes -= user.bytes
        for run in user.runs.values():
            self.ended.pop(run, None)
            self.evictable.pop(run, None)
            self.trimmable.pop(run, None)

    def clear(self) -> None:
        """Drop everything."""
        for user in tuple(self.users.values()):
            self.forget(user)

    def _drop(self, run: Run) -> None:
        """Drop a run that has ended, the oldest of its user."""
        user = run.user
        if run.events:
            self._evict(run)
        self.claims -= 1
        del self.ended[run]
        user.oldest = run.next_ended
        if user.oldest is None:
            user.newest = None
        run_id = run.lease.run_id
        del user.runs[run_id]
        del user.claims[run.message_id]
        thread = user.threads[run.thread_id]
        del thread[run_id]
        if not thread:
            del user.threads[run.thread_id]
        if not user.runs:
            del self.users[user.user_id]
        run.dismiss()

    # Events come and go.

    def extend(self, run: Run, events: Sequence[LoggedEvent], size: int) -> None:
        """Add events whose payloads are so long together, and make room for them."""
        user = run.user
        run.events.extend(events)
        if not run.next_seq:
            user.trimmable[run] = self.trimmable[run] = None
        run.next_seq = run.last_seq + 1
        user.events += len(events)
        user.bytes += size
        self.events += len(events)
        self.bytes += size
        self.make_room(user)

    def make_room(self, user: User) -> None:
        """Let go of events, those of the user first, until all bounds are kept."""
        bounds = self.user_bounds
        while user.events > bounds.events or user.bytes > bounds.bytes:
            if user.evictable is not None:
                self._evict(user.evictable)
            elif user.trimmable:
                self._trim(next(iter(user.trimmable)))
            else:
                break  # each run under way holds its newest event alone
        bounds = self.bounds
        while self.events > bounds.events or self.bytes > bounds.bytes:
            if self.evictable:
                self._evict(next(iter(self.evictable)))
            elif self.trimmable:
                self._trim(next(iter(self.trimmable)))
            else:
                break

    def _evict(self, run: Run) -> None:
        """Let go of all events of a run that has ended, the oldest of its user that has any."""
        run.evicted_status = run.status
        self._let_go(run, len(run.events))
        run.user.held -= 1
        run.user.evictable = run.next_ended
        self.held -= 1
        del self.evictable[run]

    def _trim(self, run: Run) -> None:
        """Let go of the oldest eighth of a run under way; then others have their turn."""
        trimmable = run.user.trimmable
        del trimmable[run]
        held = len(run.events)
        if held > 1:
            self._let_go(run, 1 + (held - 1) // 8)
            trimmable[run] = None
            self.trimmable.move_to_end(run)
        else:
            # Looked at again once it has more.
            del self.trimmable[run]
            run.next_seq = 0

    def _let_go(self, run: Run, count: int) -> None:
        size = sum([len(event.payload) for event in run.events[:count]])
        del run.events[:count]
        run.first_seq += count
        run.user.events -= count
        run.user.bytes -= size
        self.events -= count
        self.bytes -= size
