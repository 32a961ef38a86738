"""One user's sessions, runs and threads: who may begin, who waits, who is refused."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, final

from agent_messaging._buckets import MINUTE, TokenBucket
from agent_messaging._endpoint_stats import ActiveRunInfo, UserStats
from agent_messaging._errors import ErrorCode, RemoteError
from agent_messaging._events import CancelReason
from agent_messaging._limits import Limits
from agent_messaging._messages import MessageType
from agent_messaging._policies import ThreadPolicy
from agent_messaging._run import RunContext
from agent_messaging._session_end import SessionEndReason
from agent_messaging.eventlog.protocol import Lease, RunStatus

__all__ = ["OpenSession", "OwnedRun", "Thread", "User", "Users", "Watcher"]


class Watcher(Protocol):
    """A session's interest in a run."""

    def lose_log(self) -> None:
        """The run's events can be kept no more."""
        ...


class OpenSession(Protocol):
    """A session, as its user knows it."""

    @property
    def connection_id(self) -> str:
        """Which of the user's sessions it is."""
        ...

    def finish(self, reason: SessionEndReason) -> None:
        """End it."""
        ...

    def watched_elsewhere(self) -> Iterable[str]:
        """The runs of other owners that it watches."""
        ...

    async def wait_sent(self) -> None:
        """Wait until there is nothing to send."""
        ...

    async def end_calls(self, *, are_cancelled: bool) -> None:
        """Wait for the host's handlers; cancelled, they have a bounded time to end."""
        ...


class OwnedRun(Protocol):
    """A run of this endpoint, as its user and its watchers know it."""

    @property
    def context(self) -> RunContext:
        """Whose run it is."""
        ...

    @property
    def is_accepted(self) -> bool:
        """Whether its claim was won; the client may know of it."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether its terminal event was appended, or the run is not ours any more."""
        ...

    @property
    def is_ending(self) -> bool:
        """Whether its agent is done, and its place in the thread still taken."""
        ...

    @property
    def end(self) -> RunStatus | None:
        """How it has ended, as the log was told; None if it has not, or that is not known here."""
        ...

    @property
    def lease(self) -> Lease:
        """The right to append to it."""
        ...

    @property
    def needs_lease(self) -> bool:
        """Whether it is still to be written to the log, and may be."""
        ...

    def lose_lease(self) -> None:
        """It is another owner's by now, or was forgotten: end the agent, and write nothing more."""
        ...

    @property
    def info(self) -> ActiveRunInfo:
        """The run at this moment; to be asked once it is accepted."""
        ...

    def take_turn(self) -> None:
        """Begin, as the thread is free; at once, or when the claim is committed."""
        ...

    def cancel(self, reason: CancelReason) -> None:
        """Have it end as cancelled for this reason; the first reason counts."""
        ...

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call this once the run has ended."""
        ...

    async def claimed(self) -> None:
        """Wait until the run is accepted, or was not after all."""
        ...

    async def ended(self) -> None:
        """Wait until the run has ended, or was not accepted after all."""
        ...

    def join(self, watch: Watcher) -> None:
        """One more session watches."""
        ...

    def leave(self, watch: Watcher, grace: float) -> None:
        """A session watches no more; the run goes on for ``grace`` seconds at least."""
        ...

    def watched_elsewhere(self) -> None:
        """Sessions of another endpoint watch it; they say so again and again while they do."""
        ...

    def delivered(self, kind: MessageType, seq: int) -> None:
        """A session's transport accepted an event."""
        ...

    def crowd(self, watch: Watcher) -> None:
        """A session that watches falls behind."""
        ...

    def relieve(self, watch: Watcher) -> None:
        """A session that watches has caught up."""
        ...


