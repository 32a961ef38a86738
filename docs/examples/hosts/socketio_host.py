"""python-socketio: `CHAT_SECRET=... python -m hosts.socketio_host`, in docs/examples."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import socketio
import uvicorn
from starlette.applications import Starlette

from agent_messaging import RemoteError, Session, SessionEndReason
from hosts.agents import make_endpoint
from hosts.auth import user_of
from hosts.console import listen, say_finished, say_session, until_stopped
from hosts.draining import draining

endpoint = make_endpoint(say_finished)
sessions: dict[str, Session] = {}

# Without async_handlers a client's frames are taken one after the other, in their order.
sio: Any = socketio.AsyncServer(async_mode="asgi", async_handlers=False)


@sio.event
async def connect(sid: str, _: Mapping[str, object], auth: object) -> bool:
    match auth:
        case {"token": str() as token}:
            user_id = user_of(token)
        case _:
            user_id = None
    if user_id is None:
        return False

    async def send(frame: str) -> None:
        await sio.emit("frame", frame, to=sid)

    async def close(_: SessionEndReason) -> None:
        await sio.disconnect(sid)

    try:
        sessions[sid] = await endpoint.open(user_id, send, close=close)
    except RemoteError:
        return False
    return True


@sio.event
async def frame(sid: str, *sent: object) -> None:
    """An event of any client's making; the frames are those with one text or bytes."""
    match sent:
        case [str() | bytes() as text] if sid in sessions:
            await sessions[sid].receive(text)
        case _:
            await sio.disconnect(sid)


@sio.event
async def disconnect(sid: str, _: str) -> None:
    session = sessions.pop(sid, None)
    if session is not None:
        await session.close()
        say_session(session.user_id, session.end)


def lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
    return draining(endpoint)


app = socketio.ASGIApp(sio, Starlette(lifespan=lifespan))


def main() -> None:
    # Bounded, or a client that reads nothing would keep Uvicorn from ending.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    with until_stopped(endpoint):
        uvicorn.Server(config).run(sockets=[listen()])


if __name__ == "__main__":
    main()
