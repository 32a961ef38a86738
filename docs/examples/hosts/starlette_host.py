"""Starlette under Uvicorn: `CHAT_SECRET=... python -m hosts.starlette_host`, in docs/examples."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketState

from hosts.agents import make_endpoint
from hosts.auth import authenticate
from hosts.closing import close_code
from hosts.console import listen, say_finished, say_session, until_stopped
from hosts.draining import draining

endpoint = make_endpoint(say_finished)


async def frames(ws: WebSocket) -> AsyncGenerator[str | bytes]:
    """What comes, text or binary, until the client goes; `iter_text` takes no binary frames."""
    while (message := await ws.receive())["type"] == "websocket.receive":
        text = message.get("text")
        yield message["bytes"] if text is None else text


async def chat(ws: WebSocket) -> None:
    user_id = authenticate(ws.headers.get)
    if user_id is None:
        await ws.close()  # before accept(), which Uvicorn answers with 403
        return
    await ws.accept()
    end = await endpoint.serve(user_id, frames(ws), ws.send_text)
    say_session(user_id, end)
    if ws.client_state == ws.application_state == WebSocketState.CONNECTED:
        await ws.close(close_code(end.reason))


def lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
    return draining(endpoint)


app = Starlette(routes=[WebSocketRoute("/chat", chat)], lifespan=lifespan)


def main() -> None:
    # Bounded, or a client that reads nothing would keep Uvicorn from ending.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    with until_stopped(endpoint):
        uvicorn.Server(config).run(sockets=[listen()])


if __name__ == "__main__":
    main()
