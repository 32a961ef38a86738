"""Isolation: many users' runs at once through one handler, interleaved at random."""

import asyncio
import json
import logging
import random
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    MessageRouter,
    NativeDialect,
    Run,
)
from agent_messaging.testing import loop_clock, run_virtual
from support import chat, decoded, recount, runs_of
from support.frames import Json
from support.invariants import check_decided, check_frames, check_prefix, same
from support.loop import BEGINNING, TICK, tasks_left, virtual_loop
from support.recount import EPOCH, Counted, Decided
from support.wires import Wire

USERS: Final = 20
RUNS: Final = 200
#: Connections of each user; the runs of a user share them.
CONNECTIONS: Final = 2
SEEDS: Final = (1, 2, 3, 4)

Entry: TypeAlias = Literal["handler", "router", "router's frames"]
Fate: TypeAlias = Literal["completes", "fails", "is cancelled"]

#: Set by each host task before its call, and by each agent while it runs.
HOST: Final[ContextVar[int | None]] = ContextVar("HOST", default=None)
RUN: Final[ContextVar[str | None]] = ContextVar("RUN", default=None)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Many runs fail here on purpose."""
    caplog.set_level(logging.CRITICAL, logger="agent_messaging")


@dataclass(slots=True)
class Client:
    """One run's side of the crowd: whose it is, by which connection, and what became of it."""

    number: int
    user: str
    connection: int
    fate: Fate
    decided: list[Decided] = field(default_factory=list[Decided])
    answer: object = None

    @property
    def secret(self) -> str:
        """What only this run's user may ever see."""
        return f"{self.user}'s {self.number}"


class Crowd:
    """The runs, their transports, and what each of them must not see."""

    def __init__(self, seed: int) -> None:
        self.faults: list[str] = []
        self.in_flight = 0
        self._rng = random.Random(seed)
        self._all_started = asyncio.Event()
        self._started = 0
        self._payloads: list[object] = []
        fates = cast("list[Fate]", ["completes", "completes", "completes", "fails", "is cancelled"])
        self.clients = [
            Client(
                number=number,
                user=f"user-{number % USERS}",
                connection=number // USERS % CONNECTIONS,
                fate=self._rng.choice(fates),
            )
            for number in range(RUNS)
        ]
        # One connection of one user fails on its way, which is nobody else's concern.
        self.wires = {
            (f"user-{user}", connection): Wire(
                self._send, fails_at=20 if user == connection == 0 else None
            )
            for user in range(USERS)
            for connection in range(CONNECTIONS)
        }

    def wire(self, client: Client) -> Wire:
        return self.wires[client.user, client.connection]

    async def pause(self) -> None:
        """Let the others go first, or not."""
        if self._rng.random() < 0.6:
            for _ in range(self._rng.randrange(3)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self._rng.randrange(8) * TICK)

    async def _send(self) -> None:
        self._expect(RUN.get() is None, "a transport saw what an agent had set")
        await self.pause()
        self._expect(RUN.get() is None, "a transport saw what an agent had set")

    def _expect(self, holds: bool, what: str) -> None:
        # Raised in an agent or a transport it would only be one more failure of theirs.
        if not holds:
            self.faults.append(what)

    def dumps(self, payload: object) -> str:
        """Encode, and note for which run; the payload is kept, so that no other has its id."""
        text = json.dumps(payload)
        number = HOST.get()
        assert number is not None
        self.clients[number].decided.append(Decided(text, virtual_loop().time()))
        self._payloads.append(payload)
        return text

    async def agent(self, run: Run) -> object:
        """Tells its user's secret in every event, and looks for the others'."""
        number = HOST.get()
        assert number is not None
        client = self.clients[number]
        self._expect(run.request == client.secret, "an agent was given another's request")
        self._expect(run.context.user_id == client.user, "an agent ran for another user")
        self._expect(RUN.get() is None, "an agent saw what another had set")
        RUN.set(client.secret)
        await self._start()
        await self.pause()
        run.message.payload["noted"] = client.secret
        await run.thinking(f"thinking: {client.secret}")
        await self.pause()
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(self._use_tool(run, client))
        await run.chunk(f"chunk: {client.secret}")
        await self.pause()
        self._expect(RUN.get() == client.secret, "an agent lost what it had set")
        self._expect(HOST.get() == number, "an agent saw another host's variable")
        self._expect(run.message.payload["noted"] == client.secret, "a message was shared")
        if client.fate == "fails":
            raise AgentError(client.secret)
        return [client.secret]

    async def _start(self) -> None:
        """Wait for all the others, so that they all run at once."""
        self._started += 1
        self.in_flight = max(self.in_flight, self._started)
        if self._started == RUNS:
            self._all_started.set()
        await self._all_started.wait()

    async def _use_tool(self, run: Run, client: Client) -> None:
        arguments = {"secrets": [client.secret]}
        async with run.tool("look", arguments) as call:
            # An event is what it was when it was emitted.
            arguments["secrets"].append("changed later")
            self._expect(RUN.get() == client.secret, "a sub-task saw another run's variable")
            await self.pause()
            call.result = {"found": client.secret}
        await self.pause()

    async def host(self, client: Client, front: AgentMessageHandler | MessageRouter) -> None:
        """What a host does with one message, in a task of its own."""
        HOST.set(client.number)
        message = chat(client.secret, message_id=f"m{client.number}")
        client.answer = await front.handle_message(client.user, self.wire(client), message)

    async def host_of_frames(self, client: Client, router: MessageRouter) -> None:
        HOST.set(client.number)
        frame = json.dumps({"type": "chat", "payload": {"text": client.secret}})
        client.answer = await router.handle_frame(client.user, self.wire(client), frame)

    async def cancel(self, client: Client, task: asyncio.Task[None]) -> None:
        """Cancel a host's task once its run is well under way."""
        await self._all_started.wait()
        await asyncio.sleep(self._rng.randrange(24) * TICK)
        task.cancel()

    def shared_objects(self) -> int:
        """How many objects went into more than one payload."""
        seen: set[int] = set()
        shared = 0
        for payload in self._payloads:
            inside = {id(part) for part in _containers(payload)}
            shared += len(seen & inside)
            seen |= inside
        return shared


