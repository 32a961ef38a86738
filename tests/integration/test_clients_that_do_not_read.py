"""Clients that send a message and then read nothing: the host goes on, and still stops."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
from websockets.asyncio.client import connect

from integration.clients import over_socketio, over_sse
from integration.conversation import start
from integration.hosts import PATIENCE, running, within_patience
from integration.servers import SERVERS, Server
from support import Json

#: Bytes that the system takes for a client that does not; the least that it allows.
_BUFFER: Final = 1


@dataclass
class Stall:
    """What a host said, and how it ended."""

    server: Server
    run: Json = field(default_factory=dict[str, object])
    statistics: Json = field(default_factory=dict[str, object])
    exit_code: int | None = None


@asynccontextmanager
async def a_client_that_does_not_read(
    server: Server, port: int, token: str
) -> AsyncGenerator[None]:
    """Asks for a book, and is there until the end of the block."""
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    connected.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
    frame = start("book")
    if server.connect is over_sse:
        request = (
            "POST /chat HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: {len(frame)}\r\n\r\n{frame}"
        )
        await asyncio.get_running_loop().sock_sendall(connected, request.encode())
        with connected:
            yield
        return
    path = "chat"
    greetings = [frame]
    if server.connect is over_socketio:
        path = "socket.io/?EIO=4&transport=websocket"
        greetings = ["40" + json.dumps({"token": token}), "42" + json.dumps(["frame", frame])]
    websocket = await within_patience(
        connect(
            f"ws://127.0.0.1:{port}/{path}",
            sock=connected,
            additional_headers={"Authorization": f"Bearer {token}"},
            proxy=None,
            open_timeout=None,
            ping_interval=None,
            compression=None,
        )
    )
    try:
        websocket.transport.pause_reading()
        for greeting in greetings:
            await websocket.send(greeting)
        yield
    finally:
        websocket.transport.abort()
        await within_patience(websocket.wait_closed())


async def happen(stall: Stall, token: str) -> None:
    server = stall.server
    async with (
        running(server.program, drain_seconds=0.1) as host,
        a_client_that_does_not_read(server, host.port, token),
    ):
        stall.run = await host.says_next("finished")
        host.terminate()
        stall.statistics = (await host.says_next("statistics"))["statistics"]
        stall.exit_code = await host.ends()


async def all_happen(stalls: list[Stall], token: str) -> None:
    await asyncio.gather(*(happen(stall, token) for stall in stalls))


@pytest.fixture(scope="module")
def stalls(issue: Callable[..., str]) -> dict[str, Stall]:
    stalls = [Stall(server) for server in SERVERS]
    # At the same time, as each waits some seconds for a goodbye that does not come.
    asyncio.run(all_happen(stalls, issue("ada")))
    return {stall.server.program: stall for stall in stalls}


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.program)
def test_what_is_not_read_ends_the_session_or_is_taken_by_the_server(
    server: Server, stalls: dict[str, Stall]
) -> None:
    stall = stalls[server.program]
    assert stall.run["finished"] == "agent_completed", "there is a grace, to be resumed"
    assert (stall.run["delivered"] == stall.run["decided"]) is server.takes_all
    assert stall.statistics["slow_consumers"] == (0 if server.takes_all else 1)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.program)
def test_a_host_stops_though_a_client_does_not_read(
    server: Server, stalls: dict[str, Stall]
) -> None:
    assert stalls[server.program].exit_code == 0, f"within {PATIENCE} seconds"
