"""What one connection is sent: answers, live runs, replays; by the one writer to its socket."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextvars import copy_context
from typing import Final, NamedTuple, TypeAlias, final

from agent_messaging._errors import RemoteError
from agent_messaging._log_access import asked
from agent_messaging._messages import MessageType
from agent_messaging._outbox import Transport
from agent_messaging._services import Services
from agent_messaging._users import OwnedRun
from agent_messaging._watch import CROWD, Finish, Watch
from agent_messaging.eventlog.protocol import ENDED, EventPage, RunRecord

__all__ = ["Delivery"]

#: Events of one read: enough to make the read cheap, few enough that no run holds up another.
_PAGE: Final = 64

#: Seconds that a timer may be early by, so that none is set for less than the clock can show.
_TOLERANCE: Final = 1e-3

#: Told of a frame on the control lane: whether the transport accepted it, or never will.
Sent: TypeAlias = Callable[[bool], None]


class _Reply(NamedTuple):
    """A frame of the control lane; it goes when the client has seen these runs to their end."""

    frame: str
    after: tuple[str, ...]
    sent: Sent | None


@final
class Delivery:
    """The frames on their way to one connection, with no copy of any event.

    It holds a cursor for each run that is watched, and reads the log at the socket's pace. A
    writer task exists only while there is something to send.
    """

    __slots__ = (
        "_barred",
        "_bids_farewell",
        "_is_sending",
        "_ready",
        "_replays",
        "_replies",
        "_room",
        "_send",
        "_sent_at",
        "_services",
        "_stall",
        "_variables",
        "_watches",
        "_writer",
        "elsewhere",
        "finish",
        "is_closed",
        "is_writing",
        "quiet",
        "user_id",
    )

    def __init__(
        self,
        services: Services,
        user_id: str,
        send: Transport,
        finish: Finish,
        quiet: Callable[[], None],
        elsewhere: Callable[[str], None],
    ) -> None:
        self.user_id: Final = user_id
        #: Ends the session.
        self.finish: Final = finish
        #: Told each time that there is nothing to send.
        self.quiet: Final = quiet
        #: Told of each run that is watched and is another owner's.
        self.elsewhere: Final = elsewhere
        self.is_closed: bool = False
        self._services = services
        self._send = send
        self._variables = copy_context()
        self._room: asyncio.Event | None = None
        self._replies: list[_Reply] = []
        #: Those that go when the client has seen some runs to their end; no others wait for them.
        self._barred: tuple[_Reply, ...] = ()
        #: Whether the last frame is on its way, or was; until then the writer is not cut.
        self._bids_farewell = False
        self._watches: dict[str, Watch] = {}
        # Ordered sets. What is live goes before what is replayed, so that a long replay makes
        # nobody a slow consumer; replays go one after the other, oldest first.
        self._ready: dict[Watch, None] = {}
        self._replays: dict[Watch, None] = {}
        self._writer: asyncio.Task[None] | None = None
        # Apart from the task: an eager one writes before it is known.
        self.is_writing: bool = False
        self._is_sending = False
        self._sent_at = asyncio.get_running_loop().time()
        self._stall: asyncio.TimerHandle | None = None

    # Answers.

    def post(self, frame: str, after: tuple[str, ...] = (), sent: Sent | None = None) -> None:
        """Put a frame on the control lane."""
        if self.is_closed:
            if sent is not None:
                sent(False)
            return
        reply = _Reply(frame, after, sent)
        if not self._may_go(reply):
            self._barred += (reply,)
            return
        self._replies.append(reply)
        if not self.is_writing:
            self._start()

    def answer(
        self,
        kind: MessageType,
        payload: Mapping[str, object],
        after: tuple[str, ...] = (),
        sent: Sent | None = None,
    ) -> None:
        """Put a control frame on the control lane."""
        now = self._services.clock.wall()
        self.post(self._services.dialect.encode_control(kind, payload, now), after, sent)

    @property
    def is_full(self) -> bool:
        """Whether more answers wait for the client to read them than the limits allow."""
        waiting = len(self._replies) + len(self._barred)
        return waiting >= self._services.limits.pending_replies and not self.is_closed

    async def room(self) -> None:
        """Wait while it is full."""
        while self.is_full:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    # Runs.

    @property
    def watches(self) -> Collection[Watch]:
        """The runs that are watched."""
        return self._watches.values()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be sent, and no run is watched."""
        return not (self._watches or self._replies or self.is_writing)

    @property
    def silence(self) -> float:
        """Seconds since the last send began."""
        return asyncio.get_running_loop().time() - self._sent_at

    def watch(self, record: RunRecord, cursor: int, active: OwnedRun | None) -> Watch | None:
        """Watch a run from now on; `replay` is to send what follows ``cursor``.

        None if it is watched already, and stays as it is, or the session has ended.
        """
        if self.is_closed or record.run_id in self._watches:
            return None
        watch = Watch(
            self.wake,
            self.finish,
            self.user_id,
            record.thread_id,
            record.run_id,
            record.status,
            cursor,
        )
        self._add(watch, active)
        return watch

    def replay(self, watch: Watch) -> None:
        """Send what there is of the run, and then what comes."""
        if self._watches.get(watch.run_id) is watch:
            self._replays[watch] = None
            if not self.is_writing:
                self._start()

    def watch_new(self, active: OwnedRun) -> None:
        """Watch a run that is just being accepted, and has no events yet."""
        if self.is_closed:
            return
        context = active.context
        watch = Watch(
            self.wake, self.finish, self.user_id, context.thread_id, context.run_id, "queued", 0
        )
        watch.is_live = True
        self._add(watch, active)

    def _add(self, watch: Watch, active: OwnedRun | None) -> None:
        self._watches[watch.run_id] = watch
        if active is not None:
            watch.active = active
            active.join(watch)
        elif watch.status not in ENDED:
            self.elsewhere(watch.run_id)
        watch.unfollow = self._services.log.follow(self.user_id, watch.run_id, watch.wake)

    def cursor(self, run_id: str) -> int:
        """The last event of a watched run that is sent before any answer; 0 for no such run."""
        watch = self._watches.get(run_id)
        return 0 if watch is None else max(watch.cursor, watch.begun)

    def wake(self, watch: Watch, last_seq: int) -> None:
        """A run that is watched has more to read."""
        if watch.is_live:
            self._ready[watch] = None
            watch.is_due = True
            lag = last_seq - watch.cursor
            if lag > CROWD:
                self._fall_behind(watch, lag)
            if not self.is_writing and not self.is_closed:
                self._start()

    def _fall_behind(self, watch: Watch, lag: int) -> None:
        services = self._services
        bound = services.limits.lag_events
        waits = services.slow_consumers == "wait"
        if not waits and lag > bound and self._is_sending:
            self.finish("slow_consumer")
        elif watch.active is not None and (lag >= bound or not waits):
            watch.active.crowd(watch)

    # The end.

    def close(self, farewell: str | None, grace: float) -> None:
        """Watch nothing and send nothing any more, but a last frame; synchronous.

        Args:
            farewell: the last frame; not tried on a socket whose send has taken too long.
            grace: seconds that the runs go on at least, without a watcher.
        """
        self.is_closed = True
        if self._stall is not None:
            self._stall.cancel()
        watches = tuple(self._watches.values())
        self._watches.clear()
        self._ready.clear()
        self._replays.clear()
        dropped = (*self._replies, *self._barred)
        self._replies = []
        self._barred = ()
        if farewell is not None and not self._is_stalled:
            self._bids_farewell = True
            self._replies.append(_Reply(farewell, (), None))
        self._make_room()
        for watch in watches:
            watch.leave(grace)
        for reply in dropped:
            if reply.sent is not None:
                reply.sent(False)
        if self._replies and not self.is_writing:
            self._start()

    async def wait_sent(self) -> None:
        """Wait until there is nothing to send."""
        while (writer := self._writer) is not None:
            # The writer of a session that has ended is given up after as long.
            timeout = 2 * self._services.final_send_timeout if self.is_closed else None
            if not (await asyncio.wait([writer], timeout=timeout))[0]:
                break

    async def end_writer(self) -> None:
        """See the last frame out, then the writer; each for ``final_send_timeout`` at most."""
        writer = self._writer
        if writer is None:
            return
        timeout = self._services.final_send_timeout
        if self._bids_farewell:
            await asyncio.wait([writer], timeout=timeout)
        writer.cancel()
        # A send that swallows its cancellation is left to the host, whose socket it is.
        await asyncio.wait([writer], timeout=timeout)
        self._services.tasks.release(writer)

    # The writer.

    @property
    def _is_stalled(self) -> bool:
        return self._is_sending and self.silence >= self._services.send_timeout - _TOLERANCE

    def _check_stall(self) -> None:
        """End a session whose send takes too long."""
        self._stall = None
        if self._is_stalled:
            self.finish("slow_consumer")
        elif self.is_writing:
            left = self._services.send_timeout - (self.silence if self._is_sending else 0.0)
            self._stall = asyncio.get_running_loop().call_later(left, self._check_stall)

    def _start(self) -> None:
        if self._stall is None and not self.is_closed:
            # Left to run out: one timer does for all the writers of so many seconds.
            self._stall = asyncio.get_running_loop().call_later(
                self._services.send_timeout, self._check_stall
            )
        self.is_writing = True
        writer = self._services.tasks.spawn(
            self._write(), f"session of {self.user_id}", self._variables.copy(), self._written
        )
        self._writer = None if writer.done() else writer

    def _written(self, writer: asyncio.Task[None]) -> None:
        self._services.tasks.settle(writer)
        if self._writer is writer:
            # Somebody else cancelled it before its first step, and none of its code ran.
            self._writer = None
            self.is_writing = False
            self.finish("transport_failed")

    async def _write(self) -> None:
        """Send what there is: answers, then live runs, then replays."""
        try:
            while True:
                if self._replies:
                    await self._send_reply()
                elif waiting := self._ready or self._replays:
                    await self._send_events(next(iter(waiting)))
                else:
                    break
        except Exception as error:  # noqa: BLE001 - whatever the host's send raises
            self.finish("transport_failed", error)
        except BaseException:
            self.finish("transport_failed")
            raise
        finally:
            writer, self._writer = self._writer, None
            self.is_writing = self._is_sending = False
        self.quiet()
        self._services.tasks.leave(writer, self._written)

    def _may_go(self, reply: _Reply) -> bool:
        return self._watches.keys().isdisjoint(reply.after)

    async def _send_reply(self) -> None:
        reply = self._replies.pop(0)
        self._make_room()
        self._sent_at = asyncio.get_running_loop().time()
        self._is_sending = True
        was_sent = False
        try:
            await self._send(reply.frame)
            was_sent = True
        finally:
            self._is_sending = False
            if reply.sent is not None:
                reply.sent(was_sent)

    def _make_room(self) -> None:
        if self._room is not None and not self.is_full:
            self._room.set()
            self._room = None

    async def _send_events(self, watch: Watch) -> None:
        """Send some events of one run."""
        self._ready.pop(watch, None)
        watch.is_due = False
        services = self._services
        try:
            page = await asked(lambda: watch.read(services.log, _PAGE), services.log_timeout)
        except RemoteError:
            self.finish("log_unavailable")
            return
        if watch.note_if_lost(page):
            self.finish("log_unavailable")
        watches, run_id = self._watches, watch.run_id
        if watches.get(run_id) is not watch:
            return  # the session has ended meanwhile
        if page is None or watch.cursor + 1 < page.first_seq:
            self._tell_eviction(watch, page)
            return
        counted = services.counters.events_sent
        now = asyncio.get_running_loop().time
        send, encode, active = self._send, watch.encode, watch.active
        held = page.last_seq if watch.is_held_at(page) else 0
        for kind, payload, seq, timestamp in page.events:
            if seq == held or self._replies or (self._ready and not watch.is_live):
                break
            self._sent_at = now()
            self._is_sending = True
            watch.begun = seq
            await send(encode(kind, payload, seq, timestamp))
            self._is_sending = False
            watch.cursor = seq
            counted[kind] += 1
            if active is not None:
                active.delivered(kind, seq)
            if watches.get(run_id) is not watch:
                return
        self._go_on(watch, page)
        if len(page.events) == _PAGE:
            # A socket that takes everything at once must not hold up the event loop.
            await asyncio.sleep(0)

    def _go_on(self, watch: Watch, page: EventPage) -> None:
        """Read on, wait to be woken, or watch the run no more."""
        watch.status = page.status
        behind = page.last_seq - watch.cursor
        if watch.active is not None and behind <= CROWD:
            watch.active.relieve(watch)
        if behind == 1 and watch.active is not None and watch.is_held_at(page):
            self._replays.pop(watch, None)
            watch.is_live = True
            watch.active.on_end(lambda: watch.wake(page.last_seq))
        elif behind > 0:
            if watch.is_live:
                self._ready[watch] = None
        elif page.is_ended:
            self._forget(watch)
        elif not watch.is_live:
            watch.is_live = True
            del self._replays[watch]
            # What came while it was a replay woke nobody.
            self._ready[watch] = None

    def _tell_eviction(self, watch: Watch, page: EventPage | None) -> None:
        """Say that the log holds some events no more, and go on with those that it does."""
        is_over = page is None or (page.is_ended and page.first_seq > page.last_seq)
        if page is None:  # not even the run, which had ended
            page = EventPage((), watch.cursor + 1, watch.cursor, watch.status)
        watch.status = page.status
        run = watch.evicted(page.first_seq, page.last_seq)
        self.answer(MessageType.RESUMED, {"runs": [run]})
        if is_over:  # what waits for the run's end goes behind what tells of it
            self._forget(watch)
        else:
            watch.cursor = page.first_seq - 1
            (self._ready if watch.is_live else self._replays)[watch] = None

    def _forget(self, watch: Watch) -> None:
        """Watch a run no more: all of it was sent, or is gone."""
        del self._watches[watch.run_id]
        self._ready.pop(watch, None)
        self._replays.pop(watch, None)
        if self._barred:
            self._replies.extend(filter(self._may_go, self._barred))
            self._barred = tuple(reply for reply in self._barred if not self._may_go(reply))
        watch.leave(0.0)
