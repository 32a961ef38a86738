"""The one thread that works on a log's file: it takes calls in batches, a transaction each."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, final

from agent_messaging._errors import ConfigurationError, LeaseLost
from agent_messaging._log import listener, log
from agent_messaging.eventlog._sqlite_errors import Reason, SqliteLogError, explained
from agent_messaging.eventlog._sqlite_file import LogFile
from agent_messaging.eventlog._sqlite_news import News, Told
from agent_messaging.eventlog._sqlite_retention import Retention
from agent_messaging.eventlog._sqlite_store import Store

__all__ = ["PAUSE", "Answer", "Call", "LogThread", "Request"]

#: Seconds between portions of what is removed: other processes that wait to write are woken by
#: nobody, and would hardly ever meet the moment in which they may.
PAUSE: Final = 0.001

_logger: Final = logging.getLogger("agent_messaging.eventlog")

#: Takes calls that were done, with what there is to tell; raises RuntimeError if nobody is there.
Answer: TypeAlias = "Callable[[Sequence[Call], Told], object]"

#: Changes what there is to tell of.
Request: TypeAlias = Callable[[News], object]

#: Trouble that reading says nothing of.
_WRITING: Final = frozenset({"locked", "read_only", "full"})


@final
class Call:
    """Something that is asked of a log.

    Attributes:
        work: does it.
        writes: whether that may change the file.
        future: what the caller waits for. The thread only looks whether it was cancelled.
        result: what came of it.
        error: what is raised instead.
    """

    __slots__ = ("error", "future", "result", "work", "writes")

    def __init__(
        self,
        work: Callable[[Store], object],
        future: "asyncio.Future[Any] | None",
        *,
        writes: bool,
    ) -> None:
        self.work: Final = work
        self.writes: Final = writes
        self.future: Final = future
        self.result: object = None
        self.error: Exception | None = None

    def do(self, store: Store) -> None:
        """Do it, within a transaction; what is refused leaves nothing there."""
        self.error = None
        if self.future is not None and self.future.cancelled():
            return
        try:
            self.result = self.work(store)
        except (LeaseLost, ConfigurationError, SqliteLogError) as refusal:
            self.error = refusal


@final
class LogThread:
    """Does what it is handed, in batches: all that waits, in one transaction.

    A batch that fails is taken back. If one call may be the cause, each is then done alone.
    """

    __slots__ = (
        "_answer",
        "_ended",
        "_file",
        "_is_over",
        "_listener",
        "_make_store",
        "_news",
        "_poll_seconds",
        "_queue",
        "_retention",
        "_store",
        "_thread",
        "_trouble",
    )

    def __init__(
        self,
        file: LogFile,
        make_store: Callable[[sqlite3.Connection], Store],
        retention: Retention,
        *,
        poll_seconds: float,
        answer: Answer,
    ) -> None:
        self._file = file
        self._make_store = make_store
        self._retention = retention
        self._poll_seconds = poll_seconds
        self._answer = answer
        #: Done when the thread has let go of the file; nobody can cancel it.
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()
        self._news = News()
        self._store: Store | None = None
        self._is_over = False
        self._trouble: Reason | None = None
        #: Whoever listens where the log is first asked: a thread has a context of its own.
        self._listener = listener.get()
        self._queue: SimpleQueue[tuple[Sequence[Call], Sequence[Request]] | None] = SimpleQueue()
        # A host that ends without closing the log is not held up: what was acknowledged is kept.
        self._thread = threading.Thread(target=self._run, name="sqlite-event-log", daemon=True)
        self._thread.start()

    # Called in the loop's thread.

    def hand_over(self, calls: Sequence[Call], requests: Sequence[Request]) -> None:
        """Have calls done, in their order; requests first."""
        self._queue.put((calls, requests))

    def end(self) -> None:
        """Have the thread end when it has done what it was handed."""
        self._queue.put(None)

    async def wait(self) -> None:
        """Wait, in any event loop, for the thread to end. Cancelled, it ends all the same."""
        if self._thread.is_alive():  # which it is not in a process that was forked
            await asyncio.wrap_future(self._ended)
        self._thread.join()

    # In the thread.

    def _run(self) -> None:
        listener.set(self._listener)
        try:
            while not self._is_over:
                calls = self._take()
                if calls:
                    self._execute(calls)
                elif self._news.is_wanted:
                    self._poll()
                if self._is_tidying_due:
                    self._tidy()
        finally:
            self._drop_connection()
            self._ended.set_result(None)

    @property
    def _is_tidying_due(self) -> bool:
        return self._store is not None and self._retention.is_due

    def _take(self) -> list[Call]:
        """What waits to be done, once there is something; nothing, when it is time to look."""
        calls: list[Call] = []
        waits = True
        timeout = self._poll_seconds if self._news.is_wanted else None
        if self._is_tidying_due:
            timeout = PAUSE
        try:
            while True:
                handed = self._queue.get(waits, timeout)
                waits = False
                if handed is None:
                    self._is_over = True
                    break
                calls += handed[0]
                for request in handed[1]:
                    request(self._news)
        except Empty:
            pass
        return calls

    def _poll(self) -> None:
        """Look whether others have written, and what."""
        store = self._store
        if store is None or self._news.is_behind or not store.is_current:
            self._execute(())

    def _tidy(self) -> None:
        call = Call(self._retention.remove, None, writes=True)
        self._execute((call,))
        if call.error is not None:
            self._retention.postpone()

    def _execute(self, calls: Sequence[Call]) -> None:
        try:
            told = self._transact(calls)
        except Exception as error:  # noqa: BLE001 - the clock is the host's, and may raise anything
            self._fail(calls, explained(error, self._file.path))
        else:
            if self._trouble not in _WRITING or any(call.writes for call in calls):
                self._note_trouble(None)
            self._tell(calls, told)

    def _transact(self, calls: Sequence[Call]) -> Told:
        news = self._news
        writes = any(call.writes for call in calls)
        if writes and self._trouble == "read_only":
            self._drop_connection()  # one that could only read stays so
        try:
            store = self._store
            if store is None:
                store = self._store = self._make_store(self._file.open())
            self._file.check()
            store.connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            others_wrote = store.refresh()
            news.look(store.connection, others_wrote=others_wrote)
            for call in calls:
                call.do(store)
            store.flush()
            news.gather(store, others_wrote=others_wrote)
            store.connection.execute("COMMIT")
        except BaseException:
            news.doubt()
            self._drop_connection()
            raise
        self._retention.look_at(store.grown)
        told = news.settle(store)
        store.settle()
        return told

    def _fail(self, calls: Sequence[Call], error: Exception) -> None:
        """Answer calls whose transaction was taken back, or do them again in smaller ones."""
        reason = error.reason if isinstance(error, SqliteLogError) else None
        self._note_trouble(error)
        failing: Sequence[Call] = calls
        again: Sequence[Sequence[Call]] = ()
        if reason in _WRITING and reason != "full" and any(call.writes for call in calls):
            # Reading may be possible.
            failing = [call for call in calls if call.writes]
            again = [[call for call in calls if not call.writes]]
        elif reason in {None, "full"} and len(calls) > 1:
            # One of them may be the cause: too large, or nothing that can be kept.
            failing, again = (), [[call] for call in calls]
        for call in failing:
            # Each caller has one of its own to raise, and to add its traceback to.
            call.error = error.copy() if isinstance(error, SqliteLogError) else error
        self._tell(failing, Told((), ()))
        for batch in again:
            if batch:
                self._execute(batch)

    def _tell(self, calls: Sequence[Call], told: Told) -> None:
        if calls or told.runs or told.notices:
            try:
                self._answer(calls, told)
            except RuntimeError:  # the loop was closed, and the log was not
                self._is_over = True

    def _note_trouble(self, error: Exception | None) -> None:
        """Log when the file begins to make trouble, and when it is over."""
        trouble = error if isinstance(error, SqliteLogError) else None
        reason = None if trouble is None else trouble.reason
        if reason == self._trouble:
            return
        self._trouble = reason
        fields: dict[str, object] = {"path": self._file.path}
        if trouble is None:
            log(_logger, logging.INFO, "log_recovered", fields)
        else:
            fields |= {"reason": reason, "explanation": trouble.message}
            log(_logger, logging.WARNING, "log_trouble", fields)

    def _drop_connection(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.connection.close()
