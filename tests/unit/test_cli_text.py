"""The command line's readable form of a server frame."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_messaging._cli_text import TextLines
from support import Json
from support.commands import run_command


def frame(kind: str, payload: Json, **fields: object) -> str:
    return json.dumps({"type": kind, "payload": payload, **fields})


def event(run_id: str, seq: int) -> str:
    return frame("agent_thinking", {"text": "Hm"}, run_id=run_id, seq=seq, thread_id="t1")


def lines_of(*frames: str) -> list[str]:
    """The frames as one reader sees them."""
    lines = TextLines("utf-8")
    return [lines(each).decode().removesuffix("\n") for each in frames]


@pytest.mark.parametrize(
    ("kind", "payload", "line"),
    [
        (
            "agent_queued",
            {"message_id": "m1", "position": 2},
            "agent_queued position 2 (thread t1)",
        ),
        ("agent_started", {"message_id": "m1", "agent": "demo"}, "agent_started demo (thread t1)"),
        ("agent_thinking", {"text": "Let me see"}, "agent_thinking Let me see"),
        ("agent_response_chunk", {"text": " and "}, 'agent_response_chunk " and "'),
        (
            "agent_progress",
            {"name": "pages", "data": {"read": 3}},
            'agent_progress pages {"read": 3}',
        ),
        (
            "tool_executing",
            {"tool_call_id": "c1", "tool_name": "add", "arguments": {"a": 1}},
            'tool_executing add {"a": 1}',
        ),
        (
            "tool_completed",
            {
                "tool_call_id": "c1",
                "tool_name": "add",
                "status": "ok",
                "result": [2],
                "duration_ms": 5,
            },
            "tool_completed add ok [2] (5 ms)",
        ),
        (
            "tool_completed",
            {
                "tool_call_id": "c1",
                "tool_name": "add",
                "status": "error",
                "error": "No.",
                "duration_ms": 5,
            },
            "tool_completed add error No. (5 ms)",
        ),
        ("agent_completed", {"result": "été", "duration_ms": 7}, 'agent_completed "été" (7 ms)'),
        (
            "agent_failed",
            {"code": "timeout", "message": "Too long.", "retryable": False, "duration_ms": 7},
            "agent_failed timeout: Too long. (7 ms)",
        ),
        (
            "agent_cancelled",
            {"reason": "cancelled", "duration_ms": 7},
            "agent_cancelled cancelled (7 ms)",
        ),
        # What the host or a relayed service sends is shown as it is.
        ("agent_thinking", {"thought": "Let me see"}, 'agent_thinking {"thought": "Let me see"}'),
        ("weather_report", {"sky": "blue"}, 'weather_report {"sky": "blue"}'),
        ("weather_report", {}, "weather_report"),
    ],
)
def test_an_event_is_one_readable_line(kind: str, payload: Json, line: str) -> None:
    shown = lines_of(frame(kind, payload, run_id="r", seq=4, thread_id="t1"))
    assert shown == [f"[1.4] {line}"]


def resumed(run_id: str, first: int, last: int, *, evicted: bool = False) -> Json:
    return {
        "run_id": run_id,
        "thread_id": "t1",
        "status": "completed",
        "from_seq": first,
        "to_seq": last,
        "evicted": evicted,
    }


@pytest.mark.parametrize(
    ("kind", "payload", "line"),
    [
        (
            "connection_established",
            {"connection_id": "c1", "protocol": "1.0", "limits": {"frame_bytes": 1}},
            "connection_established protocol 1.0",
        ),
        ("pong", {"id": 7}, "pong 7"),
        ("pong", {"id": "a"}, "pong a"),
        ("pong", {}, "pong"),
        ("heartbeat", {}, "heartbeat"),
        ("stopped", {"run_ids": []}, "stopped nothing"),
        ("stopped", {"run_ids": ["r", "s"]}, "stopped run 1, run 2"),
        ("resumed", {"runs": []}, "resumed nothing"),
        (
            "resumed",
            {"runs": [resumed("r", 3, 9), resumed("s", 10, 9)]},
            "resumed run 1 (completed): 3 to 9; run 2 (completed): nothing missed",
        ),
        (
            "resumed",
            {"runs": [resumed("r", 3, 9, evicted=True)]},
            "resumed run 1 (completed): 3 to 9, earlier ones are gone",
        ),
        (
            "resumed",
            {"runs": [resumed("r", 10, 9, evicted=True)]},
            "resumed run 1 (completed): its events are gone",
        ),
        (
            "error_message",
            {"code": "missing_content", "message": "No text."},
            "error_message missing_content: No text.",
        ),
        (
            "error_message",
            {"code": "missing_content", "message": "No text.", "message_id": "m1"},
            "error_message missing_content: No text. (message m1)",
        ),
    ],
)
def test_a_frame_of_no_run_is_one_readable_line(kind: str, payload: Json, line: str) -> None:
    assert lines_of(frame(kind, payload)) == [f"[-] {line}"]


def test_runs_have_the_numbers_in_whose_order_they_appeared() -> None:
    stopped = frame("stopped", {"run_ids": ["s", "r"]})
    shown = lines_of(event("r", 1), event("s", 1), event("r", 2), stopped, event("s", 2))
    places = [line.split()[0] for line in shown]
    assert places == ["[1.1]", "[2.1]", "[1.2]", "[-]", "[2.2]"]
    assert shown[3] == "[-] stopped run 2, run 1"


def test_of_the_oldest_of_very_many_runs_the_number_is_forgotten_and_none_is_used_twice() -> None:
    runs = [f"r{number}" for number in range(1001)]
    shown = lines_of(*(event(run_id, 1) for run_id in [*runs, "r1", "r0"]))
    assert [line.split()[0] for line in shown[-3:]] == ["[1001.1]", "[2.1]", "[1002.1]"]


def test_the_text_format_is_chosen_on_the_command_line() -> None:
    text = "gr\u00fc\u00df dich\u2028\u001b[31m"
    message = {"type": "chat", "thread_id": "t1", "payload": {"text": text}}
    result = run_command("--format", "text", agent="echo", given=json.dumps(message).encode())
    established, started, completed = result.out.splitlines()
    assert established == "[-] connection_established protocol 1.0"
    assert started == "[1.1] agent_started echo (thread t1)"
    assert completed.startswith('[1.2] agent_completed "gr\u00fc\u00df dich\\u2028\\u001b[31m" (')


def test_what_standard_output_cannot_write_is_escaped(tmp_path: Path) -> None:
    message = {"type": "chat", "payload": {"text": "gr\u00fcn \u6771"}}
    path = tmp_path / "latin"
    with path.open("w", encoding="latin-1") as sink:
        given = json.dumps(message).encode()
        run_command("--format", "text", agent="echo", given=given, sink=sink)
    assert b'"gr\xfcn \\u6771"' in path.read_bytes()


@given(st.text(), st.sampled_from(["agent_thinking", "agent_response_chunk", "weather_report"]))
def test_no_text_breaks_the_line_or_drives_the_terminal(text: str, kind: str) -> None:
    line = TextLines("utf-8")(frame(kind, {"text": text}, run_id="r", seq=1)).decode()
    assert line.removesuffix("\n").isprintable()
    assert line.startswith(f"[1.1] {kind} ")
    assert line.endswith("\n")
