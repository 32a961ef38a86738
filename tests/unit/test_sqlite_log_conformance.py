"""The log in an SQLite file keeps the contract of event logs."""

import asyncio
from pathlib import Path

import pytest

from agent_messaging.eventlog.sqlite import SqliteEventLog
from conformance import CASES, LogOnTrial
from support.event_logs import HandClock


@pytest.mark.parametrize("name", CASES)
def test_the_log_in_a_file_passes(name: str, tmp_path: Path) -> None:
    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        clock = HandClock()
        log = SqliteEventLog(
            tmp_path / "log.db",
            events_per_user=20_000 if held_events is None else held_events,
            clock=clock.read,
        )
        return LogOnTrial(log, clock.advance)

    asyncio.run(CASES[name](make_log))
