"""websockets: `CHAT_SECRET=... python -m hosts.websockets_host`, in docs/examples."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from hosts.agents import make_router
from hosts.auth import authenticate
from hosts.console import listen, say_finished, until_interrupted

router = make_router(say_finished)


def identify(ws: ServerConnection, request: Request) -> Response | None:
    user_id = authenticate(request.headers.get("Authorization"))
    if user_id is None:
        return ws.respond(HTTPStatus.UNAUTHORIZED, "Who are you?\n")
    ws.username = user_id
    return None


async def chat(ws: ServerConnection) -> None:
    with suppress(ConnectionClosed):  # a peer that vanished is not a mistake of the server's
        async for frame in ws:
            await router.handle_frame(ws.username, ws.send, frame)


async def run() -> None:
    async with serve(chat, sock=listen(), process_request=identify) as server:
        await server.serve_forever()


def main() -> None:
    with until_interrupted(router):
        asyncio.run(run())


if __name__ == "__main__":
    main()
