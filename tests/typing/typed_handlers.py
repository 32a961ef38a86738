"""What type checkers know of handlers, the router, hooks and statistics; never run."""

from collections.abc import Collection, Mapping
from typing import assert_never, assert_type

from agent_messaging import (
    AgentMessageHandler,
    Clock,
    DurationStats,
    FinishHook,
    GoldenPathReport,
    HandlerStats,
    Limits,
    Message,
    MessageHandler,
    MessageRouter,
    MessageType,
    NativeDialect,
    ProcessingStats,
    RouterStats,
    Run,
    RunContext,
    RunFinished,
    WebSocketLike,
)


async def agent(run: Run) -> str:
    return run.request


class PingHandler:
    """A host's own handler, which inherits from nothing."""

    supported_types = frozenset({"ping"})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        return message.user_id == user_id and websocket is not None

    def get_stats(self) -> dict[str, int]:
        return {"pings": 1}


class HandlerWithNamesOfItsOwn:
    """The router gives its arguments by position, so their names are the host's."""

    @property
    def supported_types(self) -> list[str]:
        return ["pong"]

    def can_handle(self, kind: str) -> bool:
        return kind == "pong"

    async def handle_message(self, user: str, socket: object, what: Message) -> bool:
        return bool(user and socket and what)

    def get_stats(self) -> Mapping[str, object]:
        return {}


class BlockingHandler:
    supported_types = frozenset({"ping"})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        return True

    def get_stats(self) -> Mapping[str, object]:
        return {}


class HandlerWithoutStatistics:
    supported_types = frozenset({"ping"})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        return True


class HandlerThatFallsThrough:
    supported_types = frozenset({"ping"})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> None:
        return None

    def get_stats(self) -> Mapping[str, object]:
        return {}


def handlers_are_a_protocol() -> None:
    handlers: list[MessageHandler] = [
        AgentMessageHandler(agent),
        MessageRouter(AgentMessageHandler(agent)),
        PingHandler(),
        HandlerWithNamesOfItsOwn(),
    ]
    router = MessageRouter(*handlers)
    router.register(MessageRouter(PingHandler()))
    router.register(agent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    router.register(BlockingHandler())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    router.register(HandlerWithoutStatistics())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    router.register(HandlerThatFallsThrough())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    router.register(PingHandler)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    MessageRouter(handlers)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def the_protocol_says_what_to_expect(handler: MessageHandler) -> None:
    assert_type(handler.supported_types, Collection[str])
    assert_type(handler.can_handle("ping"), bool)
    assert_type(handler.get_stats(), Mapping[str, object])
    handler.can_handle(message_type="ping")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def a_handled_message_is_a_bool(
    handler: AgentMessageHandler, router: MessageRouter, websocket: WebSocketLike, message: Message
) -> None:
    assert_type(await handler.handle_message("u1", websocket, message), bool)
    assert_type(await handler.handle_message("u1", None, message), bool)
    assert_type(await handler.handle_message("u1", None, message, metadata={"tenant": 7}), bool)
    assert_type(await router.handle_message("u1", websocket, message), bool)
    assert_type(await router.handle_frame("u1", websocket, "{}"), bool)
    assert_type(await router.handle_frame("u1", websocket, b"{}", metadata={}), bool)
    assert_type(await handler.aclose(), None)
    assert_type(await router.aclose(), None)
    assert_type(handler.can_handle("chat"), bool)
    assert_type(handler.supported_types, frozenset[str])
    assert_type(router.supported_types, frozenset[str])


async def the_arguments_are_checked(
    handler: AgentMessageHandler, router: MessageRouter, websocket: WebSocketLike, message: Message
) -> None:
    await handler.handle_message(None, websocket, message)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await handler.handle_message("u1", websocket, "{}")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await handler.handle_message("u1", message)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    await handler.handle_message("u1", websocket, message, {})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await router.handle_frame("u1", None, "{}")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await router.handle_frame("u1", websocket, message)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_call_that_is_not_awaited_is_seen(
    handler: AgentMessageHandler, websocket: WebSocketLike, message: Message
) -> None:
    handler.handle_message("u1", websocket, message)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]


