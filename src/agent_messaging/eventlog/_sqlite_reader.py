"""Reading a log's file from outside: all runs of all users, and one run's events."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
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

#: Rows that are read at once; between pages nothing is held up, whoever writes.
_PAGE: Final = 500

_LISTED: Final = f"SELECT {RECORD_COLUMNS}, number, user_id, owner, claimed_at, ended_at FROM runs"  # noqa: S608 - constants
_RUNS: Final = f"{_LISTED} WHERE number > ? ORDER BY number LIMIT {_PAGE}"
_RUN: Final = f"{_LISTED} WHERE user_id = ? AND run_id = ?"
_EVENTS: Final = (
    f"SELECT {EVENT_COLUMNS} FROM events"  # noqa: S608 - constants
    " WHERE run = (SELECT number FROM runs WHERE user_id = ? AND run_id = ?) AND seq > ?"
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

    __slots__ = ("_connection", "_path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = str(path)
        try:
            self._connection = sqlite3.connect(
                f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
            )
        except sqlite3.Error as error:
            raise explained(error, self._path) from error
        try:
            self._check()
        except BaseException:
            self._connection.close()
            raise

    def _check(self) -> None:
        try:
            version = check_version(self._connection, self._path)
        except sqlite3.Error as error:
            raise explained(error, self._path) from error
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

    def runs(self) -> Iterator[ListedRun]:
        """All runs that are known, of all users, in the order of their claims.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        number = 0
        while rows := self._read(_RUNS, number):
            yield from (_listed(row) for row in rows)
            number = rows[-1][7]

    def find_run(self, user_id: str, run_id: str) -> ListedRun | None:
        """A run, or None.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        rows = self._read(_RUN, user_id, run_id)
        return _listed(rows[0]) if rows else None

    def events(self, user_id: str, run_id: str) -> Iterator[LoggedEvent]:
        """The events that are held of a run, in their order; none of an unknown run.

        Raises:
            SqliteLogError: the file cannot be read.
        """
        seq = 0
        while rows := self._read(_EVENTS, user_id, run_id, seq):
            yield from (event_of(row) for row in rows)
            seq = rows[-1][2]

    def _read(self, select: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        try:
            return self._connection.execute(select, parameters).fetchall()
        except sqlite3.Error as error:
            raise explained(error, self._path) from error


def _listed(row: Sequence[Any]) -> ListedRun:
    user_id, owner, claimed_at, ended_at = row[8:]
    return ListedRun(user_id, record_of(row), owner, claimed_at, ended_at)
