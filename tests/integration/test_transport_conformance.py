"""The sockets of real servers are what the library relies on, whichever way their clients leave."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

import pytest
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from agent_messaging import WebSocketLike
from agent_messaging.testing.conformance import TRANSPORT_CASES, TransportOnTrial
from integration.clients import WebSocketClient
from integration.hosts import within_patience

#: Where a server hands over each connection that comes.
Arrivals: TypeAlias = asyncio.Queue[WebSocketLike]
#: A server on a socket that listens.
Serve: TypeAlias = Callable[[socket.socket, Arrivals], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def websockets_server(listener: socket.socket, arrivals: Arrivals) -> AsyncGenerator[None]:
    async def chat(ws: ServerConnection) -> None:
        arrivals.put_nowait(ws)
        await ws.wait_closed()

    async with serve(chat, sock=listener, ping_interval=None, close_timeout=1.0):
        yield


@asynccontextmanager
async def aiohttp_server(listener: socket.socket, arrivals: Arrivals) -> AsyncGenerator[None]:
    async def chat(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(timeout=1.0)
        await ws.prepare(request)
        arrivals.put_nowait(ws)
        async for _ in ws:
            pass
        return ws

    app = web.Application()
    app.router.add_get("/", chat)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def starlette_server(listener: socket.socket, arrivals: Arrivals) -> AsyncGenerator[None]:
    async def chat(ws: WebSocket) -> None:
        await ws.accept()
        arrivals.put_nowait(ws)
        while (await ws.receive())["type"] != "websocket.disconnect":
            pass

    app = Starlette(routes=[WebSocketRoute("/", chat)])
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def says_goodbye(client: ClientConnection) -> None:
    await client.close()


async def vanishes(client: ClientConnection) -> None:
    await WebSocketClient(client).vanish()


async def passes(
    name: str, server: Serve, leave: Callable[[ClientConnection], Awaitable[None]]
) -> None:
    arrivals: Arrivals = asyncio.Queue()
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]

    async def make_transport() -> TransportOnTrial:
        client = await within_patience(
            connect(f"ws://127.0.0.1:{port}/", proxy=None, ping_interval=None, close_timeout=1.0)
        )
        websocket = await within_patience(arrivals.get())
        return TransportOnTrial(websocket, client.recv, lambda: leave(client))

    async with server(listener, arrivals):
        await TRANSPORT_CASES[name](make_transport)


SERVERS: Final = (websockets_server, aiohttp_server, starlette_server)


@pytest.mark.parametrize("leave", [says_goodbye, vanishes])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", TRANSPORT_CASES)
def test_the_socket_of_a_real_server_passes(
    name: str, server: Serve, leave: Callable[[ClientConnection], Awaitable[None]]
) -> None:
    asyncio.run(passes(name, server, leave))
