"""The command line's readable form of a server frame."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_messaging._cli_text import as_text
from support import Json
from support.commands import run_command


def frame(kind: str, payload: Json, **fields: object) -> str:
    return json.dumps({"type": kind, "payload": payload, **fields})


@pytest.mark.parametrize(
    ("kind", "payload", "line"),
    [
        ("agent_started", {"message_id": "m1", "agent": "demo"}, "agent_started demo"),
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
        ("heartbeat", {}, "heartbeat"),
    ],
)
def test_an_event_is_one_readable_line(kind: str, payload: Json, line: str) -> None:
    assert as_text(frame(kind, payload, seq=4)) == f"[4] {line}"


def test_a_refusal_is_one_readable_line() -> None:
    payload = {"code": "missing_content", "message": "No text."}
    line = "[-] error_message missing_content: No text."
    assert as_text(frame("error_message", payload)) == line
    assert (
        as_text(frame("error_message", {**payload, "message_id": "m1"})) == f"{line} (message m1)"
    )


def test_the_text_format_is_chosen_on_the_command_line() -> None:
    message = {"type": "chat", "payload": {"text": "gr\u00fc\u00df dich\u2028\u001b[31m"}}
    result = run_command("--format", "text", agent="echo", given=json.dumps(message).encode())
    started, completed = result.out.splitlines()
    assert started == "[1] agent_started echo"
    assert completed.startswith('[2] agent_completed "gr\u00fc\u00df dich\\u2028\\u001b[31m" (')


def test_what_standard_output_cannot_write_is_escaped(tmp_path: Path) -> None:
    message = {"type": "chat", "payload": {"text": "gr\u00fcn \u6771"}}
    path = tmp_path / "latin"
    with path.open("w", encoding="latin-1") as sink:
        given = json.dumps(message).encode()
        run_command("--format", "text", agent="echo", given=given, sink=sink)
    assert b'"gr\xfcn \\u6771"' in path.read_bytes()


@given(st.text(), st.sampled_from(["agent_thinking", "agent_response_chunk", "weather_report"]))
def test_no_text_breaks_the_line_or_drives_the_terminal(text: str, kind: str) -> None:
    line = as_text(frame(kind, {"text": text}, seq=1))
    assert line.isprintable()
    assert line.startswith(f"[1] {kind} ")
