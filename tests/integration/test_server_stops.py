"""Hosts that get a SIGTERM while runs work: each run has its end, and each client is told of it."""

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

import pytest
import uvicorn

from integration.clients import Client, over_websocket
from integration.conversation import REPORT_BEGINS, start
from integration.hosts import EXAMPLES, SECRET, running, within_patience
from integration.servers import SERVERS, Server
from support import Json, tasks_left

PING: Final = json.dumps({"type": "ping"})
RESUME: Final = json.dumps({"type": "resume", "payload": {"thread_id": "t1"}})
STOPPED: Final = frozenset({"stopped"})


@dataclass
class Stop:
    """What a host's clients got, from the SIGTERM to the end of their connections."""

    refusal: Json = field(default_factory=dict[str, object])
    pong: list[Json] = field(default_factory=list[Json])
    frames: list[Json] = field(default_factory=list[Json])
    closed_with: object = None
    statistics: Json = field(default_factory=dict[str, object])
    exit_code: int | None = None
    errors: list[str] = field(default_factory=list[str])

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


async def stopped_while_a_run_works(server: Server, token: str) -> Stop:
    """The run does not end by itself: it has a fraction of a second."""
    stop = Stop()
    async with (
        running(server.program, drain_seconds=0.1) as host,
        server.connect(host.port, token) as ada,
    ):
        await ada.ask(start("report"), REPORT_BEGINS)
        host.terminate()
        stop.frames = await ada.rest()
        stop.closed_with = ada.closed_with
        stop.statistics = (await host.says_next("statistics"))["statistics"]
        stop.exit_code = await host.ends()
        stop.errors = host.errors()
    return stop


async def stopped_by_its_user_meanwhile(server: Server, token: str) -> Stop:
    """The run has more time than anybody has patience; its user stops it."""
    stop = Stop()
    async with (
        running(server.program) as host,
        server.connect(host.port, token) as ada,
    ):
        await ada.ask(start("report", thread_id="t1"), REPORT_BEGINS)
        host.terminate()
        stop.refusal = await refusal(ada)
        async with server.connect(host.port, token) as second:
            stop.pong = await second.ask(PING, frozenset({"pong"}))
        stop.frames = await ada.ask(
            json.dumps({"type": "stop_agent", "payload": {"thread_id": "t1"}}), STOPPED
        )
        stop.frames += await ada.rest()
        stop.closed_with = ada.closed_with
        stop.statistics = (await host.says_next("statistics"))["statistics"]
        stop.exit_code = await host.ends()
        stop.errors = host.errors()
    return stop


async def refusal(client: Client) -> Json:
    """The first refusal: the signal may come after a message that was sent after it."""
    while True:
        answer = await client.ask(start("refusing", thread_id="t2"))
        if answer[-1]["type"] == "error_message":
            return answer[-1]


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.program)
def test_a_run_that_works_on_is_cancelled_and_its_client_is_told_before_the_close(
    server: Server, issue: Callable[..., str]
) -> None:
    stop = asyncio.run(stopped_while_a_run_works(server, issue("ada")))
    assert stop.types == ["agent_cancelled", *(["error_message"] if server.farewell else [])]
    assert stop.frames[0]["payload"]["reason"] == "shutdown"
    assert all(frame["payload"]["code"] == "shutting_down" for frame in stop.frames[1:])
    assert stop.closed_with == server.closed_with
    assert stop.exit_code == 0
    assert stop.errors == []
    assert stop.statistics["runs_cancelled"] == stop.statistics["runs_accepted"] == 1
    assert stop.statistics["undelivered_events"] == 0
    assert stop.statistics["sessions"] == stop.statistics["runs_in_flight"] == 0


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.program)
def test_while_it_drains_messages_are_refused_but_connections_and_the_control_lane_are_open(
    server: Server, issue: Callable[..., str]
) -> None:
    stop = asyncio.run(stopped_by_its_user_meanwhile(server, issue("ada")))
    assert stop.refusal["payload"]["code"] == "shutting_down"
    assert len(stop.pong) == 1
    cancelled, stopped, *farewell = stop.frames
    assert cancelled["type"] == "agent_cancelled"
    assert cancelled["payload"]["reason"] == "stopped"
    assert stopped["payload"] == {"run_ids": [cancelled["run_id"]]}
    assert [frame["type"] for frame in farewell] == ["error_message"] * server.farewell
    assert stop.closed_with == server.closed_with
    assert stop.exit_code == 0
    assert stop.errors == []


