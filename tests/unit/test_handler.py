"""The canonical handler: which messages it takes, what it answers, and whose events go where."""

import asyncio
import inspect
import sys
from contextvars import ContextVar
from types import CodeType, FrameType
from uuid import UUID

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    ConfigurationError,
    Message,
    MessageHandler,
    MessageType,
    NativeDialect,
    Run,
)
from agent_messaging.testing import RecordingTransport, counted_ids, loop_clock, run_virtual
from support import chat, start_agent, user_message
from support.clients import Client
from support.loop import steps


async def echo(run: Run) -> str:
    return run.request


def of_type(kind: str, **payload: object) -> Message:
    return Message(type=kind, payload=payload)


# The three messages.


def test_it_takes_the_three_agent_messages_and_no_others() -> None:
    handler: MessageHandler = AgentMessageHandler(echo)
    taken = {MessageType.START_AGENT, MessageType.USER_MESSAGE, MessageType.CHAT}
    assert set(handler.supported_types) == taken
    assert {kind for kind in MessageType if handler.can_handle(kind)} == taken
    assert handler.can_handle("chat")
    assert not handler.can_handle("CHAT")
    assert not handler.can_handle("of_the_hosts_own")


@pytest.mark.parametrize("message", [start_agent("Rome"), user_message("Rome"), chat("Rome")])
def test_each_of_the_three_runs_the_agent(message: Message) -> None:
    client = Client(AgentMessageHandler(echo))
    assert client.say(message) is True
    assert client.types == ["agent_started", "agent_completed"]
    assert client.payload("agent_completed")["result"] == "Rome"


@pytest.mark.parametrize(
    "kind",
    [
        "of_the_hosts_own",
        "CHAT",
        *(kind for kind in MessageType if kind not in {"start_agent", "user_message", "chat"}),
    ],
)
def test_any_other_type_is_answered_and_the_connection_lives_on(kind: str) -> None:
    client = Client(AgentMessageHandler(echo))
    message = Message(type=kind, payload={"text": "x", "user_request": "x"}, message_id="m1")
    assert client.say(message) is False
    assert client.types == ["error_message"]
    error = client.payload("error_message")
    assert (error["code"], error["message_id"]) == ("unsupported_type", "m1")
    assert client.say(chat()) is True


@pytest.mark.parametrize(
    ("message", "request_text"),
    [
        (of_type("start_agent", user_request=" Rome "), " Rome "),
        (of_type("start_agent", user_request="a", message="b", text="c"), "a"),
        (of_type("user_message", message="a", content="b", text="c"), "a"),
        (of_type("user_message", content="b", text="c"), "b"),
        (of_type("user_message", message=" ", content="\t", text="c"), "c"),
        (of_type("user_message", message=None, content="b"), "b"),
        (of_type("chat", message="", content="b"), "b"),
        (of_type("chat", text="c"), "c"),
        (of_type("chat", message="a", content=5), "a"),
    ],
)
def test_the_request_is_the_first_text_that_is_not_blank_as_it_was_sent(
    message: Message, request_text: str
) -> None:
    client = Client(AgentMessageHandler(echo))
    assert client.say(message)
    assert client.payload("agent_completed")["result"] == request_text


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (of_type("start_agent"), "missing_content"),
        (of_type("start_agent", user_request=""), "missing_content"),
        (of_type("start_agent", user_request=" \n\t\u2003"), "missing_content"),
        (of_type("start_agent", message="elsewhere"), "missing_content"),
        (of_type("start_agent", user_request=5), "invalid_message"),
        (of_type("user_message"), "missing_content"),
        (of_type("user_message", message=" ", content="", text="\n"), "missing_content"),
        (of_type("user_message", user_request="elsewhere"), "missing_content"),
        (of_type("user_message", message=["a"]), "invalid_message"),
        (of_type("chat", message=" ", content={"a": 1}), "invalid_message"),
        (of_type("chat", text=False), "invalid_message"),
        (Message(type="chat", payload={"text": "x"}, user_id="another"), "identity_mismatch"),
        (Message(type="ping", user_id="another"), "identity_mismatch"),
    ],
)
def test_a_message_that_cannot_be_taken_is_answered_with_its_code_and_starts_no_run(
    message: Message, code: str
) -> None:
    client = Client(AgentMessageHandler(echo))
    assert client.say(message) is False
    assert client.types == ["error_message"]
    answer = client.payload("error_message")
    assert answer["code"] == code
    assert answer["message"]
    assert "message_id" not in answer
    assert client.say(chat()) is True


def test_a_message_may_name_the_user_of_its_connection() -> None:
    assert Client(AgentMessageHandler(echo)).say(chat(user_id="user-1"))


def test_what_a_client_reads_of_a_refusal_holds_nothing_of_the_payload() -> None:
    client = Client(AgentMessageHandler(echo))
    client.say(Message(type="chat", payload={"text": ["hunter2"]}, message_id="m1"))
    client.say(Message(type="hunter2"))
    client.say(Message(type="chat", payload={"text": "x"}, user_id="hunter2"))
    assert len(client.frames) == 3
    assert "hunter2" not in "".join(client.transport.frames)


