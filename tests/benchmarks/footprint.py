"""What the library adds to a process: import time, modules, and memory."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Final, cast

from agent_messaging import AgentMessageHandler, AgentThinking, Message, MessageRouter, Run
from benchmarks import floor
from benchmarks.conversation import FRAME, THOUGHT, USER_ID, accepting
from benchmarks.endpoints import idle_session
from benchmarks.floor import Emit, FloorHandler, Send
from benchmarks.paths import Handle, in_turn, library
from benchmarks.quartiles import Quartiles, quartiles

#: What a host of this kind has imported anyway.
BASELINE: Final = "import asyncio, json, dataclasses, enum, typing_extensions"

_IMPORT: Final = f"""
{BASELINE}
import sys, time
before = set(sys.modules)
start = time.process_time()
import agent_messaging
milliseconds = (time.process_time() - start) * 1000
print(json.dumps({{"ms": milliseconds, "modules": sorted(set(sys.modules) - before)}}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCost:
    """What ``import agent_messaging`` adds to a fresh interpreter.

    Attributes:
        ms: milliseconds of processor time beyond the baseline, over several interpreters.
        package: the modules of the package that came with it.
        others: all other modules that came with it.
    """

    ms: Quartiles
    package: list[str]
    others: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes that Python allocated, by `tracemalloc`.

    Attributes:
        message: one decoded `Message` with its payload.
        event: one `AgentThinking`.
        waiting_run: one run that waits in its agent on a connection of its own, its task
            included, with two events sent.
        waiting_floor: the same run of the floor.
        messages: how many messages were then handled, one after the other.
        growth: bytes that are held after those and were not before.
        idle_session: one session of an endpoint, and its user, of which nothing is heard.
    """

    message: float
    event: float
    waiting_run: float
    waiting_floor: float
    messages: int
    growth: int
    idle_session: float


def import_cost(rounds: int) -> ImportCost:
    """Import the package in ``rounds`` fresh interpreters, after one that compiles it."""
    results: list[dict[str, object]] = []
    with TemporaryDirectory() as cache:
        # As an installed package: compiled, whatever this environment says about that.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(rounds + 1):
            output = subprocess.run(
                [sys.executable, "-P", "-c", _IMPORT],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            ).stdout
            results.append(json.loads(output))
    modules = cast("list[str]", results[-1]["modules"])
    return ImportCost(
        ms=quartiles([cast("float", result["ms"]) for result in results[1:]]),
        package=[name for name in modules if name.split(".")[0] == "agent_messaging"],
        others=[name for name in modules if name.split(".")[0] != "agent_messaging"],
    )


async def memory(messages: int) -> Memory:
    """Count the bytes of single objects, of runs that wait, and what many messages leave."""
    warm = in_turn(library())
    await warm(100)
    tracemalloc.start()
    try:
        message = _each(lambda: Message.from_dict(json.loads(FRAME)))
        event = _each(lambda: AgentThinking(text=THOUGHT))
        waiting_run = await _waiting(_library_that_waits)
        waiting_floor = await _waiting(_floor_that_waits)
        growth = await _growth(messages)
        idle = await idle_session()
    finally:
        tracemalloc.stop()
    return Memory(
        message=message,
        event=event,
        waiting_run=waiting_run,
        waiting_floor=waiting_floor,
        messages=messages,
        growth=growth,
        idle_session=idle,
    )


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _each(make: Callable[[], object], count: int = 1000) -> float:
    kept: list[object] = [None] * count
    before = _held()
    for index in range(count):
        kept[index] = make()
    return (_held() - before) / count


async def _waiting(
    make: Callable[[asyncio.Event], Handle | FloorHandler], count: int = 1000
) -> float:
    release = asyncio.Event()
    handle = make(release)
    connections = [_connection() for _ in range(count)]
    before = _held()
    async with asyncio.TaskGroup() as group:
        for send in connections:
            group.create_task(_handled(handle, send))
        for _ in range(10):  # until the writers are done and every run waits
            await asyncio.sleep(0)
        after = _held()
        release.set()
    return (after - before) / count


async def _handled(handle: Handle | FloorHandler, send: Send) -> None:
    await handle(FRAME, send)


def _connection() -> Send:
    async def send(frame: str) -> None:
        await accepting(frame)

    return send


def _library_that_waits(release: asyncio.Event) -> Handle:
    async def waiting(run: Run) -> None:
        await run.thinking(THOUGHT)
        await release.wait()

    router = MessageRouter(AgentMessageHandler(waiting))

    async def handle(frame: str, send: Send) -> object:
        return await router.handle_frame(USER_ID, send, frame)

    return handle


def _floor_that_waits(release: asyncio.Event) -> FloorHandler:
    async def waiting(message_id: str, emit: Emit) -> None:
        await emit("agent_started", {"message_id": message_id, "agent": "waiting"})
        await emit("agent_thinking", {"text": THOUGHT})
        await release.wait()
        await emit("agent_completed", {"result": None, "duration_ms": 0})

    return floor.floor(waiting)


async def _growth(messages: int) -> int:
    batch = in_turn(library())
    await batch(100)
    before = _held()
    await batch(messages)
    return _held() - before