def _containers(value: object) -> Iterator[object]:
    """The value and what is in it, as far as it could be changed."""
    parts: Iterable[object] = ()
    if isinstance(value, dict):
        parts = cast("dict[str, object]", value).values()
    elif isinstance(value, list):
        parts = cast("list[object]", value)
    else:
        return
    yield value
    for part in parts:
        yield from _containers(part)


async def interleave(crowd: Crowd, entry: Entry) -> Json:
    """All of the runs at once; the handler's statistics afterwards."""
    handler = AgentMessageHandler(
        crowd.agent,
        dialect=NativeDialect(dumps=crowd.dumps),
        clock=loop_clock(EPOCH),
        final_send_timeout=1024.0,
    )
    router = MessageRouter(handler)
    async with asyncio.TaskGroup() as group:
        for client in crowd.clients:
            if entry == "handler":
                hosting = crowd.host(client, handler)
            elif entry == "router":
                hosting = crowd.host(client, router)
            else:
                hosting = crowd.host_of_frames(client, router)
            task = group.create_task(hosting)
            if client.fate == "is cancelled":
                group.create_task(crowd.cancel(client, task))
    await (handler if entry == "handler" else router).aclose()
    assert not tasks_left()
    assert HOST.get() is None
    return dict(handler.get_stats())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("entry", ["handler", "router", "router's frames"])
def test_concurrent_runs_of_many_users_share_nothing(entry: Entry, seed: int) -> None:
    async def trial() -> tuple[Crowd, Json]:
        await asyncio.sleep(BEGINNING)
        crowd = Crowd(seed)
        return crowd, await interleave(crowd, entry)

    crowd, stats = run_virtual(trial())
    for client in crowd.clients:
        client.decided = recount.in_order(client.decided)
    assert crowd.in_flight == RUNS
    assert not crowd.faults
    assert not crowd.shared_objects()
    switches = sum(check_connection(crowd, user, wire) for (user, _), wire in crowd.wires.items())
    # The runs of a connection took turns; otherwise nothing was tried here.
    assert switches >= 3 * RUNS
    same(stats, recount.statistics([counted(crowd, client) for client in crowd.clients]))
    for client in crowd.clients:
        check_client(crowd, client)
    failing = crowd.wires["user-0", 0]
    assert failing.failed_step is not None
    assert len(failing.frames) == 19
    ends = [client.decided[-1].kind for client in crowd.clients]
    assert all(ends.count(end) >= RUNS // 20 for end in recount.TERMINAL)


def check_connection(crowd: Crowd, user: str, wire: Wire) -> int:
    """Nothing of another user came by it; how often one run's frame followed another's."""
    assert not wire.faults
    assert not wire.cut
    frames = decoded(wire.frames)
    others = {client.user for client in crowd.clients} - {user}
    for text, frame in zip(wire.frames, frames, strict=True):
        assert frame["user_id"] == user
        assert not any(f"{other}'s" in text for other in others)
    runs = [frame["run_id"] for frame in frames]
    return sum(run != before for run, before in zip(runs[1:], runs, strict=False))


def check_client(crowd: Crowd, client: Client) -> None:
    """Its run's events are whole and its own, and its fate was nobody else's."""
    frames = frames_of(crowd, client)
    check_frames([], frames)
    check_decided(client.decided)
    check_prefix(frames, client.decided)
    failed = crowd.wire(client).failed_step is not None
    end = client.decided[-1]
    if failed:
        assert client.answer is not True or len(frames) == len(client.decided)
    elif client.fate == "completes":
        assert client.answer is True
        assert end.payload["result"] == [client.secret]
    elif client.fate == "fails":
        assert client.answer is False
        assert end.payload["message"] == client.secret
    else:
        assert client.answer is None or end.kind == "agent_completed"
    if not failed:
        assert len(frames) == len(client.decided)
    for frame in frames:
        told = frame["payload"]
        if frame["type"] in ("agent_thinking", "agent_response_chunk"):
            assert told["text"].endswith(client.secret)
        elif frame["type"] == "tool_executing":
            assert told["arguments"] == {"secrets": [client.secret]}
        elif frame["type"] == "tool_completed" and told["status"] == "ok":
            assert told["result"] == {"found": client.secret}


def frames_of(crowd: Crowd, client: Client) -> list[Json]:
    """The accepted frames of this client's run, found by what only it has decided."""
    for frames in runs_of(crowd.wire(client).frames).values():
        if frames[0]["payload"] == client.decided[0].payload:
            return frames
    return []


def counted(crowd: Crowd, client: Client) -> Counted:
    return Counted(
        message_type="chat",
        decided=client.decided,
        frames=frames_of(crowd, client),
        lost=crowd.wire(client).failed_step is not None,
    )
