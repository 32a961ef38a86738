"""The one writer to a host's ``send``: bounded, ordered, and cut by no run's cancellation."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextvars import copy_context
from heapq import heappop, heappush
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Final, Protocol, TypeAlias, cast, final

from agent_messaging._errors import ConfigurationError, OutboxFullError, TransportError
from agent_messaging._limits import Limits
from agent_messaging._log import log, raised_at
from agent_messaging._messages import MessageType

__all__ = [
    "ACCEPTED",
    "Outbox",
    "OutboxPool",
    "SendsAny",
    "SendsStr",
    "SendsText",
    "Transport",
    "WebSocketLike",
    "as_transport",
]

_logger: Final = logging.getLogger("agent_messaging.outbox")

#: Sends one text frame; it has gone out when the call returns, and failed when it raises.
Transport: TypeAlias = Callable[[str], Awaitable[object]]


class SendsText(Protocol):
    """A socket as Starlette's and FastAPI's."""

    def send_text(self, data: str, /) -> Awaitable[object]:
        """Send one text frame."""
        ...


class SendsStr(Protocol):
    """A socket as aiohttp's."""

    def send_str(self, data: str, /) -> Awaitable[object]:
        """Send one text frame."""
        ...


class SendsAny(Protocol):
    """A socket as websockets' and Channels'."""

    def send(self, data: str, /) -> Awaitable[object]:
        """Send one text frame."""
        ...


#: What `as_transport` knows.
WebSocketLike: TypeAlias = Transport | SendsText | SendsStr | SendsAny


def as_transport(websocket: WebSocketLike) -> Transport:
    """The way to send one text frame over ``websocket``.

    An object is asked for ``send_text``, ``send_str`` and ``send``, in this order, since
    Starlette's own ``send`` takes ASGI dictionaries; anything else that can be called is taken
    for an async callable of one text frame.

    Raises:
        ConfigurationError: it is neither.
    """
    if isinstance(websocket, _FUNCTIONS):
        return cast("Transport", websocket)
    for name in ("send_text", "send_str", "send"):
        method: object = getattr(websocket, name, None)
        if callable(method) and not _is_mistaken(websocket):
            return cast("Transport", method)
    if callable(websocket) and not _is_mistaken(websocket):
        return websocket
    raise ConfigurationError(
        "a websocket is an async callable of one text frame, or an object with async send_text, "
        f"send_str or send, not {websocket!r}"
    )


def _is_mistaken(websocket: object) -> bool:
    """Whether it is a class, or a call of an async function, in the place of the thing itself."""
    return inspect.isclass(websocket) or inspect.iscoroutine(websocket)


#: Functions have none of the methods, and asking each of them for three takes time.
_FUNCTIONS: Final[tuple[type, ...]] = (FunctionType, MethodType)


#: An iterator is all that awaiting asks for, and one that has come to its end stays there.
_NOTHING: Final = cast("Generator[object, None, None]", iter(()))


class _Accepted:
    """What awaiting an event costs while there is room: next to nothing."""

    __slots__ = ()

    def __await__(self) -> Generator[object, None, None]:
        return _NOTHING


#: Awaiting it returns at once.
ACCEPTED: Final = _Accepted()

#: Told for each frame whether the transport accepted it.
Receipt: TypeAlias = Callable[[MessageType, bool], None]