# Ids.


def test_ids_of_the_client_are_kept_and_missing_ones_made() -> None:
    client = Client(AgentMessageHandler(echo))
    client.say(chat(thread_id="t1", message_id="m1"))
    client.say(chat(thread_id="t1"))
    client.say(chat(message_id="m1"))
    first, second, third = (f for f in client.frames if f["type"] == "agent_started")
    assert (first["thread_id"], first["payload"]["message_id"]) == ("t1", "m1")
    assert second["thread_id"] == "t1"
    assert third["payload"]["message_id"] == "m1"
    made = {second["payload"]["message_id"], third["thread_id"]}
    assert len(made) == 2
    assert all(UUID(made_id).hex == made_id for made_id in made)


def test_each_message_gets_a_run_id_of_its_own_whatever_the_client_says() -> None:
    client = Client(AgentMessageHandler(echo))
    for _ in range(3):
        client.say(chat(run_id="r1", message_id="m1", thread_id="t1"))
    runs = {frame["run_id"] for frame in client.frames}
    assert len(runs) == 3
    assert "r1" not in runs


def test_ids_come_from_the_hosts_source_if_it_gives_one() -> None:
    client = Client(AgentMessageHandler(echo, new_id=counted_ids()))
    client.say(chat())
    (started, _) = client.frames
    ids = {started["thread_id"], started["run_id"], started["payload"]["message_id"]}
    assert ids == {"id-1", "id-2", "id-3"}


@pytest.mark.parametrize("made", ["", "x" * 129, "a\n", None, 7])
def test_an_id_of_the_hosts_source_that_is_none_is_a_configuration_error(made: object) -> None:
    def new_id() -> str:
        return made  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    client = Client(AgentMessageHandler(echo, new_id=new_id))
    before = client.handler.get_stats()
    with pytest.raises(ConfigurationError):
        client.say(chat())
    assert client.frames == []
    assert client.handler.get_stats() == before


@pytest.mark.parametrize("user_id", ["", "x" * 129, "a\x00", None, 7, b"user"])
def test_a_user_id_that_is_none_is_a_configuration_error_and_nothing_is_sent_or_counted(
    user_id: object,
) -> None:
    client = Client(AgentMessageHandler(echo), user_id=user_id)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    before = client.handler.get_stats()
    with pytest.raises(ConfigurationError, match="user_id"):
        client.say(chat())
    assert client.frames == []
    assert client.handler.get_stats() == before


# Events on the wire.


def test_every_event_has_the_envelope_of_its_run() -> None:
    async def agent(run: Run) -> None:
        await asyncio.sleep(1.5)
        await run.thinking("Looking")

    client = Client(
        AgentMessageHandler(agent, clock=loop_clock(1_700_000_000.25), new_id=lambda: "new")
    )
    assert client.say(chat(thread_id="t1"))
    envelope = {"user_id": "user-1", "thread_id": "t1", "run_id": "new"}
    assert [
        {name: frame[name] for name in frame if name != "payload"} for frame in client.frames
    ] == [
        {"type": "agent_started", **envelope, "seq": 1, "timestamp": 1_700_000_000.25},
        {"type": "agent_thinking", **envelope, "seq": 2, "timestamp": 1_700_000_001.75},
        {"type": "agent_completed", **envelope, "seq": 3, "timestamp": 1_700_000_001.75},
    ]
    assert client.payload("agent_completed") == {"result": None, "duration_ms": 1500}


def test_a_dialect_of_the_hosts_encodes_its_objects() -> None:
    async def agent(run: Run) -> object:
        return UUID(int=1)

    refused = Client(AgentMessageHandler(agent))
    assert refused.say(chat()) is False
    client = Client(AgentMessageHandler(agent, dialect=NativeDialect(default=str)))
    assert client.say(chat()) is True
    assert client.payload("agent_completed")["result"] == str(UUID(int=1))


# The agent's words and no others.


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            AgentError("No flights today"),
            {"code": "agent_error", "message": "No flights today", "retryable": False},
        ),
        (
            AgentError("Try later", code="busy", retryable=True),
            {"code": "busy", "message": "Try later", "retryable": True},
        ),
        (
            ExceptionGroup("g", [ExceptionGroup("g", [AgentError("Inner", code="inner")])]),
            {"code": "inner", "message": "Inner", "retryable": False},
        ),
        (
            ExceptionGroup("hunter2", [AgentError("a", code="a"), ValueError("hunter2")]),
            {"code": "agent_error", "message": "The agent failed.", "retryable": False},
        ),
        (
            ValueError("password=hunter2"),
            {"code": "agent_error", "message": "The agent failed.", "retryable": False},
        ),
        (
            TimeoutError("hunter2"),
            {"code": "agent_error", "message": "The agent failed.", "retryable": False},
        ),
        (
            RecursionError("hunter2"),
            {"code": "agent_error", "message": "The agent failed.", "retryable": False},
        ),
    ],
)
def test_an_agent_error_reads_as_it_says_and_any_other_exception_is_neutral(
    error: Exception, failure: dict[str, object]
) -> None:
    async def agent(run: Run) -> None:
        raise error

    client = Client(AgentMessageHandler(agent, clock=loop_clock()))
    assert client.say(chat()) is False
    assert client.types == ["agent_started", "agent_failed"]
    assert client.payload("agent_failed") == {**failure, "duration_ms": 0}
    assert "hunter2" not in "".join(client.transport.frames)


