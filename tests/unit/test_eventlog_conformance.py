"""The log in memory keeps the contract of event logs, as do logs over it that take their time."""

import pytest

from agent_messaging import MemoryEventLog
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import EVENT_LOG_CASES, LogOnTrial
from support.event_logs import HandClock, make_memory_log
from support.gradual_log import GradualLog


@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_the_log_in_memory_passes(name: str) -> None:
    run_virtual(EVENT_LOG_CASES[name](make_memory_log))


# One that waits for a timer is not done within any number of turns of a loop in virtual time.
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.03])
@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_a_log_passes_whose_calls_take_turns_or_milliseconds(name: str, seconds: float) -> None:
    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        clock = HandClock()
        inner = MemoryEventLog(events_per_user=held_events or 20_000, clock=clock.read)
        return LogOnTrial(GradualLog(inner, seconds=seconds), clock.advance)

    run_virtual(EVENT_LOG_CASES[name](make_log))
