"""The paths through the library, each beside the floor that does the same work."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, TypeAlias

from agent_messaging import AgentMessageHandler, MessageRouter, NativeDialect, Run
from agent_messaging.testing import RecordingTransport
from benchmarks import floor
from benchmarks.conversation import (
    CHUNK,
    FRAME,
    RESULT,
    USER_ID,
    accepting,
    golden_path,
    yielding,
)
from benchmarks.floor import FloorHandler, Send

#: Does the work of one path a given number of times.
Batch: TypeAlias = Callable[[int], Awaitable[None]]
Handle: TypeAlias = Callable[[str, Send], Awaitable[object]]

CONNECTIONS: Final = 200
FEW_CHUNKS: Final = 500
MANY_CHUNKS: Final = 20_000
FEW_MESSAGES: Final = 10
MANY_MESSAGES: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One row of the table.

    Attributes:
        name: what is measured.
        batch: the library's work.
        floor: the same work by hand.
        budget: the ratio that it is to stay under, where there is one.
        weight: how many plain runs one unit of the work is worth, to keep batches alike.
    """

    name: str
    batch: Batch
    floor: Batch
    budget: float | None = None
    weight: int = 1


def library(handler: AgentMessageHandler | None = None, **dialect: Any) -> Handle:
    """The library's handler of frames, as a host sets it up."""
    native = NativeDialect(**dialect)
    router = MessageRouter(
        handler or AgentMessageHandler(golden_path, dialect=native), dialect=native
    )

    async def handle(frame: str, send: Send) -> object:
        return await router.handle_frame(USER_ID, send, frame)

    return handle


def streaming(count: int) -> Handle:
    """The library in front of an agent that streams ``count`` pieces of text."""

    async def streaming(run: Run) -> str:
        for _ in range(count):
            await run.chunk(CHUNK)
        return RESULT

    return library(AgentMessageHandler(streaming))


def in_turn(handle: Handle | FloorHandler, send: Send = accepting) -> Batch:
    """One message after the other on one connection."""

    async def batch(count: int) -> None:
        for _ in range(count):
            await handle(FRAME, send)

    return batch


def at_once(handle: Handle | FloorHandler) -> Batch:
    """One message on each of many connections at the same time, each in a task of its own."""

    def connection() -> Send:
        async def send(frame: str) -> None:
            await asyncio.sleep(0)

        return send

    connections = [connection() for _ in range(CONNECTIONS)]

    async def batch(count: int) -> None:
        for _ in range(count):
            async with asyncio.TaskGroup() as group:
                for send in connections:
                    group.create_task(_one(handle, send))

    return batch


async def _one(handle: Handle | FloorHandler, send: Send) -> None:
    await handle(FRAME, send)


def direct() -> Batch:
    """The handler alone, with a message that was decoded beforehand."""
    handler = AgentMessageHandler(golden_path)
    message = NativeDialect().decode(FRAME)

    async def batch(count: int) -> None:
        for _ in range(count):
            await handler.handle_message(USER_ID, accepting, message)

    return batch


async def check_frames() -> None:
    """See that the floor and the library send the same frames, apart from ids and times.

    Raises:
        RuntimeError: they do not, so that comparing them would say nothing.
    """
    for handle, by_hand in (
        (library(), floor.floor(floor.golden_path)),
        (streaming(2), floor.floor(floor.chunks(2))),
    ):
        ours, theirs = await _frames(handle), await _frames(by_hand)
        if ours != theirs:
            raise RuntimeError(f"the floor does other work: {ours} against {theirs}")


async def _frames(handle: Handle | FloorHandler) -> list[dict[str, Any]]:
    transport = RecordingTransport()
    await handle(FRAME, transport)
    frames: list[dict[str, Any]] = [json.loads(frame) for frame in transport.frames]
    for fields in frames:
        if len(fields.pop("run_id")) != 32 or not isinstance(fields.pop("timestamp"), float):
            raise RuntimeError(f"a frame without its id and time: {fields}")
        fields["payload"].pop("duration_ms", None)
    return frames


def core_paths() -> list[Path]:
    """What the budgets are for, and what there is to know beside it."""
    five = floor.floor(floor.golden_path)
    paths = [
        Path(
            name="decode, handler, outbox, five events",
            batch=in_turn(library()),
            floor=in_turn(five),
            budget=1.0,
        ),
        Path(
            name=f"one text chunk among {FEW_CHUNKS}",
            batch=in_turn(streaming(FEW_CHUNKS)),
            floor=in_turn(floor.floor(floor.chunks(FEW_CHUNKS))),
            budget=0.6,
            weight=FEW_CHUNKS // 5,
        ),
        Path(
            name="handler called directly, no decoding",
            batch=direct(),
            floor=in_turn(five),
        ),
        Path(
            name="transport that yields once a send",
            batch=in_turn(library(), yielding),
            floor=in_turn(five, yielding),
        ),
        Path(
            name="with run_timeout",
            batch=in_turn(library(AgentMessageHandler(golden_path, run_timeout=60.0))),
            floor=in_turn(five),
        ),
        Path(
            name=f"{CONNECTIONS} runs at once on {CONNECTIONS} connections",
            batch=at_once(library()),
            floor=at_once(five),
            weight=CONNECTIONS,
        ),
    ]
    if find_spec("orjson") is not None:
        orjson: Any = import_module("orjson")
        paths.append(
            Path(
                name="with orjson both ways",
                batch=in_turn(library(loads=orjson.loads, dumps=orjson.dumps)),
                floor=in_turn(five),
            )
        )
    return paths


async def growth_paths(*, quick: bool) -> list[Path]:
    """The same work early and late: the ratios of each pair are to be alike."""
    many_chunks = MANY_CHUNKS // 20 if quick else MANY_CHUNKS
    many_messages = MANY_MESSAGES // 100 if quick else MANY_MESSAGES
    fresh, used = in_turn(library()), in_turn(library())
    await fresh(FEW_MESSAGES)
    await used(many_messages)
    five = in_turn(floor.floor(floor.golden_path))
    return [
        *(
            Path(
                name=f"a chunk of a run of {count:,}",
                batch=in_turn(streaming(count)),
                floor=in_turn(floor.floor(floor.chunks(count))),
                weight=count // 5,
            )
            for count in (FEW_CHUNKS, many_chunks)
        ),
        Path(name=f"a message after {FEW_MESSAGES}", batch=fresh, floor=five),
        Path(name=f"a message after {many_messages:,}", batch=used, floor=five),
    ]
