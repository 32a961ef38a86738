"""What another process does to a log in an SQLite file: ``python sqlite_child.py FILE DOING ...``.

It says ``ready`` when its log is open, begins when it reads a line, and prints what came of it.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from agent_messaging import Lease, LeaseLost
from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing.conformance._event_logs.trial import event, story

#: How far ahead the clock of a process is that takes over what has expired.
_AHEAD: Final = 10_000.0


def say(*words: object) -> None:
    print(*words, flush=True)


def lease_of(run_id: str, token: str) -> Lease:
    return Lease("ann", run_id, token)


async def claim_all(log: SqliteEventLog, name: str, count: str) -> None:
    """Claim as many messages; tell whose run each has become."""
    for number in range(int(count)):
        record = await log.claim(
            lease_of(f"{name} {number}", name),
            thread_id="thread",
            message_id=f"message {number}",
            digest="digest",
            owner=name,
            lease_seconds=60.0,
        )
        say(record.run_id)


async def take_all(log: SqliteEventLog, name: str) -> None:
    """Take over what has expired, a few at a time; tell what that was."""
    while taken := await log.take_expired(name, 60.0, limit=3):
        for run in taken:
            say(run.lease.run_id)


async def append_on(log: SqliteEventLog, run_id: str, token: str, first: str, count: str) -> None:
    """Append events one after the other; tell each that was acknowledged, or the refusal."""
    try:
        for seq in range(int(first), int(first) + int(count)):
            await log.append(lease_of(run_id, token), (event(seq),))
            say(seq)
    except LeaseLost:
        say("refused")


async def append_for_ever(log: SqliteEventLog, run_id: str, token: str) -> None:
    """Append until somebody ends the process; tell each that was acknowledged, or the refusal."""
    await append_on(log, run_id, token, "1", "1000000000")


async def tell(log: SqliteEventLog, run_id: str, token: str, length: str) -> None:
    """Append a whole run."""
    for one in story(int(length)):
        await log.append(lease_of(run_id, token), (one,))


async def notify(log: SqliteEventLog, run_id: str) -> None:
    """Leave both notices for the owner of a run."""
    say(await log.notify("ann", run_id, "stop"))
    say(await log.notify("ann", run_id, "watched"))


async def forget(log: SqliteEventLog) -> None:
    """Forget the user."""
    await log.forget("ann")


DOINGS: Final[dict[str, Callable[..., Awaitable[None]]]] = {
    doing.__name__: doing
    for doing in (claim_all, take_all, append_on, append_for_ever, tell, notify, forget)
}


async def main(path: str, doing: str, *arguments: str) -> None:
    ahead = _AHEAD if doing == "take_all" else 0.0
    async with SqliteEventLog(path, clock=lambda: time.time() + ahead) as log:
        say("ready")
        sys.stdin.readline()
        await DOINGS[doing](log, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
