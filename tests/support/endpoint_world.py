"""An endpoint with its users, sockets, agents and log, all of them a test's to drive."""

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from agent_messaging import (
    ActiveRunInfo,
    AgentMessageHandler,
    Endpoint,
    Grace,
    Limits,
    LoggedEvent,
    MemoryEventLog,
    NativeDialect,
    OnDisconnect,
    RemoteError,
    RunFinished,
    Session,
    SlowConsumers,
    ThreadPolicy,
)
from agent_messaging.testing import counted_ids, loop_clock
from support.endpoint_agents import Stage
from support.endpoint_clients import Memory, Pace, Screen, Socket
from support.endpoint_model import Model, Request, Seat
from support.endpoint_witness import History, Witness
from support.endpoints import forget
from support.frames import Json
from support.loop import tasks_left
from support.recount import EPOCH, TERMINAL
from support.scheduling import Pauses

#: Done at once, taking its time over everything, or raising now and then as well.
LogKind: TypeAlias = Literal["prompt", "slow", "troubled"]
#: The way in: sockets that call back, sockets that iterate, and requests that are streamed to.
Face: TypeAlias = Literal["open", "serve", "stream"]
#: How a client goes: it says so, the host sees it go, or the host's task is cancelled as well.
Leaving: TypeAlias = Literal["goodbye", "close", "cut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an endpoint is made with; seconds are multiples of a tick."""

    log: LogKind = "prompt"
    seed: int = 0
    policy: ThreadPolicy = "queue"
    on_disconnect: OnDisconnect = "detach"
    slow_consumers: SlowConsumers = "end"
    limits: Limits = field(default_factory=Limits)
    events_per_user: int = 20_000
    cancel_grace: float = 2.0
    slow_consumer_grace: float = 6.0
    send_timeout: float = 8.0
    final_send_timeout: float = 1.0
    idle_timeout: float | None = None
    heartbeat: float | None = None
    drain_timeout: float = 4.0


class Connection(Seat):
    """One client on one connection, and the host's task that serves it.

    Attributes:
        socket: the host's end of it.
        face: the way in.
        session: the endpoint's, once it is open.
        has_closed: whether the host has closed it.
        busy_with: the frame that the endpoint has been handed.
    """

    def __init__(
        self, world: "World", user_id: str, memory: Memory, socket: Socket, face: Face
    ) -> None:
        super().__init__(user_id, socket.screen)
        self.socket: Final = socket
        self.face: Final = face
        self.session: Session | None = None
        self.has_closed = False
        self.busy_with: Request | None = None
        self._world = world
        self._memory = memory
        self._inbox: deque[tuple[Request, str]] = deque()
        self._came = asyncio.Event()
        self.opened = asyncio.Event()
        self._is_gone = False
        self.host: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the endpoint counts on it."""
        return self.session is not None and self.session.end is None

    @property
    def was_slow(self) -> bool:
        """Whether it was ended since it was read too slowly."""
        end = None if self.session is None else self.session.end
        return end is not None and end.reason == "slow_consumer"

    @property
    def is_opening(self) -> bool:
        """Whether it has a place of which the host does not know yet."""
        return self.session is None and self.host is not None and not self.host.done()

    @property
    def waits(self) -> int:
        """How many frames the host has not handed over."""
        return len(self._inbox)

    def ask(self, kind: str, payload: Json | None = None, **envelope: object) -> Request:
        """Have the client send a frame."""
        ids = {name: value for name, value in envelope.items() if value is not None}
        request = Request(kind, payload or {}, ids)
        self._inbox.append((request, self._world.frame_of(self, request)))
        self._came.set()
        return request

    def resume_all(self) -> None:
        """Have the client resume all that it knows of, where it has come to."""
        known = [
            run for run in self._world.runs_of(self.user_id) if run.run_id in self._memory.seen
        ]
        most = self._world.setting.limits.resumed_runs
        for at in range(0, len(known), most):
            self.ask("resume", {"after": self.cursors(known[at : at + most])})

    def cursors(self, runs: list[History]) -> dict[str, int]:
        """Where the client has come to in each of these runs."""
        return {run.run_id: self._memory.reached(run.run_id) for run in runs}

    def leave(self, how: Leaving) -> None:
        """Have the client go."""
        if how == "goodbye":
            self.ask("disconnect")
            return
        self._is_gone = True
        self._came.set()
        if how == "cut" and self.host is not None:
            self.host.cancel()

    # The host's task.

    async def host_by_calls(self, session: Session) -> None:
        """What a host does with a socket that calls back."""
        self.session = session
        try:
            while (frame := await self._next()) is not None:
                await session.receive(frame)
                self._handed_over()
        finally:
            self.has_closed = True
            await session.close()

    async def host_a_stream(self, endpoint: Endpoint, request: Request, frame: str) -> None:
        """What a host does with a request that is streamed to."""
        self.busy_with = request
        stream = await endpoint.stream(self.user_id, frame)
        self.session = stream._session  # pyright: ignore[reportPrivateUsage]
        self._handed_over()
        try:
            async for event in stream:
                # A frame that was taken is counted as sent, however long the client is over it.
                self.screen.read(event.decode().removeprefix("data: ").removesuffix("\n\n"))
                await self.socket.take_time()
                if self._is_gone:
                    break
        except ConnectionError:
            pass  # the client is gone
        finally:
            await stream.aclose()

    async def frames(self) -> AsyncGenerator[str, None]:
        """What a host hands to ``serve``."""
        self.session = self._world.newest_session(self.user_id)
        self.opened.set()
        while (frame := await self._next()) is not None:
            yield frame
            self._handed_over()

    async def _next(self) -> str | None:
        while not (self._inbox or self._is_gone):
            self._came.clear()
            await self._came.wait()
        if self._is_gone:
            return None
        self.busy_with, frame = self._inbox.popleft()
        return frame

    def _handed_over(self) -> None:
        request, self.busy_with = self.busy_with, None
        if request is not None:
            self._world.handed_over(self, request)


class World:
    """All of it. `enter` begins it, `leave` ends it.

    Attributes:
        endpoint: what is tested.
        connections: every one that was ever open.
        faults: in words, what must not be.
        situations: how often each of them occurred.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting: Final = setting
        self.randomness: Final = random.Random(setting.seed)
        self.connections: list[Connection] = []
        self.faults: list[str] = []
        self.situations: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        inner = MemoryEventLog(events_per_user=setting.events_per_user, clock=self._now)
        self.witness: Final = Witness(
            inner,
            None if setting.log == "prompt" else self.randomness,
            is_troubled=setting.log == "troubled",
        )
        self.witness.heard = self._heard
        self.stage: Final = Stage(self.witness, shares_threads=setting.policy == "parallel")
        self.model: Final = Model(self.witness, setting.limits, setting.policy)
        self.forgotten: Counter[str] = Counter()
        self.absent: set[str] = set()
        self._background: list[asyncio.Task[None]] = []
        self._unwatched: dict[str, float] = {}
        self._requests: dict[int, tuple[Connection, Request]] = {}
        self._ended: Counter[str] = Counter()
        self._accepted = 0
        clock = loop_clock(EPOCH)
        self.endpoint: Final = Endpoint(
            AgentMessageHandler(self.stage.agent, clock=clock, on_run_finished=self._finished),
            log=self.witness,
            dialect=NativeDialect(loads=self._decode, limits=setting.limits),
            limits=setting.limits,
            thread_policy=setting.policy,
            on_disconnect=setting.on_disconnect,
            slow_consumers=setting.slow_consumers,
            cancel_grace=setting.cancel_grace,
            slow_consumer_grace=setting.slow_consumer_grace,
            send_timeout=setting.send_timeout,
            final_send_timeout=setting.final_send_timeout,
            idle_timeout=setting.idle_timeout,
            heartbeat=setting.heartbeat,
            drain_timeout=setting.drain_timeout,
            clock=clock,
            new_id=counted_ids(),
        )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def enter(self) -> None:
        """Enter the endpoint."""
        await self.endpoint.__aenter__()

    @property
    def claimed(self) -> int:
        """How many messages were ever accepted."""
        return len(self.witness.histories) + self.witness.dropped

    # Clients.

    async def connect(
        self, user_id: str, memory: Memory, face: Face = "open", pace: Pace = "prompt"
    ) -> Connection | None:
        """A new connection; None if it is refused."""
        connection = self._connection(user_id, memory, face, pace)
        if self.is_full(user_id):
            await self._see_refused(connection)
            return None
        self.connections.append(connection)
        if face == "open":
            send, close = connection.socket.send, connection.socket.close
            session = connection.session = await self.endpoint.open(user_id, send, close=close)
            connection.host = asyncio.create_task(connection.host_by_calls(session))
        else:
            connection.host = asyncio.create_task(self._serve(connection))
            await connection.opened.wait()
        return connection

    async def stream(
        self, user_id: str, memory: Memory, pace: Pace, request: Request
    ) -> Connection | None:
        """A request that is streamed to; None if there are too many sessions."""
        connection = self._connection(user_id, memory, "stream", pace)
        if self.is_full(user_id):
            await self._see_refused(connection)
            return None
        self.connections.append(connection)
        connection.host = asyncio.create_task(self._stream(connection, request))
        return connection

    def _connection(self, user_id: str, memory: Memory, face: Face, pace: Pace) -> Connection:
        def is_owned(run_id: str) -> bool:
            return any(run.run_id == run_id for run in self.endpoint.runs(user_id))

        screen = Screen(user_id, self.witness, memory, is_owned)
        socket = Socket(screen, Pauses(self.randomness), pace)
        return Connection(self, user_id, memory, socket, face)

    def is_full(self, user_id: str) -> bool:
        """Whether the user has as many sessions as there may be."""
        mine = [each for each in self.connections if each.user_id == user_id]
        count = sum(each.is_open or each.is_opening for each in mine)
        return count >= self.setting.limits.sessions_per_user

    async def _see_refused(self, connection: Connection) -> None:
        if any(each.is_opening for each in self.connections):
            return  # which may have been refused already
        self.situations["sessions refused"] += 1
        self.model.refusals += 1
        try:
            await self.endpoint.open(connection.user_id, connection.socket.send)
        except RemoteError as refusal:
            see(refusal.code == "too_many_sessions", f"{refusal} where there are too many")
        else:
            self.faults.append("one more session was opened than there may be")

    async def _serve(self, connection: Connection) -> None:
        await self.endpoint.serve(connection.user_id, connection.frames(), connection.socket.send)

    async def _stream(self, connection: Connection, request: Request) -> None:
        frame = self.frame_of(connection, request)
        dues = connection.screen.dues
        try:
            await connection.host_a_stream(self.endpoint, request, frame)
        except RemoteError as refusal:
            if not any(refusal.code in due.codes for due in dues):
                self.faults.append(f"{refusal}, and not {dues}")
            self.situations["streams refused"] += 1
        else:
            end = None if connection.session is None else connection.session.end
            if end is not None and end.reason == "completed":
                self.situations["streams completed"] += 1
                if any(not due.is_optional for due in dues) or connection.screen.shows:
                    self.faults.append(f"a stream has ended, and {dues} were to come")

    # The host.

    def start_draining(self) -> None:
        """As in a signal handler."""
        self.model.is_draining = True
        self.endpoint.start_draining()

    def drain(self, timeout: float) -> None:
        """Drain in the background."""
        self.model.is_draining = True
        self._background.append(asyncio.create_task(self.endpoint.drain(timeout)))

    def forget(self, user_id: str) -> None:
        """Forget a user in the background; the user is not there meanwhile."""
        self.forgotten[user_id] += 1
        self.absent.add(user_id)
        self._background.append(asyncio.create_task(self._forget(user_id)))

    async def _forget(self, user_id: str) -> None:
        await forget(self.endpoint, user_id)
        self.absent.discard(user_id)
        self.situations["forgotten"] += 1

    def newest_session(self, user_id: str) -> Session:
        """The session that was opened last."""
        user = self.endpoint._users.get(user_id)  # pyright: ignore[reportPrivateUsage]
        assert user is not None
        session = next(reversed(user.sessions.values()))
        assert isinstance(session, Session)
        return session

    def runs_of(self, user_id: str) -> list[History]:
        """A user's runs, oldest first."""
        return [run for (owner, _), run in self.witness.histories.items() if owner == user_id]

    # A frame's way, with the model at its side.

    def frame_of(self, connection: Connection, request: Request) -> str:
        """A frame as the client writes it; its timestamp tells which one it is."""
        number = len(self._requests) + 1
        self._requests[number] = (connection, request)
        frame = {"type": request.kind, "payload": request.payload, **request.envelope}
        return json.dumps({**frame, "timestamp": number})

    def _decode(self, text: str) -> object:
        """Parse a frame for the endpoint, and have the model judge it in the same moment."""
        frame: Json = json.loads(text)
        connection, request = self._requests[frame["timestamp"]]
        if request.verdict is not None:
            self.faults.append(f"decoded twice: {request}")
        self._accepted = len(self.witness.histories)
        self.model.judge(connection, request, self._now())
        return frame

    def handed_over(self, connection: Connection, request: Request) -> None:
        """The endpoint has taken a frame."""
        if not self.witness.is_prompt or request.verdict is None:
            return
        new = len(self.witness.histories) - self._accepted
        if new != (request.verdict == "accepted"):
            self.faults.append(f"{new} new runs of {request}")
        elif new:
            run = next(reversed(self.witness.histories.values()))
            if run.user_id != connection.user_id:
                self.faults.append(f"{request} became a run of {run.user_id}")
            self.model.accepted(connection, request, run)
            # Where all is done at once, it may have been shown to its end by now.
            if connection.is_open and run.run_id not in connection.screen.shown_ends:
                connection.screen.cursors.setdefault(run.run_id, 0)

    # What is heard of runs.

    def _heard(self, history: History, event: LoggedEvent) -> None:
        if event.type.value in TERMINAL:
            self._ended[history.status] += 1
            self._note_reason(history)

    def _note_reason(self, history: History) -> None:
        reason, setting = history.reason, self.setting
        if reason is None:
            self.situations[history.status] += 1
            return
        self.situations[f"cancelled: {reason}"] += 1
        if reason == "disconnected" and isinstance(setting.on_disconnect, Grace):
            self.situations["a grace has run out"] += 1
        is_possible = {
            "stopped": history.run_id in self.model.stopped or not self.witness.is_prompt,
            "replaced": setting.policy == "replace",
            "disconnected": setting.on_disconnect != "detach",
            "shutdown": self.model.is_draining,
            "cancelled": history.user_id in self.forgotten,
        }
        if not is_possible[reason]:
            self.faults.append(f"{history.run_id} was cancelled as {reason}")

    def _finished(self, finished: RunFinished) -> None:
        self.finished[finished.context.run_id] += 1

    # Checks.

    def check(self) -> None:
        """What holds at every moment."""
        sources = [self.faults, self.witness.faults, self.stage.faults]
        for connection in self.connections:
            sources += [connection.socket.faults, connection.screen.faults]
        sources += [run.faults for run in self.witness.histories.values()]
        for faults in sources:
            see(not faults, f"{faults[:1]}\n{self.setting}")
        self._check_bounds()
        if self.witness.is_prompt:
            self._check_exactly()

    def _check_bounds(self) -> None:
        limits = self.setting.limits
        is_parallel = self.setting.policy == "parallel"
        # Where each new message replaces what waits, those wait whose claims are under way.
        waiting = limits.queued_per_thread
        if self.setting.policy == "replace":
            waiting = 2 * limits.sessions_per_user
        for user in self.endpoint._users.all():  # pyright: ignore[reportPrivateUsage]
            see(len(user.sessions) <= limits.sessions_per_user, "too many sessions")
            see(user.places <= limits.runs_per_user, "too many runs")
            for thread in user.threads.values():
                see(len(thread.waiting) <= waiting, "too many messages wait")
                see(is_parallel or len(thread.running) <= 1, "two runs on a thread")
        for connection in self.connections:
            session = connection.session
            if session is not None:
                # Answers, and as many STOPPED; beside what is asked for a heartbeat, and what is
                # told of events that are gone.
                delivery = session.delivery
                replies = len(delivery._replies)  # pyright: ignore[reportPrivateUsage]
                barred = len(delivery._barred)  # pyright: ignore[reportPrivateUsage]
                see(session.expected <= limits.pending_replies, "too many stops wait")
                see(replies + barred <= 2 * limits.pending_replies + 2, "too many answers wait")
        for user_id, active in self.witness.active.items():
            # The newest event of a run under way is held whatever the bound.
            bound = self.setting.events_per_user + len(active)
            see(self.witness.held(user_id) <= bound, "too many events are kept")

    def _check_exactly(self) -> None:
        """What holds at every moment between two steps, where the log is done at once."""
        users: dict[str, tuple[int, int]] = {}
        for connection in self.connections:
            if connection.is_open:
                sessions, runs = users.get(connection.user_id, (0, 0))
                users[connection.user_id] = sessions + 1, runs
        for user_id, active in self.witness.active.items():
            if active:
                users[user_id] = users.get(user_id, (0, 0))[0], len(active)
                self._check_runs(user_id)
        known = {
            user_id: (user["sessions"], user["runs_in_flight"] + user["runs_queued"])
            for user_id, user in self.endpoint.users().items()
        }
        see(known == users, f"there are {users}, and not {known}")
        stats = self.endpoint.stats()
        see(stats["sessions"] == sum(count for count, _ in users.values()), "other sessions")
        see(stats["runs_accepted"] == self.claimed, "other runs accepted")
        see(stats["retries"] == self.model.retries, "other retries")
        see(sum(stats["refusals"].values()) == self.model.refusals, "other refusals")
        sent = sum((connection.screen.events for connection in self.connections), Counter[str]())
        # What the reader of a stream has taken is counted a moment later.
        taken = sum(connection.face == "stream" for connection in self.connections)
        late = sent.total() - sum(stats["events_sent"].values())
        see(0 <= late <= taken, f"{sent} were sent, not {stats['events_sent']}")
        told = (stats["runs_completed"], stats["runs_failed"], stats["runs_cancelled"])
        ended = [self._ended[status] for status in ("completed", "failed", "cancelled")]
        see(list(told) == ended, f"runs ended as {ended}, and not {told}")
        see(sum(stats["durations"]["counts"]) == self._ended.total(), "other durations")

    def _check_runs(self, user_id: str) -> None:
        active = self.witness.active[user_id]
        told = {run.run_id: run for run in self.endpoint.runs(user_id)}
        see(told.keys() == active.keys(), f"{list(active)} are active, and not {list(told)}")
        for run_id, run in told.items():
            watchers = sum(
                connection.is_open and run_id in connection.screen.cursors
                for connection in self.connections
                if connection.user_id == user_id
            )
            see(run.watchers == watchers, f"{watchers} watch {run}")
            self._check_watched(user_id, run)

    def _check_watched(self, user_id: str, run: ActiveRunInfo) -> None:
        """A run that nobody watches is stopped, and that in time."""
        policy, now = self.setting.on_disconnect, self._now()
        if run.watchers or policy == "detach":
            self._unwatched.pop(run.run_id, None)
            return
        took = now - self._unwatched.setdefault(run.run_id, now)
        seconds = policy.seconds if isinstance(policy, Grace) else 0.0
        if any(connection.was_slow for connection in self.connections):
            seconds = max(seconds, self.setting.slow_consumer_grace)
        see(took <= seconds or run.state == "stopping", f"nobody watched for {took} s: {run}")
        see(took <= seconds + self.setting.cancel_grace, f"nobody watched for {took} s: {run}")

    # The end.

    async def come_to_rest(self) -> None:
        """Let every agent end, every client read, and all that follows from it happen."""
        self.stage.is_over = True
        self.stage.release()
        for connection in self.connections:
            if connection.socket.pace != "broken":
                connection.socket.read_at("prompt")
        # Long enough for every grace, for every pause of the log, and for full buckets.
        await asyncio.sleep(120)
        self.check()
        see(not any(self.witness.active.values()), f"runs go on: {self.witness.active}")
        for connection in self.connections:
            if connection.is_open and connection.socket.pace != "broken":
                screen = connection.screen
                dues = [due for due in screen.dues if not due.is_optional]
                see(not dues and not screen.stops, f"never answered: {dues}, {screen.stops}")
                see(screen.resumes <= 0, "never resumed")
                see(not screen.shows, f"never shown to the end: {screen.shows}")

    async def see_all(self, user_id: str, memory: Memory) -> None:
        """See that a client which resumes has all events of the runs that it knows of."""
        for connection in self.connections:
            if connection.user_id == user_id:
                connection.leave("close")
        await asyncio.sleep(1)
        last = await self.connect(user_id, memory)
        see(last, "a client could not come back")
        assert last is not None
        last.resume_all()
        await asyncio.sleep(10)
        self.check()
        for run in self.runs_of(user_id):
            if run.run_id in memory.seen:
                reached = memory.reached(run.run_id)
                see(reached == len(run.events), f"{run.run_id} is known up to {reached}")
        last.leave("close")
        await asyncio.sleep(1)

    async def leave(self) -> None:
        """Leave the endpoint as it is now, and see that nothing is left."""
        setting, begin = self.setting, self._now()
        self.model.is_draining = True
        await self.endpoint.__aexit__(None, None, None)
        took = self._now() - begin
        # Runs, then what is abandoned of them, then the last frames; a slow log beside them.
        bound = setting.drain_timeout + setting.cancel_grace + 4 * setting.final_send_timeout + 30
        see(took <= bound, f"leaving took {took} s")
        for connection in self.connections:
            see(not connection.is_open, "a session is left open")
            connection.leave("close")
            connection.socket.read_at("prompt")
        self.stage.is_over = True
        self.stage.release()
        await asyncio.sleep(2)
        see(not any(self.witness.active.values()), "an accepted message has no end")
        for task in self._background:
            await task
        see(not self.stage.puppets, f"agents go on: {self.stage.puppets}")
        see(not tasks_left(), f"tasks are left: {tasks_left()}")
        see(self.endpoint.users() == {}, "users are left")
        stats = self.endpoint.stats()
        gauges = (
            stats["users"],
            stats["sessions"],
            stats["runs_in_flight"],
            stats["runs_queued"],
            stats["agents_abandoned_alive"],
        )
        see(not any(gauges), f"something is left: {gauges}")
        see(set(self.finished.values()) <= {1}, "a run was reported twice")
        see(len(self.finished) == self.claimed, f"{self.claimed} runs, {len(self.finished)} told")
        for connection in self.connections:
            self._check_close(connection)
        self.check()

    def _check_close(self, connection: Connection) -> None:
        """The host is told of the end that the endpoint made, once."""
        end = None if connection.session is None else connection.session.end
        closed = connection.socket.closed
        if end is None:
            see(connection.face == "stream", "a session without an end")
        elif closed:
            see(closed == [end.reason], f"closed with {closed}, and ended as {end}")
        elif connection.face == "open":
            see(connection.has_closed, f"never closed, and ended as {end}")


def see(holds: object, what: str) -> None:
    """An assertion whose message pytest need not work out."""
    if not holds:
        raise AssertionError(what)
