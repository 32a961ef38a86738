"""The kit's transcripts: what they say of a run, and what they see in it."""

import json

import pytest

from agent_messaging import (
    AgentCompleted,
    AgentMessageHandler,
    AgentProgress,
    AgentStarted,
    MessageType,
    Run,
    RunFinished,
)
from agent_messaging.testing import RecordingTransport, Transcript, run_agent, run_virtual
from agent_messaging.testing._received import ReceivedFrame, listed, received
from support import chat


def frame(seq: int, kind: str, **payload: object) -> ReceivedFrame:
    envelope = {"user_id": "ann", "thread_id": "t", "run_id": "r", "seq": seq, "timestamp": 1.5}
    return received(json.dumps({"type": kind, "payload": payload, **envelope}))


STARTED = frame(1, "agent_started", message_id="m", agent="a")
TOOL = {"tool_call_id": "c", "tool_name": "find"}
BEGUN = frame(2, "tool_executing", **TOOL, arguments=[1])
ENDED = frame(3, "tool_completed", **TOOL, status="ok", result=7, duration_ms=2)
COMPLETED = frame(4, "agent_completed", result="x", duration_ms=0)

WHOLE = Transcript([STARTED, BEGUN, ENDED, COMPLETED])


# Reading.


def test_it_says_whose_run_it_is_and_how_it_ended() -> None:
    assert (WHOLE.user_id, WHOLE.thread_id, WHOLE.run_id) == ("ann", "t", "r")
    assert (WHOLE.message_id, WHOLE.agent) == ("m", "a")
    assert (WHOLE.outcome, WHOLE.result) == ("completed", "x")
    assert WHOLE.end == AgentCompleted(result="x", duration_ms=0)


def test_a_queued_run_knows_its_message_before_it_begins() -> None:
    run = Transcript([frame(1, "agent_queued", message_id="m", position=1)])
    assert (run.message_id, run.agent, run.outcome) == ("m", None, None)


def test_a_run_that_failed_before_it_began_never_said_its_message() -> None:
    failed = frame(1, "agent_failed", code="c", message="m", retryable=False, duration_ms=0)
    assert Transcript([failed]).message_id is None


def test_of_no_events_nothing_is_known() -> None:
    run = Transcript([])
    assert (run.user_id, run.thread_id, run.run_id, run.message_id) == (None, None, None, None)
    assert (run.agent, run.end, run.result, run.text, run.tools) == (None, None, None, "", {})
    assert "nothing" in repr(run)


def test_the_events_have_their_types() -> None:
    assert WHOLE.events[0] == AgentStarted(message_id="m", agent="a")
    progress = frame(2, "agent_progress", name="page", data={"number": 3})
    assert progress.event == AgentProgress(name="page", data={"number": 3})


def test_the_calls_of_a_tool_are_found_by_its_name() -> None:
    (use,) = WHOLE.tools["find"]
    assert (use.tool_call_id, use.name, use.arguments) == ("c", "find", [1])
    assert (use.status, use.result, use.error, use.duration_ms) == ("ok", 7, None, 2)


def test_several_calls_of_a_tool_stand_in_the_order_of_their_begin() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("find", 1), run.tool("read", 2), run.tool("find", 3):
            pass

    tools = run_agent(agent, "x").tools
    assert [use.arguments for use in tools["find"]] == [1, 3]
    assert list(tools) == ["find", "read"]


def test_the_report_is_what_a_finish_hook_is_told() -> None:
    finished: list[RunFinished] = []
    client = RecordingTransport()

    async def agent(run: Run) -> str:
        await run.thinking("x")
        async with run.tool("find", 1):
            pass
        return "done"

    async def main() -> None:
        handler = AgentMessageHandler(agent, on_run_finished=finished.append)
        await handler.handle_message("ann", client, chat())

    run_virtual(main())
    report = Transcript(client.received).report
    assert (report.outcome, report.order) == (finished[0].report.outcome, finished[0].report.order)
    assert (report.decided, report.delivered) == (
        finished[0].report.decided,
        finished[0].report.delivered,
    )
    assert report.is_complete


def test_it_is_shown_a_line_for_each_event() -> None:
    assert repr(WHOLE).splitlines() == [
        "<Transcript of r (ann, t), completed:",
        "    1 agent_started message_id='m' agent='a'",
        "    2 tool_executing tool_call_id='c' tool_name='find' arguments=[1]",
        "    3 tool_completed tool_call_id='c' tool_name='find' status='ok' result=7 duration_ms=2",
        "    4 agent_completed result='x' duration_ms=0>",
    ]
    assert "not ended" in repr(Transcript([STARTED]))


def test_of_many_frames_the_middle_is_left_out_and_long_ones_are_cut() -> None:
    frames = [frame(number, "agent_thinking", text="x" * 999) for number in range(1, 1001)]
    lines = listed(frames).splitlines()
    assert [line.split()[0] for line in lines] == [
        *map(str, range(1, 21)),
        "...",
        *map(str, range(921, 1001)),
    ]
    assert lines[20].strip() == "... 900 more"
    assert max(map(len, lines)) < 200
    assert len(listed(frames[:100]).splitlines()) == 100


