"""A client's message: what it may hold, and what it is refused for."""

import pickle
from collections import OrderedDict
from enum import Enum

import pytest

from agent_messaging import Message, MessageType, RemoteError
from agent_messaging._messages import AGENT_MESSAGES
from support import chat, start_agent, user_message


def refusal(fields: dict[str, object]) -> RemoteError:
    """How a message of these fields is refused."""
    with pytest.raises(RemoteError) as caught:
        Message.from_dict(fields)
    return caught.value


def test_every_type_is_its_own_name_in_lower_case() -> None:
    for kind in MessageType:
        assert str(kind) == kind.value == kind.name.lower()
    assert len(MessageType) == 24


def test_the_messages_that_start_a_run() -> None:
    assert {"start_agent", "user_message", "chat"} == AGENT_MESSAGES


# Fields.


def test_a_message_needs_its_type_alone() -> None:
    message = Message(type="chat")
    assert message.payload == {}
    optional = (message.thread_id, message.run_id, message.message_id, message.timestamp)
    assert optional == (None, None, None, None)
    assert message.user_id is None
    assert message.to_dict() == {"type": "chat", "payload": {}}


def test_payloads_that_were_left_out_are_not_shared() -> None:
    assert Message(type="chat").payload is not Message(type="chat").payload
    assert Message.from_dict({"type": "chat"}).payload is not Message(type="chat").payload


FULL: dict[str, object] = {
    "type": "chat",
    "payload": {"text": "hi", "nested": [{"a": None}]},
    "thread_id": "t1",
    "run_id": "r1",
    "message_id": "m1",
    "timestamp": 1700.5,
    "user_id": "u1",
}


def test_a_full_message_survives_its_dictionary() -> None:
    message = Message.from_dict(FULL)
    assert message.to_dict() == FULL
    assert Message.from_dict(message.to_dict()) == message
    assert Message(**FULL) == message  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - our own


def test_none_counts_as_left_out() -> None:
    fields = {name: None for name in FULL if name != "type"}
    assert Message.from_dict({"type": "chat", **fields}) == Message(type="chat")


def test_fields_of_other_names_are_ignored() -> None:
    assert Message.from_dict({"type": "chat", "color": "red"}) == Message(type="chat")


def test_a_type_of_the_hosts_own_is_kept() -> None:
    assert Message(type="acme.refund").to_dict()["type"] == "acme.refund"


def test_the_type_on_the_wire_is_a_plain_string() -> None:
    class Own(str, Enum):  # noqa: UP042 - as hosts write it
        REFUND = "refund"

    for kind in (MessageType.CHAT, Own.REFUND):
        message = Message(type=kind)
        wire_type = message.to_dict()["type"]
        assert type(wire_type) is str
        assert wire_type == kind.value
        assert Message.from_dict(message.to_dict()) == message


@pytest.mark.parametrize("name", ["type", "thread_id", "run_id", "message_id", "user_id"])
@pytest.mark.parametrize(
    "value", ["", "x" * 129, "a\x00", "a\nb", "\ud800", "\u2028", 5, True, 1.5, [], {}, b"a"]
)
def test_an_id_that_is_none_is_refused(name: str, value: object) -> None:
    error = refusal({"type": "chat", "message_id": "m1", name: value})
    assert error.code == "invalid_message"
    assert error.message == f"{name} must be a string of 1 to 128 printable characters"
    assert error.message_id == (None if name == "message_id" else "m1")


def test_a_message_without_a_type_is_refused() -> None:
    assert refusal({}).code == "invalid_message"
    assert refusal({"type": None, "message_id": "m1"}).message_id == "m1"


@pytest.mark.parametrize("payload", [[], "text", 5, False, 0, "", OrderedDict[str, object]()])
def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    error = refusal({"type": "chat", "payload": payload, "message_id": "m1"})
    assert (error.code, error.message_id) == ("invalid_message", "m1")
    assert error.message == "payload must be an object"


@pytest.mark.parametrize("timestamp", [0, -5, 1700, 1700.5, 2**70])
def test_a_timestamp_is_a_number(timestamp: float) -> None:
    assert Message(type="chat", timestamp=timestamp).timestamp == timestamp


