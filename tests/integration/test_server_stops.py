"""Servers in this process, stopped while a run works: the run ends, and no task is left."""

import asyncio
import importlib
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any, Final, TypeAlias

import pytest
import uvicorn
from aiohttp import web
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from agent_messaging import MessageRouter
from integration.conversation import REPORT_BEGINS, client, start
from integration.hosts import within_patience
from support import Recorder, decoded, tasks_left

#: Begins to stop the server, and returns when it has stopped.
Stop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
Serving: TypeAlias = Callable[[ModuleType, socket.socket], AbstractAsyncContextManager[Stop]]


@asynccontextmanager
async def under_uvicorn(host: ModuleType, listener: socket.socket) -> AsyncGenerator[Stop]:
    # Without a log_config of its own it leaves the logging of the tests alone.
    server = uvicorn.Server(uvicorn.Config(host.app, log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def stop() -> None:
        server.should_exit = True
        await serving

    yield stop


@asynccontextmanager
async def under_aiohttp(host: ModuleType, listener: socket.socket) -> AsyncGenerator[Stop]:
    runner = web.AppRunner(host.make_app())
    await runner.setup()
    await web.SockSite(runner, listener).start()
    yield runner.cleanup


@asynccontextmanager
async def under_websockets(host: ModuleType, listener: socket.socket) -> AsyncGenerator[Stop]:
    server = await serve(host.chat, sock=listener, process_request=host.identify)

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    yield stop


SERVERS: Final[dict[str, Serving]] = {
    "starlette_host": under_uvicorn,
    "aiohttp_host": under_aiohttp,
    "websockets_host": under_websockets,
}


def counters(router: MessageRouter) -> dict[str, object]:
    [handler] = router.get_stats()["handlers"]
    return handler


async def stops_while_a_run_works(
    serving: AbstractAsyncContextManager[Stop], router: MessageRouter, uri: str, token: str
) -> None:
    async with serving as stop:
        async with client(uri, token) as ada:
            await ada.ask(start("report"), frozenset({REPORT_BEGINS}))
            stopping = asyncio.create_task(stop(), name="stopping")
            with pytest.raises(ConnectionClosed):
                await ada.reads()
            for _ in range(1000):  # more turns than a server needs that does not wait
                await asyncio.sleep(0)
            assert not stopping.done(), "the server waits for the run"
            assert counters(router)["runs_in_flight"] == 1
            grace = Recorder()
            assert await router.handle_frame("grace", grace, start("go"))
            await within_patience(stopping)
        assert [frame["type"] for frame in decoded(grace.frames)][-1] == "agent_completed"
        assert counters(router)["runs_in_flight"] == 0
        assert counters(router)["runs_cancelled"] == 1
        assert counters(router)["undelivered_events"] != 0
        assert tasks_left() == []


@pytest.mark.parametrize("program", SERVERS)
def test_a_server_that_stops_waits_for_the_run_and_leaves_no_task(
    program: str, example: Callable[[str], ModuleType], issue: Callable[..., str]
) -> None:
    host = importlib.reload(example(program))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"ws://127.0.0.1:{listener.getsockname()[1]}/chat"
        serving = SERVERS[program](host, listener)
        asyncio.run(stops_while_a_run_works(serving, host.router, uri, issue("ada")))
