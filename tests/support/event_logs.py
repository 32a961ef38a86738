"""Event logs for tests: one in memory with a clock that is set by hand."""

from agent_messaging import MemoryEventLog
from agent_messaging.testing.conformance import LogOnTrial
from agent_messaging.testing.conformance._event_logs.trial import Trial

__all__ = ["HandClock", "make_memory_log", "on_trial"]


class HandClock:
    """A clock that stands still unless it is advanced.

    Attributes:
        now: what it shows.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        """The time."""
        return self.now

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds


async def make_memory_log(*, held_events: int | None = None) -> LogOnTrial:
    """A log in memory, whose clock stands still unless it is advanced."""
    clock = HandClock()
    log = MemoryEventLog(
        events_per_user=20_000 if held_events is None else held_events, clock=clock.read
    )
    return LogOnTrial(log, clock.advance)


def on_trial(log: MemoryEventLog) -> Trial:
    """The log, with short words for what is asked of it; its clock is nobody's business."""
    return Trial(LogOnTrial(log, HandClock().advance))
