"""Logs in SQLite files for tests, and a clock that can hold up their thread."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing.conformance import LogOnTrial
from agent_messaging.testing.conformance._event_logs.trial import Trial
from agent_messaging.testing.conformance._expect import PATIENCE
from support.event_logs import HandClock

__all__ = ["GateClock", "opened", "until_gone"]


class GateClock:
    """A clock that stands still, and that nobody reads while it is shut.

    It holds up the thread of a log at the next thing that needs the time, such as a claim.
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._reached = threading.Event()

    def read(self) -> float:
        self._reached.set()
        self._open.wait()
        return 1000.0

    def shut(self) -> None:
        self._reached.clear()
        self._open.clear()

    async def reached(self) -> None:
        """Wait until the thread is held up."""
        await asyncio.to_thread(self._reached.wait)

    def open(self) -> None:
        self._open.set()


@asynccontextmanager
async def opened(
    path: Path, clock: HandClock | None = None, **options: Any
) -> AsyncGenerator[Trial]:
    """A log in that file, on trial, by a clock that is set by hand."""
    clock = HandClock() if clock is None else clock
    async with SqliteEventLog(path, clock=clock.read, **options) as log:
        yield Trial(LogOnTrial(log, clock.advance))


async def until_gone(trial: Trial, run_id: str, user_id: str = "ann") -> None:
    """Ask for a run's events until the log holds them no more."""
    async with asyncio.timeout(PATIENCE):
        while await trial.events(run_id, user_id):
            pass
