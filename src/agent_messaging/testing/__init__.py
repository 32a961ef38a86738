"""The kit with which hosts test their agents, handlers, transports and event logs.

Nothing of it is imported by the package itself.
"""

from agent_messaging.testing._agent import run_agent, run_agent_async
from agent_messaging.testing._async_client import AsyncClient
from agent_messaging.testing._check import StreamChecker, check_stream
from agent_messaging.testing._check_rules import BrokenRule, StreamRule
from agent_messaging.testing._client import Client
from agent_messaging.testing._conversation import (
    AsyncConversation,
    SyncConversation,
    converse,
    converse_async,
)
from agent_messaging.testing._determinism import counted_ids, loop_clock
from agent_messaging.testing._loop import HangError, VirtualTimeLoop, run_virtual
from agent_messaging.testing._received import ReceivedFrame
from agent_messaging.testing._transcript import Ending, ToolUse, Transcript
from agent_messaging.testing._transports import RecordingTransport
from agent_messaging.testing._troubles import LoggedTrouble, UnexpectedError

__all__ = [
    "AsyncClient",
    "AsyncConversation",
    "BrokenRule",
    "Client",
    "Ending",
    "HangError",
    "LoggedTrouble",
    "ReceivedFrame",
    "RecordingTransport",
    "StreamChecker",
    "StreamRule",
    "SyncConversation",
    "ToolUse",
    "Transcript",
    "UnexpectedError",
    "VirtualTimeLoop",
    "check_stream",
    "converse",
    "converse_async",
    "counted_ids",
    "loop_clock",
    "run_agent",
    "run_agent_async",
    "run_virtual",
]

# What users see in tracebacks, documentation and pickles is where they import it from.
for _public in [globals()[name] for name in __all__]:
    if hasattr(_public, "__qualname__") and _public.__module__.startswith(f"{__name__}."):
        _public.__module__ = __name__
