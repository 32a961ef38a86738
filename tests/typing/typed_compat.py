"""What type checkers know of the former names; never run."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import assert_type

from agent_messaging import (
    AgentMessageHandler,
    Message,
    MessageHandlerService,
    MessageType,
    NativeDialect,
    Run,
    RunContext,
)
from agent_messaging.compat import (
    LEGACY_MESSAGE_TYPES,
    AdaptedService,
    AgentHandler,
    SSotAgentMessageHandler,
    WebSocketContext,
    WebSocketMessage,
    adapt_service,
    loads_legacy,
    normalize_message_type,
)


async def agent(run: Run) -> str:
    return run.request


def the_former_names_are_the_classes_themselves() -> None:
    assert_type(AgentHandler(agent), AgentMessageHandler)
    assert_type(SSotAgentMessageHandler(agent), AgentMessageHandler)
    assert_type(WebSocketMessage(type="chat"), Message)
    context = WebSocketContext(user_id="u1", thread_id="t1", run_id="r1", message_id="m1")
    assert_type(context, RunContext)


def types_are_annotated_by_the_former_names(
    handler: AgentHandler, message: WebSocketMessage, context: WebSocketContext
) -> None:
    assert_type(handler, AgentMessageHandler)
    assert_type(message, Message)
    assert_type(context, RunContext)


def the_former_wire_types_are_a_table() -> None:
    assert_type(LEGACY_MESSAGE_TYPES, Mapping[str, MessageType])
    assert_type(normalize_message_type("execute_agent"), MessageType)
    LEGACY_MESSAGE_TYPES["new"] = MessageType.CHAT  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    NativeDialect(loads=loads_legacy)


class Session:
    """A database session of the host's."""


class Socket:
    """The host's websocket."""


class FormerlyTyped:
    """A service with the types of its own codebase."""

    async def handle_start_agent(
        self, user_id: str, payload: dict[str, str], db_session: Session, websocket: Socket
    ) -> None: ...

    async def handle_user_message(
        self, *, user_id: str, payload: dict[str, str], db_session: Session, websocket: Socket
    ) -> bool:
        return True


class FormerlyWithLess:
    async def handle_start_agent(self, user_id: str, payload: dict[str, str]) -> None: ...

    async def handle_user_message(self, user_id: str, payload: dict[str, str]) -> None: ...


class FormerlyBlocking:
    def handle_start_agent(
        self, user_id: str, payload: object, db_session: object, websocket: object
    ) -> None: ...

    def handle_user_message(
        self, user_id: str, payload: object, db_session: object, websocket: object
    ) -> None: ...


@asynccontextmanager
async def session_in_a_block() -> AsyncGenerator[Session]:
    yield Session()


async def session_of_a_generator() -> AsyncGenerator[Session, None]:
    yield Session()


class SessionMaker:
    def __call__(self) -> AbstractAsyncContextManager[Session]:
        return session_in_a_block()


async def session_to_await() -> Session:
    return Session()


def a_former_service_is_adapted_to_an_agent() -> None:
    adapted = adapt_service(FormerlyTyped(), session_in_a_block)
    assert_type(adapted, AdaptedService)
    assert_type(adapted.dropped_frames, int)
    assert_type(adapted.agent_name, str)
    service: MessageHandlerService = adapted
    AgentMessageHandler(service)
    AgentMessageHandler(adapt_service(FormerlyTyped()))
    adapt_service(FormerlyTyped(), session_of_a_generator)
    adapt_service(FormerlyTyped(), SessionMaker())
    adapt_service(FormerlyTyped(), session_to_await)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    adapt_service(FormerlyWithLess())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    adapt_service(FormerlyBlocking())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(FormerlyTyped())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