def test_an_agent_error_out_of_a_task_group_reads_as_it_says() -> None:
    async def search(run: Run) -> None:
        async with run.tool("search"):
            await asyncio.sleep(0)
            raise AgentError("No index today", code="no_index")

    async def agent(run: Run) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(search(run))

    client = Client(AgentMessageHandler(agent))
    assert client.say(chat()) is False
    assert client.payload("agent_failed")["code"] == "no_index"


@pytest.mark.parametrize("result", [object(), float("nan"), {"a": {1}}, {("a", "b"): 1}])
def test_a_result_that_will_not_encode_is_an_agent_error(result: object) -> None:
    async def agent(run: Run) -> object:
        return result

    client = Client(AgentMessageHandler(agent, clock=loop_clock()))
    assert client.say(chat()) is False
    assert client.types == ["agent_started", "agent_failed"]
    assert client.payload("agent_failed")["code"] == "agent_error"
    assert client.payload("agent_failed")["duration_ms"] == 0


def test_an_agent_error_whose_text_is_too_large_is_neutral() -> None:
    async def agent(run: Run) -> None:
        raise AgentError("x" * 2_000_000, code="large")

    client = Client(AgentMessageHandler(agent))
    assert client.say(chat()) is False
    assert client.payload("agent_failed")["message"] == "The agent failed."


# The context.


def test_a_handler_that_is_called_directly_runs_in_its_callers_context() -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")

    async def agent(run: Run) -> str:
        seen = trace.get()
        trace.set("agent's")
        return seen

    async def main() -> None:
        client = Client(AgentMessageHandler(agent))
        trace.set("caller's")
        assert await client.send(chat())
        assert client.payload("agent_completed")["result"] == "caller's"
        assert trace.get() == "agent's"

    run_virtual(main())


def test_what_an_agent_sets_in_its_context_does_not_reach_the_transport() -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen: set[str] = set()

    async def watching(frame: str) -> None:
        seen.add(trace.get())

    async def agent(run: Run) -> None:
        trace.set("private")
        await steps()  # what sent the start is done, and what sends the next begins here
        await run.thinking("a")

    handler = AgentMessageHandler(agent)
    assert run_virtual(handler.handle_message("u1", watching, chat()))
    assert seen == {"none"}


# What its calls raise, and the former names.


@pytest.mark.parametrize(
    "seconds", [0, -1, 0.0, float("nan"), float("inf"), pytest.param(10**400, id="huge"), "5"]
)
@pytest.mark.parametrize("name", ["run_timeout", "final_send_timeout"])
def test_a_bound_in_time_is_a_positive_number_of_seconds(name: str, seconds: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}"):
        AgentMessageHandler(echo, **{name: seconds})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_agent_and_websocket_can_be_given_by_position_and_the_rest_by_name() -> None:
    parameters = list(inspect.signature(AgentMessageHandler).parameters.values())
    assert [parameter.name for parameter in parameters[:2]] == [
        "message_handler_service",
        "websocket",
    ]
    assert {parameter.kind for parameter in parameters[:2]} == {
        inspect.Parameter.POSITIONAL_OR_KEYWORD
    }
    assert {parameter.kind for parameter in parameters[2:]} == {inspect.Parameter.KEYWORD_ONLY}
    transport = RecordingTransport()
    assert run_virtual(AgentMessageHandler(echo, transport).handle_message("u1", None, chat()))
    assert len(transport.frames) == 2


FORMER_STEPS = (
    "_handle_message_v3_clean_ssot",
    "_route_ssot_agent_message_v3",
    "_handle_ssot_message_v3",
    "_update_ssot_processing_stats",
)


@pytest.mark.parametrize("former", FORMER_STEPS)
def test_a_former_step_name_is_a_second_name_of_a_real_step(former: str) -> None:
    step = vars(AgentMessageHandler)[former]
    assert step.__name__ != former
    assert vars(AgentMessageHandler)[step.__name__] is step


def test_every_message_takes_the_steps_that_have_a_former_name() -> None:
    steps_with_a_former_name = {vars(AgentMessageHandler)[name].__code__ for name in FORMER_STEPS}
    taken: set[CodeType] = set()

    def note(frame: FrameType, what: str, _: object) -> None:
        taken.add(frame.f_code)

    sys.setprofile(note)
    try:
        Client(AgentMessageHandler(echo)).say(chat())
    finally:
        sys.setprofile(None)
    assert steps_with_a_former_name <= taken
