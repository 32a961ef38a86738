"""The operations of a log in an SQLite file, each within a transaction of the caller's.

Whatever is refused is refused before anything of it is written.
"""

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, final

from agent_messaging._errors import ConfigurationError, LeaseLost
from agent_messaging._ids import new_id
from agent_messaging.eventlog._sqlite_errors import SqliteLogError
from agent_messaging.eventlog._sqlite_rows import (
    EVENT_COLUMNS,
    RECORD_COLUMNS,
    event_of,
    record_of,
)
from agent_messaging.eventlog._sqlite_schema import VERSION
from agent_messaging.eventlog.protocol import (
    TERMINAL,
    EventPage,
    Lease,
    LoggedEvent,
    Notice,
    RunRecord,
    TakenRun,
)

__all__ = ["PORTION", "Store"]

#: Events that are removed in one transaction at most: some milliseconds.
PORTION: Final = 500

#: Runs under way that are remembered, so that an append to one need not look it up.
_REMEMBERED: Final = 10_000

_FIND: Final = f"SELECT {RECORD_COLUMNS} FROM runs WHERE user_id = ? AND run_id = ?"  # noqa: S608 - constants
_FIND_CLAIM: Final = f"SELECT {RECORD_COLUMNS} FROM runs WHERE user_id = ? AND message_id = ?"  # noqa: S608 - constants
_FIND_PAGE: Final = f"SELECT {RECORD_COLUMNS}, number FROM runs WHERE user_id = ? AND run_id = ?"  # noqa: S608 - constants
_EVENTS: Final = (
    f"SELECT {EVENT_COLUMNS} FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - constants
)
_LAST_EVENTS: Final = f"SELECT {EVENT_COLUMNS} FROM events WHERE run = ? ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constants
_THREAD: Final = (
    f"SELECT {RECORD_COLUMNS} FROM runs WHERE user_id = ? AND thread_id = ?"  # noqa: S608 - constants
    " ORDER BY number DESC LIMIT ?"
)
#: The plus has it look at the user's runs under way, and not at all of the thread's.
_UNENDED: Final = (
    f"SELECT {RECORD_COLUMNS} FROM runs WHERE user_id = ? AND +thread_id = ?"  # noqa: S608 - constants
    " AND ended_at IS NULL ORDER BY number DESC LIMIT ?"
)
_EXPIRED: Final = (
    f"SELECT {RECORD_COLUMNS}, number, user_id FROM runs"  # noqa: S608 - constants
    " WHERE ended_at IS NULL AND expires <= ? ORDER BY expires LIMIT ?"
)
_LOOK_UP: Final = """
    SELECT
        number,
        token,
        ended_at IS NOT NULL,
        coalesce(last_seq, (SELECT max(seq) FROM events WHERE run = runs.number), 0)
    FROM runs WHERE user_id = ? AND run_id = ?
"""
_INSERT_RUN: Final = """
    INSERT INTO runs (
        user_id, run_id, token, thread_id, message_id, digest, owner, expires, claimed_at
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_EVENT: Final = (
    "INSERT INTO events (run, type, payload, seq, timestamp) VALUES (?, ?, ?, ?, ?)"
)
#: Each statement is a way into SQLite and back, for which Python's lock is let go and taken again:
#: so many rows in one take half the time.
_ROWS: Final = 16
_INSERT_EVENTS: Final = f"{_INSERT_EVENT}{', (?, ?, ?, ?, ?)' * (_ROWS - 1)}"
_END: Final = "UPDATE runs SET ended_at = ?, last_type = ?, last_seq = ?, held = ? WHERE number = ?"
_COUNT_HELD: Final = """
    INSERT INTO users VALUES (?, 1, ?)
    ON CONFLICT (user_id) DO UPDATE SET runs = runs + 1, events = events + excluded.events
"""
_RENEW: Final = """
    UPDATE runs SET expires = ?
    WHERE user_id = ? AND run_id = ? AND token = ? AND ended_at IS NULL