def test_heartbeats_in_a_row_are_one_line() -> None:
    beat = received('{"type": "heartbeat", "payload": {}}')
    assert listed([beat, STARTED, beat, beat, beat, STARTED]).splitlines() == [
        "    1 heartbeat",
        "    2 agent_started message_id='m' agent='a'",
        "    5 heartbeat (the last of 3)",
        "    6 agent_started message_id='m' agent='a'",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"payload": {}}', '{"type": 7}'])
def test_a_frame_of_another_dialect_is_its_text(text: str) -> None:
    frame = received(text)
    assert (frame.type, frame.payload, frame.event) == ("", {}, None)
    assert str(frame) == text


def test_a_frame_of_the_hosts_own_type_is_no_event() -> None:
    frame = received('{"type": "weather", "payload": {"sun": true}}')
    assert (frame.type, frame.payload, frame.event) == ("weather", {"sun": True}, None)


def test_a_type_of_the_vocabulary_is_its_member() -> None:
    assert isinstance(received('{"type": "pong"}').type, MessageType)


# What it sees.


def test_a_whole_run_passes() -> None:
    WHOLE.assert_golden_path()
    WHOLE.assert_tools_paired()
    WHOLE.assert_ended("completed")


def test_strictly_each_event_of_the_golden_path_occurs() -> None:
    with pytest.raises(AssertionError, match="the Golden Path lacks agent_thinking"):
        WHOLE.assert_golden_path(strict=True)


def test_a_run_that_did_not_complete_is_off_the_golden_path() -> None:
    failed = frame(2, "agent_failed", code="c", message="m", retryable=False, duration_ms=0)
    for run in (Transcript([STARTED]), Transcript([STARTED, failed])):
        with pytest.raises(AssertionError, match="expected a run that ended as completed"):
            run.assert_golden_path()


def test_a_golden_path_in_another_order_is_seen() -> None:
    thinking = frame(4, "agent_thinking", text="x")
    completed = frame(5, "agent_completed", result="x", duration_ms=0)
    with pytest.raises(AssertionError, match="not agent_started, tool_executing, tool_completed"):
        Transcript([STARTED, BEGUN, ENDED, thinking, completed]).assert_golden_path()


def test_a_relayed_event_with_fields_of_its_own_is_typed_without_them() -> None:
    completed = frame(2, "agent_completed", result="x", rows=3)
    assert completed.event == AgentCompleted(result="x")
    assert Transcript([STARTED, completed]).outcome == "completed"


def test_a_frame_that_lacks_what_its_type_must_have_is_no_event() -> None:
    nameless = frame(1, "agent_started", message_id="m")
    assert nameless.event is None
    with pytest.raises(AssertionError, match=r"no event of a run: agent_started message_id='m'"):
        _ = Transcript([nameless, COMPLETED]).report


def test_an_event_that_may_not_come_is_seen() -> None:
    with pytest.raises(AssertionError, match="tool_completed needs the id of an open call"):
        Transcript([STARTED, ENDED]).assert_tools_paired()


def test_a_gap_is_seen() -> None:
    with pytest.raises(AssertionError, match="agent_completed has seq 4, and would be 2"):
        _ = Transcript([STARTED, COMPLETED]).report


def test_a_tool_without_an_end_is_seen() -> None:
    with pytest.raises(AssertionError, match=r"find \(c\) did not end"):
        Transcript([STARTED, BEGUN]).assert_tools_paired()


def test_an_end_of_a_tool_that_never_began_is_in_no_tool() -> None:
    assert Transcript([STARTED, ENDED]).tools == {}


def test_another_end_than_expected_is_seen_with_its_code_and_its_reason() -> None:
    failed = frame(2, "agent_failed", code="c", message="m", retryable=False, duration_ms=0)
    run = Transcript([STARTED, failed])
    run.assert_ended("failed")
    run.assert_ended("failed", code="c")
    with pytest.raises(AssertionError, match="expected the code d, not c"):
        run.assert_ended("failed", code="d")
    with pytest.raises(AssertionError, match="ended as cancelled, not as failed"):
        run.assert_ended("cancelled")
    with pytest.raises(AssertionError, match="it has not ended"):
        Transcript([STARTED]).assert_ended("failed")
    cancelled = Transcript([frame(1, "agent_cancelled", reason="stopped", duration_ms=0)])
    cancelled.assert_ended("cancelled", reason="stopped")
    with pytest.raises(AssertionError, match="expected the reason shutdown, not stopped"):
        cancelled.assert_ended("cancelled", reason="shutdown")


def test_a_failure_shows_the_whole_run() -> None:
    with pytest.raises(AssertionError) as raised:
        WHOLE.assert_ended("failed")
    assert repr(WHOLE) in str(raised.value)
