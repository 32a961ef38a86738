"""The command that shows what is in a log's file: its lists, its runs, and what it refuses."""

import json
import os
import pty
import re
import select
import termios
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from agent_messaging._cli import main
from agent_messaging._cli_output import Progress, Writer
from support.commands import Result, run_command, run_log
from support.listed_runs import Written, logged, write_runs

STARTED = ("agent_started", '{"message_id":"m","agent":"demo"}')
COMPLETED = ("agent_completed", '{"result":"secret","duration_ms":1}')
FAILED = (
    "agent_failed",
    '{"code":"timeout","message":"secret","retryable":true,"duration_ms":1}',
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with five runs of two users."""
    path = tmp_path / "runs.db"
    write_runs(
        path,
        Written("aa11", "ann", "t1", logged(STARTED, COMPLETED)),
        Written("aa22", "ann", "t2", logged(STARTED, FAILED)),
        Written("bb33", "bob", "t1", logged(STARTED)),
        Written("bb", "bob", "t1", ()),
        Written("bb33", "ann", "t1", logged(STARTED, COMPLETED)),
    )
    return path


def listed(result: Result) -> list[str]:
    """The runs of a list, as user and run."""
    assert (result.code, result.err) == (0, "")
    return [f"{run['user_id']} {run['run_id']}" for run in map(json.loads, result.out.splitlines())]


def error(reason: str, code: int) -> Result:
    return Result(code, "", f"agent-messaging: error: {reason}\n")


# Lists.


def test_all_runs_of_all_users_are_listed_and_nothing_of_what_was_said(path: Path) -> None:
    result = run_log(path)
    assert (result.code, result.err) == (0, "")
    header, *rows = (line.split() for line in result.out.splitlines())
    assert header == ["when", "user", "thread", "run", "status", "events", "took"]
    assert [row[3:] for row in rows] == [
        ["ann", "t1", "aa11", "completed", "2", "1.0", "s"],
        ["ann", "t2", "aa22", "failed", "2", "1.0", "s"],
        ["bob", "t1", "bb33", "running", "1", "-"],
        ["bob", "t1", "bb", "queued", "0", "-"],
        ["ann", "t1", "bb33", "completed", "2", "1.0", "s"],
    ]
    assert "secret" not in result.out


def test_a_list_for_programs_has_an_object_a_line(path: Path) -> None:
    result = run_log(path, "--format", "json")
    first, *_, last = map(json.loads, result.out.splitlines())
    assert first == {
        "run_id": "aa11",
        "user_id": "ann",
        "thread_id": "t1",
        "message_id": "message of aa11",
        "status": "completed",
        "claimed_at": 1000.0,
        "ended_at": 1001.0,
        "first_seq": 1,
        "last_seq": 2,
        "owner": "owner",
    }
    assert last["run_id"] == "bb33"
    assert "secret" not in result.out


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        (["--user", "bob"], ["bob bb33", "bob bb"]),
        (["--thread", "t2"], ["ann aa22"]),
        (["--user", "ann", "--thread", "t1"], ["ann aa11", "ann bb33"]),
        (["--status", "failed", "--status", "queued"], ["ann aa22", "bob bb"]),
        (["--limit", "2"], ["bob bb", "ann bb33"]),
        (["--limit", "1", "--user", "bob"], ["bob bb"]),
        (["--limit", "1", "--status", "completed"], ["ann bb33"]),
        (["--limit", "9"], ["ann aa11", "ann aa22", "bob bb33", "bob bb", "ann bb33"]),
        (["--user", "eve"], []),
    ],
)
def test_a_list_can_be_narrowed_to_the_newest_of_some(
    path: Path, options: list[str], runs: list[str]
) -> None:
    assert listed(run_log(path, "--format", "json", *options)) == runs


def test_where_there_are_no_runs_a_reader_is_told(path: Path) -> None:
    result = run_log(path, "--user", "eve")
    assert result == Result(0, "", "agent-messaging: there are no such runs\n")


def test_a_list_longer_than_is_made_at_once_has_one_header(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write_runs(path, *[Written(f"run {number}") for number in range(1100)])
    lines = run_log(path).out.splitlines()
    assert len(lines) == 1101
    assert [line for line in lines if "when" in line] == lines[:1]


# One run.


def test_the_frames_of_a_run_are_those_that_its_client_got(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    message = b'{"type": "chat", "thread_id": "a", "payload": {"text": "What is 6 * 7?"}}\n'
    _, *frames = run_command("--log", str(path), given=message).out.splitlines()
    run_id = json.loads(frames[0])["run_id"]
    shown = run_log(path, "--run", run_id, "--format", "json")
    assert (shown.code, shown.out.splitlines(), shown.err) == (0, frames, "")


def test_a_run_is_a_timeline_for_readers(path: Path) -> None:
    result = run_log(path, "--run", "aa11")
    assert (result.code, result.err) == (0, "")
    assert re.sub(r"(claimed  ).*", r"\1...", result.out) == (
        "run      aa11\n"
        "user     ann\n"
        "thread   t1\n"
        "message  message of aa11\n"
        "claimed  ...\n"
        "status   completed after 1.0 s\n"
        "\n"
        "        1     +0.000  agent_started demo\n"
        '        2     +1.000  agent_completed "secret" (1 ms)\n'
    )


@pytest.mark.parametrize(
    ("options", "run"),
    [
        (["--run", "aa1"], "ann aa11"),
        (["--run", "bb"], "bob bb"),  # the very one, though another begins like that
        (["--run", "bb33", "--user", "bob"], "bob bb33"),
        (["--run", "bb3", "--user", "ann"], "ann bb33"),
    ],
)
def test_a_run_is_named_by_the_beginning_of_its_id(
    path: Path, options: list[str], run: str
) -> None:
    result = run_log(path, *options)
    run_id, user_id = (line.split()[1] for line in result.out.splitlines()[:2])
    assert (result.code, f"{user_id} {run_id}") == (0, run)


def test_a_run_that_cannot_be_told_is_one_line_and_exit_2(path: Path) -> None:
    assert run_log(path, "--run", "zz") == error("--run zz: there is no such run", 2)
    assert run_log(path, "--run", "aa1", "--user", "bob") == error(
        "--run aa1: there is no such run of user bob", 2
    )
    assert run_log(path, "--run", "aa") == error(
        "--run aa: several begin like that; give more: aa11 of user ann, aa22 of user ann", 2
    )
    assert run_log(path, "--run", "bb33") == error(
        "--run bb33: several users have it; give --user: bb33 of user bob, bb33 of user ann", 2
    )


def test_of_very_many_runs_that_begin_alike_a_few_are_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write_runs(path, *[Written(f"run{number}") for number in range(9)])
    told = run_log(path, "--run", "run").err
    assert re.findall(r"run\d", told) == [f"run{number}" for number in range(5)]
    assert told.endswith(", and others\n")


def test_what_is_not_meant_for_a_terminal_never_reaches_it_raw(tmp_path: Path) -> None:
    path = tmp_path / "runs\x1b[31m.db"
    payload = '{"name":"p\\u001b[31m",\r\n"data":"\x7f"}'
    write_runs(path, Written("r\x1b1", "a\u202eb", "\x9b2", logged(("agent_progress", payload))))
    text = run_log(path).out + run_log(path, "--run", "r").out
    assert text.replace("\n", "").isprintable()
    assert text.count("a\\u202eb  ") == 1
    frame = run_log(path, "--run", "r", "--format", "json").out
    assert frame.count("\n") == 1
    assert frame.rstrip("\n").isprintable()
    assert json.loads(frame)["payload"] == json.loads(payload)
    assert run_log(path, "--format", "json").out.rstrip("\n").isprintable()
    path.write_bytes(b"something else")
    assert run_log(path).err == (
        f"agent-messaging: error: {tmp_path}/runs\\x1b[31m.db: it is no SQLite file; name another\n"
    )


# The file.


def test_reading_leaves_the_file_and_its_folder_as_they_were(path: Path) -> None:
    before, entries = path.read_bytes(), os.listdir(path.parent)  # noqa: PTH208 - names
    run_log(path)
    run_log(path, "--run", "aa11")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == entries  # noqa: PTH208 - names


def test_a_file_that_cannot_be_used_is_one_line_and_exit_3(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    assert run_log(missing) == error(f"{missing}: there is no such file", 3)
    assert not missing.exists()
    assert run_log(missing / "x") == error(f"{missing / 'x'}: there is no such folder", 3)
    assert run_log(tmp_path) == error(f"{tmp_path}: it is not a file", 3)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert run_log(fifo) == error(f"{fifo}: it is not a file", 3)
    too_long = tmp_path / ("x" * 300)
    assert run_log(too_long) == error(f"{too_long}: File name too long", 3)
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"dear diary, " * 1000)
    assert run_log(foreign) == error(f"{foreign}: it is no SQLite file; name another", 3)


def test_a_damaged_file_is_one_line_and_exit_3(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"agent_completed", b"agent_com\xffleted"))
    for options in ([], ["--run", "aa11"]):
        result = run_log(path, *options)
        assert result.code == 3
        assert result.err.startswith(f"agent-messaging: error: {path}: ")
        assert "the file is damaged" in result.err
        assert result.err.endswith("put a backup in its place\n")
        assert result.err.count("\n") == 1


# Other arguments.


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--limit", "0"], "argument --limit: a positive number is needed, not '0'"),
        (["--limit", "x"], "argument --limit: a positive number is needed, not 'x'"),
        (["--limit", "\u0661"], "argument --limit: a positive number is needed, not '\u0661'"),
        (["--user", ""], "argument --user: an id has 1 to 128 printable characters"),
        (["--status", "good"], "argument --status: invalid choice: 'good'"),
        (["--run", "a", "--thread", "t"], "argument --thread: not with --run"),
        (["--run", "a", "--status", "failed"], "argument --status: not with --run"),
        (["--run", "a", "--limit", "1"], "argument --limit: not with --run"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["log", "runs.db", *options])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_help_of_the_list_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["log", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    table = printed.partition("exit codes:\n")[2]
    assert [line.split()[0] for line in table.splitlines()] == ["0", "1", "2", "3", "130"]
    assert max(map(len, printed.splitlines())) <= 80


# Where it goes.


def test_an_output_that_is_closed_or_takes_no_more_is_exit_1(path: Path) -> None:
    with redirect_stdout(None), redirect_stderr(StringIO()) as errors:
        assert main(["log", str(path)]) == 1
    assert errors.getvalue() == "agent-messaging: error: standard output is closed\n"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = run_log(path, sink=full)
    reason = "standard output cannot be written: No space left on device"
    assert result == error(reason, 1)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as broken:
        assert run_log(path, sink=broken) == Result(1, "", "")


@contextmanager
def terminal(columns: int) -> Generator[tuple[int, int]]:
    """The two ends of a terminal; what is written to the second is read from the first."""
    screen, keyboard = pty.openpty()
    attributes = termios.tcgetattr(keyboard)
    attributes[1] &= ~termios.OPOST  # what is written is read as it is
    termios.tcsetattr(keyboard, termios.TCSANOW, attributes)
    termios.tcsetwinsize(keyboard, (24, columns))
    try:
        yield screen, keyboard
    finally:
        os.close(screen)
        os.close(keyboard)


def waiting(screen: int) -> str:
    """What is on the screen."""
    assert select.select([screen], [], [], 60)[0]
    return os.read(screen, 65536).decode()


@pytest.mark.parametrize("columns", [0, 80])
def test_on_a_terminal_a_row_has_eighty_columns_at_most(tmp_path: Path, columns: int) -> None:
    path = tmp_path / "runs.db"
    write_runs(path, *[Written(f"{number}" * 32, "u" * 40, "t" * 40) for number in range(3)])
    with terminal(columns) as (screen, keyboard):
        with os.fdopen(os.dup(keyboard), "w", encoding="utf-8") as sink:
            assert run_log(path, sink=sink).code == 0
        lines = waiting(screen).splitlines()
    assert [len(line) for line in lines] == [80] * 4
    assert [line.split()[5] for line in lines[1:]] == [str(number) * 8 for number in range(3)]


class Screen(StringIO):
    """A terminal's standard error."""

    def isatty(self) -> bool:
        return True


def test_how_far_long_work_is_stands_on_a_terminal_and_is_wiped_off() -> None:
    now = 0.0
    with redirect_stderr(Screen()) as screen:
        progress = Progress(lambda: now)
        for number in progress.counted(range(5), "runs"):
            assert screen.getvalue() == "".join(
                f"\r{count} runs read" for count in (3, 5) if count <= number + 1
            )
            now += 0.5
        progress.close()
        assert screen.getvalue() == "\r3 runs read\r5 runs read\r           \r"
        progress.close()
        assert screen.getvalue() == "\r3 runs read\r5 runs read\r           \r"


def test_work_that_is_quickly_done_and_errors_that_nobody_watches_show_no_progress() -> None:
    with redirect_stderr(Screen()) as screen:
        assert list(Progress(lambda: 0.0).counted("abc", "runs")) == ["a", "b", "c"]
    assert screen.getvalue() == ""
    times = iter(range(10))
    for stream in (StringIO(), None):
        with redirect_stderr(stream):
            assert list(Progress(lambda: next(times)).counted("abc", "runs")) == ["a", "b", "c"]
        assert stream is None or stream.getvalue() == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_rows_on_the_terminal_of_the_progress_come_after_it_was_wiped_off(
    tmp_path: Path, is_terminal: bool
) -> None:
    times = iter(range(10))
    with redirect_stderr(Screen()) as errors, terminal(80) as (screen, keyboard):
        progress = Progress(lambda: next(times))
        assert list(progress.counted("a", "runs")) == ["a"]
        with (tmp_path / "rows").open("wb") as file:
            writer = Writer(keyboard if is_terminal else file.fileno(), str.encode, progress)
            writer.add("a row")
            writer.flush()
        assert not is_terminal or waiting(screen) == "a row"
        told = errors.getvalue()
    assert told == "\r1 runs read" + "\r           \r" * is_terminal