def the_agent_and_the_websocket_may_be_given_by_position(websocket: WebSocketLike) -> None:
    AgentMessageHandler(agent, websocket)
    AgentMessageHandler(agent, websocket=websocket)
    AgentMessageHandler(
        agent,
        dialect=NativeDialect(),
        run_timeout=30,
        final_send_timeout=1.5,
        on_run_finished=None,
        limits=Limits(outbox_frames=16),
        clock=Clock(monotonic=lambda: 0.0),
        new_id=lambda: "id",
    )
    AgentMessageHandler(agent, None, None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentMessageHandler(agent, run_timeout="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(agent, run_timeouts=30)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentMessageHandler(agent, new_id=lambda: 7)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    MessageRouter(dialect=NativeDialect(), limits=Limits(), clock=Clock(), final_send_timeout=1)


def finish(finished: RunFinished) -> None:
    assert_type(finished.context, RunContext)
    assert_type(finished.message, Message)
    assert_type(finished.report, GoldenPathReport)
    assert_type(finished.code, str | None)
    assert_type(finished.error, BaseException | None)
    finished.error = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def a_hook_can_match_the_outcome(finished: RunFinished) -> str:
    outcome = finished.report.outcome
    match outcome:
        case MessageType.AGENT_COMPLETED:
            return "well"
        case MessageType.AGENT_FAILED | MessageType.AGENT_CANCELLED:
            return finished.code or "from outside"
        case None:
            return "not yet"
        case _:
            assert_never(outcome)


async def finish_later(finished: RunFinished) -> None: ...


def finish_another(report: GoldenPathReport) -> None: ...


class Finisher:
    def __init__(self) -> None:
        self.finished: list[RunFinished] = []

    def __call__(self, finished: RunFinished) -> None:
        self.finished.append(finished)


def a_finish_hook_takes_the_details_and_returns_nothing() -> None:
    hook: FinishHook = finish
    AgentMessageHandler(agent, on_run_finished=hook)
    AgentMessageHandler(agent, on_run_finished=Finisher())
    AgentMessageHandler(agent, on_run_finished=Finisher().finished.append)
    AgentMessageHandler(agent, on_run_finished=lambda finished: None)
    AgentMessageHandler(agent, on_run_finished=finish_later)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentMessageHandler(agent, on_run_finished=finish_another)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def statistics_are_typed_by_key(handler: AgentMessageHandler) -> None:
    stats = handler.get_stats()
    assert_type(stats, HandlerStats)
    assert_type(stats["messages_processed"], int)
    assert_type(stats["start_agent_requests"], int)
    assert_type(stats["user_messages"], int)
    assert_type(stats["chat_messages"], int)
    assert_type(stats["errors"], int)
    assert_type(stats["last_processed_time"], float | None)
    assert_type(stats["golden_path_events_sent"], int)
    assert_type(stats["v3_pattern_usage"], int)
    assert_type(stats["user_isolation_instances"], int)
    assert_type(stats["runs_in_flight"], int)
    assert_type(stats["runs_completed"], int)
    assert_type(stats["runs_failed"], int)
    assert_type(stats["runs_cancelled"], int)
    assert_type(stats["events_sent"], dict[str, int])
    assert_type(stats["undelivered_events"], int)
    assert_type(stats["refusals"], dict[str, int])
    assert_type(stats["hook_errors"], int)
    assert_type(stats["durations"], DurationStats)
    assert_type(stats["durations"]["count"], int)
    assert_type(stats["durations"]["total_ms"], int)
    assert_type(stats["durations"]["max_ms"], int)
    assert_type(stats["handler_type"], str)
    assert_type(stats["consolidation_issue"], str)
    assert_type(stats["supported_message_types"], int)
    assert stats["message_processed"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]


def live_statistics_are_typed_too(handler: AgentMessageHandler) -> None:
    live = handler.processing_stats
    assert_type(live, ProcessingStats)
    assert_type(live["errors"], int)
    detached: ProcessingStats = handler.get_stats()
    assert_type(detached["errors"], int)
    assert live["handler_type"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]
    handler.processing_stats = live  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def a_routers_statistics_hold_its_handlers(router: MessageRouter) -> None:
    stats = router.get_stats()
    assert_type(stats, RouterStats)
    assert_type(stats["errors"], int)
    assert_type(stats["refusals"], dict[str, int])
    assert_type(stats["handlers"], list[dict[str, object]])
