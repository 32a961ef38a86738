"""The runs that a log in memory holds, and what it lets go of where there is no room."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, final

from agent_messaging.eventlog._memory_runs import Bounds, Run, User
from agent_messaging.eventlog.protocol import LoggedEvent

__all__ = ["RunStore"]


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

    def forget(self, user: User) -> list[Run]:
        """Drop a user, and all runs: those that were known."""
        del self.users[user.user_id]
        self.claims -= len(user.runs)
        self.held -= user.held
        self.events -= user.events
        self.bytes -= user.bytes
        for run in user.runs.values():
            self.ended.pop(run, None)
            self.evictable.pop(run, None)
            self.trimmable.pop(run, None)
            run.next_ended = None
        # What is dropped is to be freed at once: no run and its user hold each other any more.
        runs = list(user.runs.values())
        user.runs.clear()
        user.claims.clear()
        user.threads.clear()
        user.trimmable.clear()
        user.oldest = user.newest = user.evictable = None
        return runs

    def clear(self) -> None:
        """Drop everything; nobody is told."""
        for user in tuple(self.users.values()):
            for run in self.forget(user):
                run.followers = ()

    def _drop(self, run: Run) -> None:
        """Drop a run that has ended, the oldest of its user."""
        user = run.user
        if run.events:
            self._evict(run)
        self.claims -= 1
        del self.ended[run]
        user.oldest, run.next_ended = run.next_ended, None
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
        run.bytes += size
        user.bytes += size
        self.events += len(events)
        self.bytes += size
        self.make_room(run)

    def make_room(self, run: Run) -> None:
        """Let go of events until all bounds are kept; the run has just got some."""
        user = run.user
        bounds = self.user_bounds
        while user.events > bounds.events or user.bytes > bounds.bytes:
            if user.evictable is not None:
                self._evict(user.evictable)
            elif run.outweighs(bounds):
                self._let_go_of_an_eighth(run)
            elif user.trimmable:
                self._trim(next(iter(user.trimmable)))
            else:
                break  # each run under way holds its newest event alone
        bounds = self.bounds
        while self.events > bounds.events or self.bytes > bounds.bytes:
            if self.evictable:
                self._evict(next(iter(self.evictable)))
            elif run.outweighs(bounds):
                self._let_go_of_an_eighth(run)
            elif self.trimmable:
                self._trim(next(iter(self.trimmable)))
            else:
                break

    def _evict(self, run: Run) -> None:
        """Let go of all events of a run that has ended, the oldest of its user that has any."""
        run.evicted_status = run.status
        self._let_go(run, len(run.events), run.bytes)
        run.user.held -= 1
        run.user.evictable = run.next_ended
        self.held -= 1
        del self.evictable[run]

    def _trim(self, run: Run) -> None:
        """Let go of the oldest events of a run under way; then others have their turn."""
        trimmable = run.user.trimmable
        del trimmable[run]
        if len(run.events) > 1:
            self._let_go_of_an_eighth(run)
            trimmable[run] = None
            self.trimmable.move_to_end(run)
        else:
            # Looked at again once it has more.
            del self.trimmable[run]
            run.next_seq = 0

    def _let_go_of_an_eighth(self, run: Run) -> None:
        count = 1 + (len(run.events) - 1) // 8
        self._let_go(run, count, sum([len(event.payload) for event in run.events[:count]]))

    def _let_go(self, run: Run, count: int, size: int) -> None:
        del run.events[:count]
        run.first_seq += count
        run.bytes -= size
        run.user.events -= count
        run.user.bytes -= size
        self.events -= count
        self.bytes -= size
