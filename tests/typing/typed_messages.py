"""What type checkers know of messages; read by them and never run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, assert_type

from agent_messaging import Message, MessageType, NativeDialect


def every_field_has_its_type(message: Message) -> None:
    assert_type(message.type, str)
    assert_type(message.payload, dict[str, object])
    assert_type(message.thread_id, str | None)
    assert_type(message.run_id, str | None)
    assert_type(message.message_id, str | None)
    assert_type(message.timestamp, float | None)
    assert_type(message.user_id, str | None)
    assert_type(message.request, str)
    assert_type(message.agent, str | None)


def all_but_the_type_may_be_left_out() -> None:
    assert_type(Message(type=MessageType.CHAT), Message)
    assert_type(Message(type="a_type_of_the_hosts_own", timestamp=1), Message)
    Message()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def fields_are_given_by_name() -> None:
    Message("chat")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Message(type="chat", payloads={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_field_of_the_wrong_type_is_refused() -> None:
    Message(type=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Message(type="chat", payload=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Message(type="chat", payload={1: 2})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    Message(type="chat", timestamp="now")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_payloads_values_are_checked_before_they_are_used(message: Message) -> None:
    message.payload["text"].strip()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    text = message.payload.get("text")
    assert_type(text, object | None)
    if isinstance(text, str):
        assert_type(text.strip(), str)


def no_field_can_be_assigned(message: Message) -> None:
    message.type = "chat"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    message.payload = {}  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    message.user_id = "mallory"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    message.request = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    message.color = "red"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def a_changed_copy_is_a_message(message: Message) -> None:
    assert_type(replace(message, thread_id="t1"), Message)


def it_converts_to_a_dictionary_and_back(message: Message, fields: Mapping[str, object]) -> None:
    assert_type(message.to_dict(), dict[str, object])
    assert_type(Message.from_dict(message.to_dict()), Message)
    assert_type(Message.from_dict(fields), Message)
    assert_type(Message.from_dict({"type": "chat"}), Message)
    Message.from_dict([])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def types_on_the_wire_are_strings() -> None:
    wire: str = MessageType.START_AGENT
    value: str = MessageType.START_AGENT.value
    assert_type(MessageType(wire), MessageType)
    assert_type(MessageType(value), MessageType)
    constant: Literal[MessageType.CHAT] = MessageType.CHAT
    assert_type(constant, Literal[MessageType.CHAT])
    assert MessageType.UNKNOWN  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def frames_are_text_or_bytes(dialect: NativeDialect) -> None:
    assert_type(dialect.decode("{}"), Message)
    assert_type(dialect.decode(b"{}"), Message)
    assert_type(dialect.decode(bytearray(b"{}")), Message)
    assert_type(dialect.decode(memoryview(b"{}")), Message)
    dialect.decode({})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    dialect.decode(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
