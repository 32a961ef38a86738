"""What type checkers take for an agent, and what they do not; never run."""

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, assert_type

from agent_messaging import (
    AgentCompleted,
    AgentEvent,
    AgentFunction,
    AgentLike,
    AgentMessageHandler,
    AgentRegistry,
    AgentStarted,
    AgentThinking,
    MessageHandlerService,
    Run,
)


async def coroutine_agent(run: Run) -> str:
    return run.request


async def agent_without_a_result(run: Run) -> None:
    await run.chunk("done")


async def generator_agent(run: Run) -> AsyncGenerator[AgentEvent, None]:
    yield AgentThinking(text=run.request)


async def generator_agent_of_one_event(run: Run) -> AsyncGenerator[AgentThinking, None]:
    yield AgentThinking(text=run.request)


async def generator_agent_with_a_result(
    run: Run,
) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
    yield AgentThinking(text=run.request)
    yield AgentCompleted(result="done")


async def generator_agent_by_its_iterator(run: Run) -> AsyncIterator[AgentEvent]:
    yield AgentThinking(text=run.request)


async def agent_with_a_model(run: Run, model: str, *, temperature: float = 0.0) -> str:
    return f"{model}, {temperature}: {run.request}"


class Service:
    async def handle_start_agent(self, run: Run) -> str:
        return run.request

    async def handle_user_message(self, run: Run) -> dict[str, int]:
        return {"length": len(run.request)}


class ServiceWithNamesOfItsOwn:
    async def handle_start_agent(self, start: Run) -> str:
        return start.request

    async def handle_user_message(self, message: Run) -> str:
        return message.request


class CallableAgent:
    async def __call__(self, run: Run) -> str:
        return run.request

    async def method(self, run: Run) -> str:
        return run.request


def every_form_of_agent_is_accepted(registry: AgentRegistry, untyped: Any) -> None:
    AgentMessageHandler(coroutine_agent)
    AgentMessageHandler(agent_without_a_result)
    AgentMessageHandler(generator_agent)
    AgentMessageHandler(generator_agent_of_one_event)
    AgentMessageHandler(generator_agent_with_a_result)
    AgentMessageHandler(generator_agent_by_its_iterator)
    AgentMessageHandler(registry)
    AgentMessageHandler(Service())
    AgentMessageHandler(ServiceWithNamesOfItsOwn())
    AgentMessageHandler(CallableAgent())
    AgentMessageHandler(CallableAgent().method)
    AgentMessageHandler(functools.partial(agent_with_a_model, model="m"))
    AgentMessageHandler(functools.partial(agent_with_a_model, model="m", temperature=1.0))
    AgentMessageHandler(message_handler_service=coroutine_agent)
    AgentMessageHandler(untyped)


def a_service_is_a_protocol() -> None:
    service: MessageHandlerService = Service()
    agent: AgentLike = service
    AgentMessageHandler(agent)


def a_function_is_an_agent_too(function: AgentFunction) -> None:
    agent: AgentLike = function
    AgentMessageHandler(agent)


def blocking_agent(run: Run) -> str:
    return run.request


async def agent_of_another_run(run: str) -> str:
    return run


async def agent_without_a_run() -> str:
    return ""


async def generator_of_texts(run: Run) -> AsyncGenerator[str, None]:
    yield run.request


async def generator_that_starts_itself(run: Run) -> AsyncGenerator[AgentStarted, None]:
    yield AgentStarted(message_id=run.context.message_id, agent="me")


class HalfAService:
    async def handle_start_agent(self, run: Run) -> str:
        return run.request


class BlockingService:
    def handle_start_agent(self, run: Run) -> str:
        return run.request

    def handle_user_message(self, run: Run) -> str:
        return run.request


class BlockingCallable:
    def __call__(self, run: Run) -> str:
        return run.request


def what_is_no_agent_is_refused() -> None:
    AgentMessageHandler()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentMessageHandler(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler("agent")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(lambda run: run.request)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(blocking_agent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(agent_of_another_run)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(agent_without_a_run)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(agent_with_a_model)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(generator_of_texts)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(generator_that_starts_itself)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(HalfAService())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(BlockingService())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(BlockingCallable())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(Service)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(CallableAgent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(AgentRegistry)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(coroutine_agent(None))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def takes_a_coroutine_function(function: Callable[[Run], Coroutine[Any, Any, int]]) -> None: ...


def takes_a_generator_function(
    function: Callable[[Run], AsyncGenerator[AgentThinking, None]],
) -> None: ...


def a_decorated_function_keeps_its_type(registry: AgentRegistry) -> None:
    @registry.agent()
    async def flights(run: Run) -> int:
        return len(run.request)

    @registry.agent("hotels", default=True)
    async def hotels(run: Run) -> AsyncGenerator[AgentThinking, None]:
        yield AgentThinking(text=run.request)

    @registry.agent(name="trains")
    async def trains(run: Run, *, change: bool = False) -> str:
        return f"{run.request} {change}"

    takes_a_coroutine_function(flights)
    takes_a_generator_function(hotels)
    takes_a_coroutine_function(hotels)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    takes_a_coroutine_function(trains)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_decorated_function_can_still_be_called(registry: AgentRegistry, run: Run) -> None:
    @registry.agent()
    async def trains(run: Run, *, change: bool = False) -> list[str]:
        return [run.request] if change else []

    assert_type(await trains(run, change=True), list[str])
    await trains(run, changes=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def what_is_no_agent_cannot_be_registered(registry: AgentRegistry) -> None:
    registry.register("flights", coroutine_agent)
    registry.register("flights", generator_agent, default=True)
    registry.register("flights", CallableAgent())
    registry.register("flights", blocking_agent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    registry.register("flights", registry)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    registry.register("flights", Service())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    registry.register(coroutine_agent)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    registry.register("flights", coroutine_agent, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    registry.agent(coroutine_agent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    registry.agent()(blocking_agent)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


def a_registry_names_its_agents(registry: AgentRegistry) -> None:
    assert_type(registry.names, tuple[str, ...])
    registry.names = ()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