"""


@final
class _Run:
    """A run that a lease is good for, as long as nobody else has written.

    Attributes:
        number: its number in the file.
        is_ended: whether its terminal event was appended.
        last_seq: the last event that was appended.
    """

    __slots__ = ("is_ended", "last_seq", "number")

    def __init__(self, number: int, last_seq: int, *, is_ended: bool) -> None:
        self.number = number
        self.last_seq = last_seq
        self.is_ended = is_ended


@final
class Store:
    """What one connection does to a log.

    Attributes:
        connection: the connection; it is the caller's to begin and to end transactions.
        moved: the last events of the runs that were appended to in this transaction.
        gone: the runs that were removed in it.
        has_notices: whether notices were given in it.
        has_removed: whether runs or events were removed in it.
        grown: users of whom more is held by it, enough to look whether that is too much.
    """

    __slots__ = (
        "_clock",
        "_ended",
        "_growth",
        "_rows",
        "_runs",
        "_version",
        "connection",
        "gone",
        "grown",
        "has_notices",
        "has_removed",
        "moved",
    )

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], float], growth: int
    ) -> None:
        self.connection: Final = connection
        self.moved: dict[int, int] = {}
        self.gone: list[int] = []
        self.has_notices = False
        self.has_removed = False
        self.grown: set[str] = set()
        self._clock = clock
        #: Events of a run under way after which its user is looked at.
        self._growth = growth
        self._runs: dict[Lease, _Run] = {}
        #: Events that were appended, to be written together.
        self._rows: list[tuple[int, str, str, int, float]] = []
        #: The runs that end with them: user, number, type.
        self._ended: list[tuple[str, _Run, str]] = []
        self._version: int | None = None

    # Transactions.

    @property
    def is_current(self) -> bool:
        """Whether nobody else has written since the transaction before, as far as can be told."""
        try:
            (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return False  # the next transaction meets it too, and says what it is
        return bool(version == self._version)

    def refresh(self) -> bool:
        """Whether others have written since the transaction before; called as one begins.

        Raises:
            SqliteLogError: ``newer_schema``, by then it is another's.
        """
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        (schema,) = self.connection.execute("PRAGMA user_version").fetchone()
        if schema != VERSION:
            raise SqliteLogError(
                "newer_schema",
                f"the log's version has become {schema}, and this process writes {VERSION};"
                " start it anew with the package that has changed the file",
            )
        self._version = version
        self._runs.clear()
        return True

    def flush(self) -> None:
        """Write what was appended."""
        if self._rows:
            rows, self._rows = self._rows, []
            whole = len(rows) - len(rows) % _ROWS
            for start in range(0, whole, _ROWS):
                values = list(chain.from_iterable(rows[start : start + _ROWS]))
                self.connection.execute(_INSERT_EVENTS, values)
            self.connection.executemany(_INSERT_EVENT, rows[whole:])
        if self._ended:
            ended, self._ended = self._ended, []
            now = self._clock()
            for user_id, run, last_type in ended:
                (first_seq,) = self.connection.execute(
                    "SELECT min(seq) FROM events WHERE run = ?", (run.number,)
                ).fetchone()
                held = run.last_seq + 1 - first_seq
                self.connection.execute(_END, (now, last_type, run.last_seq, held, run.number))
                self.connection.execute(_COUNT_HELD, (user_id, held))
                self.grown.add(user_id)

    def settle(self) -> None:
        """The transaction is over, and done with."""
        self.moved.clear()
        self.gone.clear()
        self.grown.clear()
        self.has_notices = self.has_removed = False

    # Claims.

    def claim(
        self,
        lease: Lease,
        thread_id: str,
        message_id: str,
        digest: str,
        owner: str,
        lease_seconds: float,
    ) -> RunRecord:
        """Make the lease's run, unless the message has one.

        Raises:
            ConfigurationError: the run id is that of another message's run.
        """
        user_id, run_id, token = lease
        claimed = self.find_claim(user_id, message_id)
        if claimed is not None:
            return claimed
        if self.find_run(user_id, run_id) is not None:
            raise ConfigurationError("run ids must be new; this one is another message's")
        now = self._clock()
        expires = now + lease_seconds
        row = (user_id, run_id, token, thread_id, message_id, digest, owner, expires, now)
        number = self.connection.execute(_INSERT_RUN, row).lastrowid or 0
        self._remember(lease, _Run(number, 0, is_ended=False))
        return RunRecord(
            run_id=run_id,
            thread_id=thread_id,
            message_id=message_id,
            digest=digest,
            status="queued",
            first_seq=1,
            last_seq=0,
        )

    def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        """The run of a message."""
        return self._record(_FIND_CLAIM, user_id, message_id)

    # Events.

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        """Append events, all or none.

        Raises:
            LeaseLost: the lease is not good for that, or the events do not continue the run.
        """
        run = self._runs.get(lease) or self._look_up(lease)
        seq = run.last_seq
        last_type = ""
        rows: list[tuple[int, str, str, int, float]] = []
        for event in events:
            seq += 1
            if event.seq != seq or run.is_ended or last_type in TERMINAL:
                if self._ends_with(run, events):
                    return
                raise LeaseLost(
                    f"event {event.seq} does not continue a run of {run.last_seq}"
                    f"{' that has ended' if run.is_ended else ''}"
                )
            kind, payload, _, timestamp = event
            # A plain string: SQLite's module takes its time with classes derived from it.
            last_type = str.__str__(kind)
            rows.append((run.number, last_type, payload, seq, timestamp))
        if not rows:
            return
        self._rows += rows
        self.moved[run.number] = seq
        if last_type in TERMINAL:
            run.is_ended = True
            self._runs.pop(lease, None)
            self._ended.append((lease.user_id, run, last_type))
        elif seq // self._growth != run.last_seq // self._growth:
            self.grown.add(lease.user_id)
        run.last_seq = seq

    def _look_up(self, lease: Lease) -> _Run:
        self.flush()
        found = self.connection.execute(_LOOK_UP, (lease.user_id, lease.run_id)).fetchone()
        if found is None or found[1] != lease.token:
            raise LeaseLost("the run is unknown, or another's by now")
        number, _, is_ended, last_seq = found
        run = _Run(number, last_seq, is_ended=bool(is_ended))
        if not run.is_ended:
            self._remember(lease, run)
        return run

    def _remember(self, lease: Lease, run: _Run) -> None:
        if len(self._runs) >= _REMEMBERED:
            self._runs.clear()
        self._runs[lease] = run

    def _ends_with(self, run: _Run, events: Sequence[LoggedEvent]) -> bool:
        """Whether these were the last that were appended, as far as they are held."""
        if events[-1].seq != run.last_seq:
            return False
        self.flush()
        last = self.connection.execute(_LAST_EVENTS, (run.number, len(events))).fetchall()
        count = len(last)
        return count > 0 and [event_of(row) for row in reversed(last)] == list(events[-count:])

    def read(self, user_id: str, run_id: str, after: int, limit: int) -> EventPage | None:
        """A page of a run's events."""
        self.flush()
        found = self.connection.execute(_FIND_PAGE, (user_id, run_id)).fetchone()
        if found is None:
            return None
        record = record_of(found)
        rows = self.connection.execute(_EVENTS, (found[-1], after, limit)).fetchall()
        events = [event_of(row) for row in rows]
        return EventPage(events, record.first_seq, record.last_seq, record.status)

    def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        """A run."""
        return self._record(_FIND, user_id, run_id)

    def _record(self, select: str, user_id: str, key: str) -> RunRecord | None:
        self.flush()
        found = self.connection.execute(select, (user_id, key)).fetchone()
        return None if found is None else record_of(found)

    def runs(
        self, user_id: str, thread_id: str, limit: int, *, unended: bool = False
    ) -> Sequence[RunRecord]:
        """The newest runs of a thread, or of its unended ones."""
        self.flush()
        query = _UNENDED if unended else _THREAD
        rows = self.connection.execute(query, (user_id, thread_id, limit)).fetchall()
        return [record_of(row) for row in reversed(rows)]

    # Notices.

    def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        """Leave a notice for the owner of a run that has not ended."""
        self.flush()
        found = self.connection.execute(
            "SELECT owner FROM runs WHERE user_id = ? AND run_id = ? AND ended_at IS NULL",
            (user_id, run_id),
        ).fetchone()
        if found is None:
            return False
        self.connection.execute(
            "INSERT INTO notices (owner, user_id, run_id, notice, told_at) VALUES (?, ?, ?, ?, ?)",
            (found[0], user_id, run_id, notice, self._clock()),
        )
        self.has_notices = True
        return True

    # Leases.

    def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        """Keep leases; those that were lost."""
        self.flush()
        expires = self._clock() + lease_seconds
        return [
            lease
            for lease in leases
            if not self.connection.execute(_RENEW, (expires, *lease)).rowcount
        ]

    def take_expired(self, owner: str, lease_seconds: float, limit: int) -> Sequence[TakenRun]:
        """Take over runs whose lease has expired."""
        self.flush()
        now = self._clock()
        taken: list[TakenRun] = []
        for row in self.connection.execute(_EXPIRED, (now, limit)).fetchall():
            record = record_of(row)
            number, user_id = row[-2:]
            lease = Lease(user_id, record.run_id, new_id())
            self.connection.execute(
                "UPDATE runs SET token = ?, owner = ?, expires = ? WHERE number = ?",
                (lease.token, owner, now + lease_seconds, number),
            )
            taken.append(TakenRun(lease, record))
        if taken:
            self._runs.clear()  # leases that are good no more
        return taken

    # The end of a user.

    def forget(self, user_id: str) -> bool:
        """Drop all that is known of a user; whether events are left that nobody sees any more."""
        self.flush()
        execute = self.connection.execute
        numbers = execute("SELECT number FROM runs WHERE user_id = ?", (user_id,)).fetchall()
        execute(
            "INSERT INTO forgotten SELECT number FROM runs"
            " WHERE user_id = ? AND (ended_at IS NULL OR held > 0)",
            (user_id,),
        )
        for table in ("runs", "users", "notices"):
            execute(f"DELETE FROM {table} WHERE user_id = ?", (user_id,))  # noqa: S608 - one of those
        self.removed([number for (number,) in numbers])
        return self.remove_forgotten()

    def remove_forgotten(self) -> bool:
        """Remove a portion of the events of forgotten runs; whether there may be more."""
        execute = self.connection.execute
        left = PORTION
        while left > 0:
            found = execute("SELECT run FROM forgotten LIMIT 1").fetchone()
            if found is None:
                return False
            removed = execute(
                "DELETE FROM events WHERE number IN"
                " (SELECT number FROM events WHERE run = ? LIMIT ?)",
                (*found, left),
            ).rowcount
            if removed < left:
                execute("DELETE FROM forgotten WHERE run = ?", found)
            left -= max(1, removed)
        return True

    def removed(self, numbers: Sequence[int]) -> None:
        """Note that something was removed, for other processes too.

        Args:
            numbers: the runs that are known no more.
        """
        self._runs.clear()
        self.gone += numbers
        self.has_removed = True
        self.connection.execute("UPDATE removals SET number = number + 1")
