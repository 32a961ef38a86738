"""The log in an SQLite file keeps the contract of event logs."""

import asyncio
from pathlib import Path

import pytest

from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing.conformance import EVENT_LOG_CASES, LogOnTrial
from support.event_logs import HandClock


@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_the_log_in_a_file_passes(name: str, tmp_path: Path) -> None:
    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        clock = HandClock()
        log = SqliteEventLog(
            tmp_path / "log.db",
            events_per_user=20_000 if held_events is None else held_events,
            clock=clock.read,
        )
        return LogOnTrial(log, clock.advance)

    asyncio.run(EVENT_LOG_CASES[name](make_log))
