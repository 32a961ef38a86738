"""The command line as a program of its own: files, pipes, terminals and signals."""

import doctest
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, TypeAlias

import pytest

from agent_messaging._cli_run import HINT
from support import Json
from support.commands import AGENTS, HELLO
from support.listed_runs import Written, write_runs

TESTS = Path(__file__).parents[1]
REFERENCE = TESTS.parent / "docs" / "reference" / "command-line.md"
CONVERSATION = TESTS.parent / "docs" / "examples" / "conversation.jsonl"
SCRIPT = Path(sys.executable).with_name("agent-messaging")
SHELL = "/bin/sh"
#: Warnings are errors in the program, too.
COMMAND = [sys.executable, "-W", "error", "-m", "agent_messaging"]
#: Seconds after which a program that should have ended has failed.
LIMIT = 60

Program: TypeAlias = subprocess.Popen[bytes]


@contextmanager
def program(
    *options: str, stdin: int = subprocess.PIPE, command: list[str] = COMMAND, session: bool = False
) -> Generator[Program]:
    """The program with its session established, and this directory's agents; ended in any case."""
    with subprocess.Popen(
        [*command, "run", *options],
        cwd=TESTS,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=session,
    ) as process:
        try:
            assert process.stdout is not None
            first: Json = json.loads(process.stdout.readline())
            assert first["type"] == "connection_established"
            yield process
        finally:
            process.kill()


def completed(
    *arguments: str, given: bytes | None = None, stdin: IO[bytes] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        arguments,
        input=given,
        stdin=stdin,
        cwd=TESTS,
        capture_output=True,
        check=False,
        timeout=LIMIT,
    )


def frames_of(output: bytes) -> list[Json]:
    return [json.loads(line) for line in output.splitlines()]


def read_until(process: Program, kind: str) -> list[str]:
    """The types of the frames that come, up to the first of this kind."""
    assert process.stdout is not None
    kinds: list[str] = []
    for line in process.stdout:
        kinds.append(json.loads(line)["type"])
        if kinds[-1] == kind:
            return kinds
    raise AssertionError(f"no {kind} after {kinds}")


def type_in(process: Program, line: bytes = HELLO) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def chat_on(thread_id: str) -> bytes:
    frame = {"type": "chat", "thread_id": thread_id, "payload": {"text": "hello"}}
    return f"{json.dumps(frame)}\n".encode()


def said(process: Program) -> str:
    """One line of standard error."""
    assert process.stderr is not None
    return process.stderr.readline().decode()


def ended(process: Program) -> tuple[int, list[str], str]:
    """How the program ended: its code, the types of the frames that were left, its errors."""
    assert process.stdout is not None
    assert process.stderr is not None
    kinds = [frame["type"] for frame in frames_of(process.stdout.read())]
    errors = process.stderr.read().decode()
    return process.wait(LIMIT), kinds, errors


# What a newcomer types first.


def test_the_example_conversation_is_a_walk_through_everything() -> None:
    with CONVERSATION.open("rb") as source:
        result = completed(str(SCRIPT), "run", stdin=source)
    assert (result.returncode, result.stderr) == (0, b"")
    frames = frames_of(result.stdout)
    within = ("agent_thinking", "agent_response_chunk", "tool_executing", "tool_completed")
    assert [
        (frame["payload"].get("message_id"), frame["payload"].get("code", frame["type"]))
        for frame in frames
        if frame["type"] not in within
    ] == [
        (None, "connection_established"),
        *(("m1", "agent_started"), (None, "agent_completed")),
        *(("m2", "agent_started"), (None, "agent_completed")),
        # A thread of its own, on which the next one waits.
        ("m3", "agent_started"),
        ("m4", "agent_queued"),
        # The first thread is free.
        *(("m5", "agent_started"), (None, "agent_completed")),
        (None, "pong"),
        # Stopped, the waiting one first, and brought back; one of them is sent a second time.
        *((None, "agent_cancelled"), (None, "agent_cancelled"), (None, "stopped")),
        (None, "resumed"),
        *(("m3", "agent_started"), (None, "agent_cancelled")),
        *(("m4", "agent_queued"), (None, "agent_cancelled")),
        *(("m4", "agent_queued"), (None, "agent_cancelled")),
        ("m6", "unknown_agent"),
        ("m7", "unsupported_type"),
        ("m8", "missing_content"),
        ("m1", "message_id_conflict"),
        (None, "malformed_frame"),
    ]
    assert {frame["type"] for frame in frames} >= set(within)
    tools = {frame["payload"].get("tool_name") for frame in frames} - {None}
    assert tools == {"text_statistics", "calculate", "wait"}
    statuses = {frame["payload"].get("status") for frame in frames}
    assert statuses == {None, "ok", "error", "interrupted"}


