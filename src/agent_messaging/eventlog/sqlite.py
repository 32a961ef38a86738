"""An event log in an SQLite file, which processes of one machine may share."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, final

from agent_messaging._checks import check_bound, check_claims, check_seconds, check_word
from agent_messaging._errors import ConfigurationError, EventLogError
from agent_messaging.eventlog._sqlite_errors import Reason, SqliteLogError
from agent_messaging.eventlog._sqlite_file import Durability, LogFile
from agent_messaging.eventlog._sqlite_followers import Followers
from agent_messaging.eventlog._sqlite_news import Key, News, Told
from agent_messaging.eventlog._sqlite_retention import Retained, Retention
from agent_messaging.eventlog._sqlite_store import Store
from agent_messaging.eventlog._sqlite_thread import PAUSE, Call, LogThread, Request
from agent_messaging.eventlog.protocol import (
    EventPage,
    Lease,
    LoggedEvent,
    Notice,
    RunRecord,
    TakenRun,
)

__all__ = ["Durability", "Reason", "SqliteEventLog", "SqliteLogError"]

T = TypeVar("T")

_DAY = 24 * 3600.0


@final
class SqliteEventLog:
    """Keeps events in an SQLite file; an `EventLog`.

    What was acknowledged survives the end of the process, ``kill -9`` too; with ``durability``
    ``"power"`` also that of the machine, at the price of a wait for the disk in each batch.

    Several processes of one machine may use the file at once, each with a log of its own; a
    process opens its log after it was forked. A thread of the log's own works on the file, never
    the event loop: what is asked for while it is busy becomes one transaction. The log belongs to
    the event loop in which it is first used: in another, every method but `aclose` raises
    `ConfigurationError`.

    The file is opened, and made if there is none, by the first call, or by ``async with``, which
    raises what is wrong with it. After trouble (`SqliteLogError`) it is opened anew by itself.

    Runs that have ended lose all of their events ``keep_seconds`` later, or where there are too
    many of a user: those that ended first, but none in the minute after its end. Where the runs
    under way are too many events by themselves, the longest loses its oldest. That is done in
    portions between the calls, so that there may be more for a while. A run and its claim are
    known for ``claim_seconds`` after its end.

    Args:
        path: the file, on a local disk.
        durability: what acknowledged events survive: ``"process"``, the end of every process;
            ``"power"``, the end of the machine too.
        runs_per_user: runs of one user that are held with their events.
        events_per_user: events of one user.
        keep_seconds: how long the events of a run are held after its end; a week.
        claim_seconds: how long a claim is kept after the end of its run: a day at least; a week
            unless told otherwise. It is kept until the events are gone in any case.
        max_bytes: how long the file may become; None for no bound. Beyond, nothing is kept any
            more (`SqliteLogError`, ``full``).
        waiting_calls: calls that wait for the thread; further ones wait for their turn.
        busy_seconds: how long the thread waits for other processes to let it write.
        poll_seconds: how often the thread looks what other processes have written, while
            anybody follows.
        clock: the time in seconds, for leases and what is kept for how long; the same for all
            processes, so it is that of the machine.

    Raises:
        ConfigurationError: one of these is nothing that can be meant.
    """

    __slots__ = (
        "_bounds",
        "_calls",
        "_clock",
        "_file",
        "_followers",
        "_is_closed",
        "_listeners",
        "_loop",
        "_poll_seconds",
        "_requests",
        "_room",
        "_thread",
        "_under_way",
        "_waiting_calls",
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "process",
        runs_per_user: int = 1_000,
        events_per_user: int = 100_000,
        keep_seconds: float = 7 * _DAY,
        claim_seconds: float = 7 * _DAY,
        max_bytes: int | None = None,
        waiting_calls: int = 1_024,
        busy_seconds: float = 5.0,
        poll_seconds: float = 0.05,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_word("durability", durability, ("process", "power"))
        for name, seconds in (
            ("keep_seconds", keep_seconds),
            ("busy_seconds", busy_seconds),
            ("poll_seconds", poll_seconds),
        ):
            check_seconds(name, seconds)
        check_claims(claim_seconds)
        check_bound("waiting_calls", waiting_calls)
        if max_bytes is not None:
            check_bound("max_bytes", max_bytes)
        self._bounds = Retained(
            runs_per_user=check_bound("runs_per_user", runs_per_user),
            events_per_user=check_bound("events_per_user", events_per_user),
            keep_seconds=keep_seconds,
            claim_seconds=claim_seconds,
        )
        self._file = LogFile(Path(path), durability, busy_seconds, max_bytes)
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._waiting_calls = waiting_calls
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: LogThread | None = None
        #: Of this turn of the loop, to be handed over together.
        self._calls: list[Call] = []
        self._requests: list[Request] = []
        #: How many calls were not answered yet, and who waits for there to be fewer.
        self._under_way = 0
        self._room: list[asyncio.Future[None]] = []
        self._followers: Followers[Key, [int]] = Followers(self._leave)
        self._listeners: Followers[str, [str, str, Notice]] = Followers(self._listen_no_more)

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            SqliteLogError: it cannot be opened, or is no log.
        """
        try:
            await self._ask(_nothing, writes=False)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

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
            ConfigurationError: the run id is that of another message's run.
        """
        return await self._ask(
            lambda store: store.claim(lease, thread_id, message_id, digest, owner, lease_seconds)
        )

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        """The run that was claimed for this message of the user."""
        return await self._ask(lambda store: store.find_claim(user_id, message_id), writes=False)

    # Events.

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        """Append events to the run, all of them or none; durable once awaited.

        Raises:
            LeaseLost: when awaited: the token is not the run's, the run is unknown or ended, or
                the events do not continue it.
        """
        return self._ask(lambda store: store.append(lease, events))

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        """The first ``limit`` events whose ``seq`` is greater than ``after``; None for no run."""
        return await self._ask(
            lambda store: store.read(user_id, run_id, after, limit), writes=False
        )

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        """The run, or None."""
        return await self._ask(lambda store: store.find_run(user_id, run_id), writes=False)

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        """The newest ``limit`` runs of a user's thread, or of its unended ones; oldest first."""
        return await self._ask(
            lambda store: store.runs(user_id, thread_id, limit, unended=unended), writes=False
        )

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        """Have ``wake`` called after each append to the run, until what is returned is called.

        At once for what this process appends; for what others do, within ``poll_seconds``.
        """
        self._check_open()
        key = (user_id, run_id)
        self._request(self._started(), lambda news: news.follow(key))
        return self._followers.add(key, wake)

    # Notices.

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        """Tell the owner of a run something; whether there is such a run that has not ended."""
        return await self._ask(lambda store: store.notify(user_id, run_id, notice))

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        """Have ``tell`` called for each notice of the owner's runs: user id, run id, notice."""
        self._check_open()
        self._request(self._started(), News.listen)
        return self._listeners.add(owner, tell)

    # Leases.

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        """Keep the leases for so long from now; those that were lost, or whose runs have ended."""
        return await self._ask(lambda store: store.renew(leases, lease_seconds))

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        """Take over runs whose lease has expired, each with a new token."""
        return await self._ask(lambda store: store.take_expired(owner, lease_seconds, limit))

    # The end of a user, and of the log.

    async def forget(self, user_id: str) -> None:
        """Drop all that is known of a user: runs, events and claims. Idempotent.

        Nothing is known of the user from one moment on. The events are removed in portions after
        it, so that others' calls need not wait: if it raises or is cancelled meanwhile, calling it
        again goes on with that, and so does the log by itself, once in a while.
        """
        is_left = await self._ask(lambda store: store.forget(user_id))
        while is_left:
            await asyncio.sleep(PAUSE)
            is_left = await self._ask(Store.remove_forgotten)

    async def aclose(self) -> None:
        """Do what was asked for, close the file, and wait for the thread. Idempotent.

        Every method raises `EventLogError` from now on. Cancelled, the log is closed all the same.
        In any event loop, if the log's own does not run any more.

        Raises:
            ConfigurationError: the log's event loop is another one, and runs; the log is open.
        """
        thread = self._thread
        if not self._is_closed:
            loop = self._loop
            if loop is not None and loop.is_running() and loop is not asyncio.get_running_loop():
                raise ConfigurationError(
                    "the event log is in use in another event loop, which runs; close it there"
                )
            self._is_closed = True
            self._followers.clear()
            self._listeners.clear()
            if thread is not None:
                self._hand_over()
                thread.end()
        if thread is not None:
            await thread.wait()

    # What the methods share.

    def _check_open(self) -> None:
        if self._is_closed:
            raise EventLogError("the event log is closed; make another one for the file")

    def _ask(self, work: Callable[[Store], T], *, writes: bool = True) -> Awaitable[T]:
        """Have the thread do it, with all else that is asked for in this turn of the loop."""
        self._check_open()
        loop = self._started()
        if self._under_way >= self._waiting_calls:
            return self._ask_later(work, writes=writes)
        future: asyncio.Future[T] = loop.create_future()
        self._schedule(loop)
        self._calls.append(Call(work, future, writes=writes))
        self._under_way += 1
        return future

    async def _ask_later(self, work: Callable[[Store], T], *, writes: bool) -> T:
        while self._under_way >= self._waiting_calls:
            room: asyncio.Future[None] = self._started().create_future()
            self._room.append(room)
            await room
            self._check_open()
        return await self._ask(work, writes=writes)

    def _request(self, loop: asyncio.AbstractEventLoop, request: Request) -> None:
        """Change what the thread tells of, before anything that is asked for from now on."""
        self._schedule(loop)
        self._requests.append(request)

    def _leave(self, key: Key) -> None:
        self._request_no_more(lambda news: news.leave(key))

    def _listen_no_more(self, _: str) -> None:
        if not self._listeners:
            self._request_no_more(News.listen_no_more)

    def _request_no_more(self, request: Request) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():  # with it, nobody is told of anything
            self._request(loop, request)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._calls and not self._requests:
            loop.call_soon(self._hand_over)

    def _started(self) -> asyncio.AbstractEventLoop:
        """The loop, with a thread to work for it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._start(loop)
        return loop

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            raise ConfigurationError(
                "the event log was used in another event loop before; make one for each"
            )
        self._thread = LogThread(
            self._file,
            self._make_store,
            Retention(self._bounds, self._clock),
            poll_seconds=self._poll_seconds,
            answer=lambda calls, told: loop.call_soon_threadsafe(self._answered, calls, told),
        )
        self._loop = loop

    def _hand_over(self) -> None:
        if self._thread is not None and (self._calls or self._requests):
            self._thread.hand_over(self._calls, self._requests)
            self._calls, self._requests = [], []

    def _make_store(self, connection: sqlite3.Connection) -> Store:
        return Store(connection, self._clock, max(1, self._bounds.events_per_user // 8))

    # Called in the loop, when the thread has done something.

    def _answered(self, calls: Sequence[Call], told: Told) -> None:
        for call in calls:
            future = call.future
            if future is None:
                continue
            self._under_way -= 1
            if future.done():
                continue
            if call.error is None:
                future.set_result(call.result)
            else:
                future.set_exception(call.error)
        rooms, self._room = self._room, []
        for room in rooms:
            if not room.done():
                room.set_result(None)
        for key, last_seq in told.runs:
            self._followers.call(key, last_seq)
        for owner, user_id, run_id, notice in told.notices:
            self._listeners.call(owner, user_id, run_id, notice)


def _nothing(_: Store) -> None:
    """What is asked for where the file is only to be opened."""


# What users see in tracebacks, documentation and pickles is where they import it from.
SqliteLogError.__module__ = __name__
