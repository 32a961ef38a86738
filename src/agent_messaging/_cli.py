"""The command line: what is asked for is done, and how that ended becomes an exit code."""

from collections.abc import Sequence

from agent_messaging._cli_arguments import parsed
from agent_messaging._cli_exit import EXIT_INTERRUPTED, StopError, say
from agent_messaging._cli_text import printable

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's; the exit code.

    Raises:
        SystemExit: for ``--help``, ``--version`` and arguments that do not parse, and when an
            agent raises it.
    """
    arguments = parsed(argv)
    try:
        if arguments.command == "log":
            from agent_messaging._cli_log import show  # noqa: PLC0415 - SQLite, for its users

            show(arguments)
        elif arguments.command == "check":
            from agent_messaging._cli_check import check  # noqa: PLC0415 - likewise, the checker

            check(arguments)
        else:
            from agent_messaging._cli_run import run  # noqa: PLC0415 - what the other needs not

            run(arguments.agent, arguments.user, arguments.format, arguments.log)
    except StopError as stop:
        if stop.reason:
            say(f"agent-messaging: error: {printable(stop.reason)}\n")
        return stop.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0
