"""The command ``log``: the runs that a file keeps, and the events of one."""

import json
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Final

from agent_messaging._cli_exit import EXIT_USAGE, StopError, say
from agent_messaging._cli_file import opened
from agent_messaging._cli_log_text import Table, run_fields, timeline
from agent_messaging._cli_output import Progress, Writer, standard_output, text_lines
from agent_messaging.dialects.native import NativeRunEncoder
from agent_messaging.eventlog._sqlite_reader import ListedRun, SqliteLogReader

__all__ = ["show"]

#: Rows that are made together, and are as wide as each other.
_TOGETHER: Final = 500
#: Runs that are named where an id begins like those of several.
_NAMED: Final = 5
#: Columns of a terminal that does not say how many it has.
_USUAL_WIDTH: Final = 80

#: What no terminal is to get raw. In JSON those below the space stand between values alone.
_CONTROLS: Final = {**dict.fromkeys(range(32), " "), 127: "\\u007f"}


def show(arguments: Namespace) -> None:
    """List a file's runs, or show one of them.

    Raises:
        StopError: the file cannot be read, there is no such run, or standard output takes no more.
    """
    sink, encoding = standard_output()
    render = _json_line if arguments.format == "json" else text_lines(encoding)
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
    reader: SqliteLogReader, arguments: Namespace, progress: Progress, width: int | None
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


def _shown(reader: SqliteLogReader, arguments: Namespace, progress: Progress) -> Iterator[str]:
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


def _json_line(line: str) -> bytes:
    """The very JSON, in one line that no terminal takes for more than text."""
    return f"{line.translate(_CONTROLS)}\n".encode("ascii", "backslashreplace")
