"""Which agent a message is for, and what counts as an agent."""

import functools
from collections.abc import AsyncGenerator

import pytest

from agent_messaging import (
    AgentCompleted,
    AgentEvent,
    AgentMessageHandler,
    AgentRegistry,
    AgentResponseChunk,
    AgentThinking,
    ConfigurationError,
    ErrorCode,
    Message,
    MessageType,
    RemoteError,
    Run,
    ToolCompleted,
    ToolExecuting,
)
from agent_messaging.testing import run_agent
from support import chat, start_agent, user_message
from support.clients import Client


async def flights(run: Run) -> str:
    return f"flights: {run.request}"


async def hotels(run: Run) -> str:
    return f"hotels: {run.request}"


async def narrator(run: Run) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
    yield AgentThinking(text="Looking")
    yield ToolExecuting(tool_call_id="c1", tool_name="search")
    yield ToolCompleted(tool_call_id="c1", tool_name="search", result=[1])
    yield AgentResponseChunk(text="Three")
    yield AgentCompleted(result=run.request)


class Concierge:
    """A MessageHandlerService."""

    async def handle_start_agent(self, run: Run) -> str:
        return f"start: {run.request}"

    async def handle_user_message(self, run: Run) -> str:
        return f"message: {run.request}"


def result(agent: object, message: Message) -> object:
    client = Client(AgentMessageHandler(agent))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert client.say(message)
    return client.payload("agent_completed")["result"]


# Registering.


def test_a_start_agent_names_its_agent_and_other_messages_get_the_default() -> None:
    registry = AgentRegistry()
    registry.register("flights", flights)
    registry.register("hotels", hotels)
    assert registry.names == ("flights", "hotels")
    assert result(registry, start_agent("Rome", agent="hotels")) == "hotels: Rome"
    assert result(registry, start_agent("Rome")) == "flights: Rome"
    assert result(registry, user_message("Rome")) == "flights: Rome"
    assert result(registry, chat("Rome")) == "flights: Rome"


def test_a_default_that_was_asked_for_takes_the_place_of_the_first_agent() -> None:
    registry = AgentRegistry()
    registry.register("flights", flights)
    registry.register("hotels", hotels, default=True)
    assert result(registry, chat("Rome")) == "hotels: Rome"


def test_an_agent_named_by_another_message_than_start_agent_does_not_count() -> None:
    registry = AgentRegistry()
    registry.register("flights", flights)
    message = Message(type=MessageType.CHAT, payload={"text": "Rome", "agent": "nobody"})
    assert result(registry, message) == "flights: Rome"


def test_the_decorator_registers_and_returns_the_function() -> None:
    registry = AgentRegistry()

    @registry.agent("trains")
    async def by_rail(run: Run) -> str:
        return f"trains: {run.request}"

    @registry.agent(default=True)
    async def buses(run: Run) -> str:
        return f"buses: {run.request}"

    assert registry.names == ("trains", "buses")
    assert by_rail.__name__ == "by_rail"
    assert result(registry, start_agent("Rome", agent="trains")) == "trains: Rome"
    assert result(registry, chat("Rome")) == "buses: Rome"
    assert result(buses, chat("Rome")) == "buses: Rome"


def test_the_decorator_without_its_parentheses_is_a_mistake_that_is_told() -> None:
    with pytest.raises(ConfigurationError):
        AgentRegistry().agent(flights)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["", "x" * 129, "two\nlines", 5, None])
def test_a_name_is_an_id(name: object) -> None:
    registry = AgentRegistry()
    with pytest.raises(ConfigurationError, match="printable"):
        registry.register(name, flights)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert registry.names == ()


def test_a_name_is_taken_once() -> None:
    registry = AgentRegistry()
    registry.register("flights", flights)
    with pytest.raises(ConfigurationError, match="'flights' is registered already"):
        registry.register("flights", hotels)
    assert result(registry, chat("Rome")) == "flights: Rome"


def test_there_is_one_default() -> None:
    registry = AgentRegistry()
    registry.register("flights", flights, default=True)
    with pytest.raises(ConfigurationError, match="'hotels' cannot be a second default"):
        registry.register("hotels", hotels, default=True)
    assert registry.names == ("flights",)


def test_the_first_agent_can_be_the_default_that_was_asked_for() -> None:
    registry = AgentRegistry()
    registry.register("flights", flights, default=True)
    registry.register("hotels", hotels)
    assert result(registry, chat("Rome")) == "flights: Rome"


# What is no agent.


class Callable:
    async def __call__(self, run: Run) -> str:
        return f"called: {run.request}"


class CallableGenerator:
    async def __call__(self, run: Run) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
        yield AgentCompleted(result=f"yielded: {run.request}")


def plain(run: Run) -> str:
    return "not awaited"


def generator(run: Run) -> object:
    yield AgentThinking(text="not async")


class OneMethod:
    async def handle_start_agent(self, run: Run) -> None: ...


class PlainService:
    async def handle_start_agent(self, run: Run) -> None: ...
    def handle_user_message(self, run: Run) -> None: ...


