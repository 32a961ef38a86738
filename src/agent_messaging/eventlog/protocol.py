"""What an event log promises: claims, fenced appends, reads, wake-ups, notices, leases."""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, cast, final

from agent_messaging._messages import MessageType
from agent_messaging._records import record

__all__ = [
    "APPENDED",
    "ENDED",
    "STATUS_AFTER",
    "TERMINAL",
    "EventLog",
    "EventPage",
    "Lease",
    "LoggedEvent",
    "Notice",
    "RunRecord",
    "RunStatus",
    "TakenRun",
]

#: Where a run is, as its last event says; ``queued`` before its first.
RunStatus: TypeAlias = Literal["queued", "running", "completed", "failed", "cancelled"]

#: What a run's owner may be told by others: to stop it, or that sessions elsewhere watch it.
Notice: TypeAlias = Literal["stop", "watched"]

#: The status of a run by the type of its last event, where that is not ``running``.
STATUS_AFTER: Final[Mapping[MessageType, RunStatus]] = {
    MessageType.AGENT_QUEUED: "queued",
    MessageType.AGENT_COMPLETED: "completed",
    MessageType.AGENT_FAILED: "failed",
    MessageType.AGENT_CANCELLED: "cancelled",
}

#: The statuses of runs whose terminal event was appended.
ENDED: Final = ("completed", "failed", "cancelled")

#: The types of events that end a run.
TERMINAL: Final = frozenset(kind for kind, status in STATUS_AFTER.items() if status in ENDED)


@final
class LoggedEvent(NamedTuple):
    """One event of a run as a log keeps it; two are the same event if they are equal.

    Attributes:
        type: the event's type.
        payload: its payload as ASCII JSON.
        seq: its number in the run: 1, 2, 3.
        timestamp: when it was decided, in Unix seconds.
    """

    type: MessageType
    payload: str
    seq: int
    timestamp: float


@final
@record
class RunRecord:
    """What a log knows of one run, at one moment.

    Attributes:
        run_id: the run.
        thread_id: its conversation.
        message_id: the message that it works on.
        digest: stands for the message's content, as the claimer gave it.
        status: where the run is.
        first_seq: the first event that the log still holds; ``last_seq + 1`` if it holds none.
        last_seq: the last event that was appended; 0 if none was.
    """

    run_id: str
    thread_id: str
    message_id: str
    digest: str
    status: RunStatus
    first_seq: int
    last_seq: int

    @property
    def is_ended(self) -> bool:
        """Whether its terminal event was appended."""
        return self.status in ENDED


@final
class Lease(NamedTuple):
    """The right to append to a run, as its claimer made it; a later owner gets another token."""

    user_id: str
    run_id: str
    token: str


@final
class TakenRun(NamedTuple):
    """A run whose lease had expired, with the lease of its new owner."""

    lease: Lease
    record: RunRecord


@final
class EventPage(NamedTuple):
    """Some events of a run in their order, without a gap among them.

    Attributes:
        events: those after the cursor that are still held; the first is later than the cursor's
            successor where older ones were evicted.
        first_seq: the first event that the log holds; ``last_seq + 1`` if it holds none.
        last_seq: the last event that was appended.
        status: where the run is, as that event says.
    """

    events: Sequence[LoggedEvent]
    first_seq: int
    last_seq: int
    status: RunStatus

    @property
    def is_ended(self) -> bool:
        """Whether the last event is the run's terminal event."""
        return self.status in ENDED


class _Appended:
    """What awaiting an append that is done costs: next to nothing."""

    __slots__ = ()

    def __await__(self) -> Generator[object, None, None]:
        return cast("Generator[object, None, None]", iter(()))


#: What `EventLog.append` may return when it is done before it returns.
APPENDED: Final[Awaitable[None]] = _Appended()


class EventLog(Protocol):
    """Keeps the events of runs: the contract, for a log of your own.

    Every lookup is within a user: a run of another user is no run at all. All methods belong to
    one event loop, and may be called while others are under way.

    What each may raise beside what it says: `EventLogError`, the log cannot do that now. The log
    is usable afterwards, and what was asked for happened wholly or not at all, as when the call
    is cancelled, which ends as that. After `aclose` every method raises it.
    """

    async def claim(
        self,
        lease: Lease,
        *,
        thread_id: str,
        message_id: str,
        digest: str,
        owner: str,
        lease_seconds: float,
    ) -> RunRecord:
        """Make the lease's run, unless this user's message has one already; in one atomic step.

        Of any number of claims for one ``message_id`` of a user exactly one makes its run, and
        all get that one: a claim has won if the record has its own ``run_id``. Run ids are new,
        so that the same claim again is a retry, which wins again. A claim is kept for a day at
        least, longer than the events of its run, where the log's own bounds allow.
        """
        ...

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        """The run that was claimed for this message of the user."""
        ...

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        """Append events to the run, all of them or none; durable once awaited.

        A coroutine function will do. A log that is done at once may return `APPENDED`. Calls for
        one run are not made while another is under way.

        The very events that the run ends with already are a retry, and no error, as long as any of
        them is held; nor is it one to append none. A lease that has expired is good until another
        owner takes the run.

        Raises:
            LeaseLost: the token is not the run's, the run is unknown or ended, or the events do
                not continue it: their ``seq`` is to go on from the last, without a gap.
        """
        ...

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        """The first ``limit`` events whose ``seq`` is greater than ``after``; None for no run."""
        ...

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        """The run, or None."""
        ...

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        """The newest ``limit`` runs of a user's thread, in the order of their claims.

        With ``unended`` the newest of those that have not ended, however many have since.
        """
        ...

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        """Have ``wake`` called after each append to the run, until what is returned is called.

        With the run's ``last_seq``, in the event loop, and soon: whoever follows first and then
        reads misses nothing. Calls may be merged, and there may be some without cause. ``wake``
        raises nothing. When the run is forgotten, it is called with 0. A run that is unknown is
        never heard of. What is returned may be called twice, and after `aclose`; from then on
        ``wake`` is not called.
        """
        ...

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        """Tell the owner of a run something; whether there is such a run that has not ended.

        A notice is not kept: an owner that is gone, or does not listen, never hears of it.
        """
        ...

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        """Have ``tell`` called for each notice of the owner's runs: user id, run id, notice.

        In the event loop, and soon, until what is returned is called; that may be called twice,
        and after `aclose`. ``tell`` raises nothing.
        """
        ...

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        """Keep the leases for so long from now, by the log's clock; those that were lost."""
        ...

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        """Take over runs whose lease has expired, each with a new token; in one atomic step."""
        ...

    async def forget(self, user_id: str) -> None:
        """Drop all that is known of a user: runs, events and claims. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Let go of what the log holds outside of memory. Idempotent."""
        ...
