"""What counts as a transport, and what counts as the same connection."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import pytest

from agent_messaging import ConfigurationError, Limits, WebSocketLike, as_transport
from agent_messaging._outbox import Outbox, OutboxPool
from agent_messaging.testing import RecordingTransport, VirtualTimeLoop, run_virtual
from support.loop import steps
from support.posting import CHUNK, Receipts


class Starlette:
    """``send`` takes ASGI dictionaries."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    async def send_text(self, data: str) -> None:
        self.frames.append(data)

    async def send(self, message: dict[str, object]) -> None:
        raise TypeError("no ASGI message")


class Aiohttp:
    def __init__(self) -> None:
        self.frames: list[str] = []

    async def send_str(self, data: str, compress: int | None = None) -> None:
        self.frames.append(data)

    async def send_bytes(self, data: bytes) -> None:
        raise TypeError("no bytes")


class Websockets:
    def __init__(self) -> None:
        self.frames: list[str] = []

    async def send(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        self.frames.append(message)


class DjangoConsumer:
    """Can be called, as an ASGI application, and sends with ``send``."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        raise TypeError("an ASGI application")

    async def send(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        assert text_data is not None
        self.frames.append(text_data)


class Everything:
    """All three: the most specific one counts."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    async def send_text(self, data: str) -> None:
        self.frames.append(data)

    async def send_str(self, data: str) -> None:
        raise TypeError("not this one")

    async def send(self, data: str) -> None:
        raise TypeError("not this one")


class WithoutText(Everything):
    """An attribute that cannot be called is none."""

    send_text = None  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]

    async def send_str(self, data: str) -> None:
        self.frames.append(data)


Socket: TypeAlias = (
    Starlette | Aiohttp | Websockets | DjangoConsumer | Everything | RecordingTransport
)


@pytest.mark.parametrize(
    "socket",
    [Starlette, Aiohttp, Websockets, DjangoConsumer, Everything, WithoutText, RecordingTransport],
)
def test_a_socket_sends_text_in_its_own_way(socket: Callable[[], Socket]) -> None:
    """That each is a ``WebSocketLike`` to the type checkers is a part of the test."""

    async def main() -> None:
        websocket = socket()
        await as_transport(websocket)("frame")
        assert websocket.frames == ["frame"]

    run_virtual(main())


def test_any_callable_that_returns_an_awaitable_is_a_transport() -> None:
    async def main() -> None:
        socket = Websockets()

        async def function(frame: str) -> None:
            await socket.send(frame)

        def future(frame: str) -> Awaitable[None]:
            return asyncio.ensure_future(socket.send(frame))

        for send in (function, future, socket.send, partial(socket.send)):
            await as_transport(send)("frame")
        assert socket.frames == ["frame"] * 4

    run_virtual(main())


@pytest.mark.parametrize(
    "socket", [Starlette, Aiohttp, Websockets, DjangoConsumer, RecordingTransport, dict]
)
def test_a_class_in_the_place_of_an_object_is_refused(socket: type) -> None:
    with pytest.raises(ConfigurationError, match=socket.__name__):
        as_transport(socket)


