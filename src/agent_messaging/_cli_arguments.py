"""The command line's arguments: what there are, and what ``--help`` says of them."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final, final, get_args

from agent_messaging._limits import is_id
from agent_messaging.eventlog.protocol import RunStatus

__all__ = ["parsed"]

_RUN: Final = """\
Run an agent on standard input and output: one client frame a line comes in, one
server frame a line goes out. Everything else goes to standard error, what the
agent prints included.
"""

_RUN_EXITS: Final = """\
exit codes:
  0    the input ended; how each run ended is in its frames
  1    standard input cannot be read, or standard output takes no more
  2    the arguments, or the agent that they name, cannot be used
  3    the file of --log cannot be used, or takes no more events
  130  interrupted by Ctrl-C; every run has got its terminal event
  143  ended by SIGTERM; likewise

A second Ctrl-C or SIGTERM ends the program at once.
"""

_LOG: Final = """\
List the runs that a log keeps, the newest last; or, with --run, show the events
of one. The file is only read, and may be in use meanwhile.
"""

_LOG_EXITS: Final = """\
exit codes:
  0    all is written, if only that there are no runs
  1    standard output takes no more
  2    the arguments cannot be used: there is no such run, for one
  3    the file is not there, cannot be read, or is no event log
  130  interrupted by Ctrl-C
"""

_CHECK: Final = """\
Check what a client was sent against the wire protocol: a file with one server
frame a line, or the body of a stream of server-sent events. It is one client's
view, from its first frame on; of several connections, one after the other.
"""

_CHECK_EXITS: Final = """\
exit codes:
  0    no rule is broken
  1    rules are broken, each of them a line; or standard output takes no more
  2    the arguments cannot be used
  3    the file is not there, or cannot be read
  130  interrupted by Ctrl-C
"""


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; their names are those of the options, and ``command``.

    Raises:
        SystemExit: for ``--help``, ``--version`` and arguments that do not parse.
    """
    parser = argparse.ArgumentParser(
        prog="agent-messaging",
        description="The message layer between a chat front end and AI agents.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    add = parser.add_subparsers(metavar="command", required=True, dest="command").add_parser
    _add_run(_command(add, "run", "run an agent on standard input and output", _RUN, _RUN_EXITS))
    shows = _command(add, "log", "list the runs that a log keeps, or show one", _LOG, _LOG_EXITS)
    _add_log(shows)
    summary = "check captured frames against the wire protocol"
    _add_check(_command(add, "check", summary, _CHECK, _CHECK_EXITS))
    arguments = parser.parse_args(argv)
    if arguments.command == "log" and arguments.run is not None:
        for option in ("thread", "status", "limit"):
            if getattr(arguments, option) is not None:
                shows.error(f"argument --{option}: not with --run, which shows one run")
    return arguments


def _command(
    add_parser: Callable[..., argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
    exits: str,
) -> argparse.ArgumentParser:
    return add_parser(
        name,
        help=summary,
        description=description,
        epilog=exits,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--agent",
        metavar="module:name",
        help="the agent, importable from the current directory (default: a demonstration that "
        "calculates and counts)",
    )
    run.add_argument(
        "--user",
        metavar="ID",
        type=_id,
        default="local",
        help="the authenticated user, 1 to 128 printable characters (default: local)",
    )
    run.add_argument(
        "--format",
        choices=("json", "text"),
        default="json",
        help="frames as on a wire, or one readable line an event (default: json)",
    )
    run.add_argument(
        "--log",
        metavar="FILE",
        help="keep the events in this file, made if there is none, so that a later call can "
        "resume and retry (default: in memory)",
    )


def _add_log(log: argparse.ArgumentParser) -> None:
    log.add_argument("file", metavar="FILE", help="the file, as given to run --log")
    log.add_argument(
        "--run",
        metavar="ID",
        type=_id,
        help="show the events of this run; the first characters of its id are enough",
    )
    log.add_argument("--user", metavar="ID", type=_id, help="of this user alone")
    log.add_argument("--thread", metavar="ID", type=_id, help="of this thread alone")
    log.add_argument(
        "--status",
        metavar="STATUS",
        action="append",
        choices=get_args(RunStatus),
        help=f"with this status alone, one of {', '.join(get_args(RunStatus))}; may be given "
        "several times",
    )
    log.add_argument("--limit", metavar="N", type=_count, help="the newest N alone (default: all)")
    log.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="a table or a timeline; or a JSON object a line: for a run, its frames as on a wire "
        "(default: text)",
    )


def _add_check(check: argparse.ArgumentParser) -> None:
    check.add_argument("file", metavar="FILE", help="the file; - for standard input")
    check.add_argument(
        "--partial",
        action="store_true",
        help="the end is cut off: runs need not have ended, nor the last line",
    )
    check.add_argument(
        "--max", metavar="N", type=_count, help="show the first N alone, and count the rest"
    )
    check.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="FILE:LINE: rule: meaning, or a JSON object a line (default: text)",
    )


def _id(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError("an id has 1 to 128 printable characters")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a positive number is needed, not {text!r}")
    return int(text)


@final
class _Version(argparse.Action):
    """Prints the version, looked up only when it is asked for: that takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - it takes as long as all else

        sys.stdout.write(f"agent-messaging {version('agent-messaging')}\n")
        parser.exit()
