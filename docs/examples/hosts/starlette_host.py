"""Starlette under Uvicorn: `CHAT_SECRET=... python -m hosts.starlette_host`, in docs/examples."""

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from hosts.agents import make_router
from hosts.auth import authenticate
from hosts.console import listen, say_finished, until_interrupted

router = make_router(say_finished)


async def chat(ws: WebSocket) -> None:
    user_id = authenticate(ws.headers.get("authorization"))
    if user_id is None:
        await ws.close()  # before accept(), which Uvicorn answers with 403
        return
    await ws.accept()
    # Not iter_text(), which takes no binary frames and raises once a send has failed.
    while (message := await ws.receive())["type"] == "websocket.receive":
        text = message.get("text")
        frame = message["bytes"] if text is None else text
        await router.handle_frame(user_id, ws.send_text, frame)


app = Starlette(routes=[WebSocketRoute("/chat", chat)])


def main() -> None:
    with until_interrupted(router):
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listen()])


if __name__ == "__main__":
    main()
