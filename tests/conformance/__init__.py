"""What an implementation of `EventLog` has to pass, as plain functions of a way to make one.

::

    @pytest.mark.parametrize("name", CASES)
    def test_my_log(name):
        asyncio.run(CASES[name](make_my_log))

A case returns, or raises what is wrong. It makes its own log, in the loop in which it runs, and
closes it. The loop's time may be virtual; with a log that needs real time the suite takes some
seconds.
"""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Final

from conformance import (
    cancellation,
    claims,
    closing,
    events,
    eviction,
    fencing,
    following,
    forgetting,
    isolation,
    leases,
    notices,
)
from conformance.trial import Case, LogOnTrial, MakeLog

__all__ = ["CASES", "Case", "LogOnTrial", "MakeLog"]


def _cases(module: ModuleType) -> dict[str, Case]:
    return {
        name: member
        for name, member in vars(module).items()
        if inspect.iscoroutinefunction(member)
        and member.__module__ == module.__name__
        and not name.startswith("_")
    }


#: Every case by its name.
CASES: Final[Mapping[str, Case]] = {
    name: case
    for module in (
        events,
        claims,
        fencing,
        following,
        eviction,
        notices,
        leases,
        isolation,
        forgetting,
        cancellation,
        closing,
    )
    for name, case in _cases(module).items()
}
