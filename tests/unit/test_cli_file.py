"""The command line over a file: what a later call brings back, and troubles with the file."""

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from agent_messaging import Lease, MemoryEventLog, Run
from agent_messaging._cli_exit import EXIT_FILE, StopError
from agent_messaging._cli_file import kept
from agent_messaging._cli_host import Host
from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing import run_virtual
from support import Json
from support.commands import HELLO, Console, Result, run_command
from support.listed_runs import Written, logged, write_runs
from support.logs import TroubledLog, fails

ROOT: Final = Path(__file__).parents[2]


def chat(message_id: str, text: str = "hello", thread_id: str = "t1") -> bytes:
    message = {"type": "chat", "thread_id": thread_id, "message_id": message_id}
    return f"{json.dumps({**message, 'payload': {'text': text}})}\n".encode()


CHAT: Final[Json] = {"type": "chat", "thread_id": "t1", "payload": {"text": "hello"}}
RESUME: Final = b'{"type": "resume", "payload": {"thread_id": "t1"}}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_a_later_call_brings_back_what_an_earlier_one_accepted(path: Path) -> None:
    first = run_command("--log", str(path), agent="echo", given=chat("m1"))
    again = run_command("--log", str(path), agent="echo", given=chat("m1") + chat("m2") + RESUME)
    assert (first.code, again.code, first.err + again.err) == (0, 0, "")
    # The message that is sent again does not run again.
    assert again.frames[:2] == first.frames
    *_, resumed, one, two, three, four = again.frames
    assert [run["status"] for run in resumed["payload"]["runs"]] == ["completed"] * 2
    assert [one, two] == first.frames
    assert [three, four] == again.frames[2:4]
    conflict = run_command("--log", str(path), agent="echo", given=chat("m1", "something else"))
    assert conflict.summary == ["message_id_conflict"]


def test_without_a_file_nothing_of_sqlite_is_imported() -> None:
    source = (
        "import sys; from agent_messaging._cli import main; main(['run']);"
        " sys.exit('sqlite3' in sys.modules or '_sqlite' in str(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert (done.returncode, done.stderr) == (0, b"")


# Runs that a program left.


def test_runs_that_a_killed_program_left_end_as_interrupted_and_that_is_said(path: Path) -> None:
    # By a clock that is long past: their leases have expired.
    write_runs(path, Written("left", "local", events=logged(("agent_started", "{}"))))
    result = run_command("--log", str(path), agent="echo", given=RESUME)
    assert result.code == 0
    assert [frame["type"] for frame in result.frames] == [
        "resumed",
        "agent_started",
        "agent_failed",
    ]
    assert result.frames[-1]["payload"]["code"] == "interrupted"
    assert result.err == (
        "agent-messaging: run left (thread t1) was left by a program that is gone, and has ended"
        " as interrupted.\n"
    )


def test_runs_that_others_have_not_ended_are_counted_at_the_beginning(path: Path) -> None:
    async def steps(count: int) -> None:
        async with SqliteEventLog(path) as log:
            for number in range(count):
                lease = Lease("ann", f"{count} {number}", "t")
                message_id = f"m{count} {number}"
                await log.claim(
                    lease,
                    thread_id="t1",
                    message_id=message_id,
                    digest="d",
                    owner="another",
                    lease_seconds=3600,
                )

    asyncio.run(steps(1))
    assert run_command("--log", str(path)).err == (
        f"agent-messaging: {path}: 1 run has not ended. If its program was killed, it ends"
        " as interrupted within 10 seconds.\n"
    )
    asyncio.run(steps(2))
    assert run_command("--log", str(path)).err == (
        f"agent-messaging: {path}: 3 runs have not ended. Those of programs that were killed"
        " end as interrupted within 10 seconds.\n"
    )


def test_at_the_end_of_the_input_the_runs_of_others_are_waited_for_too() -> None:
    async def echo(run: Run) -> None:
        """Never asked."""

    async def scenario() -> tuple[Console, bool]:
        log = MemoryEventLog()
        lease = Lease("u1", "r1", "another")
        await log.claim(
            lease,
            thread_id="t1",
            message_id="m1",
            digest="d",
            owner="another",
            lease_seconds=3600,
        )
        started, ended = logged(("agent_started", "{}"), ("agent_completed", "{}"))
        await log.append(lease, [started])
        console = Console()
        serving = asyncio.create_task(Host(echo, "u1", log).serve(console.read, console.output))
        console.type({"type": "resume", "payload": {"thread_id": "t1"}}, end=True)
        await asyncio.sleep(100)
        was_done = serving.done()
        await log.append(lease, [ended])
        await serving
        return console, was_done

    console, was_done = run_virtual(scenario())
    assert not was_done
    assert console.summary == ["resumed", "agent_started", "agent_completed"]


# Trouble.


def refused(path: Path, reason: str) -> Result:
    return Result(3, "", f"agent-messaging: error: {path}: {reason}\n")


def test_a_file_that_cannot_be_used_is_one_line_and_exit_3(tmp_path: Path) -> None:
    assert run_command("--log", str(tmp_path), given=HELLO) == refused(tmp_path, "it is not a file")
    nowhere = tmp_path / "no" / "runs.db"
    assert run_command("--log", str(nowhere), given=HELLO) == refused(
        nowhere, "there is no such folder"
    )
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"dear diary, " * 1000)
    assert run_command("--log", str(foreign), given=HELLO) == refused(
        foreign, "it is no SQLite file; name another"
    )
    assert foreign.read_bytes() == b"dear diary, " * 1000


