"""The command line, called in this process: its lines, its arguments and its signals."""

import ast
import asyncio
import json
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir
from importlib.metadata import version
from pathlib import Path

import pytest

from agent_messaging import Limits
from agent_messaging._cli import main
from agent_messaging._cli_run import complete
from support.commands import AGENTS, HELLO, Result, run_command


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: what a shell runs in its background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A current directory of its own, of which nothing stays imported."""
    with chdir(tmp_path):
        yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


# Lines in, frames out.


def test_without_an_agent_the_demonstration_answers() -> None:
    result = run_command(given=b'{"type": "chat", "payload": {"text": "What is 6 * 7?"}}\n')
    assert (result.code, result.err) == (0, "")
    assert result.frames[0]["payload"]["agent"] == "demo"
    assert result.frames[-1]["payload"]["result"] == {"words": 2, "calculated": {"6 * 7": 42}}


def test_lines_of_one_thread_are_worked_on_one_after_the_other() -> None:
    result = run_command(agent="echo", given=HELLO + HELLO)
    assert result.code == 0
    assert result.summary == ["agent_started", "agent_completed"] * 2


def test_a_session_begins_with_what_its_limits_are() -> None:
    result = run_command()
    assert (result.code, result.frames, result.err) == (0, [], "")
    limits = json.loads(result.out)["payload"]["limits"]
    assert limits["frames_per_minute"] is limits["messages_per_minute"] is None


def test_every_line_is_answered_though_the_output_is_a_file_and_the_input_is_long() -> None:
    lines = [{"type": "ping", "payload": {"id": number}} for number in range(1000)]
    given = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    result = run_command(agent="echo", given=given + HELLO)
    *pongs, started, completed = result.frames
    assert [pong["payload"]["id"] for pong in pongs] == list(range(1000))
    assert (started["type"], completed["type"]) == ("agent_started", "agent_completed")


def test_a_last_line_without_its_end_counts() -> None:
    result = run_command(agent="echo", given=HELLO.rstrip())
    assert result.summary == ["agent_started", "agent_completed"]


def test_blank_lines_and_carriage_returns_do_not_matter() -> None:
    given = b"\n  \n\r\n" + HELLO.replace(b"\n", b"\r\n") + b"\t\n"
    result = run_command(agent="echo", given=given)
    assert result.summary == ["agent_started", "agent_completed"]


def test_bad_lines_are_answered_and_the_next_is_handled() -> None:
    oversize = b"x" * (Limits().frame_bytes + 1) + b"\n"
    given = b'{"type":\n' + b"\xff\xfe\n" + oversize + b'{"type": "teleport"}\n' + HELLO
    result = run_command(agent="echo", given=given)
    assert result.code == 0
    assert result.summary == [
        "malformed_frame",
        "malformed_frame",
        "frame_too_large",
        "unsupported_type",
        "agent_started",
        "agent_completed",
    ]


def test_a_line_of_just_the_limit_is_handled() -> None:
    given = HELLO.rstrip().ljust(Limits().frame_bytes) + b"\n"
    result = run_command(agent="echo", given=given)
    assert result.summary == ["agent_started", "agent_completed"]


def test_the_user_is_the_one_of_the_command_line_and_of_no_frame() -> None:
    foreign = b'{"type": "chat", "user_id": "eve", "payload": {"text": "hello"}}\n'
    result = run_command("--user", "ann", agent="who", given=HELLO + foreign)
    assert result.frames[0]["user_id"] == result.frames[1]["payload"]["result"] == "ann"
    assert result.frames[2]["payload"]["code"] == "identity_mismatch"
    assert run_command(agent="who", given=HELLO).frames[0]["user_id"] == "local"


def test_what_an_agent_prints_goes_to_standard_error() -> None:
    result = run_command(agent="prints", given=HELLO)
    assert result.summary == ["agent_started", "agent_completed"]
    assert result.err == "for the author\n"


def test_where_an_agent_failed_is_told_to_its_author_alone() -> None:
    result = run_command(agent="broken", given=HELLO)
    assert (result.code, result.summary) == (0, ["agent_started", "agent_error"])
    assert "for the author" not in result.out
    assert "ValueError: for the author" in result.err
    assert "cli_agents.py" in result.err
    assert "_run.py" not in result.err


def test_a_result_that_will_not_encode_is_told_to_its_author() -> None:
    result = run_command(agent="unreadable", given=HELLO)
    assert result.summary == ["agent_started", "agent_error"]
    assert "PayloadError" in result.err


def test_an_agents_own_words_are_no_failure_of_its_code() -> None:
    result = run_command(agent="polite", given=HELLO)
    assert result.frames[1]["payload"]["message"] == "Not today."
    assert result.err == ""


def test_an_agent_can_end_the_program_and_every_run_has_its_terminal_event(
    tmp_path: Path,
) -> None:
    path = tmp_path / "frames"
    wait = b'{"type": "chat", "thread_id": "t1", "payload": {"text": "wait"}}\n'
    go = b'{"type": "chat", "thread_id": "t2", "payload": {"text": "go"}}\n'
    with path.open("w", encoding="utf-8") as sink, pytest.raises(SystemExit) as caught:
        run_command(agent="exits_unless_told_to_wait", given=wait + go + HELLO, sink=sink)
    assert caught.value.code == 7
    assert Result(7, path.read_text(), "").summary == [
        *("agent_started", "agent_started", "agent_error"),
        "agent_cancelled",
    ]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_ends_the_program_just_as_all_is_done_is_heeded() -> None:
    async def done() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 7)

    with pytest.raises(SystemExit) as caught:
        complete(done())
    assert caught.value.code == 7


def test_an_agent_that_cancels_the_host_is_not_taken_for_ctrl_c() -> None:
    with pytest.raises(asyncio.CancelledError):
        run_command(agent="cancels_the_host", given=HELLO + HELLO)


# The agent's name.


def test_an_agent_may_stand_within_an_object_of_its_module() -> None:
    result = run_command(agent="Team.registry", given=HELLO)
    assert result.frames[0]["payload"]["agent"] == "second"


def test_an_agent_is_found_in_the_current_directory(folder: Path) -> None:
    (folder / "mine.py").write_text("from support.cli_agents import echo as agent")
    assert run_command("--agent", "mine:agent", given=HELLO).code == 0


@pytest.mark.parametrize(("behind", "place"), [([], 0), ([""], -1)])
def test_the_current_directory_comes_first_unless_it_has_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch, behind: list[str], place: int
) -> None:
    path = [*filter(None, sys.path), *behind]
    monkeypatch.setattr(sys, "path", path)
    (folder / "shows.py").write_text("import sys; print(sys.path)\nasync def agent(run): ...")
    shown = ast.literal_eval(run_command("--agent", "shows:agent").err)
    assert shown[place] == ""
    assert [*filter(None, shown)] == [*filter(None, path)]
    assert shown.count("") == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("agents", "--agent takes module:name, not 'agents'"),
        (":echo", "--agent takes module:name, not ':echo'"),
        ("agents:", "--agent takes module:name, not 'agents:'"),
        (".agents:echo", "--agent takes module:name, not '.agents:echo'"),
        ("nowhere:echo", "there is no module 'nowhere'"),
        ("nowhere.at.all:echo", "there is no module 'nowhere.at.all'"),
        ("json.nowhere:echo", "there is no module 'json.nowhere'"),
        ("json.py:echo", "there is no module 'json.py' (give its name without .py)"),
        ("json:nobody", "the module 'json' has no 'nobody'"),
        ("json:decoder.nobody", "the module 'json' has no 'decoder.nobody'"),
    ],
)
def test_an_agent_that_is_not_there_is_one_line_and_exit_2(name: str, reason: str) -> None:
    result = run_command("--agent", name, given=HELLO)
    assert result == Result(2, "", f"agent-messaging: error: {reason}\n")


def test_an_object_that_is_no_agent_is_one_line_and_exit_2() -> None:
    result = run_command(agent="plain", given=HELLO)
    assert (result.code, result.out) == (2, "")
    start = f"agent-messaging: error: --agent {AGENTS}plain: agent 'plain' must be a coroutine"
    assert result.err.startswith(start)
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("from os import nothing", "ImportError: cannot import name 'nothing' from 'os'"),
        ("(", "SyntaxError: '(' was never closed"),
    ],
)
def test_a_module_that_raises_shows_its_own_traceback_and_exits_2(
    folder: Path, source: str, error: str
) -> None:
    (folder / "raises.py").write_text(source)
    result = run_command("--agent", "raises:agent", given=HELLO)
    assert (result.code, result.out) == (2, "")
    assert error in result.err
    assert "raises.py" in result.err
    assert "importlib" not in result.err
    assert result.err.endswith("agent-messaging: error: the module 'raises' raised an exception\n")


def test_what_a_module_prints_at_its_import_is_no_frame(folder: Path) -> None:
    (folder / "talks.py").write_text("print('hello')\nfrom support.cli_agents import echo")
    result = run_command("--agent", "talks:echo")
    assert (result.code, result.frames, result.err) == (0, [], "hello\n")


# Other arguments.


@pytest.mark.parametrize("user", ["", "a\x01", "x" * 129, "\udcff"])
def test_a_user_that_is_no_id_is_refused(user: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--user", user])
    assert caught.value.code == 2
    assert "argument --user: an id has 1 to 128 printable characters" in capsys.readouterr().err


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "the following arguments are required: command" in capsys.readouterr().err


def test_the_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--help"])
    assert caught.value.code == 0
    table = capsys.readouterr().out.partition("exit codes:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in table.splitlines()] == ["0", "1", "2", "3", "130", "143"]


def test_the_module_runs_as_the_command_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("agent_messaging.__main__", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"agent-messaging {version('agent-messaging')}\n"


def test_the_module_does_nothing_when_it_is_imported() -> None:
    assert runpy.run_module("agent_messaging.__main__")["main"] is main


# Signals.


def test_ctrl_c_ends_the_run_in_flight_with_its_terminal_event() -> None:
    result = run_command(agent="interrupted", given=HELLO + HELLO)
    assert (result.code, result.err) == (130, "")
    assert result.summary == [
        "agent_started",
        "tool_executing",
        "tool_completed",
        "agent_cancelled",
    ]
    assert result.frames[2]["payload"]["status"] == "interrupted"
    assert result.frames[3]["payload"]["reason"] == "shutdown"


@pytest.mark.parametrize(("agent", "code"), [("interrupted_later", 130), ("terminated_later", 143)])
def test_signals_end_the_waiting_for_input(agent: str, code: int) -> None:
    reader, writer = os.pipe()
    os.write(writer, HELLO)
    with os.fdopen(reader, "rb") as source:
        result = run_command(agent=agent, source=source)
        os.close(writer)
    assert (result.code, result.err) == (code, "")
    assert result.summary == ["agent_started", "agent_completed"]


def test_ctrl_c_is_heeded_while_the_agent_is_imported(folder: Path) -> None:
    (folder / "slow.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    assert run_command("--agent", "slow:agent") == Result(130, "", "")


def test_sigterm_ends_the_run_in_flight_with_its_terminal_event() -> None:
    result = run_command(agent="terminated", given=HELLO)
    assert (result.code, result.err) == (143, "")
    assert result.summary == ["agent_started", "agent_cancelled"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        result = run_command(agent="terminated_mildly", given=HELLO)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.code == 0
    assert result.summary == ["agent_started", "agent_completed"]


def test_a_thread_that_cannot_set_signals_runs_the_command_all_the_same() -> None:
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(run_command(agent="echo", given=HELLO)))
    thread.start()
    thread.join()
    assert results[0].summary == ["agent_started", "agent_completed"]
