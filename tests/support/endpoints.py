"""An endpoint and its clients, as tests drive them: in virtual time, and told in words."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from agent_messaging import (
    AgentMessageHandler,
    Endpoint,
    EventLogError,
    MemoryEventLog,
    MessageHandler,
    Run,
    RunFinished,
    Session,
)
from agent_messaging.testing import RecordingTransport, loop_clock
from support.frames import Json, runs_of
from support.loop import tasks_left

TERMINAL: Final = frozenset({"agent_completed", "agent_failed", "agent_cancelled"})


def now() -> float:
    """The running loop's time, which is virtual."""
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let all that can happen without time passing happen: virtual time moves when all wait."""
    await asyncio.sleep(1e-6)


def frame(kind: str, payload: Mapping[str, object] | None = None, **envelope: object) -> str:
    """A frame as a client sends it; what is None is left out of the envelope."""
    fields = {name: value for name, value in envelope.items() if value is not None}
    return json.dumps({"type": kind, "payload": payload or {}, **fields})


async def forget(endpoint: Endpoint, user_id: str) -> None:
    """Forget a user over a log that may be in trouble; calling it again is sound."""
    while True:
        with suppress(EventLogError):
            return await endpoint.forget(user_id)


async def worker(run: Run) -> str:
    """An agent that does what the message says.

    ``answer``: end at once. ``work 5``: end after so many seconds. ``tidy 5``: wait for a
    cancellation, and take so long over it. ``deaf 5``: swallow every cancellation until so many
    seconds after the first. ``say 5``: emit so many chunks in a tight loop.
    """
    act, _, number = run.request.partition(" ")
    if act == "work":
        await asyncio.sleep(float(number))
    elif act == "tidy":
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(float(number))
    elif act == "deaf":
        await _be_deaf(float(number))
    elif act == "say":
        for chunk in range(int(number)):
            await run.chunk(str(chunk))
    return "done"


async def _be_deaf(seconds: float) -> None:
    until = float("inf")
    while now() < until:
        try:
            await asyncio.sleep(min(until - now(), 1e6))
        except asyncio.CancelledError:
            until = min(until, now() + seconds)


class Connection:
    """One client on one connection.

    Attributes:
        site: where it is.
        transport: its socket.
        session: the endpoint's side of it.
    """

    def __init__(self, site: "Site", transport: RecordingTransport, session: Session) -> None:
        self.transport = transport
        self.session = session
        self.site = site
        self._heard = 0

    async def send(
        self, kind: str, payload: Mapping[str, object] | None = None, **envelope: object
    ) -> None:
        """Send one frame, and let what follows from it happen.

        For frames without anything between them, hand them to the session's own ``receive``.
        """
        await self.session.receive(frame(kind, payload, **envelope))
        await settle()

    async def chat(
        self, text: str, message_id: str | None = None, thread_id: str | None = None
    ) -> None:
        """Send a message for the agent."""
        await self.send("chat", {"text": text}, message_id=message_id, thread_id=thread_id)

    async def stop(self, message_id: str | None = None, **payload: object) -> None:
        """Stop the run of a message, or what the payload names."""
        if message_id is not None:
            payload["run_id"] = self.site.run_id(message_id)
        await self.send("stop_agent", payload)

    async def resume(self, *, after: Mapping[str, int] | None = None, **payload: object) -> None:
        """Resume the runs of these messages after these ``seq``, or what the payload names."""
        if after is not None:
            payload["after"] = {self.site.run_id(name): seq for name, seq in after.items()}
        await self.send("resume", payload)

    @property
    def frames(self) -> list[Json]:
        """Every frame that its socket accepted."""
        return [json.loads(frame) for frame in self.transport.frames]

    def ended(self) -> str | None:
        """Why its session ended; None while it is open."""
        return None if self.session.end is None else self.session.end.reason

    async def heard(self) -> str:
        """What came since the last time, in words, once all that can happen now has happened."""
        await settle()
        begin, self._heard = self._heard, len(self.transport.frames)
        return ", ".join(self.site.words(frame) for frame in self.frames[begin:])

    async def close(self) -> None:
        """The client is gone."""
        await self.session.close()


class Site:
    """An endpoint, what it reported, and its clients; an async context manager.

    Args:
        agent: the agent of an `AgentMessageHandler`.
        handler: in its place. Whether its runs are reported is then its host's business.
        options: the endpoint's. Without a heartbeat, unless there is one among them.

    At its end it sees that nothing is left, that every accepted message was reported once, and
    that its run has exactly one terminal event, the last; and that each connection got the runs'
    events in their order, without a gap.
    """

    def __init__(
        self,
        agent: Callable[[Run], Awaitable[object]] = worker,
        *,
        handler: MessageHandler | None = None,
        **options: Any,
    ) -> None:
        self.finished: list[RunFinished] = []
        self.connections: list[Connection] = []
        self.log = MemoryEventLog()
        #: Whether events may be missing on a connection, as where the log evicts them.
        self.may_have_gaps = False
        self._names: dict[str, str] = {}
        self._reports = handler is None
        if handler is None:
            handler = AgentMessageHandler(
                agent, clock=loop_clock(), on_run_finished=self.finished.append
            )
        settings: dict[str, Any] = {"log": self.log, "clock": loop_clock(), "heartbeat": None}
        self.endpoint = Endpoint(handler, **settings | options)

    async def __aenter__(self) -> Self:
        await self.endpoint.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.endpoint.__aexit__(kind, error, trace)
        if error is None:
            await self._check()

    async def connect(self, user_id: str = "u1", **pace: Any) -> Connection:
        """A new connection; ``pace`` is the transport's. Its greeting is heard already."""
        transport = RecordingTransport(**pace)
        session = await self.endpoint.open(user_id, transport, close=transport.close)
        connection = Connection(self, transport, session)
        self.connections.append(connection)
        await asyncio.sleep(pace.get("seconds", 0.0))
        await connection.heard()
        return connection

    def run_id(self, message_id: str) -> str:
        """The run of a message; a run id that nobody has, for a message that has no run."""
        self._learn()
        return next((run for run, name in self._names.items() if name == message_id), message_id)

    async def history(self, *message_ids: str, user_id: str = "u1") -> str:
        """What the log holds of these messages' runs, in words, each event with its second."""
        told: list[str] = []
        for message_id in message_ids:
            run_id = self.run_id(message_id)
            page = await self.log.read(user_id, run_id, after=0, limit=10**9)
            for kind, payload, _, timestamp in () if page is None else page.events:
                event = {"type": kind, "payload": json.loads(payload), "run_id": run_id}
                told.append(f"{self.words(event)} at {timestamp:.0f}")
        return ", ".join(told)

    def words(self, frame: Json) -> str:
        """A frame in a few words, its run named by its message."""
        self._learn()
        payload = frame["payload"]
        kind = frame["type"].removeprefix("agent_")
        if "run_id" in frame:
            name = self._name(frame["run_id"])
            details = [payload.get(key) for key in ("text", "position", "reason", "code", "name")]
            return " ".join([name, kind, *(str(detail) for detail in details if detail)])
        if kind == "stopped":
            stopped = [self._name(run_id) for run_id in payload["run_ids"]]
            return " ".join(["stopped", *(stopped or ["nothing"])])
        if kind == "resumed":
            return "resumed " + (" + ".join(map(self._run_words, payload["runs"])) or "nothing")
        if kind == "error_message":
            return " ".join(["error", payload["code"], payload.get("message_id", "")]).strip()
        return kind if payload.get("id") is None else f"{kind} {payload['id']}"

    def _run_words(self, run: Json) -> str:
        name = self._name(run["run_id"])
        evicted = " evicted" if run["evicted"] else ""
        return f"{name} {run['from_seq']}-{run['to_seq']} {run['status']}{evicted}"

    def _name(self, run_id: str) -> str:
        return self._names.get(run_id, run_id)

    def _learn(self) -> None:
        """Learn which run is which message's."""
        for user_id in self.endpoint.users():
            for run in self.endpoint.runs(user_id):
                self._names[run.run_id] = run.message_id
        for finished in self.finished:
            self._names[finished.context.run_id] = finished.context.message_id

    async def _check(self) -> None:
        stats = self.endpoint.stats()
        names = [task.get_name() for task in tasks_left() if task.get_name() != "an agent's own"]
        assert len(names) == stats["agents_abandoned_alive"], names
        assert all(name.startswith("agent_messaging run ") for name in names), names
        gauges = (stats["users"], stats["sessions"], stats["runs_in_flight"], stats["runs_queued"])
        assert gauges == (0, 0, 0, 0)
        ended = stats["runs_completed"] + stats["runs_failed"] + stats["runs_cancelled"]
        assert ended == stats["runs_accepted"]
        assert len(self.finished) == stats["runs_accepted"] or not self._reports
        for finished in self.finished:
            context = finished.context
            page = await self.log.read(context.user_id, context.run_id, after=0, limit=10**9)
            if page is not None and page.events:
                kinds = [event.type for event in page.events]
                assert [kind for kind in kinds if kind in TERMINAL] == kinds[-1:], kinds
        for connection in [] if self.may_have_gaps else self.connections:
            for frames in runs_of(connection.transport.frames).values():
                check_order(frames)


def check_order(frames: Iterable[Json]) -> None:
    """One run's events on one connection: each the next, and none after the terminal one.

    A client that has had the terminal one may have asked for them again.
    """
    last: Json | None = None
    for frame in frames:
        if last is not None and last["type"] not in TERMINAL:
            assert frame["seq"] == last["seq"] + 1, f"{frame} came after {last}"
        last = frame
