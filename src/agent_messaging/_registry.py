"""Which agent a message is for: checked at registration, looked up by name."""

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, Protocol, TypeAlias, TypeVar, cast, final

from agent_messaging._errors import ConfigurationError, ErrorCode, RemoteError
from agent_messaging._events import AgentCompleted, AgentEvent
from agent_messaging._limits import is_id
from agent_messaging._messages import Message, MessageType
from agent_messaging._run import Agent, Run

__all__ = [
    "AgentFunction",
    "AgentLike",
    "AgentRegistry",
    "MessageHandlerService",
    "is_coroutine_function",
    "resolver",
]

#: An agent as its author writes it: a coroutine function, or an async generator function.
AgentFunction: TypeAlias = Callable[
    [Run], Awaitable[object] | AsyncIterator[AgentEvent | AgentCompleted]
]

_Call: TypeAlias = Callable[[Run], Awaitable[object]]

F = TypeVar("F", bound=AgentFunction)


class MessageHandlerService(Protocol):
    """An object as an agent: one method for START_AGENT, one for USER_MESSAGE and CHAT."""

    async def handle_start_agent(self, run: Run, /) -> object:
        """Work on a START_AGENT; the run's result is returned."""
        ...

    async def handle_user_message(self, run: Run, /) -> object:
        """Work on a USER_MESSAGE or CHAT; the run's result is returned."""
        ...


@final
class AgentRegistry:
    """Agents by name.

    The first agent registered is the default, for messages that name none, until one is
    registered with ``default=True``.
    """

    __slots__ = ("_agents", "_default", "_default_is_explicit")

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}
        self._default: Agent | None = None
        self._default_is_explicit = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of registration."""
        return tuple(self._agents)

    def register(self, name: str, agent: AgentFunction, *, default: bool = False) -> None:
        """Add an agent under ``name``, an id.

        Raises:
            ConfigurationError: the name is no id or is taken, the agent is neither a coroutine
                function nor an async generator function, or there is a ``default`` already. The
                registry is unchanged.
        """
        if not is_id(name):
            raise ConfigurationError(
                f"an agent's name must be 1 to 128 printable characters, not {name!r}"
            )
        if name in self._agents:
            raise ConfigurationError(f"agent {name!r} is registered already")
        if default and self._default_is_explicit:
            raise ConfigurationError(f"agent {name!r} cannot be a second default")
        resolved = Agent(name, _prepared(name, agent))
        self._agents[name] = resolved
        if default or self._default is None:
            self._default = resolved
            self._default_is_explicit = default

    def agent(self, name: str | None = None, *, default: bool = False) -> Callable[[F], F]:
        """The decorator form of `register`; without a name, the function's own counts.

        Raises:
            ConfigurationError: the name is no id, as where the parentheses are forgotten; when
                it decorates, as `register`.
        """
        if name is not None and not is_id(name):
            raise ConfigurationError(
                f"an agent's name must be 1 to 128 printable characters, not {name!r}"
            )

        def decorate(function: F) -> F:
            self.register(_name(function) if name is None else name, function, default=default)
            return function

        return decorate

    def resolve(self, message: Message) -> Agent:
        """The agent that the message names, or the default.

        Raises:
            RemoteError: ``unknown_agent``, or ``invalid_message`` if what it names is no id.
        """
        name = message.agent
        found = self._default if name is None else self._agents.get(name)
        if found is None:
            raise RemoteError(
                ErrorCode.UNKNOWN_AGENT,
                "no agent has that name" if name is not None else "there is no default agent",
                message_id=message.message_id,
            )
        return found


#: What an `AgentMessageHandler` takes as its agent.
AgentLike: TypeAlias = AgentFunction | AgentRegistry | MessageHandlerService

_SERVICE_METHODS: Final = ("handle_start_agent", "handle_user_message")


def resolver(agent: AgentLike) -> Callable[[Message], Agent]:
    """How the agent for each message is found.

    Raises:
        ConfigurationError: ``agent`` is none of the forms that an agent can have.
    """
    if isinstance(agent, AgentRegistry):
        return agent.resolve
    if not inspect.isclass(agent) and all(hasattr(agent, name) for name in _SERVICE_METHODS):
        return _service_resolver(cast("MessageHandlerService", agent))
    registry = AgentRegistry()
    registry.register(_name(agent), cast("AgentFunction", agent))
    return registry.resolve


def _service_resolver(service: MessageHandlerService) -> Callable[[Message], Agent]:
    name = type(service).__name__
    for method in _SERVICE_METHODS:
        if not is_coroutine_function(getattr(service, method)):
            raise ConfigurationError(f"{name}.{method} must be a coroutine function")
    # What compat.adapt_service makes stands for another object, and relays that one's start.
    relayed: object = getattr(service, "_agent_messaging_relays", None)
    relays = is_id(relayed)
    name = relayed if is_id(relayed) else name
    start = Agent(name, service.handle_start_agent, relays)
    chat = Agent(name, service.handle_user_message, relays)

    def resolve(message: Message) -> Agent:
        return start if message.type == MessageType.START_AGENT else chat

    return resolve


def _prepared(name: str, agent: object) -> _Call:
    if is_coroutine_function(agent):
        return cast("_Call", agent)
    if inspect.isasyncgenfunction(_function(agent)):
        return _drained(cast("Callable[[Run], AsyncGenerator[AgentEvent, None]]", agent))
    raise ConfigurationError(
        f"agent {name!r} must be a coroutine function, an async generator function, an "
        f"AgentRegistry or a MessageHandlerService, not {agent!r}"
    )


def _drained(agent: Callable[[Run], AsyncGenerator[AgentEvent | AgentCompleted, None]]) -> _Call:
    async def drain(run: Run) -> object:
        async with aclosing(agent(run)) as events:
            async for event in events:
                if isinstance(event, AgentCompleted):
                    return event.result
                await run.emit(event)
        return None

    return drain


def is_coroutine_function(agent: object) -> bool:
    """Whether calling it gives a coroutine; through partials, and ``__call__`` of an object."""
    return inspect.iscoroutinefunction(_function(agent))


def _function(agent: object) -> object:
    """What is called when ``agent`` is: through partials, to ``__call__`` for an object."""
    while isinstance(agent, functools.partial):
        agent = cast("functools.partial[object]", agent).func
    if inspect.isroutine(agent) or inspect.isclass(agent):
        return agent
    return getattr(agent, "__call__", agent)  # noqa: B004 - the bound method, not a test


def _name(agent: object) -> str:
    """An agent's own name, ``agent`` for one that has none, as a lambda."""
    while isinstance(agent, functools.partial):
        agent = cast("functools.partial[object]", agent).func
    name: object = getattr(agent, "__name__", type(agent).__name__)
    return name if is_id(name) and name.isidentifier() else "agent"
