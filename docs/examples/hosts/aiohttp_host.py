"""aiohttp: `CHAT_SECRET=... python -m hosts.aiohttp_host`, in docs/examples."""

from weakref import WeakSet

from aiohttp import WSCloseCode, WSMsgType, web

from hosts.agents import make_router
from hosts.auth import authenticate
from hosts.console import listen, say_finished, until_interrupted

router = make_router(say_finished)

SOCKETS = web.AppKey("SOCKETS", WeakSet[web.WebSocketResponse])


async def chat(request: web.Request) -> web.WebSocketResponse:
    user_id = authenticate(request.headers.get("Authorization"))
    if user_id is None:
        raise web.HTTPUnauthorized(text="Who are you?")
    # While it stops, aiohttp hears no client's goodbye: the default wait for it is 10 seconds.
    ws = web.WebSocketResponse(timeout=1.0, heartbeat=20.0)
    await ws.prepare(request)
    request.app[SOCKETS].add(ws)
    async for message in ws:
        if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            await router.handle_frame(user_id, ws.send_str, message.data)
    return ws


async def close_sockets(app: web.Application) -> None:
    """aiohttp leaves them open when it stops, and waits for them, unless this is done."""
    sockets = app[SOCKETS]
    for ws in list(sockets):
        await ws.close(code=WSCloseCode.GOING_AWAY)


def make_app() -> web.Application:
    app = web.Application()
    app[SOCKETS] = WeakSet()
    app.on_shutdown.append(close_sockets)
    app.router.add_get("/chat", chat)
    return app


def main() -> None:
    with until_interrupted(router):
        web.run_app(make_app(), sock=listen(), print=None)


if __name__ == "__main__":
    main()
