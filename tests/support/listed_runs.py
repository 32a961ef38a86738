"""A log's file with some runs in it, for commands that look at it from outside."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from agent_messaging import Lease, LoggedEvent, MessageType
from agent_messaging.eventlog.sqlite import SqliteEventLog
from support.event_logs import HandClock

__all__ = ["Written", "logged", "write_runs"]


class Written(NamedTuple):
    """A run that is in a file: claimed one second after the one before."""

    run_id: str
    user_id: str = "ann"
    thread_id: str = "t1"
    events: Sequence[LoggedEvent] = ()


def logged(*events: tuple[str, str], began: float = 100.0) -> list[LoggedEvent]:
    """Events of a run by type and payload, a second between them."""
    return [
        LoggedEvent(MessageType(kind), payload, seq, began + seq - 1)
        for seq, (kind, payload) in enumerate(events, 1)
    ]


def write_runs(path: Path, *runs: Written, events_per_user: int = 1000) -> None:
    """Put these runs into the file, the first of them at the time 1000."""

    async def write() -> None:
        clock = HandClock()
        async with SqliteEventLog(path, clock=clock.read, events_per_user=events_per_user) as log:
            for run in runs:
                lease = Lease(run.user_id, run.run_id, "token")
                await log.claim(
                    lease,
                    thread_id=run.thread_id,
                    message_id=f"message of {run.run_id}",
                    digest="digest",
                    owner="owner",
                    lease_seconds=3600.0,
                )
                clock.now += 1
                await log.append(lease, run.events)

    asyncio.run(write())
