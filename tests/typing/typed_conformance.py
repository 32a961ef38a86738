"""What type checkers take for something to be tried by a conformance suite; never run."""

import asyncio
from collections.abc import Mapping
from typing import assert_type

from agent_messaging import (
    AgentMessageHandler,
    EventLog,
    MemoryEventLog,
    Message,
    MessageHandler,
    MessageRouter,
    WebSocketLike,
)
from agent_messaging.testing.conformance import (
    EVENT_LOG_CASES,
    HANDLER_CASES,
    TRANSPORT_CASES,
    Case,
    ConformanceError,
    HandlerOnTrial,
    LogOnTrial,
    MakeHandler,
    MakeLog,
    MakeTransport,
    TransportOnTrial,
)


async def advance(seconds: float) -> None: ...


async def close() -> None: ...


async def receive() -> str | bytes:
    return ""


async def make_log(*, held_events: int | None = None) -> LogOnTrial:
    return LogOnTrial(MemoryEventLog(), advance)


async def make_log_that_holds_everything() -> LogOnTrial:
    return LogOnTrial(MemoryEventLog(), advance)


def make_log_at_once(*, held_events: int | None = None) -> LogOnTrial:
    return LogOnTrial(MemoryEventLog(), advance)


async def make_queue() -> TransportOnTrial:
    queue: asyncio.Queue[str] = asyncio.Queue()
    return TransportOnTrial(queue.put, queue.get, close)


def suites_are_mappings_of_cases_by_name() -> None:
    assert_type(EVENT_LOG_CASES, Mapping[str, Case[MakeLog]])
    assert_type(TRANSPORT_CASES, Mapping[str, Case[MakeTransport]])
    assert_type(HANDLER_CASES, Mapping[str, Case[MakeHandler]])
    EVENT_LOG_CASES["own"] = EVENT_LOG_CASES["a_claim_makes_its_run"]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


def a_case_is_run_as_any_coroutine(name: str) -> None:
    case = EVENT_LOG_CASES[name]
    assert_type(case, Case[MakeLog])
    assert_type(asyncio.run(case(make_log)), None)


async def a_log_is_made_with_the_number_of_events_that_it_is_to_hold(name: str) -> None:
    await EVENT_LOG_CASES[name](make_log_that_holds_everything)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EVENT_LOG_CASES[name](make_log_at_once)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_case_takes_what_its_suite_is_of(name: str) -> None:
    await TRANSPORT_CASES[name](make_queue)
    await TRANSPORT_CASES[name](make_log)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await HANDLER_CASES[name](make_queue)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_log_on_trial_has_a_log_and_a_clock(log: EventLog) -> None:
    on_trial = LogOnTrial(log, advance)
    assert_type(on_trial.log, EventLog)
    LogOnTrial(log)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    LogOnTrial(advance, advance)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_transport_on_trial_has_two_ends(websocket: WebSocketLike) -> None:
    on_trial = TransportOnTrial(websocket, receive, close)
    assert_type(on_trial.websocket, WebSocketLike)
    assert_type(on_trial.raises_when_gone, bool)
    TransportOnTrial(websocket, receive, close, raises_when_gone=False)
    TransportOnTrial(websocket, receive)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    TransportOnTrial(object(), receive, close)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    TransportOnTrial(websocket, "", close)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_handler_on_trial_has_messages(
    handler: AgentMessageHandler, router: MessageRouter, message: Message
) -> None:
    on_trial = HandlerOnTrial(handler, [message])
    assert_type(on_trial.handler, MessageHandler)
    HandlerOnTrial(router, (message,))
    HandlerOnTrial(handler, message)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    HandlerOnTrial(print, [message])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    on_trial.handler = router  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def what_is_wrong_is_an_assertion_error(error: ConformanceError) -> AssertionError:
    return error
