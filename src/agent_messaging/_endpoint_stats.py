"""What an endpoint counts, and what it tells its operators."""

from bisect import bisect_left
from typing import Final, Literal, TypeAlias, TypedDict, final

from agent_messaging._errors import ErrorCode
from agent_messaging._events import RUN_EVENTS, Outcome
from agent_messaging._messages import MessageType
from agent_messaging._records import record

__all__ = [
    "ActiveRunInfo",
    "ActiveRunState",
    "DurationHistogram",
    "EndpointCounters",
    "EndpointStats",
    "UserStats",
]

#: Milliseconds; what is longer than the last is counted beyond it.
_BOUNDS_MS: Final = (10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000)


class DurationHistogram(TypedDict):
    """How long ended runs took.

    ``counts[i]`` runs took at most ``bounds_ms[i]`` milliseconds and more than the bound before;
    the last count, which has no bound, took longer than all.
    """

    bounds_ms: list[int]
    counts: list[int]
    total_ms: int


class EndpointStats(TypedDict):
    """A detached snapshot of an endpoint.

    ``sessions``, ``users``, ``runs_in_flight``, ``runs_queued`` and ``agents_abandoned_alive``
    are of this moment; all else counts from the endpoint's beginning. ``events_sent`` counts what
    the sessions' transports accepted, once for each session; ``undelivered_events`` those of
    ended runs that no transport accepted by the time the run was reported. ``runs_recovered``
    are runs of owners that are gone, which this endpoint ended as ``interrupted``.
    """

    users: int
    sessions: int
    sessions_opened: int
    runs_in_flight: int
    runs_queued: int
    runs_accepted: int
    runs_completed: int
    runs_failed: int
    runs_cancelled: int
    retries: int
    refusals: dict[str, int]
    slow_consumers: int
    agents_abandoned: int
    agents_abandoned_alive: int
    runs_recovered: int
    undelivered_events: int
    events_sent: dict[str, int]
    durations: DurationHistogram


class UserStats(TypedDict):
    """One user at this moment."""

    sessions: int
    runs_in_flight: int
    runs_queued: int


#: ``stopping``: cancelled, and its agent has not ended yet.
ActiveRunState: TypeAlias = Literal["queued", "running", "stopping"]


@final
@record
class ActiveRunInfo:
    """One run that has not ended.

    Attributes:
        run_id: the run.
        thread_id: its conversation.
        message_id: the message that it works on.
        agent: the agent's name.
        state: where it is.
        watchers: how many sessions watch it.
        elapsed_ms: milliseconds since it was started or, for a queued one, accepted.
    """

    run_id: str
    thread_id: str
    message_id: str
    agent: str
    state: ActiveRunState
    watchers: int
    elapsed_ms: int


@final
class EndpointCounters:
    """The one place where an endpoint's counters move."""

    __slots__ = (
        "abandoned",
        "accepted",
        "durations",
        "ended",
        "events_sent",
        "opened",
        "recovered",
        "refusals",
        "retries",
        "slow_consumers",
        "total_ms",
        "undelivered",
    )

    def __init__(self) -> None:
        self.opened: int = 0
        self.accepted: int = 0
        self.retries: int = 0
        self.slow_consumers: int = 0
        self.abandoned: int = 0
        self.recovered: int = 0
        self.undelivered: int = 0
        self.total_ms: int = 0
        self.refusals: dict[str, int] = {}
        self.ended: dict[MessageType, int] = dict.fromkeys(
            (MessageType.AGENT_COMPLETED, MessageType.AGENT_FAILED, MessageType.AGENT_CANCELLED), 0
        )
        self.events_sent: dict[MessageType, int] = dict.fromkeys(RUN_EVENTS, 0)
        self.durations: list[int] = [0] * (len(_BOUNDS_MS) + 1)

    def refused(self, code: ErrorCode) -> None:
        """A frame was refused."""
        name = str(code)
        self.refusals[name] = self.refusals.get(name, 0) + 1

    def run_ended(self, outcome: Outcome, duration_ms: int) -> None:
        """A run decided its terminal event."""
        self.ended[outcome] += 1
        self.total_ms += duration_ms
        self.durations[bisect_left(_BOUNDS_MS, duration_ms)] += 1

    def snapshot(
        self, *, users: int, sessions: int, in_flight: int, queued: int, abandoned_alive: int
    ) -> EndpointStats:
        """A copy that shares nothing with the counters."""
        return {
            "users": users,
            "sessions": sessions,
            "sessions_opened": self.opened,
            "runs_in_flight": in_flight,
            "runs_queued": queued,
            "runs_accepted": self.accepted,
            "runs_completed": self.ended[MessageType.AGENT_COMPLETED],
            "runs_failed": self.ended[MessageType.AGENT_FAILED],
            "runs_cancelled": self.ended[MessageType.AGENT_CANCELLED],
            "retries": self.retries,
            "refusals": dict(self.refusals),
            "slow_consumers": self.slow_consumers,
            "agents_abandoned": self.abandoned,
            "agents_abandoned_alive": abandoned_alive,
            "runs_recovered": self.recovered,
            "undelivered_events": self.undelivered,
            "events_sent": {str(kind): count for kind, count in self.events_sent.items()},
            "durations": {
                "bounds_ms": list(_BOUNDS_MS),
                "counts": list(self.durations),
                "total_ms": self.total_ms,
            },
        }
