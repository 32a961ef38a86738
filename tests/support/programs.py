"""The agents that do what a program says, in each form that a handler takes."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Final, Literal, TypeAlias, assert_never

from agent_messaging import (
    AgentCompleted,
    AgentEvent,
    AgentLike,
    AgentProgress,
    AgentRegistry,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    Run,
    ToolCall,
)
from support.acts import (
    ERRORS,
    Act,
    Block,
    CancelInner,
    Catch,
    Close,
    EmitForbidden,
    Finally,
    Group,
    Leave,
    Open,
    Pause,
    Program,
    Progress,
    Raise,
    Say,
    Sleep,
    Swallow,
    TextKind,
    Tool,
    Within,
)
from support.loop import TICK
from support.trial import Watch


class Performer:
    """Does what a program says, in one run."""

    def __init__(self, run: Run, watch: Watch) -> None:
        self._run = run
        self._watch = watch
        self._texts = 0

    async def perform(self, block: Block) -> None:
        for act in block:
            await self._do(act)

    def event(self, act: Act) -> AgentEvent | None:
        """What a generator yields for this act; None if it does it itself."""
        if isinstance(act, Say):
            kind = AgentThinking if act.kind == "thinking" else AgentResponseChunk
            return kind(text=self._text(act.kind))
        if isinstance(act, Progress):
            return AgentProgress(name="progress", data=act.data)
        return None

    async def _do(self, act: Act) -> None:
        run = self._run
        match act:
            case Say():
                emit = run.thinking if act.kind == "thinking" else run.chunk
                await self._emit(functools.partial(emit, self._text(act.kind)), act.awaited)
            case Progress():
                await self._emit(functools.partial(run.progress, "step", act.data), act.awaited)
            case Pause():
                for _ in range(act.steps):
                    await asyncio.sleep(0)
            case Sleep():
                await asyncio.sleep(act.ticks * TICK)
            case Tool():
                await self._use_tool(act)
            case Open():
                name = f"tool {act.number}"
                await self._emit(functools.partial(run.tool_executing, _id(act.number), name))
            case Close():
                emit = functools.partial(run.tool_completed, _id(act.number), error=act.error)
                await self._emit(emit)
            case EmitForbidden():
                await self._emit(functools.partial(run.emit, _FORBIDDEN[act.what]))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            case Catch():
                with contextlib.suppress(Exception):
                    await self.perform(act.body)
            case Swallow():
                with contextlib.suppress(asyncio.CancelledError):
                    await self.perform(act.body)
            case Finally():
                try:
                    await self.perform(act.body)
                finally:
                    await self.perform(act.cleanup)
            case Within():
                async with asyncio.timeout(act.ticks * TICK):
                    await self.perform(act.body)
            case Group():
                await self._perform_group(act)
            case Leave():
                self._watch.tasks.append(asyncio.create_task(self._linger(act)))
            case CancelInner():
                await self._cancel_inner(act)
            case Raise():
                error = ERRORS[act.error]()
                raise error
            case _:
                assert_never(act)

    async def _perform_group(self, act: Group) -> None:
        match act.place:
            case "block":
                await self._perform_at_once(act.bodies)
            case "context manager":
                async with _task_group() as group:
                    for body in act.bodies:
                        group.create_task(self.perform(body))
            case "generator":
                async for _ in self._at_once(act.bodies):
                    pass
            case "awaitable":
                await _Awaitable(self._perform_at_once(act.bodies))

    async def _perform_at_once(self, bodies: tuple[Block, ...]) -> None:
        async with asyncio.TaskGroup() as group:
            for body in bodies:
                group.create_task(self.perform(body))

    async def _at_once(self, bodies: tuple[Block, ...]) -> AsyncGenerator[None, None]:
        await self._perform_at_once(bodies)
        yield

    async def _emit(self, call: Callable[[], Awaitable[None]], awaited: bool = True) -> None:
        with self._watch.emitting():
            posted = call()
        if awaited:
            await posted

    async def _use_tool(self, act: Tool) -> None:
        async with _WatchedTool(self._run.tool("search", {"q": 1}), self._watch) as call:
            await self.perform(act.body)
            call.result = act.result

    async def _linger(self, act: Leave) -> None:
        for _ in range(act.emits):
            await asyncio.sleep(act.ticks * TICK)
            await self._do(Catch((Say("chunk", awaited=True),)))

    async def _cancel_inner(self, act: CancelInner) -> None:
        task = asyncio.create_task(self.perform(act.body))
        self._watch.tasks.append(task)
        try:
            for _ in range(act.steps):
                await asyncio.sleep(0)
        finally:
            task.cancel()
        await task
        # It ended before, or did not mind; what awaits it then sees a cancellation all the same.
        raise asyncio.CancelledError

    def _text(self, kind: TextKind) -> str:
        self._texts += 1
        return f"{kind} {self._texts}"


@contextlib.asynccontextmanager
async def _task_group() -> AsyncGenerator[asyncio.TaskGroup, None]:
    async with asyncio.TaskGroup() as group:
        yield group


class _Awaitable:
    """What is awaited as it would be without it, and is no coroutine."""

    def __init__(self, awaited: Awaitable[None]) -> None:
        self._awaited = awaited

    def __await__(self) -> Generator[object, None, None]:
        return self._awaited.__await__()


class _WatchedTool:
    """A tool call whose emits are watched."""

    def __init__(self, call: ToolCall, watch: Watch) -> None:
        self._call = call
        self._watch = watch

    async def __aenter__(self) -> ToolCall:
        with self._watch.emitting():
            return await self._call.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, Exception):
            with self._watch.emitting():
                await self._call.__aexit__(kind, error, trace)
        else:
            # A tool left by a cancellation stays open, and emits nothing.
            await self._call.__aexit__(kind, error, trace)


_FORBIDDEN: Final = {
    "start": AgentStarted(message_id="m", agent="a"),
    "end": AgentCompleted(result="mine"),
    "stranger": {"type": "agent_thinking", "payload": {"text": "thinking"}},
}


def _id(number: int) -> str:
    return f"open-{number}"


Form: TypeAlias = Literal["function", "object", "generator", "registry", "service"]
FORMS: Final[tuple[Form, ...]] = ("function", "object", "generator", "registry", "service")


def agent_of(program: Program, form: Form) -> Callable[[Watch], AgentLike]:
    """Makes the agent that does the program, in one of the forms that a handler takes."""

    def make(watch: Watch) -> AgentLike:
        async def body(run: Run) -> object:
            await Performer(run, watch).perform(program.block)
            return program.result

        agent = watch.watching(body)
        match form:
            case "function":
                return agent
            case "object":
                return _Callable(agent)
            case "generator":
                return _generator(program, watch)
            case "registry":
                registry = AgentRegistry()
                registry.register("other", _other)
                registry.register("agent", agent, default=True)
                return registry
            case "service":
                return _Service(agent)

    return make


async def _other(run: Run) -> None:
    raise AssertionError("nobody asked for this agent")


class _Callable:
    def __init__(self, agent: Callable[[Run], Awaitable[object]]) -> None:
        self._agent = agent

    async def __call__(self, run: Run) -> object:
        return await self._agent(run)


class _Service:
    def __init__(self, agent: Callable[[Run], Awaitable[object]]) -> None:
        self._agent = agent

    async def handle_start_agent(self, run: Run) -> object:
        return await self._agent(run)

    async def handle_user_message(self, run: Run) -> object:
        return await self._agent(run)


def _generator(
    program: Program, watch: Watch
) -> Callable[[Run], AsyncGenerator[AgentEvent | AgentCompleted, None]]:
    """The program as an async generator function: it yields what it would emit itself."""

    async def agent(run: Run) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
        watch.run = run
        performer = Performer(run, watch)
        completed = False
        try:
            for act in program.block:
                event = performer.event(act)
                if event is None:
                    await performer.perform((act,))
                else:
                    yield event
            completed = True
            yield AgentCompleted(result=program.result)
        except GeneratorExit:
            # The run wants no more: it has its result, or an event that was yielded was refused.
            if completed:
                watch.ended(program.result)
            else:
                watch.ended(escaped=RuntimeError("an event was refused"))
            raise
        except BaseException as escaped:
            watch.ended(escaped=escaped)
            raise

    return agent
