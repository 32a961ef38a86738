"""The command that checks captured frames: what it writes, how it ends, and what it refuses."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO

import pytest

from agent_messaging._cli import main
from agent_messaging._cli_exit import StopError
from agent_messaging._cli_streams import read_bytes, read_chunk
from support.captures import a_run, control, event, greeting
from support.commands import Result, run_check, run_command, standard_input
from support.frames import Json

RUN = a_run("started", "thinking", "tool_executing", "tool_completed", "completed")
#: The third is missing.
BROKEN = [*RUN[:2], *RUN[3:]]


def lines(frames: Iterable[Json]) -> str:
    return "".join(f"{json.dumps(frame)}\n" for frame in frames)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "capture.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def source(fileno: Callable[[], int]) -> IO[bytes]:
    """A standard input with this file descriptor."""
    stream = BytesIO()
    stream.fileno = fileno  # type: ignore[method-assign]
    return stream


def summary(text: str) -> str:
    return f"agent-messaging: {text}\n"


# What it says.


def test_of_a_sound_capture_only_how_much_it_is_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, lines([greeting(), *RUN]))
    assert run_check(path) == Result(0, "", summary("6 frames of 1 run: no rule is broken"))


def test_what_a_host_on_standard_output_sends_is_sound(tmp_path: Path) -> None:
    messages = (
        b'{"type": "chat", "thread_id": "a", "payload": {"text": "What is 6 * 7?"}}\n'
        b'{"type": "chat", "payload": {}}\n'
        b'{"type": "ping", "payload": {"id": 7}}\n'
        b'{"type": "stop_agent", "payload": {"thread_id": "a"}}\n'
        b'{"type": "resume", "payload": {"thread_id": "a"}}\n'
    )
    path = written(tmp_path, run_command(given=messages).out)
    result = run_check(path)
    assert (result.code, result.out) == (0, "")


def test_each_broken_rule_is_a_line_that_says_where(tmp_path: Path) -> None:
    path = written(tmp_path, lines([*BROKEN, event("started", 1, "r2"), {"type": 1}]))
    assert run_check(path) == Result(
        1,
        f"{path}:3: seq: event 3 was due, and not 4 (run r1)\n"
        f"{path}:6: type: a frame has a type, which is a string\n"
        f"{path}:5: unended: the run has no terminal event, and nothing follows (run r2)\n",
        summary("6 frames of 2 runs: 3 broken rules"),
    )


def test_for_programs_each_broken_rule_is_an_object(tmp_path: Path) -> None:
    path = written(tmp_path, lines(BROKEN) + "[]")
    result = run_check(path, "--format", "json")
    assert result.code == 1
    assert list(map(json.loads, result.out.splitlines())) == [
        {
            "file": str(path),
            "line": 3,
            "rule": "seq",
            "meaning": "event 3 was due, and not 4",
            "run_id": "r1",
        },
        {
            "file": str(path),
            "line": 5,
            "rule": "not_an_object",
            "meaning": "a frame is a JSON object, and not another value",
            "run_id": None,
        },
    ]


def test_a_capture_that_was_cut_off_may_lack_the_ends_of_runs(tmp_path: Path) -> None:
    path = written(tmp_path, lines(RUN[:2]))
    assert run_check(path).out.startswith(f"{path}:2: unended: ")
    result = run_check(path, "--partial")
    assert result == Result(0, "", summary("2 frames of 1 run: no rule is broken"))


def test_a_capture_may_be_cut_off_within_a_line(tmp_path: Path) -> None:
    whole = lines(RUN[:2])
    for cut in (b'{"ty', b'{"type":"agent_thinking","payload":{}', b'data: {"text":"\xc3', b"da"):
        path = written(tmp_path, whole.encode() + cut)
        result = run_check(path, "--partial")
        assert result == Result(0, "", summary("2 frames of 1 run: no rule is broken"))
        assert f"{path}:3: not_json: " in run_check(path).out
        written(tmp_path, whole.encode() + cut + b"\n")  # that line is whole
        assert f"{path}:3: not_json: " in run_check(path, "--partial").out
    path = written(tmp_path, lines(RUN).rstrip("\n"))
    result = run_check(path, "--partial")
    assert result.err == summary(f"{len(RUN)} frames of 1 run: no rule is broken")


def test_the_first_of_very_many_can_be_shown_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "{\n" * 1200)
    result = run_check(path, "--max", "2")
    assert (result.code, len(result.out.splitlines())) == (1, 2)
    assert result.err == summary("1,200 frames of 0 runs: 1,200 broken rules, 2 of them shown")
    assert "shown" not in run_check(path, "--max", "1200").err


# What it reads.


def test_lines_that_hold_no_frame_are_passed_over_and_counted(tmp_path: Path) -> None:
    first, second, third, fourth = map(json.dumps, BROKEN)
    path = written(
        tmp_path,
        f"\n  {first}\r\n\n{second}\n \t\n{third}\n{fourth}",  # without its end
    )
    result = run_check(path)
    assert result.out.startswith(f"{path}:6: seq: ")
    assert result.err.startswith("agent-messaging: 4 frames ")


def test_the_body_of_a_stream_is_read_as_its_frames(tmp_path: Path) -> None:
    body = ": hello\nretry: 5\n" + "".join(
        f"id: 7\nevent: message\ndata:{' ' * (number % 2)}{json.dumps(frame)}\r\n\n"
        for number, frame in enumerate([greeting(), *BROKEN])
    )
    path = written(tmp_path, body)
    result = run_check(path)
    assert result.out == f"{path}:17: seq: event 3 was due, and not 4 (run r1)\n"
    assert result.err == summary("5 frames of 1 run: 1 broken rule")


def test_standard_input_is_read_in_the_place_of_a_file() -> None:
    result = run_check("-", given=lines(BROKEN).encode())
    assert result.out == "-:3: seq: event 3 was due, and not 4 (run r1)\n"
    with redirect_stderr(StringIO()) as errors, standard_input(None):
        assert main(["check", "-"]) == 1
    assert errors.getvalue() == summary("there is no frame")


def test_a_byte_order_mark_is_no_part_of_the_first_frame(tmp_path: Path) -> None:
    result = run_check(written(tmp_path, "\ufeff" + lines([greeting()])))
    assert (result.code, result.out) == (0, "")


def test_lines_of_any_length_are_read_whole(tmp_path: Path) -> None:
    long = event("thinking", 2, text="x" * 300_000)
    path = written(tmp_path, lines([RUN[0], long, event("completed", 3)]))
    assert run_check(path).code == 0


def test_bytes_that_are_no_text_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xff\n\x00\n")
    assert run_check(path).out == "".join(
        f"{path}:{line}: not_json: the frame is not JSON in UTF-8\n" for line in (1, 2)
    )


def test_a_file_that_cannot_be_read_is_one_line_and_exit_3(tmp_path: Path) -> None:
    missing = tmp_path / "missing\x1b[31m"
    assert run_check(missing) == Result(
        3,
        "",
        f"agent-messaging: error: {tmp_path}/missing\\x1b[31m: No such file or directory\n",
    )
    reason = f"agent-messaging: error: {tmp_path}: Is a directory\n"
    assert run_check(tmp_path) == Result(3, "", reason)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with redirect_stderr(StringIO()) as errors, standard_input(source(lambda: folder)):
            assert main(["check", "-"]) == 3
    finally:
        os.close(folder)
    assert errors.getvalue() == "agent-messaging: error: -: Is a directory\n"


def test_an_input_that_a_process_has_made_not_to_wait_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    waited: list[int] = []

    def wait(sources: list[int], *_: object) -> None:
        waited.extend(sources)
        os.write(writer, b"frames")

    try:
        assert read_bytes(reader, wait) == b"frames"
    finally:
        os.close(reader)
        os.close(writer)
    assert waited == [reader]
    with pytest.raises(StopError, match="standard input cannot be read: Bad file descriptor"):
        read_chunk(reader)


# Other arguments.


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "the following arguments are required: FILE"),
        (["a", "--max", "0"], "argument --max: a positive number is needed, not '0'"),
        (["a", "--format", "xml"], "argument --format: invalid choice: 'xml'"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", *options])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_help_of_the_check_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    table = printed.partition("exit codes:\n")[2]
    assert [line.split()[0] for line in table.splitlines()] == ["0", "1", "2", "3", "130"]
    assert max(map(len, printed.splitlines())) <= 80


# Where it goes.


def test_what_is_not_meant_for_a_terminal_never_reaches_it_raw(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31m\u202e"
    path.write_text(lines([event("thinking", 1, "r\x1b"), control("pong", id="\x1b")]))
    for options in ([], ["--format", "json"]):
        result = run_check(path, *options)
        assert result.out.count("\n") == 3
        assert result.out.replace("\n", "").isprintable()


def test_an_output_that_is_closed_or_takes_no_more_is_exit_1(tmp_path: Path) -> None:
    path = written(tmp_path, lines(BROKEN))
    with redirect_stdout(None), redirect_stderr(StringIO()) as errors:
        assert main(["check", str(path)]) == 1
    assert errors.getvalue() == "agent-messaging: error: standard output is closed\n"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = run_check(path, sink=full)
    reason = "standard output cannot be written: No space left on device"
    assert result == Result(1, "", f"agent-messaging: error: {reason}\n")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as broken:
        assert run_check(path, sink=broken) == Result(1, "", "")


def test_what_is_broken_is_written_while_more_is_to_come() -> None:
    given, keyboard = os.pipe()
    screen, sink = os.pipe()
    codes: list[int] = []

    def work() -> None:
        with (
            os.fdopen(given, "rb") as stdin,
            os.fdopen(sink, "w", encoding="utf-8") as stdout,
            standard_input(stdin),
            redirect_stdout(stdout),
            redirect_stderr(StringIO()),
        ):
            codes.append(main(["check", "-"]))

    checking = threading.Thread(target=work)
    checking.start()
    os.write(keyboard, lines(BROKEN[:3]).encode())
    assert os.read(screen, 1000).startswith(b"-:3: seq: ")
    os.close(keyboard)
    checking.join()
    assert os.read(screen, 1000).startswith(b"-:3: unended: ")
    os.close(screen)
    assert codes == [1]


def test_an_interrupt_is_exit_130_and_says_nothing() -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    with redirect_stderr(StringIO()) as errors, standard_input(source(interrupt)):
        assert main(["check", "-"]) == 130
    assert errors.getvalue() == ""


# What it needs.

_LOADED = """
import sys
from agent_messaging._cli import main

code = main(sys.argv[1:])
print(*sorted(name for name in sys.modules if name.startswith(("agent_messaging", "sqlite3"))))
"""


def test_the_checker_is_loaded_for_this_command_alone(tmp_path: Path) -> None:
    path = written(tmp_path, lines(RUN))

    def loaded(*argv: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", _LOADED, *argv], capture_output=True, check=True, input=b""
        )
        return set(done.stdout.decode().splitlines()[-1].split())

    assert "agent_messaging.testing" in loaded("check", str(path))
    assert "sqlite3" not in loaded("check", str(path))
    assert "agent_messaging.testing" not in loaded("run") | loaded("log", str(path))
