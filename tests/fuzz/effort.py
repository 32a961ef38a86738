"""How much the package does for something, counted and not timed."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import agent_messaging
from support.garbage import without_collections

_PACKAGE: Final = str(Path(agent_messaging.__file__).parent)


def lines_of(work: Callable[[], object]) -> int:
    """How many lines of the package are executed for it.

    What is within one call of C is not seen: a regular expression, a sort, a copy. Where those
    take too long, the fuzzer's own time-out tells.
    """
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "call":
            return trace if frame.f_code.co_filename.startswith(_PACKAGE) else None
        count += event == "line"
        return trace

    before = sys.gettrace()  # of whoever measures coverage
    with without_collections():
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(before)
    return count
