"""The log in an SQLite file and event loops: it belongs to one; a later one may close it."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_messaging import ConfigurationError, EventLogError, Lease
from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing.conformance import LogOnTrial
from agent_messaging.testing.conformance._event_logs.trial import Notices, Trial, Wakes, event
from agent_messaging.testing.conformance._expect import PATIENCE
from support.event_logs import HandClock
from support.sqlite_logs import GateClock

LEASE = Lease("ann", "run", "token")

CALLS: list[Callable[[SqliteEventLog], Any]] = [
    lambda log: log.claim(
        LEASE, thread_id="t", message_id="m", digest="d", owner="o", lease_seconds=1.0
    ),
    lambda log: log.find_claim("ann", "m"),
    lambda log: log.append(LEASE, [event(1)]),
    lambda log: log.read("ann", "run", after=0, limit=1),
    lambda log: log.find_run("ann", "run"),
    lambda log: log.runs("ann", "t", limit=1),
    lambda log: log.follow("ann", "run", Wakes().wake),
    lambda log: log.notify("ann", "run", "stop"),
    lambda log: log.follow_notices("o", Notices().tell),
    lambda log: log.renew([LEASE], 1.0),
    lambda log: log.take_expired("o", 1.0, limit=1),
    lambda log: log.forget("ann"),
]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "event-log" in thread.name]


async def within_patience(call: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await call


async def used(log: SqliteEventLog) -> None:
    assert await log.find_run("ann", "run") is None


def test_a_log_is_closed_in_a_later_loop(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "log.db")
    asyncio.run(used(log))
    for _ in range(2):
        asyncio.run(within_patience(log.aclose()))
    assert threads() == []
    assert [path.name for path in tmp_path.iterdir()] == ["log.db"]


def test_a_log_whose_closing_was_cancelled_is_waited_for_in_a_later_loop(tmp_path: Path) -> None:
    clock = GateClock()
    log = SqliteEventLog(tmp_path / "log.db", clock=clock.read)
    trial = Trial(LogOnTrial(log, HandClock().advance))

    async def steps() -> None:
        await used(log)
        clock.shut()
        claiming = asyncio.create_task(trial.claim("run"))
        await clock.reached()
        closing = asyncio.create_task(log.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        claiming.cancel()

    asyncio.run(steps())
    assert len(threads()) == 1
    clock.open()
    asyncio.run(within_patience(log.aclose()))
    assert threads() == []


@pytest.mark.parametrize("waiting_calls", [1, 1_024])
@pytest.mark.parametrize("call", CALLS)
def test_every_method_is_refused_in_another_loop_and_leaves_nothing_there(
    tmp_path: Path, call: Callable[[SqliteEventLog], Any], waiting_calls: int
) -> None:
    log = SqliteEventLog(tmp_path / "log.db", waiting_calls=waiting_calls)
    asyncio.run(used(log))

    async def steps() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await within_patience(call(log))
        assert log._under_way == 0  # pyright: ignore[reportPrivateUsage]
        await within_patience(log.aclose())
        with pytest.raises(EventLogError):
            await call(log)

    asyncio.run(steps())


def test_a_log_is_not_closed_in_another_loop_while_its_own_runs(tmp_path: Path) -> None:
    async def steps() -> None:
        async with SqliteEventLog(tmp_path / "log.db") as log:
            with pytest.raises(ConfigurationError, match="close it there"):
                await asyncio.to_thread(lambda: asyncio.run(log.aclose()))
            await used(log)

    asyncio.run(steps())


def test_who_follows_may_leave_when_the_loop_is_gone(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "log.db")

    async def steps() -> list[Callable[[], None]]:
        return [
            log.follow("ann", "run", Wakes().wake),
            log.follow_notices("owner", Notices().tell),
        ]

    for leave in asyncio.run(steps()):
        leave()
    asyncio.run(within_patience(log.aclose()))
    assert threads() == []


def test_a_log_whose_thread_cannot_be_started_says_so_and_works_once_it_can(tmp_path: Path) -> None:
    async def steps() -> None:
        log = SqliteEventLog(tmp_path / "log.db", waiting_calls=1)
        before = threading.stack_size(1 << 46)  # more than any system has
        try:
            for _ in range(2):
                with pytest.raises(RuntimeError, match="thread"):
                    await within_patience(log.find_run("ann", "run"))
        finally:
            threading.stack_size(before)
        await within_patience(used(log))
        await log.aclose()

    asyncio.run(steps())


FORK = """
import asyncio, os, sys
from agent_messaging.eventlog.sqlite import SqliteEventLog

log = SqliteEventLog(sys.argv[1])
asyncio.run(log.find_run("ann", "run"))
child = os.fork()
asyncio.run(log.aclose())
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_was_forked_after_the_log_was_used_can_let_go_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "log.db")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