@pytest.mark.parametrize(
    "timestamp", [True, "1700", [], {}, float("nan"), float("inf"), float("-inf")]
)
def test_a_timestamp_that_is_no_finite_number_is_refused(timestamp: object) -> None:
    error = refusal({"type": "chat", "timestamp": timestamp, "message_id": "m1"})
    assert (error.code, error.message_id) == ("invalid_message", "m1")
    assert error.message == "timestamp must be a finite number of Unix seconds"


def test_a_message_id_that_is_refused_is_not_echoed() -> None:
    assert refusal({"type": "", "message_id": "x" * 129}).message_id is None


# What the user asks.


def test_the_request_of_each_type() -> None:
    assert start_agent("go").request == "go"
    assert user_message("go").request == "go"
    assert chat("go").request == "go"


@pytest.mark.parametrize("kind", ["user_message", "chat", "acme.refund"])
def test_the_first_text_that_is_not_blank_counts(kind: str) -> None:
    def request(**payload: object) -> str:
        return Message(type=kind, payload=payload).request

    assert request(message="a", content="b", text="c") == "a"
    assert request(message="", content="b", text="c") == "b"
    assert request(message=" \n\u3000", content=None, text="c") == "c"
    assert request(text=" c ") == " c "


BLANKS: list[dict[str, object]] = [
    {},
    {"message": "", "content": " ", "text": "\t\n", "user_request": " "},
    {"message": None, "user_request": None},
    {"other": "text"},
]


@pytest.mark.parametrize("kind", ["start_agent", "user_message", "chat", "acme.refund"])
@pytest.mark.parametrize("payload", BLANKS)
def test_a_message_without_text_is_refused(kind: str, payload: dict[str, object]) -> None:
    message = Message(type=kind, payload=payload, message_id="m1")
    with pytest.raises(RemoteError) as caught:
        _ = message.request
    assert (caught.value.code, caught.value.message_id) == ("missing_content", "m1")
    needed = "user_request" if kind == "start_agent" else "message or payload.content"
    assert f"{kind} needs text in payload.{needed}" in caught.value.message


def test_a_start_agent_has_its_text_nowhere_else() -> None:
    with pytest.raises(RemoteError, match="missing_content"):
        _ = Message(type="start_agent", payload={"message": "go", "text": "go"}).request


@pytest.mark.parametrize("text", [5, True, ["go"], {"go": "go"}])
def test_a_text_of_another_type_is_refused(text: object) -> None:
    for kind, name in (("start_agent", "user_request"), ("chat", "content")):
        message = Message(type=kind, payload={name: text}, message_id="m1")
        with pytest.raises(RemoteError) as caught:
            _ = message.request
        assert (caught.value.code, caught.value.message_id) == ("invalid_message", "m1")
        assert caught.value.message == f"payload.{name} must be a text"


# The agent that is asked for.


def test_a_start_agent_may_name_its_agent() -> None:
    assert start_agent(agent="travel").agent == "travel"
    assert start_agent().agent is None
    assert Message(type="start_agent", payload={"agent": None}).agent is None


def test_other_messages_name_no_agent() -> None:
    assert Message(type="chat", payload={"agent": "travel"}).agent is None


@pytest.mark.parametrize("name", ["", "a\n", "x" * 129, 5, []])
def test_an_agent_name_that_is_no_id_is_refused(name: object) -> None:
    with pytest.raises(RemoteError) as caught:
        _ = Message(type="start_agent", payload={"agent": name}, message_id="m1").agent
    assert (caught.value.code, caught.value.message_id) == ("invalid_message", "m1")
    assert caught.value.message.startswith("payload.agent must be")


def test_nothing_of_the_payload_is_in_the_refusal() -> None:
    message = Message(type="chat", payload={"text": {"secret": "s3cr3t"}})
    with pytest.raises(RemoteError) as caught:
        _ = message.request
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in str(refusal({"type": "chat", "thread_id": "s3cr3t\n"}))


def test_a_message_takes_its_fields_by_name_alone_and_no_others() -> None:
    with pytest.raises(TypeError):
        Message("chat")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(AttributeError):
        Message(type="chat").color = "red"  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
