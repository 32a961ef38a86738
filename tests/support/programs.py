"""The agents that do what a program says, in each form that a handler takes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, Literal, TypeAlias

from agent_messaging import (
    AgentCompleted,
    AgentEvent,
    AgentLike,
    AgentProgress,
    AgentRegistry,
    AgentResponseChunk,
    AgentThinking,
    Run,
)
from agent_messaging.testing.strategies import AgentProgram, Chunk, Progress, Thinking
from support.trial import Watch

Form: TypeAlias = Literal["function", "object", "generator", "registry", "service"]
FORMS: Final[tuple[Form, ...]] = ("function", "object", "generator", "registry", "service")


def agent_of(program: AgentProgram, form: Form) -> Callable[[Watch], AgentLike]:
    """Makes the agent that does the program, in one of the forms that a handler takes."""

    def make(watch: Watch) -> AgentLike:
        async def body(run: Run) -> object:
            return await program(watch.over(run))

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
    program: AgentProgram, watch: Watch
) -> Callable[[Run], AsyncGenerator[AgentEvent | AgentCompleted, None]]:
    """The program as an async generator function: it yields what it would emit itself."""

    async def agent(run: Run) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
        watch.run = run
        watched = watch.over(run)
        completed = False
        try:
            for step in program.steps:
                event = _event(step)
                if event is None:
                    await step(watched)
                else:
                    yield event
            completed = True
            yield AgentCompleted(result=program.returns)
        except GeneratorExit:
            # The run wants no more: it has its result, or an event that was yielded was refused.
            if completed:
                watch.ended(program.returns)
            else:
                watch.ended(escaped=RuntimeError("an event was refused"))
            raise
        except BaseException as escaped:
            watch.ended(escaped=escaped)
            raise

    return agent


def _event(step: object) -> AgentEvent | None:
    """What a generator yields for this step; None if it does it itself."""
    match step:
        case Thinking(text):
            return AgentThinking(text=f"thinking {text}")
        case Chunk(text):
            return AgentResponseChunk(text=f"chunk {text}")
        case Progress(name, data):
            return AgentProgress(name=name, data=data)
        case _:
            return None
