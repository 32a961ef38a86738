"""The SQLite file of a log: opened, seen to be the log's, and seen to be where it was."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Final, Literal, TypeAlias, final

from agent_messaging.eventlog._sqlite_errors import CORRUPT_ADVICE, SqliteLogError
from agent_messaging.eventlog._sqlite_schema import APPLICATION_ID, VERSION, upgrade

__all__ = ["Durability", "LogFile", "check_version"]

#: What an acknowledged event survives: the end of every process, or a loss of power too.
Durability: TypeAlias = Literal["process", "power"]

#: Bytes that the file beside the log, of what was written last, is cut to when it was longer: a
#: reader that takes its time can keep it from being used again from its start.
_JOURNAL_BYTES: Final = 16 * 1024 * 1024

#: Seconds between attempts to have a file shared that another process is just making.
_PAUSE: Final = 0.01


@final
class LogFile:
    """Where a log is kept, and how.

    Attributes:
        path: the file, as it is shown.
    """

    __slots__ = (
        "_busy_seconds",
        "_durability",
        "_identity",
        "_is_doubtful",
        "_max_bytes",
        "_place",
        "_size",
        "_uri",
        "path",
    )

    def __init__(
        self, path: Path, durability: Durability, busy_seconds: float, max_bytes: int | None
    ) -> None:
        self.path: Final = str(path)
        #: The same wherever the process goes.
        self._place = path.absolute()
        self._uri = self._place.as_uri()
        self._durability = durability
        self._busy_seconds = busy_seconds
        self._max_bytes = max_bytes
        #: Device and number of the file, once it was opened.
        self._identity: tuple[int, int] | None = None
        self._size = 0
        self._is_doubtful = False

    def open(self) -> sqlite3.Connection:
        """A connection to the log; the file is made the first time, and never again.

        Raises:
            SqliteLogError: it cannot be opened, or is no log of this version.
        """
        # A file that is gone is not made again: whoever has the old one may put it back.
        mode = "rwc" if self._identity is None else "rw"
        connection = sqlite3.connect(
            f"{self._uri}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=self._busy_seconds,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # Nothing is written before it is sure whose file it is.
        version = check_version(connection, self.path)
        if version == 0 and self._identity is not None:
            raise SqliteLogError(
                "corrupt", f"{self.path}: the log has become empty; {CORRUPT_ADVICE}"
            )
        self._share(connection)
        synchronous = "FULL" if self._durability == "power" else "NORMAL"
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        if self._durability == "power":
            connection.execute("PRAGMA fullfsync = ON")  # elsewhere than on macOS nothing
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
        if self._max_bytes is not None:
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            pages = max(1, self._max_bytes // page_bytes)
            connection.execute(f"PRAGMA max_page_count = {pages}")
        if version != VERSION:
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have done it meanwhile.
            upgrade(connection, check_version(connection, self.path))
            connection.execute("COMMIT")
        if self._is_doubtful:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise SqliteLogError(
                    "corrupt", f"{self.path}: it was made shorter; {CORRUPT_ADVICE}"
                )
            self._is_doubtful = False
        status = os.stat(self._place)  # noqa: PTH116 - on the way of every batch
        self._identity = status.st_dev, status.st_ino
        self._size = status.st_size

    def _share(self, connection: sqlite3.Connection) -> None:
        """Have several connections use the file at once; it stays so for ever."""
        # SQLite does not always wait by itself while others do the same.
        connection.execute("PRAGMA busy_timeout = 0")
        deadline = time.monotonic() + self._busy_seconds
        journal = None
        while journal is None:
            try:
                (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)
        connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
        if journal != "wal":
            raise SqliteLogError(
                "io",
                f"{self.path}: several connections cannot share a file there (its journal mode is"
                f" {journal}, not wal); use a local disk",
            )

    def check(self) -> None:
        """See that the file is where it was, and not shorter.

        Raises:
            SqliteLogError: it is not; or is shorter, which may be for a good reason: opening it
                again will tell.
        """
        status: os.stat_result | None
        try:
            status = os.stat(self._place)  # noqa: PTH116 - as above
        except FileNotFoundError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._identity:
            raise SqliteLogError(
                "io", f"{self.path}: the file was moved, deleted or replaced; put it back"
            )
        if status.st_size < self._size:
            self._is_doubtful = True
            raise SqliteLogError(
                "corrupt",
                f"{self.path}: the file was made shorter; it is looked through when opened again",
            )
        self._size = status.st_size


def check_version(connection: sqlite3.Connection, path: str) -> int:
    """The version of a log's tables; 0 for a file with nothing in it.

    Raises:
        SqliteLogError: it is no log, or one of a later version.
    """
    try:
        # In one look: another process may just be making it.
        connection.execute("SAVEPOINT looking")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("RELEASE looking")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise SqliteLogError("foreign", f"{path}: it is no SQLite file; name another") from error
    if application == APPLICATION_ID and version > VERSION:
        raise SqliteLogError(
            "newer_schema",
            f"{path}: its version is {version}, and this package reads up to {VERSION};"
            " use the package that has written it, or a later one",
        )
    if application != APPLICATION_ID and (application, version, tables) != (0, 0, 0):
        raise SqliteLogError(
            "foreign", f"{path}: it is an SQLite file, but not an event log; name another"
        )
    return int(version)
