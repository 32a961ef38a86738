"""The command ``log``: the runs that a file keeps, and the events of one."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Final, TypeVar, final

from agent_messaging._cli_exit import EXIT_STREAM, EXIT_USAGE, StopError, say
from agent_messaging._cli_file import opened
from agent_messaging._cli_log_text import Table, run_fields, timeline
from agent_messaging._cli_streams import write_line
from agent_messaging._cli_text import text_line
from agent_messaging.dialects.native import NativeRunEncoder
from agent_messaging.eventlog._sqlite_reader import ListedRun, SqliteLogReader

__all__ = ["Progress", "Writer", "show"]

#: Rows that are made together, and are as wide as each other.
_TOGETHER: Final = 500
#: Bytes that are written at once, where there are as many.
_CHUNK: Final = 64 * 1024
#: Runs that are named where an id begins like those of several.
_NAMED: Final = 5
#: Columns of a terminal that does not say how many it has.
_USUAL_WIDTH: Final = 80
#: Seconds without a word after which it is said how far the work is.
_PATIENCE: Final = 1.0

#: What no terminal is to get raw. In JSON those below the space stand between values alone.
_CONTROLS: Final = {**dict.fromkeys(range(32), " "), 127: "\\u007f"}

T = TypeVar("T")


def show(arguments: Namespace) -> None:
    """List a file's runs, or show one of them.

    Raises:
        StopError: the file cannot be read, there is no such run, or standard output takes no more.
    """
    stdout = sys.stdout
    if stdout is None:
        raise StopError(EXIT_STREAM, "standard output is closed")
    sink = stdout.fileno()
    render = _json_line if arguments.format == "json" else _text_line(stdout.encoding)
    with opened(arguments.file) as reader, closing(Progress()) as progress:
        output = Writer(sink, render, progress)
        if arguments.run is None:
            lines = _listed(reader, arguments, progress, _width(sink))
        else:
            lines = _shown(reader, arguments, progress)
        for line in lines:
            output.add(line)
        output.flush()
        if output.is_empty and arguments.format == "text":
            say("agent-messaging: there are no such runs\n")


def _listed(
    reader: SqliteLogReader, arguments: Namespace, progress: "Progress", width: int | None
) -> Iterator[str]:
    """The lines of a list of runs, the newest last."""
    limit, statuses = arguments.limit, arguments.status
    found = reader.runs(
        user_id=arguments.user, thread_id=arguments.thread, newest_first=limit is not None
    )
    runs: Iterable[ListedRun] = (
        run
        for run in progress.counted(found, "runs")
        if statuses is None or run.record.status in statuses
    )
    if limit is not None:
        runs = reversed(list(islice(runs, limit)))
    if arguments.format == "json":
        yield from (json.dumps(run_fields(run)) for run in runs)
        return
    table, rest = Table(width), iter(runs)
    while together := list(islice(rest, _TOGETHER)):
        yield from table.rows(together)


def _shown(reader: SqliteLogReader, arguments: Namespace, progress: "Progress") -> Iterator[str]:
    """The lines of one run."""
    run = _run(reader, arguments.run, arguments.user)
    run_id, thread_id = run.record.run_id, run.record.thread_id
    events = progress.counted(reader.events(run.user_id, run_id), "events")
    if arguments.format == "text":
        return timeline(run, events)
    encode = NativeRunEncoder(run.user_id, thread_id, run_id).encode
    return (encode(*event) for event in events)


def _run(reader: SqliteLogReader, start: str, user_id: str | None) -> ListedRun:
    """The run whose id begins like that.

    Raises:
        StopError: there is none, or there are several.
    """
    runs = reader.runs_beginning_with(start, user_id=user_id, limit=_NAMED + 1)
    exact = [run for run in runs if run.record.run_id == start]
    runs = exact or runs
    if len(runs) == 1:
        return runs[0]
    if not runs:
        of = "" if user_id is None else f" of user {user_id}"
        raise StopError(EXIT_USAGE, f"--run {start}: there is no such run{of}")
    names = [f"{run.record.run_id} of user {run.user_id}" for run in runs[:_NAMED]]
    if len(runs) > _NAMED:
        names.append("and others")
    what = "several users have it; give --user" if exact else "several begin like that; give more"
    raise StopError(EXIT_USAGE, f"--run {start}: {what}: {', '.join(names)}")


# Where it goes.


def _width(sink: int) -> int | None:
    """The width of the terminal; None for what is none."""
    if not os.isatty(sink):
        return None
    return os.get_terminal_size(sink).columns or _USUAL_WIDTH


def _text_line(encoding: str) -> Callable[[str], bytes]:
    return lambda line: text_line(line, encoding)


def _json_line(line: str) -> bytes:
    """The very JSON, in one line that no terminal takes for more than text."""
    return f"{line.translate(_CONTROLS)}\n".encode("ascii", "backslashreplace")


@final
class Writer:
    """Gathers lines, and writes many at once.

    Attributes:
        is_empty: whether nothing was written.
    """

    def __init__(self, sink: int, render: Callable[[str], bytes], progress: "Progress") -> None:
        self.is_empty = True
        self._sink = sink
        self._render = render
        #: What has to make room on the same terminal.
        self._progress = progress if os.isatty(sink) else None
        self._waiting = bytearray()

    def add(self, line: str) -> None:
        self._waiting += self._render(line)
        if len(self._waiting) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StopError: it cannot be written.
        """
        if self._waiting:
            self.is_empty = False
            if self._progress is not None:
                self._progress.close()
            write_line(self._sink, bytes(self._waiting))
            self._waiting.clear()


@final
class Progress:
    """Says on standard error how far the work is, if that is a terminal and takes long.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_wanted = sys.stderr is not None and sys.stderr.isatty()
        self._next = clock() + _PATIENCE
        self._shown = 0

    def counted(self, things: Iterable[T], what: str) -> Iterator[T]:
        """The things, while they are counted."""
        if not self._is_wanted:
            yield from things
            return
        for number, thing in enumerate(things, 1):
            if self._clock() >= self._next:
                text = f"{number:,} {what} read"
                say(f"\r{text}")
                self._shown = len(text)
                self._next = self._clock() + _PATIENCE
            yield thing

    def close(self) -> None:
        """Leave nothing of it on the terminal."""
        if self._shown:
            say(f"\r{' ' * self._shown}\r")
            self._shown = 0
        self._next = self._clock() + _PATIENCE