def test_the_example_conversation_reads_well_as_text() -> None:
    with CONVERSATION.open("rb") as source:
        result = completed(str(SCRIPT), "run", "--format", "text", stdin=source)
    assert (result.returncode, result.stderr) == (0, b"")
    lines = result.stdout.decode().splitlines()
    assert [line for line in lines if line.startswith("[-]")] == [
        "[-] connection_established protocol 1.0",
        "[-] pong 1",
        "[-] stopped run 4, run 3",
        "[-] resumed run 3 (cancelled): 1 to 8; run 4 (cancelled): 1 to 2",
        *[line for line in lines if "] error_message " in line],
    ]
    assert lines[1] == "[1.1] agent_started demo (thread trip)"
    assert '[1.6] tool_executing calculate {"expression": "3 * 89.50"}' in lines
    assert "[4.1] agent_queued position 1 (thread year)" in lines
    assert lines[-1] == "[-] error_message malformed_frame: the frame is not valid JSON"


@pytest.mark.parametrize("command", [[str(SCRIPT)], COMMAND])
def test_the_version_and_the_help_are_printed(command: list[str]) -> None:
    told = completed(*command, "--version")
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.decode() == f"agent-messaging {version('agent-messaging')}\n"
    for arguments in (["--help"], ["run", "--help"], ["log", "--help"]):
        told = completed(*command, *arguments)
        assert (told.returncode, told.stderr) == (0, b"")
        assert told.stdout.startswith(b"usage: agent-messaging")


def test_the_package_does_not_import_its_command_line() -> None:
    source = "import sys, agent_messaging; print(*sys.modules)"
    modules = completed(sys.executable, "-c", source).stdout.decode().split()
    assert "agent_messaging" in modules
    own = {name for name in modules if name.startswith("agent_messaging.")}
    assert not own & {f"agent_messaging.{name}" for name in ("_cli", "_cli_text", "_demo")}


# Files, pipes and terminals.


def test_a_file_of_any_length_is_answered_as_it_is_read() -> None:
    lines = [
        {"type": "chat", "thread_id": f"t{number % 7}", "payload": {"text": "hello"}}
        for number in range(1000)
    ]
    given = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    result = completed(*COMMAND, "run", "--agent", f"{AGENTS}echo", given=given)
    assert (result.returncode, result.stderr) == (0, b"")
    _, *frames = frames_of(result.stdout)
    assert [frame["type"] for frame in frames] == ["agent_started", "agent_completed"] * 1000
    assert [frame["thread_id"] for frame in frames[::2]] == [line["thread_id"] for line in lines]


def test_each_answer_comes_before_the_next_line_is_sent() -> None:
    with program("--agent", f"{AGENTS}echo") as process:
        for _ in range(3):
            type_in(process)
            assert read_until(process, "agent_completed") == ["agent_started", "agent_completed"]
        process.stdin.close()  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
        assert ended(process) == (0, [], "")


def test_a_closed_input_is_an_input_without_lines() -> None:
    result = completed(SHELL, "-c", 'exec "$@" <&-', SHELL, *COMMAND, "run")
    assert (result.returncode, result.stderr) == (0, b"")
    assert [frame["type"] for frame in frames_of(result.stdout)] == ["connection_established"]


def test_a_closed_output_is_an_error() -> None:
    result = completed(SHELL, "-c", 'exec "$@" >&-', SHELL, *COMMAND, "run", given=HELLO)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr == b"agent-messaging: error: standard output is closed\n"


def test_a_broken_pipe_ends_the_program_in_silence() -> None:
    with program("--agent", f"{AGENTS}endless") as process:
        type_in(process)
        read_until(process, "agent_response_chunk")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(LIMIT) == 1
        assert process.stderr.read() == b""


@contextmanager
def at_a_terminal(*options: str) -> Generator[tuple[Program, int]]:
    """The program at a terminal that is its controlling one, and the number to type to."""
    keyboard, terminal = pty.openpty()
    # The leader of a session gets the terminal that it opens first as its controlling one.
    shell = [SHELL, "-c", 'exec "$@" < "$0"', os.ttyname(terminal)]
    try:
        command = [*shell, *COMMAND]
        with program(*options, stdin=subprocess.DEVNULL, command=command, session=True) as process:
            hint = [said(process) for _ in range(5)]
            assert hint[0] == "Type one JSON frame a line, for example\n"
            yield process, keyboard
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_a_conversation_at_a_terminal_ends_with_ctrl_d() -> None:
    with at_a_terminal("--agent", f"{AGENTS}echo") as (process, keyboard):
        os.write(keyboard, HELLO)
        assert read_until(process, "agent_completed") == ["agent_started", "agent_completed"]
        os.write(keyboard, b"\x04")
        assert ended(process) == (0, [], "")


