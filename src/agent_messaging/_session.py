"""One connection of one user: frames in, and what the user watches out."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, TypeAlias, final

from typing_extensions import Buffer

from agent_messaging._delivery import Delivery
from agent_messaging._errors import RemoteError, TransportError
from agent_messaging._log import log, raised_at
from agent_messaging._log_access import note_trouble, tell_watched
from agent_messaging._messages import MessageType
from agent_messaging._outbox import Transport
from agent_messaging._services import Services
from agent_messaging._session_end import (
    FAREWELLS,
    CloseCallback,
    SessionEnd,
    SessionEndReason,
)
from agent_messaging._timeouts import timeout_after
from agent_messaging._users import User

__all__ = ["Session"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")

#: Seconds that a heartbeat may be early by, as the clock's steps go.
_TOLERANCE: Final = 1e-3

#: Takes a frame; raises `RemoteError` for one that is refused.
Take: TypeAlias = Callable[["Session", str | Buffer], Coroutine[Any, Any, None]]


@final
class Session:
    """One connection of one user; made by `Endpoint.open`, never by a host.

    Attributes:
        user_id: the authenticated user.
        connection_id: this connection, new for each session.
        metadata: what the host handed in, for the contexts of the session's runs.
        end: how it ended; None while it is open.
    """

    __slots__ = (
        "_calls",
        "_close",
        "_ends_when_quiet",
        "_heartbeat",
        "_idle",
        "_order",
        "_services",
        "_take",
        "connection_id",
        "delivery",
        "end",
        "expected",
        "metadata",
        "on_end",
        "thread_id",
        "user",
        "user_id",
    )

    def __init__(
        self,
        services: Services,
        user: User,
        connection_id: str,
        send: Transport,
        close: CloseCallback | None,
        metadata: Mapping[str, object],
        take: Take,
    ) -> None:
        self.user: Final = user
        self.user_id: Final[str] = user.user_id
        self.connection_id: Final = connection_id
        self.metadata: Final = metadata
        self.end: SessionEnd | None = None
        #: What goes out.
        self.delivery: Final = Delivery(
            services, user.user_id, send, self.finish, self._end_if_quiet, self._tell_owner
        )
        #: The thread of messages that name none: the first that the session used.
        self.thread_id: str | None = None
        #: Called at its end, for whoever waits for frames meanwhile.
        self.on_end: Callable[[], None] | None = None
        #: Answers that are still to be made, as a STOPPED.
        self.expected: int = 0
        self._services = services
        self._close = close
        self._take = take
        self._ends_when_quiet = False
        self._order = asyncio.Lock()
        #: Of each whether it is work of the host's, for which a drain waits.
        self._calls: dict[asyncio.Task[None], bool] = {}
        self._heartbeat: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        if services.heartbeat is not None:
            self._heartbeat = self._later(services.heartbeat, self._beat)
        self._await_frame()

    # In.

    async def receive(self, frame: str | Buffer) -> None:
        """Take one frame of the client, as text or as UTF-8.

        Returns once the frame is accepted or answered, and waits for no run. It does wait while
        more answers wait for the client to read them than the limits allow. After the session's
        end a frame is dropped. Raises nothing but a cancellation.
        """
        # Taken by hand: an `async with` makes two coroutines more for each frame.
        await self._order.acquire()
        try:
            if self.delivery.is_full:
                await self.delivery.room()
            if self.end is None:
                self._await_frame()
                await self._take(self, frame)
        except RemoteError as refusal:
            self.delivery.answer(MessageType.ERROR_MESSAGE, refusal.reply)
        finally:
            self._order.release()

    async def serve(self, frames: AsyncIterable[str | Buffer]) -> None:
        """Take frames until they, or the session, end; what they raise is a disconnect."""
        try:
            # Its way out, when the session ends while the client is silent.
            async with timeout_after(None) as scope:
                self.on_end = lambda: scope.reschedule(asyncio.get_running_loop().time())
                async for frame in frames:
                    await self.receive(frame)
                    if self.end is not None:
                        break
        except Exception as error:  # noqa: BLE001 - whatever the host's frames raise
            self.on_end = None  # nobody is on the way any more who would have to be let out
            self.finish("disconnected", error)
        finally:
            self.on_end = None
            if isinstance(frames, AsyncGenerator):
                try:
                    await frames.aclose()
                except Exception as error:  # noqa: BLE001 - as above
                    self.finish("disconnected", error)

    async def close(self) -> None:
        """End the session: the client is gone, or is to go. Idempotent.

        The ``close`` callback is not called. What was not sent by now is not sent any more.
        """
        self._close = None
        self.finish("disconnected")
        await self.delivery.wait_sent()

    def watched_elsewhere(self) -> Iterator[str]:
        """The runs of other owners that it watches."""
        return (watch.run_id for watch in self.delivery.watches if watch.active is None)

    async def wait_sent(self) -> None:
        """Wait until there is nothing to send."""
        await self.delivery.wait_sent()

    def call(
        self, work: Coroutine[Any, Any, None], ended: Callable[[], None], *, is_work: bool = True
    ) -> None:
        """Have a handler of the host's work for this session; cancelled at its end.

        Args:
            work: the handler's.
            ended: called when it has ended, or was not begun.
            is_work: whether a drain waits for it; false where it does no more than wait itself.
        """
        if self.end is not None:  # while what led here waited for the log
            work.close()
            ended()
            return
        task = self._services.tasks.spawn(work, f"handler {self.connection_id}")
        self._calls[task] = is_work

        def done(task: asyncio.Task[None]) -> None:
            # Cancelled before its first step, it has run none of its code.
            ended()
            del self._calls[task]
            self._end_if_quiet()

        task.add_done_callback(done)

    async def end_calls(self, *, are_cancelled: bool) -> None:
        """Wait for the host's handlers; cancelled, they have ``cancel_grace`` to end."""
        calls = [call for call, is_work in self._calls.items() if is_work]
        if are_cancelled:
            for call in calls:
                call.cancel()
        if calls:
            timeout = self._services.cancel_grace if are_cancelled else None
            await asyncio.wait(calls, timeout=timeout)

    async def __call__(self, frame: str) -> None:
        """Send one frame of the host's own: what a handler of a host gets as its websocket.

        Raises:
            TransportError: the session has ended.
        """
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.delivery.post(
            frame, sent=lambda was: None if accepted.done() else accepted.set_result(was)
        )
        if not await accepted:
            raise TransportError("the session has ended")

    def _tell_owner(self, run_id: str) -> None:
        """Tell a run's owner that it is watched, who may be about to end it for want of that."""
        self._services.tasks.spawn(self._tell_watched(run_id), f"watch {run_id}")

    async def _tell_watched(self, run_id: str) -> None:
        services = self._services
        try:
            await tell_watched(services.log, self.user_id, run_id, services.log_timeout)
        except Exception as error:  # noqa: BLE001 - a log of the host's may raise anything
            note_trouble(error)

    # Its end.

    def end_when_quiet(self) -> None:
        """End as completed once nothing more is to come, as a stream does."""
        self._ends_when_quiet = True
        self._end_if_quiet()

    def _end_if_quiet(self) -> None:
        if self._ends_when_quiet and self.delivery.is_quiet and not (self.expected or self._calls):
            self.finish("completed")

    def finish(self, reason: SessionEndReason, error: Exception | None = None) -> None:
        """End the session, synchronously; the first reason counts."""
        if self.end is not None:
            return
        self.end = SessionEnd(reason=reason, error=error)
        services = self._services
        is_slow = reason == "slow_consumer"
        services.counters.slow_consumers += is_slow
        for timer in (self._heartbeat, self._idle):
            if timer is not None:
                timer.cancel()
        for call in self._calls:
            call.cancel()
        self.delivery.close(
            self._farewell(reason), services.slow_consumer_grace if is_slow else 0.0
        )
        if self.on_end is not None:
            self.on_end()
        self.user.leave(self)
        fields: dict[str, object] = {
            "user_id": self.user_id,
            "connection_id": self.connection_id,
            "reason": reason,
        }
        if error is not None:
            fields |= {"error": type(error).__name__, "raised_at": raised_at(error)}
        log(_logger, logging.INFO, "session_ended", fields)
        if self.delivery.is_writing or self._close is not None:
            services.tasks.spawn(self._shut_down(reason), f"close {self.connection_id}")

    def _farewell(self, reason: SessionEndReason) -> str | None:
        words = FAREWELLS.get(reason)
        if words is None:
            return None
        services = self._services
        reply = RemoteError(*words).reply
        return services.dialect.encode_control(
            MessageType.ERROR_MESSAGE, reply, services.clock.wall()
        )

    async def _shut_down(self, reason: SessionEndReason) -> None:
        """See the writer to its end, and have the host close the socket; both bounded."""
        await self.delivery.end_writer()
        if self._close is not None:
            async with timeout_after(self._services.final_send_timeout):
                await self._close(reason)

    # Timers.

    def _later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, action)

    def _beat(self) -> None:
        """Send a heartbeat if nothing else was sent for as long."""
        interval = self._services.heartbeat or 0.0
        left = interval - self.delivery.silence
        if self.delivery.is_writing:
            left = interval
        elif left <= _TOLERANCE:
            self.delivery.answer(MessageType.HEARTBEAT, {})
            left = interval
        self._heartbeat = self._later(left, self._beat)

    def _await_frame(self) -> None:
        if self._services.idle_timeout is not None:
            if self._idle is not None:
                self._idle.cancel()
            self._idle = self._later(self._services.idle_timeout, self._be_idle)

    def _be_idle(self) -> None:
        """End a session of which nothing was heard, and which has nothing to wait for."""
        if self.delivery.watches:
            self._await_frame()
        else:
            self.finish("idle")
