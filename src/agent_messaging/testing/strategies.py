"""Hypothesis strategies for hosts' tests: messages, frames good and bad, and agents.

Nothing else in the package imports this module, which needs Hypothesis.
"""

try:
    import hypothesis as _  # noqa: F401 - asked for first, so that the error says what to do
except ImportError as _error:
    raise ImportError(
        "agent_messaging.testing.strategies needs Hypothesis: pip install hypothesis"
    ) from _error

from agent_messaging.testing._near_valid import NearValidFrame, near_valid_frames
from agent_messaging.testing._program import (
    AgentProgram,
    Attempt,
    Chunk,
    Crash,
    Fail,
    Parallel,
    Progress,
    Sleep,
    Step,
    Thinking,
    Tool,
)
from agent_messaging.testing._program_strategies import agent_programs
from agent_messaging.testing._wire_strategies import frames, ids, json_values, messages

__all__ = [
    "AgentProgram",
    "Attempt",
    "Chunk",
    "Crash",
    "Fail",
    "NearValidFrame",
    "Parallel",
    "Progress",
    "Sleep",
    "Step",
    "Thinking",
    "Tool",
    "agent_programs",
    "frames",
    "ids",
    "json_values",
    "messages",
    "near_valid_frames",
]

# What users see in tracebacks and documentation is where they import it from.
for _public in [globals()[_name] for _name in __all__]:
    if getattr(_public, "__module__", "").startswith("agent_messaging."):
        _public.__module__ = __name__
