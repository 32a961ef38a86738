"""What an endpoint does about busy threads, clients that leave, and clients that do not read."""

from typing import Literal, TypeAlias, final

from agent_messaging._checks import check_seconds
from agent_messaging._records import record

__all__ = ["Grace", "OnDisconnect", "SlowConsumers", "ThreadPolicy", "grace", "seconds_left"]

#: A message on a thread that already runs waits its turn, is refused, takes the place of what
#: runs, or runs beside it.
ThreadPolicy: TypeAlias = Literal["queue", "reject", "replace", "parallel"]

#: A session that falls too far behind is ended, or the agent waits for it.
SlowConsumers: TypeAlias = Literal["end", "wait"]


@final
@record
class Grace:
    """Seconds that a run goes on without a watcher before it is cancelled."""

    seconds: float


#: A run whose last watcher left is cancelled, goes on, or is cancelled after a while.
OnDisconnect: TypeAlias = Literal["cancel", "detach"] | Grace


def grace(seconds: float) -> Grace:
    """Let a run go on for so long without a watcher; a reload takes a few seconds.

    Raises:
        ConfigurationError: ``seconds`` is not a positive number.
    """
    check_seconds("grace", seconds)
    return Grace(seconds=seconds)


def seconds_left(policy: OnDisconnect, at_least: float) -> float | None:
    """How long a run may go on without a watcher; None for as long as it likes."""
    if policy == "detach":
        return None
    return max(policy.seconds if isinstance(policy, Grace) else 0.0, at_least)
