"""What a log in an SQLite file raises, and how that follows from what SQLite says."""

import sqlite3
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, final

from agent_messaging._errors import ConfigurationError, EventLogError

__all__ = ["CORRUPT_ADVICE", "Reason", "SqliteLogError", "explained"]

#: Why a log in an SQLite file cannot do now what it was asked for.
Reason: TypeAlias = Literal[
    "corrupt", "locked", "read_only", "full", "newer_schema", "foreign", "io"
]


@final
class SqliteLogError(EventLogError):
    """A log in an SQLite file cannot do now what it was asked for.

    It was done wholly or not at all, and the log has lost nothing that it acknowledged before. It
    opens its file anew by itself: once the cause is gone, the next call succeeds.

    Attributes:
        reason: what is the matter:
            ``corrupt``, the file is damaged, or was made shorter; move it and what is beside it
            away, and put a backup in its place.
            ``locked``, another process has kept it from being written for ``busy_seconds``.
            ``read_only``, the file, its folder or the file system may not be written.
            ``full``, there is no room, on the disk or within ``max_bytes``.
            ``newer_schema``, a later version of this package has written it; use that one.
            ``foreign``, the file is not an event log; it was left as it is.
            ``io``, the system refuses something else, or the file is not where it was.
        message: what was expected, what came, and what to do.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason: Final[Reason] = reason
        self.message: Final[str] = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    def copy(self) -> "SqliteLogError":
        """The same error once more, with the same cause."""
        copy = SqliteLogError(self.reason, self.message)
        copy.__cause__ = self.__cause__
        return copy


#: By SQLite's primary result codes; what is not here is a file whose tables are not the log's.
_REASONS: Final[Mapping[int, Reason]] = {
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CANTOPEN: "io",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_AUTH: "read_only",
}

#: What is beside a file would be taken for the backup's.
CORRUPT_ADVICE: Final = "move it and what is beside it away, and put a backup in its place"

_ADVICE: Final[Mapping[Reason, str]] = {
    "corrupt": f"the file is damaged; {CORRUPT_ADVICE}",
    "locked": "another process keeps it from being written; end what holds it, or try again",
    "read_only": "it cannot be written; see to the permissions of the file and its folder",
    "full": "there is no room for more; free some of the disk, or raise max_bytes",
    "io": "the system refuses it; see to the disk and the folder",
}

#: What comes of what SQLite has no place for.
_NOT_KEPT: Final = (
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    OverflowError,
    TypeError,
    ValueError,
)


def explained(error: Exception, path: str) -> Exception:
    """What the log raises for what came out of SQLite, the system or the host's clock.

    It has that as its cause, unless that may quote what the file holds.

    Args:
        error: what came.
        path: the log's file.
    """
    explanation = _explanation(error, path)
    if explanation is not error:
        explanation.__cause__ = None if _may_quote(error) else error
    return explanation


def _may_quote(error: Exception) -> bool:
    """Whether the words may be out of the file: a payload, or whatever damage has put there."""
    if isinstance(error, _NOT_KEPT):
        return isinstance(error, UnicodeDecodeError)
    return isinstance(error, sqlite3.Error) and _code(error) & 0xFF == sqlite3.SQLITE_CORRUPT


def _code(error: sqlite3.Error) -> int:
    # What has none comes from the module itself, which could not decode a text of the file.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)


def _explanation(error: Exception, path: str) -> Exception:
    if isinstance(error, OSError):
        return SqliteLogError("io", f"{path}: {error.strerror}; {_ADVICE['io']}")
    if isinstance(error, UnicodeDecodeError):
        # SQLite quotes a damaged file in what it says, and that is not text.
        return SqliteLogError("corrupt", f"{path}: {_ADVICE['corrupt']}")
    if isinstance(error, _NOT_KEPT):
        # Lone surrogates, integers beyond 64 bits, no number, other types, texts that are too long.
        return ConfigurationError(f"what was given cannot be kept in an SQLite file: {error}")
    if isinstance(error, sqlite3.Error):
        code = _code(error)
        reason: Reason = _REASONS.get(code & 0xFF, "corrupt")
        words = "" if _may_quote(error) else f"{error} "
        return SqliteLogError(reason, f"{path}: {words}(code {code}); {_ADVICE[reason]}")
    return error
