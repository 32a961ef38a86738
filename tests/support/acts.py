"""Steps of agents that do what an agent may, and what it must not."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agent_messaging import (
    AgentCompleted,
    AgentError,
    AgentStarted,
    Run,
)
from agent_messaging.testing.strategies import Chunk, Parallel, Progress, Step, Thinking
from support.loop import TICK
from support.trial import watch_of

Block: TypeAlias = tuple[Step, ...]


async def perform(block: Block, run: Run) -> None:
    for step in block:
        await step(run)


class Halt(BaseException):
    """An exception that is no Exception, as the ones that end a process."""


@dataclass(frozen=True, slots=True)
class Unawaited:
    """Emit what the step does, and do not await it."""

    step: Thinking | Chunk | Progress

    async def __call__(self, run: Run) -> None:
        match self.step:
            case Thinking(text):
                run.thinking(text)
            case Chunk(text):
                run.chunk(text)
            case Progress(name, data):
                run.progress(name, data)


@dataclass(frozen=True, slots=True)
class Pause:
    """Yield to the loop that many times."""

    steps: int

    async def __call__(self, run: Run) -> None:
        for _ in range(self.steps):
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Open:
    """Emit tool_executing for a call of this number, opened already or not."""

    number: int

    async def __call__(self, run: Run) -> None:
        await run.tool_executing(f"open-{self.number}", f"tool {self.number}")


@dataclass(frozen=True, slots=True)
class Close:
    """Emit tool_completed for the call of this number, open or not."""

    number: int
    error: str | None

    async def __call__(self, run: Run) -> None:
        await run.tool_completed(f"open-{self.number}", error=self.error)


@dataclass(frozen=True, slots=True)
class EmitForbidden:
    """Emit what is not an agent's to emit."""

    what: Literal["start", "end", "stranger"]

    async def __call__(self, run: Run) -> None:
        await run.emit(_FORBIDDEN[self.what])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


_FORBIDDEN: Final = {
    "start": AgentStarted(message_id="m", agent="a"),
    "end": AgentCompleted(result="mine"),
    "stranger": {"type": "agent_thinking", "payload": {"text": "thinking"}},
}


@dataclass(frozen=True, slots=True)
class Swallow:
    """Do the body, and go on when it is cancelled."""

    body: Block

    async def __call__(self, run: Run) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await perform(self.body, run)


@dataclass(frozen=True, slots=True)
class Finally:
    """Do the body, then the cleanup whatever happened."""

    body: Block
    cleanup: Block

    async def __call__(self, run: Run) -> None:
        try:
            await perform(self.body, run)
        finally:
            await perform(self.cleanup, run)


@dataclass(frozen=True, slots=True)
class Within:
    """Do the body in at most that many ticks; a TimeoutError comes out otherwise."""

    ticks: int
    body: Block

    async def __call__(self, run: Run) -> None:
        async with asyncio.timeout(self.ticks * TICK):
            await perform(self.body, run)


Place: TypeAlias = Literal["block", "context manager", "generator", "awaitable"]
PLACES: Final[tuple[Place, ...]] = ("block", "context manager", "generator", "awaitable")


@dataclass(frozen=True, slots=True)
class Group:
    """Do the bodies at once, in a task group that stands in code of this kind."""

    bodies: tuple[Block, ...]
    place: Place

    async def __call__(self, run: Run) -> None:
        at_once = Parallel(self.bodies)
        match self.place:
            case "block":
                await at_once(run)
            case "context manager":
                async with _task_group() as group:
                    for body in self.bodies:
                        group.create_task(perform(body, run))
            case "generator":
                async for _ in _yielding(at_once(run)):
                    pass
            case "awaitable":
                await _Awaitable(at_once(run))


@contextlib.asynccontextmanager
async def _task_group() -> AsyncGenerator[asyncio.TaskGroup, None]:
    async with asyncio.TaskGroup() as group:
        yield group


async def _yielding(awaited: Awaitable[None]) -> AsyncGenerator[None, None]:
    await awaited
    yield


class _Awaitable:
    """What is awaited as it would be without it, and is no coroutine."""

    def __init__(self, awaited: Awaitable[None]) -> None:
        self._awaited = awaited

    def __await__(self) -> Generator[object, None, None]:
        return self._awaited.__await__()


@dataclass(frozen=True, slots=True)
class Leave:
    """Start a task and leave it behind: it emits now and then, also after the end."""

    emits: int
    ticks: int

    async def __call__(self, run: Run) -> None:
        watch_of(run).tasks.append(asyncio.create_task(self._linger(run)))

    async def _linger(self, run: Run) -> None:
        for _ in range(self.emits):
            await asyncio.sleep(self.ticks * TICK)
            with contextlib.suppress(Exception):
                await Chunk("left behind")(run)


@dataclass(frozen=True, slots=True)
class CancelInner:
    """Start a task of one's own, cancel it, and await it: CancelledError comes out."""

    body: Block
    steps: int

    async def __call__(self, run: Run) -> None:
        task = asyncio.create_task(perform(self.body, run))
        watch_of(run).tasks.append(task)
        try:
            for _ in range(self.steps):
                await asyncio.sleep(0)
        finally:
            task.cancel()
        await task
        # It ended before, or did not mind; what awaits it then sees a cancellation all the same.
        raise asyncio.CancelledError


@dataclass(frozen=True, slots=True)
class Raise:
    """Raise one of `ERRORS`, by its name."""

    error: str

    async def __call__(self, run: Run) -> None:
        error = ERRORS[self.error]()
        raise error


ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "exception": lambda: ValueError("private"),
    "words": lambda: AgentError("No flights today.", code="no_flights", retryable=True),
    "odd words": lambda: AgentError("No \x00 flights, \ud800 and \N{BANANA}."),
    "group of words": lambda: ExceptionGroup("one", [AgentError("Wrapped.", code="wrapped")]),
    "group": lambda: ExceptionGroup("two", [AgentError("One."), ValueError("private")]),
    "cancelled": asyncio.CancelledError,
    "halt": Halt,
    "group of halts": lambda: BaseExceptionGroup("base", [Halt(), ValueError("private")]),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
}
