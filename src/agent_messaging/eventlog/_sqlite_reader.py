"""Reading a log's file from outside: all runs of all users, and one run's events."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain, cycle
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, Final, NamedTuple, Self, final

from agent_messaging.eventlog._sqlite_errors import SqliteLogError, explained
from agent_messaging.eventlog._sqlite_file import check_version
from agent_messaging.eventlog._sqlite_rows import (
    EVENT_COLUMNS,
    RECORD_COLUMNS,
    event_of,
    record_of,
)
from agent_messaging.eventlog._sqlite_schema import VERSION
from agent_messaging.eventlog.protocol import LoggedEvent, RunRecord

__all__ = ["ListedRun", "SqliteLogReader"]

#: What stands in the columns of a sound file.
_LISTED_TYPES: Final = (
    *(str, str, str, str),
    *(str | None, int | None, int),
    *(int, str, str, float, float | None),
)
_EVENT_TYPES: Final = (str, str, int, float)

#: The largest integer of SQLite.
_LARGEST: Final = 2**63 - 1

#: Rows that are read at once; between pages nothing is held up, whoever writes.
_PAGE: Final = 500

_LISTED: Final = f"SELECT {RECORD_COLUMNS}, number, user_id, owner, claimed_at, ended_at FROM runs"  # noqa: S608 - constants
_OF: Final = "(:user IS NULL OR user_id = :user) AND (:thread IS NULL OR thread_id = :thread)"
_OLDEST: Final = f"{_LISTED} WHERE {_OF} AND number > :number ORDER BY number LIMIT {_PAGE}"
_NEWEST: Final = f"{_LISTED} WHERE {_OF} AND number < :number ORDER BY number DESC LIMIT {_PAGE}"
_BEGINNING_WITH: Final = (
    f"{_LISTED} WHERE (:user IS NULL OR user_id = :user)"
    " AND substr(run_id, 1, length(:start)) = :start"
    " ORDER BY run_id <> :start, number LIMIT :limit"
)
_RUN: Final = f"{_LISTED} WHERE user_id = :user AND run_id = :run"
_LEASED: Final = "SELECT count(*) FROM runs WHERE ended_at IS NULL AND expires > :now"
_EVENTS: Final = (
    f"SELECT {EVENT_COLUMNS} FROM events"  # noqa: S608 - constants
    " WHERE run = (SELECT number FROM runs WHERE user_id = :user AND run_id = :run) AND seq > :seq"
    f" ORDER BY seq LIMIT {_PAGE}"
)


@final
class ListedRun(NamedTuple):
    """A run, as it is listed for operators.

    Attributes:
        user_id: whose it is.
        record: what the log knows of it.
        owner: who appends to it, or did last.
        claimed_at: when it was made, in Unix seconds.
        ended_at: when its last event came; None while it is under way.
    """

    user_id: str
    record: RunRecord
    owner: str
    claimed_at: float
    ended_at: float | None


@final
class SqliteLogReader:
    """Reads a log's file while others write it; a context manager.

    Synchronous, and for the thread that made it. What comes while it reads may be seen or not.

    Args:
        path: the file.

    Raises:
        SqliteLogError: it cannot be opened, is no log, or is one of another version: one of an
            earlier is brought up to date by the first `SqliteEventLog` that opens it.
    """

    __slots__ = ("_connection", "_found", "_path", "_place")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = str(path)
        #: Where SQLite looks for the files beside it, too.
        self._place = Path(os.path.realpath(path))
        self._found: tuple[int, int, int] | None = None
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        """A connection; to a file that nobody has open, one that takes it as it is on the disk.

        As usual, SQLite would make two files beside it, which nobody who only reads may remove, and
        which there may be no right to make.
        """
        self._found = self._look()
        mode = "ro" if self._found is None else "ro&immutable=1"
        try:
            connection = sqlite3.connect(
                f"{self._place.as_uri()}?mode={mode}", uri=True, isolation_level=None
            )
        except sqlite3.Error as error:
            explanation = explained(error, self._path)
            raise explanation from explanation.__cause__
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _look(self) -> tuple[int, int, int] | None:
        """What tells whether the file has changed; None if anybody has it open."""
        try:
            status = self._place.stat()
            if Path(f"{self._place}-wal").exists():
                return None
        except OSError:
            return None  # whoever opens it will say what is the matter
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            version = check_version(connection, self._path)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            explanation = explained(error, self._path)
            raise explanation from explanation.__cause__
        if version != VERSION:
            raise SqliteLogError(
                "read_only",
                f"{self._path}: its version is {version}, not {VERSION}; open it once with an"
                " event log of this package, which brings it up to date",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._connection.close()

    def runs(
        self,
        *,
        user_id: str | None = None,
        thread_id: str | None = None,
        newest_first: bool = False,
    ) -> Iterator[ListedRun]:
        """The runs that are known, in the order of their claims or from the newest on.

        Args:
            user_id: of this user; None for those of all.
            thread_id: of the threads with this id; None for those of all.
            newest_first: begin with the newest.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        select, step, number = (_NEWEST, -1, _LARGEST) if newest_first else (_OLDEST, 1, 0)
        while rows := self._read(
            select, _LISTED_TYPES, user=user_id, thread=thread_id, number=number
        ):
            for row in rows:
                self._check_order(number * step, row[7] * step)
                number = row[7]
                yield _listed(row)

    def runs_beginning_with(
        self, start: str, *, user_id: str | None = None, limit: int
    ) -> Sequence[ListedRun]:
        """The runs whose ids begin in this way, those with this very id first.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        rows = self._read(_BEGINNING_WITH, _LISTED_TYPES, user=user_id, start=start, limit=limit)
        return [_listed(row) for row in rows]

    def find_run(self, user_id: str, run_id: str) -> ListedRun | None:
        """A run, or None.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        rows = self._read(_RUN, _LISTED_TYPES, user=user_id, run=run_id)
        return _listed(rows[0]) if rows else None

    def events(self, user_id: str, run_id: str) -> Iterator[LoggedEvent]:
        """The events that are held of a run, in their order; none of an unknown run.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        seq = 0
        while rows := self._read(_EVENTS, _EVENT_TYPES, user=user_id, run=run_id, seq=seq):
            for row in rows:
                self._check_order(seq, row[2])
                seq = row[2]
                yield event_of(row)

    def count_leased(self, now: float) -> int:
        """How many runs have not ended, and have an owner that has renewed its lease in time.

        Args:
            now: the time, by the clock of the log.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        return int(self._read(_LEASED, (int,), now=now)[0][0])

    def _read(
        self, select: str, types: Sequence[type | UnionType], **parameters: str | float | None
    ) -> Sequence[Any]:
        """All rows, of these types."""
        while True:
            try:
                rows = self._connection.execute(select, parameters).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if self._is_current():
                    explanation = explained(error, self._path)
                    raise explanation from explanation.__cause__
            else:
                if self._is_current():
                    if not all(map(isinstance, chain.from_iterable(rows), cycle(types))):
                        raise self._damaged()
                    return rows
            # Somebody has opened it meanwhile, and what was read may be of two minds.
            self._connection.close()
            self._connection = self._open()

    def _is_current(self) -> bool:
        return self._found is None or self._found == self._look()

    def _check_order(self, before: int, number: int) -> None:
        """See that a row is behind the one before, as the index by which it was found says."""
        if number <= before:
            raise self._damaged()

    def _damaged(self) -> SqliteLogError:
        return SqliteLogError(
            "corrupt", f"{self._path}: the file is damaged; put a backup in its place"
        )


def _listed(row: Sequence[Any]) -> ListedRun:
    user_id, owner, claimed_at, ended_at = row[8:]
    return ListedRun(user_id, record_of(row), owner, claimed_at, ended_at)
