"""websockets: `CHAT_SECRET=... python -m hosts.websockets_host`, in docs/examples."""

import asyncio
import signal
import socket
from contextlib import suppress
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from hosts.agents import make_endpoint
from hosts.auth import authenticate
from hosts.closing import close_code
from hosts.console import listen, say_finished, say_session, until_stopped

endpoint = make_endpoint(say_finished)


def identify(ws: ServerConnection, request: Request) -> Response | None:
    user_id = authenticate(request.headers.get)
    if user_id is None:
        return ws.respond(HTTPStatus.UNAUTHORIZED, "Who are you?\n")
    ws.username = user_id
    return None


async def chat(ws: ServerConnection) -> None:
    end = await endpoint.serve(ws.username, ws, ws.send)
    say_session(ws.username, end)
    await ws.close(close_code(end.reason))


async def run(listener: socket.socket) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with endpoint:
        server = await serve(chat, sock=listener, process_request=identify, close_timeout=2.0)
        await stop.wait()
    server.close()
    # Bounded, or a client that reads nothing would keep the server from ending.
    with suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), timeout=5.0)


def main() -> None:
    with until_stopped(endpoint):
        asyncio.run(run(listen()))


if __name__ == "__main__":
    main()
