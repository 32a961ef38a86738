"""The process's runs and sessions: what a host opens once and serves its sockets with."""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, final

from typing_extensions import Buffer

from agent_messaging._checks import check_seconds, check_user
from agent_messaging._control import ControlLane
from agent_messaging._emitter import Clock
from agent_messaging._endpoint_stats import ActiveRunInfo, EndpointStats, UserStats
from agent_messaging._errors import ConfigurationError, ErrorCode, RemoteError
from agent_messaging._handler import MessageHandler
from agent_messaging._ids import made_id, new_id
from agent_messaging._intake import Intake
from agent_messaging._limits import DEFAULT_LIMITS, Limits
from agent_messaging._log import log as log_event
from agent_messaging._messages import MessageType
from agent_messaging._outbox import Transport, WebSocketLike, as_transport
from agent_messaging._policies import OnDisconnect, SlowConsumers, ThreadPolicy
from agent_messaging._run import NO_METADATA
from agent_messaging._services import Services
from agent_messaging._session import Session
from agent_messaging._session_end import CloseCallback, SessionEnd
from agent_messaging._stream import Stream, StreamTransport
from agent_messaging._timeouts import timeout_after
from agent_messaging._upkeep import Upkeep
from agent_messaging._users import User, Users
from agent_messaging.dialects.native import NativeDialect
from agent_messaging.eventlog.memory import MemoryEventLog
from agent_messaging.eventlog.protocol import EventLog, Notice