@pytest.mark.parametrize("websocket", [None, 5, "ws://host", object(), ["send"], {"send": print}])
def test_what_cannot_send_is_refused(websocket: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^a websocket is an async callable of one"):
        as_transport(websocket)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_call_of_an_async_function_in_the_place_of_the_function_is_refused() -> None:
    """A coroutine has a ``send`` of its own."""

    async def send(frame: str) -> None: ...

    call = send("frame")
    with pytest.raises(ConfigurationError):
        as_transport(call)
    call.close()


# The pool.


def same(first: WebSocketLike, second: WebSocketLike) -> bool:
    """Whether the two are one connection to a pool."""

    async def main() -> bool:
        pool = OutboxPool(Limits())
        return pool.acquire(first) is pool.acquire(second)

    return run_virtual(main())


def test_a_socket_is_one_connection() -> None:
    socket, other = Starlette(), Starlette()
    assert same(socket, socket)
    assert not same(socket, other)


def test_a_bound_method_is_the_same_each_time_it_is_taken() -> None:
    socket, other = Starlette(), Starlette()
    assert same(socket.send_text, socket.send_text)
    assert not same(socket.send_text, other.send_text)


@pytest.mark.parametrize("socket", [Starlette, Aiohttp, Websockets])
def test_a_socket_and_its_own_method_are_one_connection(
    socket: Callable[[], Starlette | Aiohttp | Websockets],
) -> None:
    websocket = socket()
    assert same(websocket, as_transport(websocket))


def test_two_methods_of_one_object_are_two_connections_whatever_their_names() -> None:
    def unnamed(method: Callable[["Hub", str], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def wrapper(self: "Hub", frame: str) -> None:
            await method(self, frame)

        return wrapper

    class Hub:
        @unnamed
        async def to_alice(self, frame: str) -> None: ...

        @unnamed
        async def to_bob(self, frame: str) -> None: ...

        async def to_carol(self, frame: str) -> None: ...

    hub = Hub()
    assert not same(hub.to_alice, hub.to_bob)
    assert not same(hub.to_alice, hub.to_carol)
    assert same(hub.to_alice, hub.to_alice)


def test_a_function_is_one_connection() -> None:
    async def send(frame: str) -> None: ...

    assert same(send, send)
    assert not same(send, partial(send))


def test_a_method_written_in_c_is_one_connection() -> None:
    frames: deque[str] = deque()
    others: deque[str] = deque()
    assert same(frames.append, frames.append)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert not same(frames.append, frames.appendleft)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert not same(frames.append, others.append)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@dataclass
class EqualSocket:
    """Equal to its like, and hence unhashable: still a connection of its own."""

    frames: list[str] = field(default_factory=list[str])

    async def send_text(self, data: str) -> None:
        self.frames.append(data)


def test_equal_sockets_are_two_connections() -> None:
    socket, other = EqualSocket(), EqualSocket()
    assert socket == other
    assert same(socket, socket)
    assert not same(socket, other)
    assert not same(socket.send_text, other.send_text)


def test_an_outbox_is_shared_while_it_is_in_use_and_forgotten_when_it_is_idle() -> None:
    async def main() -> None:
        pool, socket = OutboxPool(Limits()), Starlette()
        outbox = pool.acquire(socket)
        assert pool.acquire(socket) is outbox
        outbox.leave()
        assert pool.acquire(socket) is outbox
        outbox.leave()
        outbox.leave()
        assert pool.acquire(socket) is not outbox

    run_virtual(main())


def test_an_outbox_is_kept_while_frames_wait_though_nobody_holds_it() -> None:
    async def main() -> None:
        pool, transport = OutboxPool(Limits()), RecordingTransport(hangs_at=1)
        outbox = pool.acquire(transport)
        outbox.post("1", CHUNK, Receipts())
        outbox.leave()
        await steps()
        again = pool.acquire(transport)
        assert again is outbox
        again.post("2", CHUNK, Receipts())
        again.leave()
        transport.read_on(2)
        await steps()
        assert transport.frames == ["1", "2"]
        assert pool.acquire(transport) is not outbox

    run_virtual(main())


@pytest.mark.parametrize("failing", ["send", "writer before its first step"])
def test_a_failed_outbox_is_forgotten_when_nobody_holds_it(failing: str) -> None:
    async def main() -> None:
        pool, transport = OutboxPool(Limits()), RecordingTransport(fails_at=1)
        before = asyncio.all_tasks()
        outbox = pool.acquire(transport)
        outbox.post("frame", CHUNK, Receipts())
        if failing != "send":
            [writer] = asyncio.all_tasks() - before
            writer.cancel()
        await outbox.settle(1.0)
        assert pool.acquire(transport) is outbox
        outbox.leave()
        outbox.leave()
        assert pool.acquire(transport) is not outbox

    run_virtual(main())


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_outbox_that_fails_after_its_last_user_left_is_forgotten(cancelled: bool) -> None:
    async def main() -> None:
        pool, transport = OutboxPool(Limits()), RecordingTransport(fails_at=1)
        before = asyncio.all_tasks()
        outbox = pool.acquire(transport)
        outbox.post("frame", CHUNK, Receipts())
        outbox.leave()
        if cancelled:
            [writer] = asyncio.all_tasks() - before
            writer.cancel()
        await steps()
        assert outbox.failed
        assert pool.acquire(transport) is not outbox

    run_virtual(main())


@pytest.mark.usefixtures("collected")
def test_an_outbox_of_a_closed_loop_is_used_in_no_other() -> None:
    async def abandon() -> Outbox:
        outbox = pool.acquire(transport)
        outbox.post("frame", CHUNK, receipts)
        await steps()
        return outbox

    async def main() -> None:
        outbox = pool.acquire(transport)
        assert outbox is not abandoned
        assert receipts.all == [False]
        # Its last user may come to its end late, and takes the new one from nobody.
        abandoned.leave()
        assert pool.acquire(transport) is outbox

    pool, receipts = OutboxPool(Limits()), Receipts()
    transport = RecordingTransport(hangs_at=1)
    loop = VirtualTimeLoop()
    # The writer that is left behind is the point, and not to be reported as lost.
    loop.set_exception_handler(lambda loop, context: None)
    abandoned = loop.run_until_complete(abandon())
    loop.close()
    run_virtual(main())


@pytest.mark.usefixtures("collected")
def test_a_pool_is_closed_in_another_loop_than_the_one_that_left_a_writer_behind() -> None:
    async def abandon() -> None:
        outbox = pool.acquire(transport)
        outbox.post("frame", CHUNK, receipts)
        outbox.leave()
        await steps()

    pool, receipts = OutboxPool(Limits()), Receipts()
    transport = RecordingTransport(hangs_at=1)
    loop = asyncio.new_event_loop()
    # The writer that is left behind is the point, and not to be reported as lost.
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(abandon())
    loop.close()
    run_virtual(pool.aclose(5.0))
    assert receipts.all == [False]
    assert pool._outboxes == {}  # pyright: ignore[reportPrivateUsage]


def test_what_cannot_send_leaves_no_outbox_behind() -> None:
    async def main() -> None:
        pool = OutboxPool(Limits())
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                pool.acquire(None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await pool.aclose(1.0)

    run_virtual(main())


def test_another_threads_loop_keeps_its_outbox() -> None:
    """One transport may be that of two loops; neither takes what waits from the other."""
    pool, receipts = OutboxPool(Limits()), Receipts()
    transport = RecordingTransport(hangs_at=1)

    async def begin() -> Outbox:
        outbox = pool.acquire(transport)
        outbox.post("frame", CHUNK, receipts)
        await steps()
        return outbox

    async def other() -> Outbox:
        outbox = pool.acquire(transport)
        await pool.aclose(1.0)
        return outbox

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        first = runner.run(begin())
        assert run_virtual(other()) is not first
        assert receipts.all == []
        assert not first.failed
