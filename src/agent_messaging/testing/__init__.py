"""The kit with which hosts test their agents, handlers, transports and event logs.

Nothing of it is imported by the package itself.
"""

from agent_messaging.testing._check import StreamChecker, check_stream
from agent_messaging.testing._check_rules import BrokenRule, StreamRule
from agent_messaging.testing._loop import HangError, VirtualTimeLoop, run_virtual

__all__ = [
    "BrokenRule",
    "HangError",
    "StreamChecker",
    "StreamRule",
    "VirtualTimeLoop",
    "check_stream",
    "run_virtual",
]

# What users see in tracebacks, documentation and pickles is where they import it from.
for _public in [globals()[name] for name in __all__]:
    _public.__module__ = __name__