# In this process, where the tasks that are left can be looked at.


@asynccontextmanager
async def under_uvicorn(host: ModuleType, listener: socket.socket) -> AsyncGenerator[None]:
    # Without a log_config of its own it leaves the logging of the tests alone.
    server = uvicorn.Server(uvicorn.Config(host.app, log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="serving")
    yield
    await serving


@asynccontextmanager
async def as_program(host: ModuleType, listener: socket.socket) -> AsyncGenerator[None]:
    serving = asyncio.create_task(host.run(listener), name="serving")
    yield
    await serving


SERVING: Final[dict[str, Callable[..., AbstractAsyncContextManager[None]]]] = {
    "starlette_host": under_uvicorn,
    "sse_host": under_uvicorn,
    "aiohttp_host": as_program,
    "websockets_host": as_program,
}


async def stopped_here(server: Server, host: ModuleType, token: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with (
            SERVING[server.program](host, listener),
            server.connect(port, token) as ada,
            server.connect(port, token) as second,
        ):
            await ada.ask(start("report", thread_id="t1"), REPORT_BEGINS)
            await second.ask(RESUME, frozenset({"resumed"}))
            signal.raise_signal(signal.SIGTERM)
            first, resumed = await asyncio.gather(ada.rest(), second.rest())
            assert "agent_cancelled" in [frame["type"] for frame in first]
            assert "agent_cancelled" in [frame["type"] for frame in resumed]
        assert host.endpoint.stats()["sessions"] == 0


@pytest.mark.parametrize(
    "server",
    [server for server in SERVERS if server.program in SERVING],
    ids=lambda server: server.program,
)
def test_a_host_that_stops_leaves_no_task_and_no_session(
    server: Server,
    example: Callable[[str], ModuleType],
    issue: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = issue("ada")
    monkeypatch.setattr(example("agents"), "DRAIN_SECONDS", 0.1)
    host = importlib.reload(example(server.program))
    left: list[asyncio.Task[Any]] = []

    async def stop_and_look() -> None:
        await stopped_here(server, host, token)
        left.extend(tasks_left())

    # Uvicorn raises the signal again when it has stopped.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        asyncio.run(stop_and_look())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left == []


def test_the_lifespan_of_the_programs_works_in_another_thread_than_the_main_one(
    example: Callable[[str], ModuleType],
) -> None:
    """As a test client has it, where no signal arrives."""
    seen: list[object] = []

    async def lifespan() -> None:
        endpoint = example("agents").make_endpoint(seen.append)
        async with example("draining").draining(endpoint):
            seen.append(endpoint.stats()["sessions"])

    thread = threading.Thread(target=asyncio.run, args=[lifespan()])
    thread.start()
    thread.join()
    assert seen == [0]


def test_uvicorns_own_command_drains_before_it_closes_the_sockets(
    issue: Callable[..., str],
) -> None:
    stop = asyncio.run(stopped_under_the_command(issue("ada")))
    assert stop.types == ["agent_cancelled"]
    assert stop.frames[0]["payload"]["reason"] == "shutdown"
    assert stop.closed_with == 1012
    assert stop.exit_code == -signal.SIGTERM, "it has stopped, and raises the signal once more"


async def stopped_under_the_command(token: str) -> Stop:
    stop = Stop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "hosts.starlette_host:app"),
            *("--fd", str(listener.fileno()), "--log-level", "warning"),
            cwd=EXAMPLES,
            env={**os.environ, "CHAT_SECRET": SECRET, "DRAIN_SECONDS": "0.1"},
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        try:
            # The socket listens already: the client waits in its queue for the server.
            async with over_websocket(listener.getsockname()[1], token) as ada:
                await ada.ask(start("report"), REPORT_BEGINS)
                process.terminate()
                stop.frames = await ada.rest()
                stop.closed_with = ada.closed_with
            stop.exit_code = await within_patience(process.wait())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return stop