def test_a_damaged_file_is_one_line_and_exit_3(path: Path) -> None:
    run_command("--log", str(path), agent="echo", given=HELLO)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 4000)
    result = run_command("--log", str(path), given=HELLO)
    assert (result.code, result.out, result.err.count("\n")) == (3, "", 1)
    assert "damaged" in result.err


@contextmanager
def unprivileged() -> Generator[None]:
    """As a user who may do what the permissions say; the superuser may do everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_written_is_one_line_and_exit_3() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "runs.db")
        run_command("--log", str(path), agent="echo", given=HELLO)
        path.parent.chmod(0o777)
        path.chmod(0o444)
        with unprivileged():
            result = run_command("--log", str(path), agent="echo", given=HELLO)
    reason = "it may not be written; see to the permissions of the file and its folder"
    assert result == refused(path, reason)


def test_a_locked_file_is_one_line_and_exit_3(path: Path) -> None:
    async def steps() -> StopError:
        log = SqliteEventLog(path, busy_seconds=0.01)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StopError) as caught:
                async with kept(log, str(path), 10):
                    raise AssertionError("it is open")
        return caught.value

    run_command("--log", str(path))
    stop = asyncio.run(steps())
    assert stop.code == 3
    assert stop.reason.startswith(f"{path}: database is locked")


async def used(path: Path, **events: object) -> StopError:
    """How the program ends when it has to, after the log has logged this."""
    logger = logging.getLogger("agent_messaging.eventlog")
    stop = StopError(EXIT_FILE)
    with pytest.raises(StopError) as caught:  # noqa: PT012 - it is raised on leaving
        async with kept(SqliteEventLog(path), str(path), 10):
            if events:
                logger.warning("log_trouble", extra=events)
            raise stop
    assert caught.value is not stop
    return caught.value


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ({"event": "log_trouble", "reason": "full"}, "there is no room for more events"),
        ({"event": "log_trouble", "reason": "io"}, "the system refuses it, or it is not where"),
        ({"event": "something_else", "reason": "full"}, "it has not answered in time"),
        ({}, "it has not answered in time"),
    ],
)
def test_what_became_the_matter_with_a_file_is_said_in_plain_words(
    path: Path, events: Json, reason: str
) -> None:
    stop = asyncio.run(used(path, **events))
    assert stop.code == 3
    assert stop.reason.startswith(f"{path}: {reason}")


def test_how_the_program_ends_otherwise_is_left_as_it_is(path: Path) -> None:
    async def steps() -> StopError:
        with pytest.raises(StopError) as caught:
            async with kept(SqliteEventLog(path), str(path), 10):
                raise StopError(1, "no more")
        return caught.value

    stop = asyncio.run(steps())
    assert (stop.code, stop.reason) == (1, "no more")


@contextmanager
def logging_set_up() -> Generator[StringIO]:
    """As an agent does that wants to read the logs."""
    words = StringIO()
    handlers: list[logging.Handler] = [logging.StreamHandler(words)]
    root = logging.getLogger()
    before, root.handlers = root.handlers, handlers
    try:
        yield words
    finally:
        root.handlers = before


def test_who_has_set_up_logging_gets_every_line(path: Path) -> None:
    lines = ("log_trouble", "log_failed", "log_unavailable", "lease_lost", "run_recovered", "other")

    async def steps() -> None:
        logger = logging.getLogger("agent_messaging.endpoint")
        async with kept(SqliteEventLog(path), str(path), 10):
            for event in lines:
                logger.warning(event, extra={"event": event, "run_id": "r", "thread_id": "t"})

    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        with redirect_stderr(StringIO()) as errors:
            asyncio.run(steps())
        told = errors.getvalue()
        assert "other\n" in told
        assert [event for event in lines if event in told] == ["other"]
        with logging_set_up() as words, redirect_stderr(StringIO()) as errors:
            asyncio.run(steps())
    finally:
        root.handlers = before
    assert words.getvalue().split() == list(lines)
    assert errors.getvalue() == told.replace("other\n", "")
    assert "run r was ended by another program" in told
    assert logging.getLogger("agent_messaging.endpoint").filters == []


@pytest.mark.parametrize("method", ["claim", "append"])
def test_where_no_event_can_be_kept_any_more_the_program_ends(method: str) -> None:
    async def talks(run: Run) -> None:
        await run.chunk("and then")
        await asyncio.Event().wait()

    async def scenario() -> tuple[Console, StopError, float]:
        log = TroubledLog()
        log.always(method, fails())
        console = Console()
        serving = asyncio.create_task(Host(talks, "u1", log).serve(console.read, console.output))
        # Nothing more is typed, and the end of the input does not come.
        console.type(CHAT)
        with pytest.raises(StopError) as caught:
            await serving
        return console, caught.value, asyncio.get_running_loop().time()

    console, stop, ended = run_virtual(scenario())
    assert (stop.code, stop.reason) == (3, "")
    assert method == "append" or console.summary == ["log_unavailable"]
    assert ended < 10


def test_the_answers_come_in_the_order_of_the_lines_as_without_a_file(path: Path) -> None:
    given = b"".join(chat(f"m{number}", "6 * 7", f"t{number % 3}") for number in range(30))
    result = run_command("--log", str(path), given=given)
    assert (result.code, result.err) == (0, "")
    begun = [frame for frame in result.frames if frame["seq"] == 1]
    assert [frame["payload"]["message_id"] for frame in begun] == [f"m{n}" for n in range(30)]
    assert {frame["type"] for frame in begun} == {"agent_started"}


def test_a_line_does_not_wait_for_a_log_that_cannot_answer() -> None:
    async def waits(run: Run) -> None:
        await asyncio.Event().wait()

    async def scenario() -> tuple[Console, float]:
        log = TroubledLog()
        log.always("find_run", fails())
        console = Console()
        serving = asyncio.create_task(Host(waits, "u1", log).serve(console.read, console.output))
        stop: Json = {"type": "stop_agent", "payload": {"thread_id": "t1"}}
        console.type(CHAT, stop, end=True)
        await serving
        return console, asyncio.get_running_loop().time()

    console, ended = run_virtual(scenario())
    assert console.summary == ["agent_started", "agent_cancelled", "stopped"]
    assert ended < 1
