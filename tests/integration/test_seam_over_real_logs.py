"""Whoever follows a log in a file or in a server sees all of it, whatever happens around it.

The programs are those of the property tests; the second log stands for another process.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, cast

import pytest

from agent_messaging.eventlog.redis_streams import RedisClient, RedisStreamsEventLog
from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing.conformance import LogOnTrial
from integration.redis_server import RedisServer, client_of, running_server
from support.event_logs import HandClock
from support.seam import explore
from support.seam.programs import FENCED_OFF

PROGRAMS = 60
#: What has to occur in so few of them and the one before: whether an owner goes on so late in any
#: other, real time decides.
SITUATIONS = ("came back", "fenced off", "leases lost", "recovered", "shown to its end")


@pytest.fixture(scope="module")
def server() -> Generator[RedisServer]:
    with running_server() as running:
        yield running


@pytest.mark.parametrize("is_shared", [False, True])
def test_who_follows_a_log_in_a_file_sees_all_of_it(tmp_path: Path, is_shared: bool) -> None:
    paths = (tmp_path / f"{number}.db" for number in itertools.count())
    path, clock = tmp_path, HandClock()

    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        nonlocal path, clock
        path, clock = next(paths), HandClock()
        log = SqliteEventLog(path, clock=clock.read, events_per_user=held_events or 20_000)
        return LogOnTrial(log, clock.advance)

    async def another(_: LogOnTrial) -> SqliteEventLog:
        return SqliteEventLog(path, clock=clock.read, poll_seconds=0.01)

    situations = explore(
        make_log,
        asyncio.run,
        examples=PROGRAMS,
        first=[FENCED_OFF],
        another=another if is_shared else None,
        is_shrunk=False,
    )
    assert [name for name in SITUATIONS if not situations[name]] == []


@pytest.mark.parametrize("is_shared", [False, True])
def test_who_follows_a_log_in_a_server_sees_all_of_it(server: RedisServer, is_shared: bool) -> None:
    clients: list[RedisClient] = []
    logs: list[RedisStreamsEventLog] = []

    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        logs[:] = [RedisStreamsEventLog(clients[0], events_per_run=held_events or 10_000)]
        return LogOnTrial(logs[0], advance)

    async def another(_: LogOnTrial) -> RedisStreamsEventLog:
        logs.append(RedisStreamsEventLog(clients[1]))
        return logs[1]

    async def advance(seconds: float) -> None:
        for log in logs:
            log._seconds_ahead += seconds  # pyright: ignore[reportPrivateUsage] - there for this

    async def over_the_server(program: Coroutine[Any, Any, None]) -> None:
        server.ask("FLUSHALL")
        async with client_of(server) as one, client_of(server) as two:
            clients[:] = [cast("RedisClient", one), cast("RedisClient", two)]
            await program

    situations = explore(
        make_log,
        lambda program: asyncio.run(over_the_server(program)),
        examples=PROGRAMS,
        first=[FENCED_OFF],
        another=another if is_shared else None,
        is_shrunk=False,
    )
    assert [name for name in SITUATIONS if not situations[name]] == []
