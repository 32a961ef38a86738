"""Server-sent events: `CHAT_SECRET=... python -m hosts.sse_host`, in docs/examples."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from math import ceil

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from agent_messaging import ErrorCode, RemoteError, Stream
from hosts.agents import make_endpoint
from hosts.auth import authenticate
from hosts.console import listen, say_finished, say_session, until_stopped
from hosts.draining import draining

endpoint = make_endpoint(say_finished)

#: Bytes of a request's body; somewhat more than the endpoint takes of a frame.
BODY_BYTES = 300_000

STATUS = {
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.TOO_MANY_RUNS: 429,
    ErrorCode.TOO_MANY_SESSIONS: 429,
    ErrorCode.QUEUE_FULL: 429,
    ErrorCode.THREAD_BUSY: 409,
    ErrorCode.MESSAGE_ID_CONFLICT: 409,
    ErrorCode.FRAME_TOO_LARGE: 413,
    ErrorCode.SHUTTING_DOWN: 503,
    ErrorCode.LOG_UNAVAILABLE: 503,
}


async def chat(request: Request) -> Response:
    user_id = authenticate(request.headers.get)
    if user_id is None:
        return PlainTextResponse("Who are you?", 401)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            return PlainTextResponse("That is too much.", 413)
    try:
        stream = await endpoint.stream(user_id, body)
    except RemoteError as refusal:
        return refused(refusal)
    return StreamingResponse(told(user_id, stream), headers=stream.headers)


def refused(refusal: RemoteError) -> Response:
    wait = refusal.retry_after
    headers = None if wait is None else {"Retry-After": str(ceil(wait))}
    return JSONResponse(refusal.reply, STATUS.get(refusal.code, 400), headers)


async def told(user_id: str, stream: Stream) -> AsyncGenerator[bytes]:
    """The stream; its end is said."""
    try:
        async for event in stream:
            yield event
    finally:
        await stream.aclose()
        say_session(user_id, stream.end)


def lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
    return draining(endpoint)


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    # Bounded, or a client that reads nothing would keep Uvicorn from ending.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    with until_stopped(endpoint):
        uvicorn.Server(config).run(sockets=[listen()])


if __name__ == "__main__":
    main()