@final
class Outbox:
    """The frames on their way to one connection.

    A writer task exists only while frames wait. It runs in the context in which the outbox was
    made, so that nothing a run sets reaches it.

    Not for hosts: a handler makes and keeps them.
    """

    __slots__ = (
        "_bound",
        "_context",
        "_error",
        "_is_watched",
        "_loop",
        "_overrun",
        "_queue",
        "_release",
        "_send",
        "_sent",
        "_ties",
        "_waiters",
        "_writer",
        "is_blocked",
        "users",
        "websocket",
    )

    def __init__(
        self,
        websocket: WebSocketLike,
        send: Transport,
        limits: Limits,
        release: Callable[["Outbox"], object],
    ) -> None:
        self.websocket: Final[WebSocketLike] = websocket
        #: The messages in work that may still post; the pool keeps the outbox for them.
        self.users: int = 0
        #: Whether `check` has anything to say; on the path of every event, hence no property.
        self.is_blocked: bool = False
        self._send = send
        self._bound = limits.outbox_frames
        self._overrun = limits.outbox_overrun
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._queue: deque[tuple[str, MessageType, Receipt]] = deque()
        self._sent = 0
        self._error: BaseException | None = None
        self._writer: asyncio.Task[None] | None = None
        self._is_watched = False
        # A heap: what must be sent, a tie-breaker, and who waits for it.
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ties = 0

    @property
    def failed(self) -> bool:
        """Whether the transport failed; nothing is sent after that."""
        return self._error is not None

    @property
    def is_of_running_loop(self) -> bool:
        """Whether its writer can run: a loop that is closed leaves its outboxes behind."""
        return self._loop is asyncio.get_running_loop()

    def leave(self) -> None:
        """One user less; the pool forgets the outbox when nobody may post and nothing waits."""
        self.users -= 1
        if not self.users:
            if self._writer is None:
                self._release(self)
            else:
                self._watch()

    def check(self) -> None:
        """See that an agent's event can be taken.

        Raises:
            TransportError: the transport failed.
            OutboxFullError: events were emitted without awaiting them until no more can wait.
        """
        if self._error is not None:
            raise TransportError("the connection takes no more frames") from self._error
        if len(self._queue) >= self._overrun:
            raise OutboxFullError(
                f"{len(self._queue)} frames wait for the connection; await the emits"
            )
        self.is_blocked = False

    def post(self, frame: str, kind: MessageType, receipt: Receipt) -> Awaitable[None]:
        """Put one frame behind those that wait; awaiting the result waits while it is full.

        The frame goes out whether or not the result is awaited. After the transport failed it
        goes nowhere, which its receipt says.
        """
        if self._error is not None:
            receipt(kind, False)
            return ACCEPTED
        queue = self._queue
        queue.append((frame, kind, receipt))
        if self._writer is None:
            self._start()
        waiting = len(queue)
        if waiting <= self._bound:
            return ACCEPTED
        self.is_blocked = waiting >= self._overrun
        return _Room(self)

    async def settle(self, timeout: float) -> asyncio.CancelledError | None:
        """Wait until all that was posted so far is sent, the transport failed, or ``timeout``.

        In seconds. One cancellation meanwhile is returned, for the caller to raise when its
        work is done; a second one ends the waiting. Neither ends the sending.
        """
        target = self._sent + len(self._queue)
        cancelled: asyncio.CancelledError | None = None
        if self._settled(target):
            return None
        try:
            # The writer runs before this task does again, and most transports accept at once.
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            cancelled = error
        deadline = self._loop.time() + timeout
        while not self._settled(target):
            remaining = deadline - self._loop.time()
            if remaining <= 0:
                log(_logger, logging.WARNING, "outbox_unsettled", {"frames": target - self._sent})
                break
            try:
                await asyncio.wait([self._waiter(target)], timeout=remaining)
            except asyncio.CancelledError as error:
                if cancelled is not None:
                    return error
                cancelled = error
        return cancelled

    async def room(self) -> None:
        """Wait while the outbox is full."""
        target = self._sent + len(self._queue) - self._bound
        while not self._settled(target):
            await self._waiter(target)

    async def aclose(self, timeout: float) -> None:
        """Wait for what is left, at most ``timeout`` seconds; then end the writer."""
        deadline = self._loop.time() + timeout
        cancelled: asyncio.CancelledError | None = None
        # Again for what was posted while it waited.
        while cancelled is None and self._queue and self._loop.time() < deadline:
            cancelled = await self.settle(deadline - self._loop.time())
        writer = self._writer
        if writer is not None:
            writer.cancel()
            # Bounded too: a send that swallows its cancellation must not hold the close. The time
            # that is left may be none, and one that does not swallow it still needs a turn.
            await asyncio.wait([writer], timeout=max(deadline - self._loop.time(), 0.1))
        if cancelled is not None:
            raise cancelled

    def abandon_if_closed(self) -> None:
        """Give up what waits, where the loop that was to send it is no longer there."""
        if not self._loop.is_closed():
            return
        self._writer = None
        self._waiters.clear()
        self._fail(RuntimeError("the event loop of the connection is gone"))
        self._release(self)

    def _settled(self, target: int) -> bool:
        return self._sent >= target or self._error is not None

    def _waiter(self, target: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._ties += 1
        heappush(self._waiters, (target, self._ties, future))
        self._watch()
        return future

    def _start(self) -> None:
        if self._loop.is_closed():
            self._fail(RuntimeError("the event loop is closed"))
            return
        self._is_watched = False
        writer = self._loop.create_task(
            self._write(), name="agent_messaging outbox", context=self._context
        )
        # Under an eager task factory the writer may have come to its end already.
        self._writer = None if writer.done() else writer

    def _watch(self) -> None:
        # A writer that is cancelled before its first step cannot say so itself. Only where
        # somebody relies on it: on every writer the callback would cost each message a turn
        # of the loop.
        if self._writer is not None and not self._is_watched:
            self._is_watched = True
            self._writer.add_done_callback(self._written, context=self._context)

    async def _write(self) -> None:
        queue = self._queue
        send = self._send
        try:
            while queue:
                frame, kind, receipt = queue[0]
                await send(frame)
                queue.popleft()
                self._sent += 1
                receipt(kind, True)
                if self._waiters:
                    self._wake()
        except Exception as error:  # noqa: BLE001 - whatever the host's send raises
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._writer = None
            if not self.users:
                self._release(self)

    def _written(self, writer: asyncio.Task[None]) -> None:
        if self._writer is writer:
            self._writer = None
            self._fail(asyncio.CancelledError())
            if not self.users:
                self._release(self)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self.is_blocked = True
        fields: dict[str, object] = {
            "error": type(error).__name__,
            "raised_at": raised_at(error),
            "undelivered": len(self._queue),
        }
        log(_logger, logging.DEBUG, "transport_error", fields, error)
        log(_logger, logging.INFO, "transport_failed", fields)
        while self._queue:
            _, kind, receipt = self._queue.popleft()
            receipt(kind, False)
        self._wake()

    def _wake(self) -> None:
        waiters = self._waiters
        while waiters and self._settled(waiters[0][0]):
            future = heappop(waiters)[2]
            if not future.done():
                future.set_result(None)


@final
class _Room:
    """Waits for room when awaited; left alone, it leaves nothing behind."""

    __slots__ = ("_outbox",)

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def __await__(self) -> Generator[object, None, None]:
        return self._outbox.room().__await__()


@final
class OutboxPool:
    """The outboxes in use, one for each connection, so that no two writers share a socket."""

    __slots__ = ("_limits", "_outboxes")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._outboxes: dict[object, Outbox] = {}

    def acquire(self, websocket: WebSocketLike) -> Outbox:
        """The connection's outbox; call its `leave` when no more will be posted.

        Raises:
            ConfigurationError: ``websocket`` is nothing that `as_transport` knows.
        """
        send = as_transport(websocket)
        key = _identity(send)
        outbox = self._outboxes.get(key)
        if outbox is not None and not outbox.is_of_running_loop:
            # Another thread's loop may still send with it; that of a closed loop nobody can.
            outbox.abandon_if_closed()
            outbox = None
        if outbox is None:
            outbox = Outbox(websocket, send, self._limits, lambda box: self._forget(key, box))
            self._outboxes[key] = outbox
        outbox.users += 1
        return outbox

    def _forget(self, key: object, outbox: Outbox) -> None:
        if self._outboxes.get(key) is outbox:
            del self._outboxes[key]

    async def aclose(self, timeout: float) -> None:
        """Wait for what is left on every connection, at most ``timeout`` seconds; then end it."""
        async with asyncio.TaskGroup() as closing:
            for outbox in list(self._outboxes.values()):
                if outbox.is_of_running_loop:
                    closing.create_task(outbox.aclose(timeout))
                else:
                    outbox.abandon_if_closed()


def _identity(send: Transport) -> object:
    """What is the same for the same connection: bound methods are made anew at each access."""
    if isinstance(send, MethodType):
        return (id(send.__self__), id(send.__func__))
    if isinstance(send, BuiltinMethodType):
        return (id(send.__self__), send.__name__)
    return id(send)
