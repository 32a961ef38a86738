"""A run's events on their way into the log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, final

from agent_messaging._errors import LeaseLost, OutboxFullError, TransportError
from agent_messaging._limits import Limits
from agent_messaging._log import log
from agent_messaging._log_access import backoff, note_trouble
from agent_messaging._messages import MessageType
from agent_messaging._outbox import ACCEPTED, Receipt
from agent_messaging._tasks import Tasks
from agent_messaging._timeouts import timeout_at
from agent_messaging.eventlog.protocol import APPENDED, EventLog, Lease, LoggedEvent

__all__ = ["Journal"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")

#: Turns of the loop that an awaited emit leaves to sessions that are falling behind. No time
#: passes by them. The slowest of the usual transports take two or three for a send, and a session
#: may watch several runs that emit at once.
_TURNS: Final = 32


@final
class Journal:
    """Appends one run's events to the log, in their order; the sink of a run in an endpoint.

    A log that is done at once costs no task. For any other one task appends what came while the
    append before it was under way.

    Attributes:
        failed: whether the run is not ours to write any more; what is posted goes nowhere.
        is_blocked: whether `check` has anything to say.
        is_crowded: set by sessions that watch the run and fall behind.
    """

    __slots__ = (
        "_appender",
        "_is_prompt",
        "_lease",
        "_limits",
        "_log",
        "_lost",
        "_pending",
        "_room",
        "_tasks",
        "_timeout",
        "_unawaited",
        "_waits",
        "failed",
        "is_blocked",
        "is_crowded",
    )

    def __init__(
        self,
        event_log: EventLog,
        lease: Lease,
        limits: Limits,
        tasks: Tasks,
        *,
        timeout: float,
        waits: bool,
        lost: Callable[[bool], object],
    ) -> None:
        self.failed = False
        self.is_blocked = False
        self.is_crowded = False
        self._log = event_log
        self._lease = lease
        self._limits = limits
        self._tasks = tasks
        self._timeout = timeout
        self._waits = waits
        self._lost = lost
        self._is_prompt = True
        self._pending: list[LoggedEvent] = []
        #: Events since a session began to lag whose emits nobody awaited.
        self._unawaited = 0
        self._appender: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None

    @property
    def websocket(self) -> None:
        """None: the run may outlive the connection that it came by."""

    def check(self) -> None:
        """See that an agent's event can be taken.

        Raises:
            TransportError: the run is not ours to write any more.
            OutboxFullError: events were emitted without awaiting them until no more can wait.
        """
        if self.failed:
            raise TransportError("the run's events can no longer be kept")
        waiting = max(len(self._pending), self._unawaited)
        if waiting >= self._limits.outbox_overrun:
            raise OutboxFullError(f"{waiting} events were emitted too fast; await the emits")
        self.is_blocked = False

    def post(self, event: LoggedEvent, _: MessageType, __: Receipt) -> Awaitable[None]:
        """Append one event, behind those that wait; awaiting the result waits while it is full.

        Sessions tell the run what they delivered; what they did not is counted at its end.
        """
        if self.failed:
            return ACCEPTED
        if self._is_prompt:
            try:
                appended = self._log.append(self._lease, (event,))
            except LeaseLost:
                self._fail(is_log_down=False)
                return ACCEPTED
            except Exception as error:  # noqa: BLE001 - a log of the host's may raise anything
                note_trouble(error)
                appended = None
            if appended is APPENDED:
                return self._turn() if self.is_crowded else ACCEPTED
            self._is_prompt = False
            self._pending.append(event)
            self._spawn(self._append(appended, 1))
            return ACCEPTED
        self._pending.append(event)
        if self._appender is None:
            self._spawn(self._append(None, None))
        waiting = len(self._pending)
        if waiting <= self._limits.outbox_frames:
            return self._turn() if self.is_crowded else ACCEPTED
        self.is_blocked = waiting >= self._limits.outbox_overrun
        return _Turn(self)

    def _turn(self) -> Awaitable[None]:
        """What an emit leaves to sessions that lag, if it is awaited."""
        self._unawaited += 1
        self.is_blocked = self._unawaited >= self._limits.outbox_overrun
        return _Turn(self)

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be appended."""
        return self._appender is None

    async def settle(self) -> None:
        """Wait until nothing waits to be appended; bounded by the log's timeout."""
        while (appender := self._appender) is not None:
            await asyncio.wait([appender])

    def close(self) -> None:
        """The run has ended; nobody is told of anything any more."""
        self._lost = bool

    def lose(self) -> None:
        """Write nothing more: the run is another owner's by now."""
        self._fail(is_log_down=False)

    async def room(self) -> None:
        """Wait while too much waits for the log; then leave some turns to sessions that lag."""
        self._unawaited = 0
        while len(self._pending) > self._limits.outbox_frames:
            await self._relief().wait()
        if self._waits:
            while self.is_crowded:
                await self._relief().wait()
        for _ in range(_TURNS):
            if not self.is_crowded:
                break
            await asyncio.sleep(0)

    def relieve(self) -> None:
        """A session that fell behind has caught up, or has left."""
        self.is_crowded = False
        self._unawaited = 0
        self._wake()

    def _relief(self) -> asyncio.Event:
        if self._room is None:
            self._room = asyncio.Event()
        return self._room

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        appender = self._tasks.spawn(work, "append")
        # Under an eager task factory it may have come to its end already.
        self._appender = None if appender.done() else appender

    async def _append(self, begun: Awaitable[None] | None, tried: int | None) -> None:
        """Append what waits, and what comes meanwhile.

        Args:
            begun: the first append, if it has begun already.
            tried: how many events that was tried with: it is tried again with those alone.
        """
        try:
            while self._pending:
                batch = tuple(self._pending[:tried])
                await self._append_batch(begun, batch)
                begun = tried = None
                del self._pending[: len(batch)]
                self._wake()
        except LeaseLost:
            self._fail(is_log_down=False)
        except TimeoutError:
            self._fail(is_log_down=True)
        finally:
            self._appender = None
            self._wake()

    async def _append_batch(
        self, begun: Awaitable[None] | None, batch: tuple[LoggedEvent, ...]
    ) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        async with timeout_at(deadline):
            while True:
                try:
                    # Appending the very same again is no error, whatever became of the first try.
                    await (self._log.append(self._lease, batch) if begun is None else begun)
                except LeaseLost:
                    raise
                except Exception as error:
                    note_trouble(error)
                    if loop.time() >= deadline:
                        raise TimeoutError from error  # it made an error of the cancellation
                    begun = None
                    await asyncio.sleep(backoff(attempt))
                    attempt += 1
                else:
                    return

    def _fail(self, *, is_log_down: bool) -> None:
        self.failed = True
        self.is_blocked = True
        self._pending.clear()
        self._wake()
        event = "log_unavailable" if is_log_down else "lease_lost"
        fields: dict[str, object] = {"user_id": self._lease.user_id, "run_id": self._lease.run_id}
        log(_logger, logging.ERROR if is_log_down else logging.WARNING, event, fields)
        self._lost(is_log_down)


@final
class _Turn:
    """Waits for room when awaited; left alone, it leaves nothing behind."""

    __slots__ = ("_journal",)

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __await__(self) -> Generator[object, None, None]:
        return self._journal.room().__await__()
