"""The events of a run: their payloads on the wire, and the union that holds them all."""

from enum import Enum
from typing import get_args

import pytest

from agent_messaging import (
    GOLDEN_PATH,
    AgentCancelled,
    AgentCompleted,
    AgentEvent,
    AgentFailed,
    AgentProgress,
    AgentQueued,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    MessageType,
    PayloadError,
    RunEvent,
    TerminalEvent,
    ToolCompleted,
    ToolExecuting,
)
from agent_messaging._events import RUN_EVENTS

PAYLOADS: list[tuple[RunEvent, str, dict[str, object]]] = [
    (AgentQueued(message_id="m", position=1), "agent_queued", {"message_id": "m", "position": 1}),
    (AgentStarted(message_id="m", agent="a"), "agent_started", {"message_id": "m", "agent": "a"}),
    (AgentThinking(text="hm"), "agent_thinking", {"text": "hm"}),
    (AgentResponseChunk(text="He"), "agent_response_chunk", {"text": "He"}),
    (AgentProgress(name="step"), "agent_progress", {"name": "step", "data": None}),
    (AgentProgress(name="step", data=[1]), "agent_progress", {"name": "step", "data": [1]}),
    (
        ToolExecuting(tool_call_id="c", tool_name="t", arguments={"q": 1}),
        "tool_executing",
        {"tool_call_id": "c", "tool_name": "t", "arguments": {"q": 1}},
    ),
    (
        ToolCompleted(tool_call_id="c", tool_name="t", result=[1], error="left out"),
        "tool_completed",
        {
            "tool_call_id": "c",
            "tool_name": "t",
            "status": "ok",
            "result": [1],
            "duration_ms": 0,
        },
    ),
    (
        ToolCompleted(
            tool_call_id="c",
            tool_name="t",
            status="error",
            result="left out",
            error="no",
            duration_ms=3,
        ),
        "tool_completed",
        {
            "tool_call_id": "c",
            "tool_name": "t",
            "status": "error",
            "error": "no",
            "duration_ms": 3,
        },
    ),
    (
        ToolCompleted(tool_call_id="c", tool_name="t", status="interrupted"),
        "tool_completed",
        {
            "tool_call_id": "c",
            "tool_name": "t",
            "status": "interrupted",
            "error": None,
            "duration_ms": 0,
        },
    ),
    (
        AgentCompleted(result="ok", duration_ms=5),
        "agent_completed",
        {"result": "ok", "duration_ms": 5},
    ),
    (
        AgentFailed(code="timeout", message="late", retryable=True, duration_ms=5),
        "agent_failed",
        {"code": "timeout", "message": "late", "retryable": True, "duration_ms": 5},
    ),
    (
        AgentCancelled(reason="stopped", duration_ms=5),
        "agent_cancelled",
        {"reason": "stopped", "duration_ms": 5},
    ),
]


@pytest.mark.parametrize(
    ("event", "kind", "payload"), PAYLOADS, ids=[kind for _, kind, _ in PAYLOADS]
)
def test_the_payload_on_the_wire(event: RunEvent, kind: str, payload: dict[str, object]) -> None:
    assert event.type == kind
    assert event.payload() == payload
    assert list(event.payload()) == list(payload)


def test_a_tools_id_and_name_are_ids_so_that_its_end_can_be_told() -> None:
    for wrong in ("", "x" * 129, "a\nb", 5, None, ["a"]):
        for fields in (
            {"tool_call_id": wrong, "tool_name": "t"},
            {"tool_call_id": "c", "tool_name": wrong},
        ):
            event = ToolExecuting(**fields)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            with pytest.raises(PayloadError):
                event.payload()


def test_what_may_be_left_out_of_an_event() -> None:
    ends: list[TerminalEvent] = [
        AgentCompleted(),
        AgentFailed(code="c", message="m"),
        AgentCancelled(reason="stopped"),
    ]
    assert [event.payload() for event in ends] == [
        {"result": None, "duration_ms": 0},
        {"code": "c", "message": "m", "retryable": False, "duration_ms": 0},
        {"reason": "stopped", "duration_ms": 0},
    ]
    assert ToolExecuting(tool_call_id="c", tool_name="t").payload()["arguments"] is None


def test_the_payloads_above_are_those_of_every_event() -> None:
    assert {type(event) for event, _, _ in PAYLOADS} == set(get_args(RunEvent))
    assert {event.type for event, _, _ in PAYLOADS} == set(RUN_EVENTS)
    assert len(RUN_EVENTS) == len(get_args(RunEvent)) == 10


def test_an_agents_events_and_the_ends_are_apart() -> None:
    own, ends = set(get_args(AgentEvent)), set(get_args(TerminalEvent))
    assert not own & ends
    assert set(get_args(RunEvent)) == own | ends | {AgentQueued, AgentStarted}


def test_the_golden_path() -> None:
    assert GOLDEN_PATH == (
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_completed",
    )


def test_events_are_values() -> None:
    event: RunEvent = AgentThinking(text="a")
    others: list[RunEvent] = [AgentThinking(text="b"), AgentResponseChunk(text="a")]
    assert event == AgentThinking(text="a")
    assert event not in others
    assert repr(event) == "AgentThinking(text='a')"


def test_events_take_their_fields_by_name_alone_and_no_others() -> None:
    with pytest.raises(TypeError):
        AgentThinking("text")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(AttributeError):
        AgentThinking(text="a").color = "red"  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def test_a_match_over_an_event_takes_it_apart() -> None:
    event: RunEvent = ToolExecuting(tool_call_id="c", tool_name="search", arguments={"q": 1})
    match event:
        case ToolExecuting(tool_name=name, arguments=arguments):
            assert (name, arguments) == ("search", {"q": 1})
        case _:
            raise AssertionError(event)


def test_no_enum_member_shows_its_python_name_in_a_payload() -> None:
    class Code(str, Enum):  # noqa: UP042 - as hosts write it
        SOLD_OUT = "sold_out"

    for code in (Code.SOLD_OUT, MessageType.CHAT):
        payload = AgentFailed(code=code, message="none left").payload()
        assert payload["code"] == code.value
        assert type(payload["code"]) is str
