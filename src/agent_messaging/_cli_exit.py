"""How the command line ends: its exit codes, and what it says on standard error."""

import signal
import sys
from contextlib import suppress
from typing import Final, final

__all__ = [
    "EXIT_BROKEN",
    "EXIT_FILE",
    "EXIT_INTERRUPTED",
    "EXIT_SIGNAL",
    "EXIT_STREAM",
    "EXIT_USAGE",
    "StopError",
    "say",
]

EXIT_STREAM: Final = 1
EXIT_BROKEN: Final = 1  # as of programs that look for something and find it wrong
EXIT_USAGE: Final = 2
EXIT_FILE: Final = 3
EXIT_SIGNAL: Final = 128  # and the signal's number, as a shell counts
EXIT_INTERRUPTED: Final = EXIT_SIGNAL + signal.SIGINT


@final
class StopError(Exception):
    """The program ends with this exit code, and says why unless ``reason`` is empty."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def say(text: str) -> None:
    """Write to standard error, if there is anybody to read it."""
    if sys.stderr is not None:
        with suppress(OSError):  # with nobody to read it, it is not worth failing for
            sys.stderr.write(text)
            sys.stderr.flush()
