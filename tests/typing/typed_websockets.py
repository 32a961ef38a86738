"""What type checkers take for a websocket, and what they do not; never run."""

import asyncio
import io
import socket
from collections.abc import Awaitable
from typing import Any, assert_type

from agent_messaging import SendsAny, SendsStr, SendsText, Transport, WebSocketLike, as_transport


async def send(frame: str) -> None:
    assert frame


def send_by_a_future(frame: str) -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


async def send_text_or_bytes(frame: str | bytes, compress: int | None = None) -> int:
    return len(frame) + (compress or 0)


class Text:
    async def send_text(self, data: str) -> None:
        assert data


class Str:
    async def send_str(self, data: str, compress: int | None = None) -> None:
        assert data


class SendOfAll:
    async def send(self, message: str | bytes, *, text: bool | None = None) -> bool:
        return bool(message and text)


class Asgi(Text):
    """As Starlette's: ``send`` takes a dictionary, and ``send_text`` is there."""

    async def send(self, message: dict[str, object]) -> None:
        assert message


class CallableSocket:
    async def __call__(self, frame: str) -> None:
        assert frame


def whatever_sends_one_text_frame_is_a_websocket(
    queue: asyncio.Queue[str], untyped: Any, socket_like: WebSocketLike
) -> None:
    as_transport(send)
    as_transport(send_by_a_future)
    as_transport(send_text_or_bytes)
    as_transport(Text())
    as_transport(Text().send_text)
    as_transport(Str())
    as_transport(SendOfAll())
    as_transport(Asgi())
    as_transport(CallableSocket())
    as_transport(queue.put)
    as_transport(untyped)
    as_transport(socket_like)


async def a_transport_is_called_with_text(transport: Transport) -> None:
    assert_type(as_transport(send), Transport)
    assert_type(transport("{}"), Awaitable[object])
    await transport(b"{}")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await transport()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def the_protocols_can_be_named() -> tuple[SendsText, SendsStr, SendsAny]:
    return Text(), Str(), SendOfAll()


class BlockingSend:
    def send(self, data: str) -> None:
        assert data


class BytesSend:
    async def send(self, data: bytes) -> None:
        assert data


class AsgiAlone:
    async def send(self, message: dict[str, object]) -> None:
        assert message


class SendOfTwo:
    async def send_text(self, kind: str, data: str) -> None:
        assert kind + data


class NamedOtherwise:
    async def write(self, data: str) -> None:
        assert data


async def send_nothing() -> None: ...


async def send_bytes(frame: bytes) -> None:
    assert frame


def what_is_no_websocket_is_refused(
    plain: socket.socket, queue: asyncio.Queue[str], writer: asyncio.StreamWriter
) -> None:
    as_transport(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport("ws://host")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(send_nothing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(send_bytes)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(BlockingSend())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(BytesSend())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(AsgiAlone())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(SendOfTwo())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(NamedOtherwise())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(Text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(queue)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(queue.put_nowait)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(writer)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_transport(io.StringIO().write)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