@final
class Thread:
    """One conversation's runs that have not ended: those under way, and those that wait."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running: list[OwnedRun] = []
        self.waiting: list[OwnedRun] = []


@final
class User:
    """What an endpoint knows of one user, and whose every lookup it is.

    Synchronous: a place among the runs is taken before the log is asked, so that two messages
    never take the same one.

    Attributes:
        sessions: the open sessions, by connection id.
        runs: the accepted runs that have not ended, by run id.
        claiming: the runs that are about to be accepted, by message id.
        threads: the threads that have any.
        places: runs under way and calls of host handlers, with those that are about to be.
        frames: how many frames may still come.
        messages: how many agent messages may still come.
    """

    __slots__ = (
        "_idle",
        "claiming",
        "frames",
        "messages",
        "places",
        "runs",
        "sessions",
        "threads",
        "user_id",
    )

    def __init__(
        self, user_id: str, limits: Limits, now: float, idle: "Callable[[User], None]"
    ) -> None:
        self._idle = idle
        self.user_id: str = user_id
        self.sessions: dict[str, OpenSession] = {}
        self.runs: dict[str, OwnedRun] = {}
        self.claiming: dict[str, OwnedRun] = {}
        self.threads: dict[str, Thread] = {}
        self.places: int = 0
        self.frames: TokenBucket = TokenBucket(limits.frames_per_minute, now)
        self.messages: TokenBucket = TokenBucket(limits.messages_per_minute, now)

    @property
    def queued(self) -> int:
        """How many messages wait for their turn."""
        return sum(len(thread.waiting) for thread in self.threads.values())

    def all_runs(self) -> Iterator[OwnedRun]:
        """The runs that have not ended, and those about to be accepted; the waiting ones first.

        Cancelled in this order, none begins because the one before it has ended.
        """
        for thread in tuple(self.threads.values()):
            yield from (*thread.waiting, *thread.running)

    def cancel(self, reason: CancelReason) -> None:
        """Cancel all runs."""
        for run in tuple(self.all_runs()):
            run.cancel(reason)

    async def runs_ended(self) -> None:
        """Wait until there is no run."""
        while (run := next(self.all_runs(), None)) is not None:
            await run.ended()

    @property
    def stats(self) -> UserStats:
        """The user at this moment."""
        queued = self.queued
        return {
            "sessions": len(self.sessions),
            "runs_in_flight": len(self.runs) - queued,
            "runs_queued": queued,
        }

    def find(self, run_id: str) -> OwnedRun | None:
        """The run that has not ended, also if it is only about to be accepted."""
        run = self.runs.get(run_id)
        if run is not None:
            return run
        return next((run for run in self.all_runs() if run.context.run_id == run_id), None)

    def watched_elsewhere(self) -> set[str]:
        """The runs of other owners that the user's sessions watch."""
        sessions = self.sessions.values()
        return {run_id for session in sessions for run_id in session.watched_elsewhere()}

    def leave(self, session: OpenSession) -> None:
        """A session has ended."""
        self.sessions.pop(session.connection_id, None)
        self.leave_if_idle()

    def leave_if_idle(self) -> None:
        """Tell the endpoint that there is nothing to know but the buckets, if so."""
        if not (self.sessions or self.threads or self.places):
            self._idle(self)

    def take_place(self, limits: Limits, message_id: str | None) -> None:
        """Take a place among the runs under way.

        Raises:
            RemoteError: ``too_many_runs``.
        """
        if self.places >= limits.runs_per_user:
            raise RemoteError(
                ErrorCode.TOO_MANY_RUNS,
                f"at most {limits.runs_per_user} runs at once; stop one, or wait for its end",
                message_id=message_id,
            )
        self.places += 1

    def give_place_back(self) -> None:
        """Undo `take_place`."""
        self.places -= 1
        self.leave_if_idle()

    def admit(self, run: OwnedRun, policy: ThreadPolicy, limits: Limits) -> list[OwnedRun]:
        """Give a run its place in its thread; those that it replaces, the waiting ones first.

        Raises:
            RemoteError: ``thread_busy``, ``queue_full`` or ``too_many_runs``; nothing changed.
        """
        message_id = run.context.message_id
        thread = self.threads.get(run.context.thread_id)
        if thread is None or policy == "parallel":
            self.take_place(limits, message_id)
            if thread is None:
                thread = self.threads[run.context.thread_id] = Thread()
            thread.running.append(run)
            return []
        if policy == "reject":
            raise RemoteError(
                ErrorCode.THREAD_BUSY, "the thread has a run already", message_id=message_id
            )
        replaced = [*thread.waiting, *thread.running] if policy == "replace" else []
        if not replaced and len(thread.waiting) >= limits.queued_per_thread:
            raise RemoteError(
                ErrorCode.QUEUE_FULL,
                f"at most {limits.queued_per_thread} messages wait on a thread",
                message_id=message_id,
            )
        thread.waiting.append(run)
        return replaced

    def position(self, run: OwnedRun) -> int:
        """A run's place in its thread's queue, 1 for the next; 0 if it does not wait."""
        thread = self.threads[run.context.thread_id]
        return thread.waiting.index(run) + 1 if run in thread.waiting else 0

    def release(self, run: OwnedRun) -> OwnedRun | None:
        """Take a run out of its thread; the one whose turn it is now, in its place."""
        self.runs.pop(run.context.run_id, None)
        thread = self.threads[run.context.thread_id]
        if run in thread.waiting:
            thread.waiting.remove(run)
            return None
        thread.running.remove(run)
        if thread.running or not thread.waiting:
            if not thread.running:
                del self.threads[run.context.thread_id]
            self.give_place_back()
            return None
        successor = thread.waiting.pop(0)
        thread.running.append(successor)
        return successor


