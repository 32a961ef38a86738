"""An event log in this process's memory, bounded; an endpoint's default."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice, takewhile
from typing import final

from agent_messaging._checks import check_bound, check_claims
from agent_messaging._errors import ConfigurationError, EventLogError, LeaseLost
from agent_messaging._ids import new_id
from agent_messaging.eventlog._memory_runs import Bounds, Run, User
from agent_messaging.eventlog._memory_store import RunStore
from agent_messaging.eventlog.protocol import (
    APPENDED,
    TERMINAL,
    EventPage,
    Lease,
    LoggedEvent,
    Notice,
    RunRecord,
    TakenRun,
)

__all__ = ["MemoryEventLog"]


@final
class MemoryEventLog:
    """Keeps events while there is room for them, in one process; an `EventLog`.

    Where there is no room, finished runs lose all of their events: the one that ended first of
    the user whose bound is passed, or of all. If there is none, runs under way lose their oldest
    events: the one that grows, if it holds more than half of what may be held; else all in turn.
    Beyond all bounds a run under way keeps its newest event, and a run that has just ended what
    it has.

    A run without its events is still found, and so is its claim, until ``claim_seconds`` after
    its end; earlier if there are too many claims. A run under way is never dropped: with no room
    but that, a claim is refused with `EventLogError`.

    No operation takes longer the more runs, users or events there are.

    Args:
        runs_per_user: runs of one user that are held with their events.
        events_per_user: events of one user.
        bytes_per_user: bytes of the payloads of one user's events.
        runs: as ``runs_per_user``, of all users together.
        events: as ``events_per_user``, of all users together.
        bytes: as ``bytes_per_user``, of all users together.
        claims_per_user: claims of one user, and with each what `find_run` tells of its run.
        claims: as ``claims_per_user``, of all users together.
        claim_seconds: how long a claim is kept after its run has ended: a day at least.
        clock: the time in seconds, for leases and claims; it never goes back.

    Raises:
        ConfigurationError: a bound is not a positive integer, or ``claim_seconds`` less than a
            day.
    """

    __slots__ = (
        "_claim_seconds",
        "_clock",
        "_is_closed",
        "_leased",
        "_leases",
        "_listeners",
        "_store",
    )

    def __init__(
        self,
        *,
        runs_per_user: int = 200,
        events_per_user: int = 20_000,
        bytes_per_user: int = 16 * 1024 * 1024,
        runs: int = 10_000,
        events: int = 1_000_000,
        bytes: int = 256 * 1024 * 1024,  # noqa: A002 - the word for it
        claims_per_user: int = 1_000,
        claims: int = 100_000,
        claim_seconds: float = 24 * 3600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = RunStore(
            Bounds(
                runs=check_bound("runs_per_user", runs_per_user),
                events=check_bound("events_per_user", events_per_user),
                bytes=check_bound("bytes_per_user", bytes_per_user),
                claims=check_bound("claims_per_user", claims_per_user),
            ),
            Bounds(
                runs=check_bound("runs", runs),
                events=check_bound("events", events),
                bytes=check_bound("bytes", bytes),
                claims=check_bound("claims", claims),
            ),
        )
        check_claims(claim_seconds)
        self._claim_seconds = claim_seconds
        self._clock = clock
        self._is_closed = False
        #: The runs under way by the one lease that is good for each.
        self._leases: dict[Lease, Run] = {}
        #: The same by the length of those leases: ordered sets, in the order in which they expire.
        self._leased: dict[float, OrderedDict[Run, None]] = {}
        self._listeners: dict[str, dict[object, Callable[[str, str, Notice], None]]] = {}

    # Claims.

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
        """Make the lease's run, unless this user's message has one already.

        Raises:
            EventLogError: as many runs are under way as there may be claims.
            ConfigurationError: the run id is that of another message's run.
        """
        now = self._sweep()
        store = self._store
        user = store.users.get(lease.user_id)
        if user is None:
            user = User(lease.user_id)
        elif (claimed := user.claims.get(message_id)) is not None:
            return claimed.describe()
        if lease.run_id in user.runs:
            raise ConfigurationError("run ids must be new; this one is another message's")
        if not store.has_room(user):
            raise EventLogError("as many runs are under way as the log may hold claims")
        run = Run(user, thread_id, message_id, digest)
        self._hand_over(run, lease, owner, now, lease_seconds)
        store.add(run)
        return run.describe()

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        """The run that was claimed for this message of the user."""
        self._sweep()
        user = self._store.users.get(user_id)
        run = None if user is None else user.claims.get(message_id)
        return None if run is None else run.describe()

    # Events.

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        """Append events to the run, all of them or none; done when it returns.

        Raises:
            LeaseLost: the token is not the run's, the run is unknown or ended, or the events do
                not continue it.
        """
        # Written for what nearly every call is: one more event.
        run = self._leases.get(lease)
        if run is None or len(events) != 1:
            return self._append(lease, events)
        event = events[0]
        kind, payload, seq, _ = event
        if seq != run.next_seq:
            return self._append(lease, events)
        run.next_seq = seq + 1
        run.events.append(event)
        size = len(payload)
        run.bytes += size
        user, store = run.user, self._store
        user.events += 1
        user.bytes += size
        store.events += 1
        store.bytes += size
        if (
            user.bytes > store.user_bounds.bytes
            or user.events > store.user_bounds.events
            or store.bytes > store.bounds.bytes
            or store.events > store.bounds.events
        ):
            store.make_room(run)
        if kind in TERMINAL:
            self._end(run)
        for follower in run.followers:
            follower.wake(seq)
        return APPENDED

    def _append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        run = self._find(lease.user_id, lease.run_id)
        if run is None or run.lease != lease:
            raise LeaseLost("the run is unknown, or another's by now")
        if not events or run.ends_with(events):
            return APPENDED
        if run.is_ended:
            raise LeaseLost("the run has ended")
        ends = False
        size = 0
        for seq, event in enumerate(events, run.last_seq + 1):
            if event.seq != seq or ends:
                raise LeaseLost(f"event {event.seq} does not continue a run of {run.last_seq}")
            ends = event.type in TERMINAL
            size += len(event.payload)
        self._store.extend(run, events, size)
        if ends:
            self._end(run)
        last_seq = run.last_seq
        for follower in run.followers:
            follower.wake(last_seq)
        return APPENDED

    def _end(self, run: Run) -> None:
        self._release(run)
        self._store.end(run, self._clock())

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        """The first ``limit`` events whose ``seq`` is greater than ``after``; None for no run."""
        run = self._find(user_id, run_id)
        if run is None:
            return None
        events, first_seq = run.events, run.first_seq
        start = after + 1 - first_seq if after >= first_seq else 0
        page = events[start : start + limit]
        return EventPage(page, first_seq, first_seq + len(events) - 1, run.status)

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        """The run, or None."""
        run = self._find(user_id, run_id)
        return None if run is None else run.describe()

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        """The newest ``limit`` runs of a user's thread, or of its unended ones; oldest first."""
        self._check_open()
        user = self._store.users.get(user_id)
        thread = None if user is None else user.threads.get(thread_id)
        if thread is None:
            return ()
        runs = (run for run in reversed(thread.values()) if not (unended and run.is_ended))
        newest = [run.describe() for run in islice(runs, limit)]
        newest.reverse()
        return newest

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        """Have ``wake`` called in each append to the run, until what is returned is called."""
        run = self._find(user_id, run_id)
        return _nothing if run is None else run.follow(wake)

    # Notices.

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        """Tell the owner of a run something; whether there is such a run that has not ended."""
        run = self._find(user_id, run_id)
        if run is None or run.is_ended:
            return False
        for tell in tuple(self._listeners.get(run.owner, {}).values()):
            tell(user_id, run_id, notice)
        return True

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        """Have ``tell`` called for each notice of the owner's runs: user id, run id, notice."""
        self._check_open()
        key = object()
        self._listeners.setdefault(owner, {})[key] = tell

        def unfollow() -> None:
            listeners = self._listeners.get(owner, {})
            listeners.pop(key, None)
            if not listeners:
                self._listeners.pop(owner, None)

        return unfollow

    # Leases.

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        """Keep the leases for so long from now; those that were lost, or whose runs have ended."""
        self._check_open()
        now = self._clock()
        lost: list[Lease] = []
        for lease in leases:
            run = self._leases.get(lease)
            if run is None:
                lost.append(lease)
            else:
                self._release(run)
                self._hand_over(run, lease, run.owner, now, lease_seconds)
        return lost

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        """Take over runs whose lease has expired, each with a new token."""
        self._check_open()
        now = self._clock()
        expired: list[Run] = []
        for leased in self._leased.values():
            over = takewhile(lambda run: run.expires <= now, leased)
            expired.extend(islice(over, limit - len(expired)))
        taken: list[TakenRun] = []
        for run in expired:
            lease = run.lease._replace(token=new_id())
            self._release(run)
            self._hand_over(run, lease, owner, now, lease_seconds)
            taken.append(TakenRun(lease, run.describe()))
        return taken

    def _hand_over(
        self, run: Run, lease: Lease, owner: str, now: float, lease_seconds: float
    ) -> None:
        """Make the lease the one that is good for the run."""
        run.lease = lease
        run.owner = owner
        run.expires = now + lease_seconds
        run.lease_seconds = lease_seconds
        self._leases[lease] = run
        leased = self._leased.get(lease_seconds)
        if leased is None:
            # Few lengths are in use at once; those that are not go here.
            self._leased = {length: runs for length, runs in self._leased.items() if runs}
            leased = self._leased[lease_seconds] = OrderedDict()
        leased[run] = None

    def _release(self, run: Run) -> None:
        """Have the run's lease be good no more."""
        del self._leases[run.lease]
        del self._leased[run.lease_seconds][run]

    # The end of a user, and of the log.

    async def forget(self, user_id: str) -> None:
        """Drop all that is known of a user: runs, events and claims. Idempotent."""
        self._check_open()
        user = self._store.users.get(user_id)
        if user is None:
            return
        runs = self._store.forget(user)
        for run in runs:
            if not run.is_ended:
                self._release(run)
        for run in runs:
            run.dismiss()

    async def aclose(self) -> None:
        """Drop everything; every method raises `EventLogError` from now on. Idempotent."""
        self._is_closed = True
        self._store.clear()
        self._leases.clear()
        self._leased.clear()
        self._listeners.clear()

    # What the methods share.

    def _check_open(self) -> None:
        if self._is_closed:
            raise EventLogError("the event log is closed")

    def _find(self, user_id: str, run_id: str) -> Run | None:
        user = self._store.users.get(user_id)
        if user is None:
            self._check_open()  # a closed log knows no user
            return None
        return user.runs.get(run_id)

    def _sweep(self) -> float:
        """Drop the runs whose claim's time has passed; the time."""
        self._check_open()
        now = self._clock()
        self._store.drop_until(now - self._claim_seconds)
        return now


def _nothing() -> None:
    """What is to be undone for a run that is unknown."""
