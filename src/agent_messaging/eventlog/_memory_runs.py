"""What a log in memory holds of one user, and of one run."""

from collections.abc import Callable, Sequence
from typing import final

from agent_messaging._records import record
from agent_messaging.eventlog.protocol import (
    STATUS_AFTER,
    Lease,
    LoggedEvent,
    RunRecord,
    RunStatus,
)

__all__ = ["Bounds", "Run", "User"]


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
        bytes: how long their payloads are.
        first_seq: the first of them, or the next one if there are none.
        next_seq: the event that may be appended, while nothing is to be seen to before; else 0.
        evicted_status: the status where no events are held.
        followers: who is woken.
    """

    __slots__ = (
        "bytes",
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

    # Whoever makes a run hands it over to an owner at once, and that fills these in.
    lease: Lease
    owner: str
    lease_seconds: float
    expires: float
    # This its end.
    ended_at: float

    def __init__(self, user: User, thread_id: str, message_id: str, digest: str) -> None:
        self.user = user
        self.thread_id = thread_id
        self.message_id = message_id
        self.digest = digest
        self.is_ended = False
        self.next_ended: Run | None = None
        self.events: list[LoggedEvent] = []
        self.bytes = 0
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
        return STATUS_AFTER.get(events[-1].type, "running") if events else self.evicted_status

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
        count = min(len(events), len(self.events))
        return count > 0 and self.events[-count:] == list(events[-count:])

    def outweighs(self, bounds: Bounds) -> bool:
        """Whether it holds more than half of what may be held, and can do with less."""
        return len(self.events) > 1 and (
            2 * len(self.events) > bounds.events or 2 * self.bytes > bounds.bytes
        )

    def follow(self, wake: Callable[[int], object]) -> "Follower":
        """Have ``wake`` called from now on, until what is returned is called."""
        follower = Follower(self, wake)
        self.followers += (follower,)
        return follower

    def dismiss(self) -> None:
        """Tell the followers that the run is known no more."""
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
