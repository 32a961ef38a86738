"""What the reference pages list is what the source has: no field, code or name missing or extra."""

import dataclasses
import json
import re
from typing import Final, cast, get_args

import pytest

import agent_messaging
from agent_messaging import (
    AgentCancelled,
    AgentMessageHandler,
    AgentMessagingError,
    AgentRegistry,
    CancelReason,
    ErrorCode,
    HandlerStats,
    Message,
    MessageRouter,
    MessageType,
    ProcessingStats,
    RemoteError,
    Run,
    RunEvent,
    ToolStatus,
    compat,
)
from agent_messaging.dialects.native import NativeDialect, NativeRunEncoder
from agent_messaging.eventlog import redis_streams, sqlite
from agent_messaging.testing import RecordingTransport, run_virtual
from support import decoded, pages

_WIRE: Final = pages.page("reference/wire-protocol.md")
_STATISTICS: Final = pages.page("how-to/statistics-and-logs.md")
_ERRORS: Final = pages.page("how-to/handle-errors.md")


#: The members of the closed union of events, by their type on the wire.
_EVENTS: Final = {
    str(member.type): member for member in cast("tuple[type[RunEvent], ...]", get_args(RunEvent))
}


def test_every_event_has_its_section_and_no_other() -> None:
    events = pages.section(_WIRE, "## What a client gets: the events of a run")
    assert sorted(pages.headings(events)) == sorted(_EVENTS)


@pytest.mark.parametrize("kind", _EVENTS)
def test_the_frames_of_an_event_are_what_the_dialect_writes(kind: str) -> None:
    section = pages.section(_WIRE, f"### {kind}")
    frames = pages.examples(section)
    assert frames
    for frame in frames:
        event = _EVENTS[kind](**frame["payload"])
        assert frame["type"] == event.type
        encoder = NativeRunEncoder(frame["user_id"], frame["thread_id"], frame["run_id"])
        payload = NativeDialect().encode_payload(event.payload())
        written = encoder.encode(event.type, payload, frame["seq"], frame["timestamp"])
        assert list(json.loads(written).items()) == list(frame.items())
        assert list(json.loads(written)["payload"]) == list(frame["payload"])


@pytest.mark.parametrize("kind", _EVENTS)
def test_the_fields_of_an_event_are_those_of_its_class(kind: str) -> None:
    assert pages.names(pages.section(_WIRE, f"### {kind}"), of="field") == [
        field.name for field in dataclasses.fields(_EVENTS[kind])
    ]


def test_the_words_of_an_event_are_those_of_its_type() -> None:
    tools = pages.section(_WIRE, "### tool_completed")
    assert {frame["payload"]["status"] for frame in pages.examples(tools)} == set(
        get_args(ToolStatus)
    )
    reasons = re.findall(r"^\| `reason` .*$", _WIRE, flags=re.MULTILINE)[0]
    assert pages.words(reasons)[1:] == list(get_args(CancelReason))
    cancelled = pages.section(_WIRE, "### agent_cancelled")
    assert pages.names(cancelled, of="reason") == list(get_args(CancelReason))
    assert AgentCancelled(reason="cancelled").payload().keys() == {"reason", "duration_ms"}


def test_the_envelope_of_an_event_is_the_one_on_the_wire() -> None:
    events = pages.section(_WIRE, "## What a client gets: the events of a run").split("###")[0]
    assert pages.names(events) == list(pages.examples(pages.section(_WIRE, "### agent_started"))[0])


def test_the_fields_of_a_message_are_those_of_its_class() -> None:
    inbound = pages.section(_WIRE, "## What a client sends").split("###")[0]
    assert pages.names(inbound) == [field.name for field in dataclasses.fields(Message)]


def test_the_messages_are_accepted_as_they_stand() -> None:
    agents = AgentRegistry()

    async def travel(run: Run) -> str:
        return run.request

    agents.register("travel", travel)
    inbound = pages.section(_WIRE, "## What a client sends")
    frames = pages.examples(inbound)
    handler = AgentMessageHandler(agents)
    assert {frame["type"] for frame in frames} == handler.supported_types
    assert set(pages.headings(inbound)) == handler.supported_types
    for frame in frames:
        assert Message.from_dict(frame).to_dict() == frame
        router = MessageRouter(handler)
        assert run_virtual(router.handle_frame("user-1", RecordingTransport(), json.dumps(frame)))


def test_the_error_messages_are_what_a_refusal_writes() -> None:
    section = pages.section(_WIRE, "### error_message")
    refusals = [
        RemoteError(
            ErrorCode(frame["payload"]["code"]),
            frame["payload"]["message"],
            message_id=frame["payload"].get("message_id"),
            retry_after=frame["payload"].get("retry_after"),
        )
        for frame in pages.examples(section)
    ]
    written = [
        json.loads(NativeDialect().encode_control(MessageType.ERROR_MESSAGE, error.reply, 0.5))
        for error in refusals
    ]
    assert [frame | {"timestamp": 0.5} for frame in pages.examples(section)] == written
    fields = [name for error in refusals for name in error.reply]
    assert pages.names(section) == list(dict.fromkeys(fields))


def test_the_codes_are_those_of_the_source() -> None:
    codes = [str(code) for code in ErrorCode]
    assert pages.names(pages.section(_WIRE, "## Codes")) == codes
    assert pages.names(pages.section(_ERRORS, "## What the client reads")) == codes


def test_every_type_is_described_once() -> None:
    assert sorted(pages.headings(_WIRE)) == sorted(MessageType)


def test_a_router_that_is_called_directly_answers_control_messages_as_unsupported() -> None:
    async def agent(run: Run) -> None: ...

    client = RecordingTransport()
    router = MessageRouter(AgentMessageHandler(agent))
    frames = pages.examples(pages.section(_WIRE, "## What a client sends: control messages"))
    for frame in frames:
        assert not run_virtual(router.handle_frame("user-1", client, json.dumps(frame)))
    codes = [frame["payload"]["code"] for frame in decoded(client.frames)]
    assert codes == ["unsupported_type"] * len(frames)
    assert frames


def test_the_counters_are_those_of_the_source() -> None:
    section = pages.section(_STATISTICS, "## Statistics of a handler")
    assert pages.names(section) == list(ProcessingStats.__annotations__)
    beside = HandlerStats.__annotations__.keys() - ProcessingStats.__annotations__.keys()
    assert {name for name in beside if f"`{name}`" in section} == beside


def test_the_python_reference_names_everything_public_once() -> None:
    page = pages.page("reference/python-api.md")
    named = re.findall(r"^\.\. auto\w+:: agent_messaging\.([\w.]+)$", page, flags=re.MULTILINE)
    former = {name: getattr(compat, name) for name in compat.__all__}
    public = {name: getattr(agent_messaging, name) for name in agent_messaging.__all__}
    aliases = [name for name, item in former.items() if any(item is one for one in public.values())]
    assert sorted(named) == sorted(
        [
            *public,
            *(f"compat.{name}" for name in former if name not in aliases),
            *(f"eventlog.sqlite.{name}" for name in sqlite.__all__),
            *(f"eventlog.redis_streams.{name}" for name in redis_streams.__all__),
        ]
    )
    assert [name for name in aliases if f"`{name}`" not in page] == []


def test_the_tree_of_errors_is_in_the_how_to() -> None:
    public = [getattr(agent_messaging, name) for name in agent_messaging.__all__]
    classes = [
        item.__name__
        for item in public
        if isinstance(item, type) and issubclass(item, AgentMessagingError)
    ]
    assert [name for name in classes if f"`{name}`" not in _ERRORS] == []
