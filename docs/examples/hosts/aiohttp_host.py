"""aiohttp: `CHAT_SECRET=... python -m hosts.aiohttp_host`, in docs/examples."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator

from aiohttp import WSMsgType, web

from hosts.agents import make_endpoint
from hosts.auth import authenticate
from hosts.closing import close_code
from hosts.console import listen, say_finished, say_session, until_stopped

endpoint = make_endpoint(say_finished)


async def frames(ws: web.WebSocketResponse) -> AsyncGenerator[str | bytes]:
    async for message in ws:
        if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            yield message.data


async def chat(request: web.Request) -> web.WebSocketResponse:
    user_id = authenticate(request.headers.get)
    if user_id is None:
        raise web.HTTPUnauthorized(text="Who are you?")
    # While it stops, aiohttp hears no client's goodbye: the default wait for it is 10 seconds.
    ws = web.WebSocketResponse(timeout=1.0, heartbeat=20.0)
    await ws.prepare(request)
    end = await endpoint.serve(user_id, frames(ws), ws.send_str)
    say_session(user_id, end)
    await ws.close(code=close_code(end.reason))
    return ws


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/chat", chat)
    return app


async def run(listener: socket.socket) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Bounded, or a client that reads nothing would keep aiohttp from ending for a minute.
    runner = web.AppRunner(make_app(), shutdown_timeout=5.0)
    await runner.setup()
    async with endpoint:
        await web.SockSite(runner, listener).start()
        await stop.wait()
    # Not before, and not in on_shutdown: from here on aiohttp hears nothing that clients send.
    await runner.cleanup()


def main() -> None:
    with until_stopped(endpoint):
        asyncio.run(run(listen()))


if __name__ == "__main__":
    main()