@final
class Users:
    """The users of an endpoint: those that have sessions or runs, and how fast the others were.

    However many ever came, only those are remembered that were there in the last minute.
    """

    __slots__ = ("_idle", "_limits", "_users")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._users: dict[str, User] = {}
        #: Those that have nothing but their buckets, and since when; the longest first.
        self._idle: OrderedDict[str, tuple[User, float]] = OrderedDict()

    def enter(self, user_id: str) -> User:
        """The user, who is about to have a session."""
        user = self._users.get(user_id)
        if user is None:
            user, _ = self._idle.pop(user_id, (None, 0.0))
            if user is None:
                now = asyncio.get_running_loop().time()
                user = User(user_id, self._limits, now, self._set_idle)
            self._users[user_id] = user
        return user

    def get(self, user_id: str) -> User | None:
        """The user, if there are sessions or runs of that one."""
        return self._users.get(user_id)

    def all(self) -> tuple[User, ...]:
        """Those that have sessions or runs."""
        return tuple(self._users.values())

    def sessions(self) -> tuple[OpenSession, ...]:
        """The sessions of all."""
        return tuple(session for user in self.all() for session in user.sessions.values())

    def cancel(self, reason: CancelReason) -> None:
        """Cancel the runs of all."""
        for user in self.all():
            user.cancel(reason)

    async def runs_ended(self) -> None:
        """Wait until nobody has a run."""
        while (busy := next((user for user in self.all() if user.threads), None)) is not None:
            await busy.runs_ended()

    def _set_idle(self, user: User) -> None:
        """Keep nothing but the buckets, and those for no longer than they take to fill."""
        now = asyncio.get_running_loop().time()
        self._users.pop(user.user_id, None)
        self._idle[user.user_id] = (user, now)
        while True:  # to the one that was just added, at the latest
            user_id, (_, since) = next(iter(self._idle.items()))
            if now - since < MINUTE and len(self._idle) <= _IDLE_USERS:
                break
            del self._idle[user_id]


#: Users of whom there is nothing to know but how fast they were in the last minute. Only so many
#: are remembered; a host with more of them a minute has other bounds to think of.
_IDLE_USERS: Final = 100_000
