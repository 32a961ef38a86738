"""One of several workers: Starlette under Uvicorn, with its events in Redis.

`python -m workers.worker NAME SOCKET` serves on a unix socket; `workers.run` starts several.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketState

from agent_messaging import AgentError, AgentMessageHandler, Endpoint, Run, grace
from agent_messaging.eventlog.redis_streams import RedisStreamsEventLog
from hosts.auth import authenticate
from hosts.closing import close_code
from hosts.console import say_finished, say_session, until_stopped
from hosts.draining import draining

#: Seconds after the death of a worker in which another one ends its runs.
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "10"))
#: Seconds that runs may go on after a SIGTERM; less than the platform gives the whole process.
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS", "20"))


async def count(run: Run) -> int:
    """Count to the number in the request, four numbers a second."""
    if not run.request.isdecimal():
        raise AgentError("Say a number.", code="no_number")
    for number in range(1, int(run.request) + 1):
        await run.chunk(f"{number} ")
        await asyncio.sleep(0.25)
    return int(run.request)


redis = Redis.from_url(os.environ["REDIS_URL"])  # pyright: ignore[reportUnknownMemberType]
log = RedisStreamsEventLog(redis)
endpoint = Endpoint(
    AgentMessageHandler(count, on_run_finished=say_finished),
    log=log,
    on_disconnect=grace(30.0),
    drain_timeout=DRAIN_SECONDS,
    lease_seconds=LEASE_SECONDS,
)


async def ready(_: Request) -> Response:
    """Whether new clients are to be sent here; the front asks a few times a second."""
    return Response(status_code=503 if endpoint.is_draining else 200)


async def frames(ws: WebSocket) -> AsyncGenerator[str | bytes]:
    while (message := await ws.receive())["type"] == "websocket.receive":
        text = message.get("text")
        yield message["bytes"] if text is None else text


async def chat(ws: WebSocket) -> None:
    user_id = authenticate(ws.headers.get)
    if user_id is None:
        await ws.close()
        return
    # For the curious: a client need not know which worker it came to.
    await ws.accept(headers=[(b"x-worker", sys.argv[1].encode())])
    end = await endpoint.serve(user_id, frames(ws), ws.send_text)
    say_session(user_id, end)
    if ws.client_state == ws.application_state == WebSocketState.CONNECTED:
        await ws.close(close_code(end.reason))


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    # Left from the right to the left: runs end while there is a log, the log while there is Redis.
    async with redis, aclosing(log), draining(endpoint):
        yield


app = Starlette(routes=[Route("/ready", ready), WebSocketRoute("/chat", chat)], lifespan=lifespan)


def main() -> None:
    config = uvicorn.Config(app, uds=sys.argv[2], log_level="warning", timeout_graceful_shutdown=5)
    with until_stopped(endpoint):
        uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
