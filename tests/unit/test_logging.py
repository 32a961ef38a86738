"""What the core logs: stable names and fields, nothing private, and nothing that can fail."""

import asyncio
import logging
from collections.abc import Callable, Iterator

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    Message,
    MessageRouter,
    MessageType,
    Run,
    RunFinished,
)
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from support import chat
from support.clients import Client
from support.lines import own_records
from support.loop import steps

SECRET = "hunter2"

#: Each event's level; hosts filter and alert by these names.
EVENTS = {
    "run_finished": {logging.INFO, logging.ERROR},
    "run_error": {logging.DEBUG},
    "message_refused": {logging.INFO},
    "transport_failed": {logging.INFO},
    "transport_error": {logging.DEBUG},
    "outbox_unsettled": {logging.WARNING},
    "hook_failed": {logging.ERROR},
    "hook_error": {logging.DEBUG},
}


async def agent(run: Run) -> object:
    """Ends as the request says, with the secret in all that it handles."""
    await run.thinking(SECRET)
    async with run.tool("search", {"q": SECRET}) as call:
        call.result = SECRET
    if "fail" in run.request:
        raise ValueError(SECRET)
    if "words" in run.request:
        raise AgentError(SECRET, code="own")
    if "unencodable" in run.request:
        return {SECRET: object()}
    if "hang" in run.request:
        await asyncio.Event().wait()
    return SECRET


def hook(details: RunFinished) -> None:
    if "hook" in details.message.request:
        raise LookupError(SECRET)


async def is_cancelled(client: Client, request: str) -> bool:
    """Whether the call of a message that is cancelled at work is."""
    task = client.start(chat(request))
    await steps()
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


async def conversation() -> list[object]:
    """One of everything; what each message came to."""
    handler = AgentMessageHandler(agent, run_timeout=9, on_run_finished=hook)
    router = MessageRouter(handler)
    client = Client(router)
    outcomes: list[object] = [
        await client.send(chat(f"{wish} {SECRET}"))
        for wish in ("work", "fail", "words", "unencodable", "hang", "hook")
    ]
    outcomes.append(await client.send(Message(type="ping", payload={"a": SECRET})))
    outcomes.append(await client.send(Message(type="chat", payload={"text": [SECRET]})))
    outcomes.append(await client.send(chat(SECRET, user_id=SECRET)))
    outcomes.append(await router.handle_frame("user-1", client.transport, f'"{SECRET}'))
    failing = RecordingTransport(fails_at=1, error=ConnectionError(SECRET))
    outcomes.append(await Client(router, failing).send(chat(SECRET)))
    outcomes.append(await Client(handler, RecordingTransport(hangs_at=1)).send(chat(SECRET)))
    outcomes.append(await is_cancelled(client, f"hang {SECRET}"))
    await handler.aclose()
    return outcomes


OUTCOMES: list[object] = [
    *(True, False, False, False, False, True),
    *(False, False, False, False, False, False),
    True,
]


def event(record: logging.LogRecord) -> str:
    name: object = vars(record)["event"]
    assert isinstance(name, str)
    return name


def records_of(caplog: pytest.LogCaptureFixture, level: int) -> list[logging.LogRecord]:
    with caplog.at_level(level, "agent_messaging"):
        assert run_virtual(conversation()) == OUTCOMES
    return own_records(caplog)


def test_every_line_has_a_known_name_at_its_level(caplog: pytest.LogCaptureFixture) -> None:
    seen: dict[str, set[int]] = {}
    for record in records_of(caplog, logging.DEBUG):
        seen.setdefault(event(record), set()).add(record.levelno)
        assert record.getMessage().startswith(event(record) + " ")
    assert seen == EVENTS


def test_above_debug_there_is_no_payload_no_exception_text_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = [each for each in records_of(caplog, logging.DEBUG) if each.levelno > logging.DEBUG]
    assert records
    for record in records:
        assert SECRET not in repr(vars(record))
        assert record.exc_info is None
    caplog.clear()
    records_of(caplog, logging.INFO)
    assert SECRET not in caplog.text


def test_an_error_is_told_with_its_traceback_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    records = [each for each in records_of(caplog, logging.DEBUG) if event(each) == "run_error"]
    errors = [each.exc_info[0] for each in records if each.exc_info is not None]
    assert len(errors) == len(records)
    assert {ValueError, AgentError, TimeoutError, asyncio.CancelledError} <= set(errors)


