"""The sockets of real frameworks, as type checkers see them; never run.

Checked only where the frameworks are installed.
"""

from typing import assert_type

import aiohttp
import anyio.abc
import anyio.streams.memory
import msgspec
import orjson
from aiohttp import web
from channels.generic.websocket import AsyncWebsocketConsumer
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.sync.server import ServerConnection as BlockingServerConnection

from agent_messaging import (
    AgentMessageHandler,
    Endpoint,
    Message,
    MessageRouter,
    NativeDialect,
    SendsAny,
    SendsStr,
    SendsText,
    SessionEnd,
    SessionEndReason,
    Stream,
    as_transport,
)


async def starlette_and_fastapi(
    handler: AgentMessageHandler, websocket: WebSocket, message: Message
) -> None:
    named: SendsText = websocket
    as_transport(named)
    await handler.handle_message("u1", websocket, message)
    await handler.handle_message("u1", websocket.send_text, message)
    as_transport(websocket.send)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(websocket.send_bytes)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def starlette_serves(router: MessageRouter, websocket: WebSocket) -> None:
    async for frame in websocket.iter_text():
        assert_type(await router.handle_frame("u1", websocket, frame), bool)
    async for octets in websocket.iter_bytes():
        assert_type(await router.handle_frame("u1", websocket, octets), bool)


async def starlette_serves_sessions(endpoint: Endpoint, websocket: WebSocket) -> None:
    end = await endpoint.serve("u1", websocket.iter_text(), websocket.send_text)
    assert_type(end, SessionEnd)
    await endpoint.serve("u1", websocket.iter_bytes(), websocket)


def starlette_responds_with_a_stream(stream: Stream) -> StreamingResponse:
    return StreamingResponse(stream, headers=stream.headers)


async def aiohttp_serves_sessions(
    endpoint: Endpoint, server: web.WebSocketResponse, stream: Stream, request: web.Request
) -> None:
    frames = (message.data async for message in server)
    await endpoint.serve("u1", frames, server.send_str)
    # What it gives are its own messages, which the host takes the frames out of.
    await endpoint.serve("u1", server, server)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    response = web.StreamResponse(headers=stream.headers)
    await response.prepare(request)
    async for event in stream:
        await response.write(event)


async def aiohttp_on_both_sides(
    handler: AgentMessageHandler,
    server: web.WebSocketResponse,
    client: aiohttp.ClientWebSocketResponse,
    message: Message,
) -> None:
    named: SendsStr = server
    as_transport(named)
    await handler.handle_message("u1", server, message)
    await handler.handle_message("u1", server.send_str, message)
    await handler.handle_message("u1", client, message)
    as_transport(server.send_bytes)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def websockets_on_both_sides(
    handler: AgentMessageHandler,
    router: MessageRouter,
    server: ServerConnection,
    client: ClientConnection,
    message: Message,
) -> None:
    named: SendsAny = server
    as_transport(named)
    await handler.handle_message("u1", server, message)
    await handler.handle_message("u1", server.send, message)
    await handler.handle_message("u1", client, message)
    async for frame in server:
        assert_type(await router.handle_frame("u1", server, frame), bool)


async def websockets_serves_sessions(endpoint: Endpoint, server: ServerConnection) -> None:
    assert_type(await endpoint.serve("u1", server, server.send), SessionEnd)
    await endpoint.serve("u1", server, server)


def a_blocking_socket_is_refused(server: BlockingServerConnection) -> None:
    as_transport(server)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def channels(
    handler: AgentMessageHandler, consumer: AsyncWebsocketConsumer, message: Message
) -> None:
    await handler.handle_message("u1", consumer, message)
    await handler.handle_message("u1", consumer.send, message)


async def channels_opens_sessions(endpoint: Endpoint, consumer: AsyncWebsocketConsumer) -> None:
    async def close(reason: SessionEndReason) -> None:
        await consumer.close()  # type: ignore[no-untyped-call]

    await endpoint.open("u1", consumer.send, close=close)


async def anyio_streams(
    handler: AgentMessageHandler,
    stream: anyio.abc.ObjectSendStream[str],
    memory: anyio.streams.memory.MemoryObjectSendStream[str],
    octets: anyio.abc.ByteSendStream,
    message: Message,
) -> None:
    await handler.handle_message("u1", stream, message)
    await handler.handle_message("u1", memory, message)
    as_transport(octets)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def anyio_serves_sessions(
    endpoint: Endpoint,
    texts: anyio.abc.ObjectReceiveStream[str],
    stream: anyio.abc.ObjectSendStream[str],
) -> None:
    await endpoint.serve("u1", texts, stream)


def json_libraries_plug_in() -> None:
    NativeDialect(loads=orjson.loads, dumps=orjson.dumps)
    NativeDialect(loads=msgspec.json.decode, dumps=msgspec.json.encode)
    NativeDialect(loads=msgspec.json.Decoder().decode, dumps=msgspec.json.Encoder().encode)
    NativeDialect(loads=orjson.dumps, dumps=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
