"""An endpoint, its clients and their host, in which a script is played."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final

from agent_messaging import (
    AgentMessageHandler,
    Clock,
    Endpoint,
    Limits,
    MemoryEventLog,
    RemoteError,
    Session,
)
from agent_messaging.testing import RecordingTransport
from fuzz.script import Setting, Step
from fuzz.stage import Stage
from fuzz.stream import Stream
from support.endpoint_witness import Witness
from support.endpoints import forget
from support.loop import tasks_left

USERS: Final = ("ann", "bob")

#: Seconds that a step may let pass.
_WAITS: Final = (0.0, 1 / 64, 0.5, 1.0, 3.0, 7.0, 12.0, 30.0)

#: Events of a user that no script comes to.
_MANY: Final = 10_000

#: Longer than every grace and time-out, once all clients read and all agents come to their end.
_REST: Final = 40.0


class Client:
    """One connection: the client's end, and the host's task that serves it.

    Attributes:
        user_id: whose it is.
        socket: the host's end.
        session: the endpoint's; None before it is open, if it was refused, and for streams.
        taken: how many frames the endpoint took while the session was open.
    """

    def __init__(self, user_id: str, socket: RecordingTransport) -> None:
        self.user_id: Final = user_id
        self.socket: Final = socket
        self.session: Session | None = None
        self.taken = 0
        self.host: asyncio.Task[None] | None = None
        self._inbox: deque[str | bytes] = deque()
        self._came = asyncio.Event()
        self._is_gone = False

    @property
    def is_open(self) -> bool:
        """Whether its session is."""
        return self.session is not None and self.session.end is None

    @property
    def waits(self) -> int:
        """How many frames the host has not handed over."""
        return len(self._inbox)

    def send(self, frame: str | bytes) -> None:
        """Have the host hand over a frame."""
        self._inbox.append(frame)
        self._came.set()

    def leave(self) -> None:
        """Have the client go."""
        self._is_gone = True
        self._came.set()

    async def call(self, endpoint: Endpoint) -> None:
        """What a host does with a socket that calls back."""
        socket = self.socket
        try:
            session = await endpoint.open(self.user_id, socket, close=socket.close)
        except RemoteError as refusal:
            if refusal.code not in ("too_many_sessions", "shutting_down"):
                raise AssertionError("no reason to refuse a session") from refusal
            return
        self.session = session
        try:
            async for frame in self.frames():
                await session.receive(frame)
                self.taken += session.end is None
        finally:
            await session.close()

    async def iterate(self, endpoint: Endpoint) -> None:
        """What a host does with a socket that iterates."""
        end = await endpoint.serve(self.user_id, self.frames(), self.socket)
        assert isinstance(end.error, ConnectionError | RemoteError | None), end

    async def stream(self, endpoint: Endpoint, frame: bytes) -> None:
        """What a host does with a request that is streamed to."""
        try:
            stream = await endpoint.stream(self.user_id, frame)
        except RemoteError:
            return
        try:
            async for event in stream:
                text = event.decode()
                assert text.startswith("data: "), text
                assert text.endswith("\n\n"), text
                await self.socket(text[6:-2])
                if self._is_gone:
                    break
        except ConnectionError:
            pass  # the client is gone
        finally:
            await stream.aclose()

    async def frames(self) -> AsyncGenerator[str | bytes]:
        """The frames of the client, until it goes."""
        while True:
            while not (self._inbox or self._is_gone):
                self._came.clear()
                await self._came.wait()
            if self._is_gone:
                return
            yield self._inbox.popleft()


class World:
    """All of it; `play` does one step, `end` sees everything to its end.

    Attributes:
        setting: how it is set up.
        stage: where the agents are.
        clients: every one that there ever was.
        witness: the log, with what it was told.
        endpoint: what is fuzzed.
        is_calm: whether every frame that a client is sent answers one of its own, or is a run's.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting: Final = setting
        self.stage: Final = Stage()
        self.clients: list[Client] = []
        # Where events are let go of, clients are told so without having asked.
        self.is_calm = setting.events_per_user > _MANY
        self._tasks: list[asyncio.Task[None]] = []
        self._absent: set[str] = set()
        self._ids = 0
        self._steps = 0
        seed = setting.seed or 0
        self.witness: Final = Witness(
            MemoryEventLog(events_per_user=setting.events_per_user, clock=_now),
            None if setting.log == "prompt" else random.Random(seed),
            is_troubled=setting.log == "troubled",
        )
        clock = Clock(wall=_now, monotonic=_now)
        limits = Limits(
            messages_per_minute=6 if setting.is_tight else None,
            frames_per_minute=12 if setting.is_tight else None,
            runs_per_user=2 if setting.is_tight else 4,
            queued_per_thread=2,
            sessions_per_user=3,
            lag_events=8,
            resumed_runs=4,
            pending_replies=3,
        )
        self.endpoint: Final = Endpoint(
            AgentMessageHandler(self.stage.agent, clock=clock),
            log=self.witness,
            limits=limits,
            thread_policy=setting.policy,
            on_disconnect=setting.on_disconnect,
            slow_consumers=setting.slow_consumers,
            cancel_grace=2.0,
            slow_consumer_grace=6.0,
            send_timeout=8.0,
            final_send_timeout=1.0,
            idle_timeout=setting.idle_timeout,
            heartbeat=setting.heartbeat,
            drain_timeout=4.0,
            clock=clock,
            new_id=self._new_id,
        )

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    @property
    def work(self) -> int:
        """How much there was to do: a unit for each step, event and frame, some for each client."""
        events = sum(len(history.events) for history in self.witness.histories.values())
        frames = sum(len(client.socket.frames) for client in self.clients)
        return self._steps + events + frames + 10 * len(self.clients) + 20

    # Steps.

    async def play(self, step: Step) -> None:
        """Do it, and let what can happen at once begin to happen."""
        self._steps += 1
        number = step.number
        match step.action:
            case "open" | "post":
                self._begin(step)
            case "wait":
                await asyncio.sleep(_WAITS[number % len(_WAITS)])
            case "yield":
                for _ in range(number):
                    await asyncio.sleep(0)
            case "start draining":
                self.is_calm = False
                self.endpoint.start_draining()
            case "drain":
                self.is_calm = False
                self._spawn(self.endpoint.drain(number / 2))
            case "forget":
                self.is_calm = False
                user_id = USERS[number % 2]
                if user_id not in self._absent:
                    self._absent.add(user_id)
                    self._spawn(self._forget(user_id))
            case _:
                if self.clients:
                    self._do_to(self.clients[number % len(self.clients)], step)
        await asyncio.sleep(0)

    def _begin(self, step: Step) -> None:
        """A new connection: two digits' bits say whose, of which kind and at what pace."""
        number = step.number
        user_id = USERS[number & 1]
        if user_id in self._absent or len(self.clients) >= 12:
            return
        socket = RecordingTransport(
            turns=3 if number & 4 else 0,
            seconds=1 / 64 if number & 8 else 0.0,
        )
        client = Client(user_id, socket)
        self.clients.append(client)
        if step.action == "post":
            self.is_calm = False
            host = client.stream(self.endpoint, step.frame)
        elif number & 2:
            self.is_calm = False  # nobody knows which frames its session took
            host = client.iterate(self.endpoint)
        else:
            host = client.call(self.endpoint)
        client.host = self._spawn(host)

    def _do_to(self, client: Client, step: Step) -> None:
        match step.action:
            case "frame":
                client.send(step.frame)
            case "text":
                client.send(step.frame.decode("utf-8", "surrogateescape"))
            case "close":
                client.leave()
            case "cut":
                assert client.host is not None
                client.host.cancel()
            case "stall":
                client.socket.hang()
            case "read on":
                client.socket.read_on()
            case _:
                client.socket.fail()

    async def _forget(self, user_id: str) -> None:
        await forget(self.endpoint, user_id)
        self._absent.discard(user_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="a fuzzed host's")
        self._tasks.append(task)
        return task

    # The end.

    async def end(self) -> None:
        """Let all come to its end, and see that nothing is left.

        Raises:
            AssertionError: something is, or a promise was not kept on the way.
        """
        self.stage.over.set()
        for client in self.clients:
            client.socket.read_on()
        await asyncio.sleep(_REST)
        active = {user: list(runs) for user, runs in self.witness.active.items() if runs}
        assert not active, f"runs go on: {active}"
        open_clients = [client for client in self.clients if client.is_open]
        await self._see_answered()
        await self.endpoint.__aexit__(None, None, None)
        for client in self.clients:
            client.leave()
        await asyncio.sleep(1.0)
        for task in self._tasks:
            assert task.done(), f"it goes on: {task}"
            if not task.cancelled():
                task.result()
        assert not tasks_left(), f"tasks are left: {tasks_left()}"
        self._see_counted()
        for history in self.witness.histories.values():
            assert not history.faults, f"{history.run_id}: {history.faults}"
            assert history.is_ended, f"{history.run_id} has no end"
        assert not self.witness.faults, self.witness.faults
        for client in self.clients:
            assert len(client.socket.closed) <= 1, f"closed as {client.socket.closed}"
            stream = Stream(client.user_id, self.witness)
            stream.read(client.socket.frames)
            if client in open_clients:
                assert not stream.next, f"never shown to the end: {stream.next}"

    async def _see_answered(self) -> None:
        """Each frame of a session that is open has one answer, or is a run's."""
        if not self.is_calm or any(not client.is_open for client in self.clients):
            return
        answers = taken = 0
        for client in self.clients:
            stream = Stream(client.user_id, self.witness)
            stream.read(client.socket.frames)
            assert not client.waits, f"{client.waits} frames were never taken"
            answers += stream.answers - 1  # the greeting
            taken += client.taken
        stats = self.endpoint.stats()
        runs = stats["runs_accepted"] + stats["retries"]
        assert taken == answers + runs, f"{taken} frames, {answers} answers, {runs} runs"

    def _see_counted(self) -> None:
        stats = self.endpoint.stats()
        claimed = len(self.witness.histories) + self.witness.dropped
        ended = stats["runs_completed"] + stats["runs_failed"] + stats["runs_cancelled"]
        assert stats["runs_accepted"] == claimed == ended, f"{claimed} claimed, and {stats}"
        gauges = (
            stats["users"],
            stats["sessions"],
            stats["runs_in_flight"],
            stats["runs_queued"],
            stats["agents_abandoned_alive"],
        )
        assert not any(gauges), f"something is left: {gauges}"


def _now() -> float:
    return asyncio.get_running_loop().time()