def test_an_ended_run_is_told_with_its_ids_and_its_outcome(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client(AgentMessageHandler(agent, clock=loop_clock(), new_id=lambda: "new"))
    with caplog.at_level(logging.INFO, "agent_messaging"):
        client.say(chat("work", thread_id="t1"))
        client.say(chat("words", thread_id="t1"))
        client.say(chat("fail", thread_id="t1"))
    lines = [
        {name: vars(record).get(name) for name in ("outcome", "code", "error", "duration_ms")}
        for record in own_records(caplog)
    ]
    assert lines == [
        {"outcome": "agent_completed", "code": None, "error": None, "duration_ms": 0},
        {"outcome": "agent_failed", "code": "own", "error": "AgentError", "duration_ms": 0},
        {
            "outcome": "agent_failed",
            "code": "agent_error",
            "error": "ValueError",
            "duration_ms": 0,
        },
    ]
    assert [record.levelno for record in own_records(caplog)] == [
        logging.INFO,
        logging.INFO,
        logging.ERROR,
    ]
    for record in own_records(caplog):
        fields = vars(record)
        assert record.name == "agent_messaging.handler"
        assert (fields["user_id"], fields["thread_id"], fields["run_id"]) == ("user-1", "t1", "new")
    assert vars(own_records(caplog)[2])["raised_at"].startswith("test_logging.py:")


def test_a_cancelled_run_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(AgentMessageHandler(agent, run_timeout=9))
    with caplog.at_level(logging.INFO, "agent_messaging"):
        run_virtual(is_cancelled(client, "hang"))
    (record,) = own_records(caplog)
    fields = vars(record)
    assert (fields["outcome"], fields["reason"]) == ("agent_cancelled", "cancelled")


@pytest.mark.parametrize("is_routed", [False, True])
def test_a_refusal_is_told_with_its_code(is_routed: bool, caplog: pytest.LogCaptureFixture) -> None:
    handler = AgentMessageHandler(agent)
    client = Client(MessageRouter(handler) if is_routed else handler)
    with caplog.at_level(logging.INFO, "agent_messaging"):
        client.say(Message(type="ping", message_id="m1"))
    (record,) = own_records(caplog)
    fields = vars(record)
    assert (fields["user_id"], fields["code"], fields["message_id"]) == (
        "user-1",
        "unsupported_type",
        "m1",
    )


def test_a_frame_that_is_refused_is_told_with_its_code(caplog: pytest.LogCaptureFixture) -> None:
    router = MessageRouter(AgentMessageHandler(agent))
    with caplog.at_level(logging.INFO, "agent_messaging"):
        run_virtual(router.handle_frame("user-1", RecordingTransport(), "{"))
    (record,) = own_records(caplog)
    fields = vars(record)
    assert (fields["user_id"], fields["code"]) == ("user-1", "malformed_frame")


def test_fields_are_plain_values_and_no_enum_members(caplog: pytest.LogCaptureFixture) -> None:
    standard = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
    for record in records_of(caplog, logging.DEBUG):
        own = {name: value for name, value in vars(record).items() if name not in standard}
        assert own
        assert {type(value) for value in own.values()} <= {str, int, type(None)}


# Logging that is broken.


class BrokenHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("disk full")


class BrokenFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("bad pattern")


def broken_factory(*args: object, **kwargs: object) -> logging.LogRecord:
    raise RuntimeError("no record")


def with_broken_handler(logger: logging.Logger) -> Callable[[], None]:
    handler = BrokenHandler()
    logger.addHandler(handler)
    return lambda: logger.removeHandler(handler)


def with_broken_filter(logger: logging.Logger) -> Callable[[], None]:
    rule = BrokenFilter()
    logger.addFilter(rule)
    return lambda: logger.removeFilter(rule)


def with_broken_factory(logger: logging.Logger) -> Callable[[], None]:
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(broken_factory)
    return lambda: logging.setLogRecordFactory(factory)


@pytest.fixture(params=["agent_messaging.handler", "agent_messaging.outbox"])
def logger(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    logger = logging.getLogger(str(request.param))
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(level)


@pytest.mark.parametrize("breakage", [with_broken_handler, with_broken_filter, with_broken_factory])
def test_broken_logging_never_fails_a_message(
    logger: logging.Logger, breakage: Callable[[logging.Logger], Callable[[], None]]
) -> None:
    repair = breakage(logger)
    try:
        outcomes = run_virtual(conversation())
    finally:
        repair()
    assert outcomes == OUTCOMES


def test_words_that_an_agent_chose_in_a_task_group_are_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails() -> None:
        raise AgentError("no quota")

    async def body(run: Run) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    with caplog.at_level(logging.INFO, logger="agent_messaging"):
        Client(AgentMessageHandler(body)).say(chat())
    assert [record.levelno for record in own_records(caplog)] == [logging.INFO]


def test_an_exception_after_a_relayed_end_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def body(run: Run) -> None:
        await run.relay(MessageType.AGENT_COMPLETED, {"result": 1})
        raise LookupError

    with caplog.at_level(logging.INFO, logger="agent_messaging"):
        Client(AgentMessageHandler(body)).say(chat())
    assert [record.levelno for record in own_records(caplog)] == [logging.ERROR]