@pytest.mark.parametrize(
    "agent",
    [
        plain,
        generator,
        functools.partial(plain),
        OneMethod(),
        OneMethod,
        Callable,
        CallableGenerator,
        "flights",
        None,
        flights.__code__,
    ],
)
def test_what_is_no_agent_is_refused_at_once_and_named(agent: object) -> None:
    with pytest.raises(ConfigurationError, match="coroutine function"):
        AgentMessageHandler(agent)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    registry = AgentRegistry()
    with pytest.raises(ConfigurationError, match="agent 'x' must be a coroutine function"):
        registry.register("x", agent)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert registry.names == ()


def test_a_service_whose_methods_are_not_async_is_refused_with_the_methods_name() -> None:
    with pytest.raises(ConfigurationError, match=r"PlainService\.handle_user_message"):
        AgentMessageHandler(PlainService())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_service_class_in_the_place_of_an_object_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        AgentMessageHandler(Concierge)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# What is one.


class Methods:
    async def work(self, run: Run) -> str:
        return f"method: {run.request}"

    @staticmethod
    async def static(run: Run) -> str:
        return f"static: {run.request}"

    @classmethod
    async def of_class(cls, run: Run) -> str:
        return f"{cls.__name__}: {run.request}"


async def configured(prefix: str, run: Run) -> str:
    return f"{prefix}: {run.request}"


@pytest.mark.parametrize(
    ("agent", "name", "expected"),
    [
        (flights, "flights", "flights: Rome"),
        (narrator, "narrator", "Rome"),
        (Methods().work, "work", "method: Rome"),
        (Methods.static, "static", "static: Rome"),
        (Methods.of_class, "of_class", "Methods: Rome"),
        (Callable(), "Callable", "called: Rome"),
        (CallableGenerator(), "CallableGenerator", "yielded: Rome"),
        (functools.partial(configured, "partial"), "configured", "partial: Rome"),
        (
            functools.partial(functools.partial(configured), "nested"),
            "configured",
            "nested: Rome",
        ),
        (functools.partial(Callable()), "Callable", "called: Rome"),
    ],
)
def test_what_an_agent_can_be_and_the_name_that_it_has(
    agent: object, name: str, expected: str
) -> None:
    named = {"agent": name}
    run = run_agent(agent, "Rome", type=MessageType.START_AGENT, payload=named)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert (run.agent, run.result) == (name, expected)


@pytest.mark.parametrize("name", ["<lambda>", "x" * 129])
def test_an_agent_without_a_name_that_can_be_one_is_called_agent(name: str) -> None:
    async def nameless(run: Run) -> None: ...

    nameless.__name__ = name
    named = {"agent": "agent"}
    assert (
        run_agent(nameless, "hello", type=MessageType.START_AGENT, payload=named).agent == "agent"
    )


# Looking up.


def test_an_unknown_agent_is_answered() -> None:
    registry = AgentRegistry()
    registry.register("flights", flights)
    client = Client(AgentMessageHandler(registry))
    assert client.say(start_agent(agent="trains", message_id="m1")) is False
    error = client.payload("error_message")
    assert (error["code"], error["message_id"]) == ("unknown_agent", "m1")
    assert error["message"] == "no agent has that name"
    assert client.types == ["error_message"]


def test_a_single_agent_is_known_by_its_own_name_alone() -> None:
    client = Client(AgentMessageHandler(flights))
    assert client.say(start_agent(agent="hotels")) is False
    assert client.payload("error_message")["code"] == "unknown_agent"
    assert client.say(start_agent(agent="flights"))


def test_an_empty_registry_knows_no_agent() -> None:
    with pytest.raises(RemoteError, match="there is no default agent") as refusal:
        AgentRegistry().resolve(chat())
    assert refusal.value.code is ErrorCode.UNKNOWN_AGENT
    client = Client(AgentMessageHandler(AgentRegistry()))
    assert client.say(chat()) is False
    assert client.payload("error_message")["code"] == "unknown_agent"


@pytest.mark.parametrize("name", [5, "", "x" * 129, ["flights"], "a\nb"])
def test_a_named_agent_that_is_no_id_is_an_invalid_message(name: object) -> None:
    client = Client(AgentMessageHandler(flights))
    message = Message(type="start_agent", payload={"user_request": "Rome", "agent": name})
    assert client.say(message) is False
    assert client.payload("error_message")["code"] == "invalid_message"


def test_an_agent_that_is_registered_later_is_found() -> None:
    registry = AgentRegistry()
    client = Client(AgentMessageHandler(registry))
    assert client.say(chat()) is False
    registry.register("flights", flights)
    assert client.say(chat())


# Services.


def test_a_service_gets_each_message_by_its_type() -> None:
    assert result(Concierge(), start_agent("Rome")) == "start: Rome"
    assert result(Concierge(), user_message("Rome")) == "message: Rome"
    assert result(Concierge(), chat("Rome")) == "message: Rome"


def test_a_service_is_started_under_the_name_of_its_class() -> None:
    assert run_agent(Concierge(), "hello").agent == "Concierge"


def test_what_a_service_of_the_hosts_calls_its_attributes_is_its_own_business() -> None:
    class Named(Concierge):
        agent_name = object()
        relays_its_start = True

    assert run_agent(Named(), "hello").agent == "Named"