__all__ = ["Endpoint"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")


@final
class Endpoint:
    """Hosts the runs of a process, and the sessions that watch them.

    An asynchronous context manager, to be entered once, in the event loop of its sockets. Leaving
    it drains: see `drain`. Each of its methods raises `ConfigurationError` before it was entered.

    Args:
        handler: an `AgentMessageHandler`, or a `MessageRouter` of several handlers.
        log: where events are kept; by default a `MemoryEventLog` of its own, which it closes.
        dialect: decodes the frames and encodes what is no run's event.
        limits: the bounds on frames, users and sessions.
        thread_policy: what becomes of a message whose thread has a run already: ``queue``,
            ``reject``, ``replace`` or ``parallel``.
        on_disconnect: what becomes of a run when its last watcher leaves: ``cancel``, ``detach``,
            or `grace` of some seconds.
        slow_consumers: whether a session that falls too far behind is to ``end``, or the agent to
            ``wait`` for it, as where the only reader is trusted.
        cancel_grace: seconds after its cancellation in which an agent has to end; one that has
            not is abandoned, and its run ended.
        slow_consumer_grace: seconds that the runs of a session that was too slow go on at least.
        send_timeout: seconds that one send may take.
        final_send_timeout: seconds that a session's last frames may take, and that a run which
            has ended waits for its events to be delivered before it is reported.
        idle_timeout: seconds without a frame of the client, and without a run that it watches,
            after which its session ends; None for no bound.
        heartbeat: seconds of silence after which a session is sent a heartbeat; None for none.
        drain_timeout: seconds that leaving the endpoint waits for runs before it cancels them.
        log_timeout: seconds for which the log is asked again when it cannot answer.
        lease_seconds: seconds for which a run is this endpoint's without a renewal; three go into
            them. If the process dies, another endpoint over the same log, or the next process,
            ends its runs as ``interrupted`` that long afterwards.
        clock: where the times on the wire come from; of runs by default the handler's.
        new_id: makes thread, run, message and connection ids.

    Raises:
        ConfigurationError: an argument is not what it has to be.
    """

    def __init__(
        self,
        handler: MessageHandler,
        *,
        log: EventLog | None = None,
        dialect: NativeDialect | None = None,
        limits: Limits = DEFAULT_LIMITS,
        thread_policy: ThreadPolicy = "queue",
        on_disconnect: OnDisconnect = "cancel",
        slow_consumers: SlowConsumers = "end",
        cancel_grace: float = 10.0,
        slow_consumer_grace: float = 30.0,
        send_timeout: float = 30.0,
        final_send_timeout: float = 5.0,
        idle_timeout: float | None = None,
        heartbeat: float | None = 25.0,
        drain_timeout: float = 30.0,
        log_timeout: float = 10.0,
        lease_seconds: float = 30.0,
        clock: Clock | None = None,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        if not callable(getattr(handler, "can_handle", None)):
            kinds = "an AgentMessageHandler or a MessageRouter"
            raise ConfigurationError(f"a handler is {kinds}, not {handler!r}")
        self._has_own_log = log is None
        self._services = Services(
            log=MemoryEventLog() if log is None else log,
            dialect=dialect or NativeDialect(limits=limits),
            limits=limits,
            clock=clock or Clock(),
            run_clock=clock,
            thread_policy=thread_policy,
            on_disconnect=on_disconnect,
            slow_consumers=slow_consumers,
            cancel_grace=cancel_grace,
            slow_consumer_grace=slow_consumer_grace,
            send_timeout=send_timeout,
            final_send_timeout=final_send_timeout,
            idle_timeout=idle_timeout,
            heartbeat=heartbeat,
            log_timeout=log_timeout,
            lease_seconds=lease_seconds,
        )
        check_seconds("drain_timeout", drain_timeout)
        self._drain_timeout = drain_timeout
        self._new_id = new_id
        self._owner = made_id(new_id)
        self._control = ControlLane(self._services)
        self._intake = Intake(self._services, handler, self._control, new_id, self._owner)
        self._users = Users(limits)
        self._upkeep = Upkeep(self._services, self._users, self._owner)
        self._unfollow_notices: Callable[[], None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        if self._unfollow_notices is not None:
            raise ConfigurationError("an endpoint is entered once")
        self._unfollow_notices = self._services.log.follow_notices(self._owner, self._told)
        if not self._has_own_log:  # nobody else has runs in a log that nobody else has
            self._upkeep.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.drain()
        except asyncio.CancelledError:
            # The runs are cancelled, and their clients are to hear of it all the same.
            await self._see_out()
            raise
        finally:
            await self._close()

    # Sessions.

    async def serve(
        self,
        user_id: str,
        frames: AsyncIterable[str | Buffer],
        websocket: WebSocketLike,
        *,
        metadata: Mapping[str, object] | None = None,
    ) -> SessionEnd:
        """Serve one connection whose frames can be iterated over, until it ends.

        Args:
            user_id: the authenticated user, from the host and never from a frame.
            frames: the client's frames, as text or as UTF-8; what it raises is a disconnect.
            websocket: where frames go: anything that `as_transport` knows.
            metadata: for the contexts of the session's runs, as the host likes.

        Returns:
            How it ended. The host closes the socket, if that is still open.

        Raises:
            ConfigurationError: ``user_id`` is no id, ``websocket`` is nothing that can be sent
                with, or the endpoint was not entered.
            CancelledError: the call was cancelled; the session has ended as disconnected.
        """
        send = self._checked(user_id, websocket)
        try:
            session = self._open(user_id, send, None, metadata)
        except RemoteError as refusal:
            await self._refuse(send, refusal)
            return SessionEnd(reason="refused", error=refusal)
        try:
            await session.serve(frames)
        finally:
            session.finish("disconnected")
        await session.wait_sent()
        return session.end or SessionEnd(reason="disconnected")

    async def open(
        self,
        user_id: str,
        websocket: WebSocketLike,
        *,
        close: CloseCallback | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Session:
        """Open a session for a connection that calls back: hand each frame to its `receive`.

        Args:
            user_id: as for `serve`.
            websocket: as for `serve`.
            close: called once, if the library ends the session, with the reason; is to close the
                socket.
            metadata: as for `serve`.

        Raises:
            RemoteError: ``too_many_sessions``, or ``shutting_down`` once the endpoint was left;
                the host closes the socket.
            ConfigurationError: as for `serve`.
        """
        return self._open(user_id, self._checked(user_id, websocket), close, metadata)

    async def stream(
        self,
        user_id: str,
        body: str | Buffer,
        *,
        metadata: Mapping[str, object] | None = None,
    ) -> Stream:
        """Answer one frame, a request's body, by a stream of server-sent events.

        The stream ends when nothing more is to come: for a message or a RESUME, when the runs
        have ended.

        Raises:
            RemoteError: the frame is refused; nothing was streamed, and the host answers with a
                status of its own.
            ConfigurationError: as for `serve`.
        """
        transport = StreamTransport()
        send = self._checked(user_id, transport.send)
        session = self._open(user_id, send, transport.close, metadata)
        try:
            await self._intake.take(session, body)
        except BaseException:
            session.finish("refused")
            raise
        session.end_when_quiet()
        return Stream(session, transport)

    # The end of the process.

    def start_draining(self) -> None:
        """Refuse new messages from now on, with ``shutting_down``. Idempotent.

        Synchronous, and safe in a signal handler.
        """
        self._services.is_draining = True

    @property
    def is_draining(self) -> bool:
        """Whether new messages are refused: what a load balancer is to ask for."""
        return self._services.is_draining

    async def drain(self, timeout: float | None = None) -> None:
        """Refuse new messages, wait for the runs there are, then cancel those that are left.

        Sessions stay open and get what is left of their events; leaving the endpoint ends them.
        Idempotent.

        Args:
            timeout: seconds to wait before the runs are cancelled; by default the endpoint's
                ``drain_timeout``.

        Raises:
            CancelledError: the call was cancelled; the runs that are left are cancelled at once.
        """
        self._check_entered()
        self.start_draining()
        try:
            with suppress(TimeoutError):
                async with timeout_after(self._drain_timeout if timeout is None else timeout):
                    await self._users.runs_ended()
                    await self._calls_ended(are_cancelled=False)
        finally:
            self._users.cancel("shutdown")
        await self._see_out()

    async def forget(self, user_id: str) -> None:
        """End all that there is of a user, and have the log drop it. Idempotent.

        Sessions end as ``forgotten``, runs are cancelled; how fast the user was is kept for a
        minute.

        Raises:
            EventLogError: the log cannot do that now; calling this again is sound.
        """
        self._check_entered()
        check_user(user_id)
        user = self._users.get(user_id)
        if user is not None:
            # In this order: nobody has disconnected.
            user.cancel("cancelled")
            for session in list(user.sessions.values()):
                session.finish("forgotten")
            await user.runs_ended()
        await self._services.log.forget(user_id)

    async def recover(self) -> int:
        """End the runs whose owners are gone, as ``interrupted``; how many that were.

        An endpoint does so by itself, several times in ``lease_seconds``; a run counts as left
        once its lease has expired. Idempotent: each run is ended once, whoever looks for it.

        Raises:
            EventLogError: the log cannot do that now; calling this again is sound.
        """
        self._check_entered()
        return await self._upkeep.recover()

    # What operators see.

    def stats(self) -> EndpointStats:
        """A detached snapshot of counters and gauges."""
        users = self.users()
        return self._services.counters.snapshot(
            users=len(users),
            sessions=sum(user["sessions"] for user in users.values()),
            in_flight=sum(user["runs_in_flight"] for user in users.values()),
            queued=sum(user["runs_queued"] for user in users.values()),
            abandoned_alive=len(self._services.abandoned),
        )

    def users(self) -> dict[str, UserStats]:
        """The users that have sessions or runs, by their ids."""
        return {user.user_id: user.stats for user in self._users.all()}

    def runs(self, user_id: str) -> tuple[ActiveRunInfo, ...]:
        """A user's runs that have not ended, in the order of their acceptance."""
        user = self._users.get(user_id)
        return () if user is None else tuple(run.info for run in user.runs.values())

    # Steps.

    def _checked(self, user_id: str, websocket: WebSocketLike) -> Transport:
        self._check_entered()
        check_user(user_id)
        return as_transport(websocket)

    def _check_entered(self) -> None:
        if self._unfollow_notices is None:
            raise ConfigurationError("enter the endpoint first: async with Endpoint(...)")

    def _open(
        self,
        user_id: str,
        send: Transport,
        close: CloseCallback | None,
        metadata: Mapping[str, object] | None,
    ) -> Session:
        services = self._services
        user = self._users.enter(user_id)
        refusal = self._refusal(user)
        if refusal is not None:
            services.counters.refused(refusal.code)
            fields: dict[str, object] = {"user_id": user_id, "code": str(refusal.code)}
            log_event(_logger, logging.INFO, "session_refused", fields)
            user.leave_if_idle()
            raise refusal
        session = Session(
            services,
            user,
            made_id(self._new_id),
            send,
            close,
            NO_METADATA if metadata is None else metadata,
            self._intake.take,
        )
        user.sessions[session.connection_id] = session
        services.counters.opened += 1
        self._control.greet(session)
        return session

    def _refusal(self, user: User) -> RemoteError | None:
        if self._is_closed:
            return RemoteError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
        bound = self._services.limits.sessions_per_user
        if len(user.sessions) >= bound:
            return RemoteError(ErrorCode.TOO_MANY_SESSIONS, f"at most {bound} sessions at once")
        return None

    async def _refuse(self, send: Transport, refusal: RemoteError) -> None:
        """Tell a client that has no session why, if its socket takes it in time."""
        services = self._services
        frame = services.dialect.encode_control(
            MessageType.ERROR_MESSAGE, refusal.reply, services.clock.wall()
        )
        try:
            async with timeout_after(services.final_send_timeout):
                await send(frame)
        except Exception as error:  # noqa: BLE001 - whatever the host's send raises
            log_event(_logger, logging.INFO, "transport_failed", {"error": type(error).__name__})

    def _told(self, user_id: str, run_id: str, notice: Notice) -> None:
        """Another endpoint over the same log has something to say of one of our runs."""
        user = self._users.get(user_id)
        # Others may see its claim in the log before this endpoint has its answer.
        run = None if user is None else user.find(run_id)
        if run is None:
            return
        if notice == "stop":
            run.cancel("stopped")
        else:
            run.watched_elsewhere()

    async def _calls_ended(self, *, are_cancelled: bool) -> None:
        """Wait for the host's own handlers."""
        for session in self._users.sessions():
            await session.end_calls(are_cancelled=are_cancelled)

    async def _see_out(self) -> None:
        """Wait for the end of what was cancelled, and until clients know of it; bounded."""
        await self._users.runs_ended()
        await self._calls_ended(are_cancelled=True)
        await self._delivered()

    async def _delivered(self) -> None:
        """Wait until the sessions have sent what they have, for ``final_send_timeout``."""
        with suppress(TimeoutError):
            async with timeout_after(self._services.final_send_timeout):
                for session in self._users.sessions():
                    await session.wait_sent()

    async def _close(self) -> None:
        self._is_closed = True
        for session in self._users.sessions():
            session.finish("shutdown")
        services = self._services
        try:
            await services.tasks.join(
                services.cancel_grace + services.log_timeout + 3 * services.final_send_timeout
            )
        finally:
            await self._upkeep.stop()
        services.reports.close()
        if self._unfollow_notices is not None:
            self._unfollow_notices()
        if self._has_own_log:
            await self._services.log.aclose()