def test_the_lines_of_the_hint_can_be_typed() -> None:
    with at_a_terminal("--agent", f"{AGENTS}waits") as (process, keyboard):
        for line in re.findall(r"^  (.*\n)", HINT, re.MULTILINE):
            os.write(keyboard, line.encode())
        assert read_until(process, "stopped") == [
            *("agent_started", "tool_executing", "tool_completed", "agent_cancelled", "stopped"),
        ]
        os.write(keyboard, b"\x04")
        assert ended(process) == (0, [], "")


def test_a_terminal_is_answered_while_a_run_goes_on() -> None:
    with at_a_terminal("--agent", f"{AGENTS}waits") as (process, keyboard):
        os.write(keyboard, chat_on("t1"))
        read_until(process, "tool_executing")
        os.write(keyboard, chat_on("t1") + chat_on("t2"))
        assert read_until(process, "tool_executing") == [
            *("agent_queued", "agent_started", "tool_executing"),
        ]
        os.write(keyboard, b'{"type": "ping"}\n')
        assert read_until(process, "pong") == ["pong"]
        os.write(keyboard, b'{"type": "stop_agent", "payload": {"thread_id": "t1"}}\n')
        stopped = ["agent_cancelled", "tool_completed", "agent_cancelled", "stopped"]
        assert read_until(process, "stopped") == stopped
        os.write(keyboard, b'{"type": "resume", "payload": {"thread_id": "t2"}}\n')
        assert read_until(process, "resumed") == ["resumed"]
        os.write(keyboard, b"\x03")
        assert ended(process) == (130, ["tool_completed", "agent_cancelled"], "")


def test_ctrl_c_at_a_terminal_ends_the_waiting_for_input() -> None:
    with at_a_terminal("--agent", f"{AGENTS}echo") as (process, keyboard):
        os.write(keyboard, b"\x03")
        assert ended(process) == (130, [], "")


def test_ctrl_c_at_a_terminal_ends_the_run_in_flight() -> None:
    with at_a_terminal("--agent", f"{AGENTS}waits") as (process, keyboard):
        os.write(keyboard, HELLO)
        read_until(process, "tool_executing")
        os.write(keyboard, b"\x03")
        assert ended(process) == (130, ["tool_completed", "agent_cancelled"], "")


# Signals.


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_flight_with_its_terminal_event(number: int, code: int) -> None:
    with program("--agent", f"{AGENTS}waits") as process:
        type_in(process)
        read_until(process, "tool_executing")
        process.send_signal(number)
        assert ended(process) == (code, ["tool_completed", "agent_cancelled"], "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_waiting_for_input(number: int, code: int) -> None:
    with program("--agent", f"{AGENTS}echo") as process:
        type_in(process)
        read_until(process, "agent_completed")
        process.send_signal(number)
        assert ended(process) == (code, [], "")


def test_a_reader_that_is_slow_gets_the_terminal_event_all_the_same() -> None:
    with program("--agent", f"{AGENTS}floods") as process:
        type_in(process)
        assert said(process) == "flooded\n"
        process.send_signal(signal.SIGINT)
        assert said(process) == "cancelled\n"
        code, kinds, errors = ended(process)
        assert (code, errors) == (130, "")
        assert kinds == ["agent_started", *["agent_response_chunk"] * 20, "agent_cancelled"]


def test_a_second_ctrl_c_does_not_wait_for_a_reader_that_does_not_read() -> None:
    with program("--agent", f"{AGENTS}floods") as process:
        type_in(process)
        assert said(process) == "flooded\n"
        process.send_signal(signal.SIGINT)
        assert said(process) == "cancelled\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert said(process) == ""


def test_a_second_ctrl_c_does_not_wait_for_a_thread_that_does_not_end() -> None:
    with program("--agent", f"{AGENTS}blocks") as process:
        type_in(process)
        read_until(process, "tool_executing")
        process.send_signal(signal.SIGINT)
        read_until(process, "agent_cancelled")
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, [], "")


def test_an_agent_can_end_the_program() -> None:
    with program("--agent", f"{AGENTS}exits") as process:
        type_in(process)
        code, kinds, errors = ended(process)
        assert (code, kinds) == (7, ["agent_started", "agent_failed"])
        assert "never retrieved" not in errors


# A file of events.


