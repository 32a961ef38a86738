"""The file in which the command line keeps events: opened, and its troubles in plain words."""

import logging
import os
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, final

from agent_messaging._cli_exit import EXIT_FILE, StopError, say
from agent_messaging._cli_text import printable
from agent_messaging.eventlog._sqlite_errors import Reason, SqliteLogError
from agent_messaging.eventlog._sqlite_reader import SqliteLogReader
from agent_messaging.eventlog.sqlite import SqliteEventLog

__all__ = ["kept", "opened"]

#: What becomes of a file while it is used; what is the matter at its opening says more.
_TROUBLE: Final[Mapping[Reason | None, str]] = {
    "corrupt": "the file is damaged; put a backup in its place",
    "locked": "another program keeps it from being written; end that one, or try again",
    "read_only": "it may not be written; see to the permissions of the file and its folder",
    "full": "there is no room for more events; free some of the disk",
    "newer_schema": "a later version of this program has changed it; use that one",
    "foreign": "it is no event log any more; name another file",
    "io": "the system refuses it, or it is not where it was; see to the disk and the folder",
    None: "it has not answered in time; see to the disk",
}


@contextmanager
def _explained() -> Generator[None]:
    """Have what is the matter with a file end the program.

    Raises:
        StopError: something is.
    """
    try:
        yield
    except SqliteLogError as error:
        raise StopError(EXIT_FILE, error.message) from error


@contextmanager
def opened(path: str) -> Generator[SqliteLogReader]:
    """A file that is there, to be read.

    Raises:
        StopError: there is none, it cannot be read, or it is no log.
    """
    if not _is_there(path):
        raise StopError(EXIT_FILE, f"{path}: there is no such file")
    with _explained(), SqliteLogReader(path) as reader:
        yield reader


def _is_there(path: str) -> bool:
    """Whether there is a file.

    Raises:
        StopError: there is something else, which might not even be opened without waiting; or no
            folder for the file.
    """
    place = Path(path)
    try:
        if place.is_file():
            return True
        if place.exists():
            what = "it is not a file"
        elif place.parent.is_dir():
            return False
        else:
            what = "there is no such folder"
    except OSError as error:
        what = error.strerror or str(error)
    raise StopError(EXIT_FILE, f"{path}: {what}")


@asynccontextmanager
async def kept(log: SqliteEventLog, path: str, lease_seconds: float) -> AsyncGenerator[None]:
    """Open a log in a file, and say what happens to it; closed at the end.

    Args:
        log: what is opened.
        path: its file.
        lease_seconds: after what time the runs of a process that is gone are ended.

    Raises:
        StopError: it cannot be opened, or could not be used any more.
    """
    _is_there(path)
    notes = _Notes(path)
    loggers = [logging.getLogger(f"agent_messaging.{name}") for name in ("endpoint", "eventlog")]
    for logger in loggers:
        logger.addFilter(notes)
    try:
        with _explained():
            async with log:
                # SQLite opens a file that may not be written without a word of that.
                if not os.access(
                    path, os.W_OK, effective_ids=os.access in os.supports_effective_ids
                ):
                    raise SqliteLogError("read_only", f"{path}: {_TROUBLE['read_only']}")
                await log.renew((), lease_seconds)  # of nothing: nobody else keeps it locked
                with opened(path) as reader:
                    _say_who_is_there(path, reader.count_leased(time.time()), lease_seconds)
                yield
    except StopError as stop:
        if stop.code != EXIT_FILE or stop.reason:
            raise
        raise StopError(EXIT_FILE, f"{path}: {_TROUBLE[notes.reason]}") from stop
    finally:
        for logger in loggers:
            logger.removeFilter(notes)


def _say_who_is_there(path: str, runs: int, lease_seconds: float) -> None:
    if runs:
        what, whose = (
            ("1 run has", "If its program was killed, it ends")
            if runs == 1
            else (f"{runs} runs have", "Those of programs that were killed end")
        )
        _say(
            f"{path}: {what} not ended. {whose} as interrupted within {lease_seconds:.0f} seconds."
        )


def _say(text: str) -> None:
    say(f"agent-messaging: {printable(text)}\n")


@final
class _Notes(logging.Filter):
    """Hears of trouble with a log where it is logged, and says in plain words what is of interest.

    Whoever has set up logging gets everything; nobody else wants to read all of its lines.

    Attributes:
        reason: what is the matter with the file; None if nothing is.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.reason: Reason | None = None
        self._path = path

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be logged."""
        event = getattr(record, "event", None)
        if event == "log_trouble":
            self.reason = getattr(record, "reason", None)
        elif event in _SAID:
            _say(_SAID[event].format_map(vars(record)))
        return bool(logging.getLogger().handlers) or event not in _EXPLAINED


#: What is said of a run, by the event that is logged.
_SAID: Final[Mapping[object, str]] = {
    "run_recovered": "run {run_id} (thread {thread_id}) was left by a program that is gone, and has"
    " ended as interrupted.",
    "lease_lost": "run {run_id} was ended by another program, as this one had not answered for"
    " too long.",
}

#: What need not be logged for who is told of it in other words.
_EXPLAINED: Final = frozenset({*_SAID, "log_trouble", "log_failed", "log_unavailable"})