def expire_leases(path: Path) -> None:
    """Let the time pass in which a program might come back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET expires = 0")


def test_what_a_killed_program_left_is_ended_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with program("--log", str(path), "--agent", f"{AGENTS}waits") as process:
        type_in(process, chat_on("t1"))
        read_until(process, "tool_executing")
        process.kill()
        process.wait(LIMIT)
    early = completed(*COMMAND, "run", "--log", str(path), given=b"")
    assert early.stderr.decode() == (
        f"agent-messaging: {path}: 1 run has not ended. If its program was killed, it ends as"
        " interrupted within 10 seconds.\n"
    )
    expire_leases(path)
    resume = b'{"type": "resume", "payload": {"thread_id": "t1"}}\n'
    result = completed(*COMMAND, "run", "--log", str(path), given=resume)
    assert result.returncode == 0
    *_, tool, failed = frames_of(result.stdout)
    assert (tool["payload"]["status"], failed["payload"]["code"]) == ("interrupted",) * 2
    assert result.stderr.endswith(b"has ended as interrupted.\n")
    listed = completed(*COMMAND, "log", str(path)).stdout.decode()
    assert re.findall(r"running|failed", listed) == ["failed"]


def test_a_program_follows_the_run_of_another_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    options = ("--log", str(path), "--agent", f"{AGENTS}waits")
    with program(*options) as one, program(*options) as other:
        type_in(one, chat_on("t1"))
        read_until(one, "tool_executing")
        type_in(other, b'{"type": "resume", "payload": {"thread_id": "t1"}}\n')
        assert other.stdin is not None
        other.stdin.close()
        assert read_until(other, "tool_executing")[0] == "resumed"
        one.send_signal(signal.SIGINT)
        assert ended(one) == (130, ["tool_completed", "agent_cancelled"], "")
        code, kinds, _ = ended(other)
        assert (code, kinds) == (0, ["tool_completed", "agent_cancelled"])


def test_a_log_is_shown_while_a_program_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with program("--log", str(path), "--agent", f"{AGENTS}waits") as process:
        type_in(process, chat_on("t1"))
        read_until(process, "tool_executing")
        listed = completed(*COMMAND, "log", str(path), "--format", "json")
        assert (listed.returncode, listed.stderr) == (0, b"")
        (run,) = frames_of(listed.stdout)
        assert (run["status"], run["last_seq"]) == ("running", 2)
        shown = completed(*COMMAND, "log", str(path), "--run", run["run_id"])
        assert shown.stdout.endswith(b"The tool #1 wait is under way.\n")
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, ["tool_completed", "agent_cancelled"], "")
    frames = completed(*COMMAND, "log", str(path), "--run", run["run_id"], "--format", "json")
    kinds = [frame["type"] for frame in frames_of(frames.stdout)]
    assert kinds == ["agent_started", "tool_executing", "tool_completed", "agent_cancelled"]


@contextmanager
def long_list(tmp_path: Path) -> Generator[Program]:
    """The program in the midst of writing more than a pipe holds."""
    path = tmp_path / "runs.db"
    write_runs(path, *[Written(f"run {number}") for number in range(2000)])
    with subprocess.Popen(
        [*COMMAND, "log", str(path), "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["run_id"] == "run 0"
            yield process
        finally:
            process.kill()


def test_a_list_whose_reader_has_seen_enough_ends_in_silence(tmp_path: Path) -> None:
    with long_list(tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(LIMIT) == 1
        assert process.stderr.read() == b""


def test_ctrl_c_ends_a_list_in_silence(tmp_path: Path) -> None:
    with long_list(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


# The reference.


def test_the_commands_of_the_reference_print_what_it_says(tmp_path: Path) -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    files = re.findall(r"Save this as `([^`]*)`[^`]*:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    assert len(files) == 2
    for name, source in files:
        (tmp_path / name).write_text(source)
    blocks = re.findall(r"```console\n\$ (.*?)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 10
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    for command, expected in blocks:
        ran = subprocess.run(
            [SHELL, "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert doctest.OutputChecker().check_output(expected, ran.stdout, doctest.ELLIPSIS)


@pytest.mark.parametrize(
    ("command", "options", "table"),
    [
        ("run", {"--agent", "--user", "--format", "--log"}, "exit code"),
        (
            "log",
            {"--run", "--user", "--thread", "--status", "--limit", "--format"},
            "exit code of `log`",
        ),
        ("check", {"--partial", "--max", "--format"}, "exit code of `check`"),
    ],
)
def test_the_reference_has_every_option_and_every_exit_code(
    command: str, options: set[str], table: str
) -> None:
    told = completed(*COMMAND, command, "--help").stdout.decode()
    page = REFERENCE.read_text(encoding="utf-8")
    heading = {"run": "Run an agent", "log": "Look into a log", "check": "Check a capture"}[command]
    part = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^  -?\w?,? ?(--\w+)", told, re.MULTILINE)) == options | {"--help"}
    assert set(re.findall(r"^\| `(--\w+)", part, re.MULTILINE)) == options | {"--help"}
    codes = re.findall(r"^  (\d+) ", told, re.MULTILINE)
    listed = part.partition(f"| {table} | why |")[2].partition("\n\n")[0]
    assert codes == re.findall(r"^\| (\d+) \|", listed, re.MULTILINE)
