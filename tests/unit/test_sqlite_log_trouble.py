"""The log in an SQLite file when the file makes trouble: typed errors, nothing lost, recovery."""

import asyncio
import logging
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_messaging.eventlog._sqlite_file import LogFile
from agent_messaging.eventlog._sqlite_reader import SqliteLogReader
from agent_messaging.eventlog._sqlite_schema import APPLICATION_ID, VERSION
from agent_messaging.eventlog._sqlite_store import Store
from agent_messaging.eventlog.sqlite import Reason, SqliteEventLog, SqliteLogError
from agent_messaging.testing.conformance._event_logs.trial import (
    Notices,
    Trial,
    Wakes,
    event,
    story,
)
from agent_messaging.testing.conformance._expect import PATIENCE
from support.event_logs import HandClock
from support.lines import own_records
from support.sqlite_fixtures import make_version_0
from support.sqlite_logs import opened

NOBODY = 65534


@contextmanager
def refused(reason: Reason) -> Generator[None]:
    """What is asked for within is refused for that reason."""
    with pytest.raises(SqliteLogError) as raised:
        yield
    assert raised.value.reason == reason, raised.value
    assert str(raised.value).startswith(f"{reason}: ")


@contextmanager
def held(path: Path, begin: str = "BEGIN IMMEDIATE") -> Generator[sqlite3.Connection]:
    """Another connection has a transaction under way."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(begin)
        yield connection
    finally:
        connection.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def restore(backup: Path, path: Path) -> None:
    """Put a backup in the place of a log, as the page on it says."""
    for file in (path, *path.parent.glob(f"{path.name}-*")):
        file.unlink()
    backup.rename(path)


def damage(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * length)


# Files that are no log, or not one that this package reads.


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["CREATE TABLE theirs (x)"], "foreign"),
        ([f"PRAGMA application_id = {APPLICATION_ID + 1}"], "foreign"),
        (["PRAGMA user_version = 1"], "foreign"),
        (
            [f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION + 1}"],
            "newer_schema",
        ),
    ],
)
def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(
    tmp_path: Path, statements: list[str], reason: Reason
) -> None:
    path = tmp_path / "log.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    before = path.read_bytes()

    async def steps() -> None:
        with refused(reason):
            async with opened(path):
                pass

    asyncio.run(steps())
    assert path.read_bytes() == before
    assert names(tmp_path) == ["log.db"]


def test_a_file_that_is_no_sqlite_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_text("a diary, and a long one" * 1000)
    before = path.read_bytes()

    async def steps() -> None:
        log = SqliteEventLog(path)
        with refused("foreign"):
            await log.find_run("ann", "run")
        assert path.read_bytes() == before
        path.unlink()
        assert await log.find_run("ann", "run") is None, "once the cause is gone"
        await log.aclose()

    asyncio.run(steps())


def test_a_file_that_a_newer_package_has_taken_over_is_written_no_more(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            lease = await trial.claim("run")
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute(f"PRAGMA user_version = {VERSION + 1}")
            for _ in range(2):
                with refused("newer_schema"):
                    await trial.append(lease, [event(1)])
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.close()
            await trial.append(lease, [event(1)])

    asyncio.run(steps())


def test_an_event_of_a_type_that_is_not_known_yet_is_refused_and_the_other_runs_are_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await trial.finished("new")
            await trial.finished("old")
            with held(path) as connection:
                connection.execute("UPDATE events SET type = 'agent_sang' WHERE run = 1")
                connection.execute("COMMIT")
            results = await asyncio.gather(
                trial.events("new"), trial.events("old"), return_exceptions=True
            )
            assert isinstance(results[0], SqliteLogError)
            assert results[0].reason == "newer_schema"
            assert results[1] == story(3)

    asyncio.run(steps())


# Locked.


def test_while_another_keeps_the_file_writing_is_refused_and_reading_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    caplog.set_level(logging.INFO, "agent_messaging")

    async def steps() -> None:
        async with opened(path, busy_seconds=0.02) as trial:
            lease = await trial.claim("run")
            await trial.append(lease, [event(1)])
            with held(path):
                results = await asyncio.gather(
                    trial.append(lease, [event(2)]),
                    trial.events("run"),
                    trial.claim("another"),
                    return_exceptions=True,
                )
                for result in (results[0], results[2]):
                    assert isinstance(result, SqliteLogError)
                    assert result.reason == "locked"
                assert results[0] is not results[2]
                assert results[1] == [event(1)]
                with refused("locked"):
                    await trial.append(lease, [event(2)])
            await trial.append(lease, [event(2)])
            assert await trial.events("run") == [event(1), event(2)]

    asyncio.run(steps())
    assert {record.name for record in own_records(caplog)} == {"agent_messaging.eventlog"}
    first, *_, last = own_records(caplog)
    assert (first.__dict__["event"], first.__dict__["reason"]) == ("log_trouble", "locked")
    assert str(path) in first.__dict__["explanation"]
    assert (last.__dict__["event"], last.__dict__["path"]) == ("log_recovered", str(path))


def test_a_file_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            lease = await trial.claim("run")
            with held(path) as connection:
                append = asyncio.ensure_future(trial.append(lease, [event(1)]))
                await asyncio.sleep(0.02)
                assert not append.done()
                connection.execute("ROLLBACK")
                await append
            assert await trial.events("run") == [event(1)]

    asyncio.run(steps())


def test_a_file_that_another_is_just_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        with held(path, "BEGIN EXCLUSIVE") as connection:
            log = SqliteEventLog(path)
            opening = asyncio.ensure_future(log.find_run("ann", "run"))
            await asyncio.sleep(0.03)
            assert not opening.done()
            connection.execute("ROLLBACK")
            assert await opening is None
        await log.aclose()

    asyncio.run(steps())


def test_a_new_file_that_stays_locked_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        with held(path, "BEGIN EXCLUSIVE"):
            log = SqliteEventLog(path, busy_seconds=0.02)
            with refused("locked"):
                await log.find_run("ann", "run")
        assert await log.find_run("ann", "run") is None
        await log.aclose()

    asyncio.run(steps())


# Read-only.


@contextmanager
def privileged() -> Generator[None]:
    """What is done within `unprivileged` is done by who owns the files."""
    effective = os.geteuid()
    os.seteuid(os.getuid())
    try:
        yield
    finally:
        os.seteuid(effective)


@contextmanager
def unprivileged() -> Generator[None]:
    """Root may write everything: what is done within is done by nobody."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def permit(path: Path, mode: int) -> None:
    """Set what may be done to a log's files, in a folder that is everybody's."""
    path.parent.chmod(0o777)
    for file in path.parent.iterdir():
        file.chmod(mode)


def test_a_file_that_may_not_be_written_is_read_and_written_again_once_it_may_be() -> None:
    async def steps(path: Path) -> None:
        async with opened(path) as trial:
            lease = await trial.finished("run")
        permit(path, 0o444)
        with unprivileged():
            async with opened(path) as trial:
                assert await trial.events("run") == story(3)
                results = await asyncio.gather(
                    trial.append(lease, [event(4)]),
                    trial.claim("another"),
                    trial.events("run"),
                    return_exceptions=True,
                )
                for result in results[:2]:
                    assert isinstance(result, SqliteLogError)
                    assert result.reason == "read_only"
                assert results[2] == story(3)
                with privileged():
                    permit(path, 0o666)
                await trial.claim("another")

    # Not in a folder of pytest's, which only its owner may see.
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(steps(Path(folder) / "log.db"))


# Full.


def test_a_file_that_may_grow_no_more_refuses_what_is_too_much_and_takes_what_fits(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"
    large = event(2, payload=f'{{"text":"{"x" * 400_000}"}}')

    async def steps() -> None:
        async with opened(path, max_bytes=300_000) as trial:
            leases = [await trial.claim(f"run {number}") for number in range(3)]
            for lease in leases:
                await trial.append(lease, [event(1)])
            results = await asyncio.gather(
                trial.append(leases[0], [event(2)]),
                trial.append(leases[1], [large]),
                trial.append(leases[2], [event(2)]),
                return_exceptions=True,
            )
            assert results[0] is None
            assert results[2] is None
            assert isinstance(results[1], SqliteLogError)
            assert results[1].reason == "full"
            assert [len(await trial.events(lease.run_id)) for lease in leases] == [2, 1, 2]
        async with opened(path) as trial:
            await trial.append(leases[1], [large])
            assert await trial.events("run 1") == [event(1), large]

    asyncio.run(steps())


FILL = """
import asyncio, resource, sys
from pathlib import Path
from agent_messaging.eventlog.sqlite import SqliteLogError
from agent_messaging.testing.conformance._event_logs.trial import event
from support.event_logs import HandClock
from support.sqlite_fixtures import make_version_0
from support.sqlite_logs import opened

async def steps():
    async with opened(Path(sys.argv[1])) as trial:
        lease = await trial.claim("run")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        seq = 0
        try:
            while True:
                await trial.append(lease, [event(seq + 1, payload="x" * 1000)])
                seq += 1
        except SqliteLogError as error:
            assert error.reason in {"full", "io"}, error
        held = await trial.events("run")
        assert len(held) == seq > 10, (len(held), seq)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await trial.append(lease, [event(seq + 1)])
        print(seq + 1)

asyncio.run(steps())
"""


def test_where_the_system_lets_files_grow_no_more_nothing_that_was_acknowledged_is_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FILL, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    async def steps() -> None:
        async with opened(path) as trial:
            assert (await trial.page("run")).last_seq == int(done.stdout)

    asyncio.run(steps())


# Damaged, shorter, gone, replaced.


async def _filled(trial: Trial, runs: int = 20) -> None:
    for number in range(runs):
        await trial.finished(f"run {number}", length=30)


def test_a_damaged_file_is_refused_until_a_backup_is_in_its_place(tmp_path: Path) -> None:
    path, backup = tmp_path / "log.db", tmp_path / "backup.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await _filled(trial)
        shutil.copy(path, backup)
        damage(path, 4096, path.stat().st_size - 4096)
        log = SqliteEventLog(path)
        for _ in range(2):
            with refused("corrupt"):
                await log.read("ann", "run 1", after=0, limit=100)
        restore(backup, path)
        page = await log.read("ann", "run 1", after=0, limit=100)
        assert page is not None
        assert list(page.events) == story(30)
        await log.aclose()

    asyncio.run(steps())


def test_a_file_whose_tables_are_gone_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await trial.claim("run")
            with held(path) as connection:
                connection.execute("DROP TABLE runs")
                connection.execute("COMMIT")
            with refused("corrupt"):
                await trial.claim("another")

    asyncio.run(steps())


@pytest.mark.parametrize("length", [0, 8192])
def test_a_file_that_was_made_shorter_while_in_use_is_refused_until_a_backup_is_in_its_place(
    tmp_path: Path, length: int
) -> None:
    path, backup = tmp_path / "log.db", tmp_path / "backup.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await _filled(trial)
        shutil.copy(path, backup)
        async with opened(path) as trial:
            lease = await trial.claim("new")
            os.truncate(path, length)
            for _ in range(3):
                with refused("corrupt"):
                    await trial.append(lease, [event(1)])
            restore(backup, path)
            assert await trial.events("run 3") == story(30)
            await trial.claim("new")

    asyncio.run(steps())


def test_a_file_whose_end_is_gone_is_refused_though_what_is_asked_for_is_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            large = await trial.claim("large")
            await trial.append(large, [event(1, payload="x" * 100_000)])
        # The other log keeps SQLite from comparing the length with what the file says of itself.
        async with opened(path) as trial, opened(path) as other:
            lease = await other.claim("new")
            await trial.claim("another")
            os.truncate(path, path.stat().st_size - 10 * 4096)
            for _ in range(3):
                with refused("corrupt"):
                    await trial.append(lease, [event(1)])

    asyncio.run(steps())


def test_a_file_that_is_shorter_for_a_good_reason_is_refused_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await _filled(trial)
            await trial.finished("last", "bob")
        async with opened(path) as trial:
            await trial.log.forget("ann")
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            with refused("corrupt"):
                await trial.events("last", "bob")
            assert await trial.events("last", "bob") == story(3)
            await trial.claim("new")

    asyncio.run(steps())


def test_a_file_that_is_moved_away_while_in_use_is_missed_and_taken_up_again(
    tmp_path: Path,
) -> None:
    path, aside = tmp_path / "log.db", tmp_path / "aside.db"

    async def steps() -> None:
        async with opened(path) as trial:
            lease = await trial.claim("run")
            await trial.append(lease, story(5)[:2])
            path.rename(aside)
            for _ in range(2):
                with refused("io"):
                    await trial.append(lease, story(5)[2:3])
            assert not path.exists(), "whoever has the old one may put it back"
            aside.rename(path)
            await trial.append(lease, story(5)[2:])
            assert await trial.events("run") == story(5)

    asyncio.run(steps())


def test_a_file_that_is_deleted_while_in_use_is_missed_and_not_made_again(tmp_path: Path) -> None:
    path, backup = tmp_path / "log.db", tmp_path / "backup.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await trial.finished("run")
        shutil.copy(path, backup)
        async with opened(path) as trial:
            lease = await trial.claim("another")
            for name in names(tmp_path):
                if name.startswith("log.db"):
                    (tmp_path / name).unlink()
            for _ in range(2):
                with refused("io"):
                    await trial.append(lease, [event(1)])
            assert names(tmp_path) == ["backup.db"]
            backup.rename(path)
            assert await trial.events("run") == story(3)

    asyncio.run(steps())


def test_a_file_is_where_it_was_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    async def steps() -> None:
        async with opened(Path("log.db")) as trial:
            lease = await trial.claim("run")
            monkeypatch.chdir(tmp_path / "elsewhere")
            await trial.append(lease, [event(1)])
        assert names(tmp_path / "elsewhere") == []

    asyncio.run(steps())


def test_a_folder_that_cannot_be_looked_into_is_the_systems_refusal(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    async def steps() -> None:
        async with opened(folder / "log.db") as trial:
            await trial.claim("run")
            folder.rename(tmp_path / "aside")
            folder.write_text("a file where the folder was")
            with refused("io"):
                await trial.claim("another")
            folder.unlink()
            (tmp_path / "aside").rename(folder)
            await trial.claim("another")

    asyncio.run(steps())


def test_a_file_that_somebody_reads_in_another_way_is_waited_for(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        make_version_0(path)
        with held(path, "BEGIN") as connection:
            connection.execute("SELECT * FROM sqlite_master").fetchall()
            log = SqliteEventLog(path, busy_seconds=0.05)
            with refused("locked"):
                await log.find_run("ann", "run")
        assert await log.find_run("ann", "run") is None
        await log.aclose()

    asyncio.run(steps())


def test_a_file_system_on_which_connections_cannot_share_a_file_is_refused(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log.db", "process", 0.02, None)
    # What SQLite has for file systems without shared memory stands for one.
    file._uri += "?vfs=unix-dotfile&more="  # pyright: ignore[reportPrivateUsage]
    with refused("io"):
        file.open()


def test_a_connection_that_fails_is_not_current(tmp_path: Path) -> None:
    connection = LogFile(tmp_path / "log.db", "process", 0.02, None).open()
    store = Store(connection, HandClock().read, 1)
    store.refresh()
    assert store.is_current
    connection.close()
    assert not store.is_current


# What is said of it.


def told(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    """All that an error and the log records say, with what they have come of."""
    lines = [line for record in own_records(caplog) for line in map(str, record.__dict__.values())]
    return "".join([*traceback.format_exception(error), caplog.text, *lines])


def test_a_payload_that_is_no_text_is_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"

    async def steps() -> SqliteLogError:
        async with opened(path) as trial:
            await trial.finished("run")
            with held(path) as connection:
                connection.execute("UPDATE events SET payload = CAST(x'736563726574ff' AS TEXT)")
                connection.execute("COMMIT")
            with pytest.raises(SqliteLogError) as raised:
                await trial.events("run")
            return raised.value

    error = asyncio.run(steps())
    assert error.reason == "corrupt"
    words = told(error, caplog)
    assert "log_trouble" in words
    assert "secret" not in words
    with SqliteLogReader(path) as reader, pytest.raises(SqliteLogError) as raised:
        list(reader.events("ann", "run"))
    assert "secret" not in told(raised.value, caplog)


def test_what_stands_in_a_damaged_schema_is_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"

    async def steps() -> SqliteLogError:
        async with opened(path) as trial:
            await trial.finished("run")
        damaged = path.read_bytes().replace(b"CREATE INDEX", b"CREATE_INDEX")
        path.write_bytes(damaged.replace(b"runs_of_thread", b"secret_runs_of"))
        log = SqliteEventLog(path)
        with pytest.raises(SqliteLogError) as raised:
            await log.find_run("ann", "run")
        await log.aclose()
        return raised.value

    error = asyncio.run(steps())
    assert error.reason == "corrupt"
    assert "secret" not in told(error, caplog)


def test_what_sqlite_says_in_words_of_its_own_is_handed_on_with_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path, busy_seconds=0.02) as trial:
            with held(path), pytest.raises(SqliteLogError, match="database is locked") as raised:
                await trial.claim("run")
            assert isinstance(raised.value.__cause__, sqlite3.OperationalError)

    asyncio.run(steps())


# Who follows while there is trouble.


def test_who_follows_is_woken_and_told_once_the_trouble_is_over(tmp_path: Path) -> None:
    path, aside = tmp_path / "log.db", tmp_path / "aside.db"

    async def steps() -> None:
        async with (
            opened(path, poll_seconds=0.005) as trial,
            opened(path, poll_seconds=0.005) as other,
        ):
            before = await trial.claim("before")
            during = await trial.claim("during")
            wakes = [Wakes(), Wakes()]
            trial.log.follow("ann", "before", wakes[0].wake)
            await trial.append(before, [event(1)])
            await wakes[0].until(1)
            path.rename(aside)
            with refused("io"):
                await trial.append(before, [event(2)])
            notices = Notices()
            trial.log.follow("ann", "during", wakes[1].wake)
            trial.log.follow_notices("owner", notices.tell)
            with refused("io"):
                await trial.events("during")
            aside.rename(path)
            await other.append(before, [event(2)])
            await other.append(during, [event(1)])
            await wakes[0].until(2)
            await wakes[1].until(1)
            assert await other.log.notify("ann", "during", "stop")
            await notices.until("ann", "during")
            await other.log.forget("ann")
            await wakes[0].until(0)
            await wakes[1].until(0)

    asyncio.run(steps())


def test_who_follows_is_woken_by_the_run_of_that_name_in_the_file_that_took_the_others_place(
    tmp_path: Path,
) -> None:
    path, backup = tmp_path / "log.db", tmp_path / "backup.db"

    async def steps() -> None:
        async with opened(backup) as trial:
            await trial.claim("first here")
            lease = await trial.claim("run")
        async with opened(path, poll_seconds=0.005) as trial:
            await trial.claim("run")
            wakes = Wakes()
            trial.log.follow("ann", "run", wakes.wake)
            await trial.log.find_run("ann", "run")
            restore(backup, path)
            with refused("io"):
                await trial.log.find_run("ann", "run")
            async with opened(path) as other:
                await other.append(lease, [event(1)])
            async with asyncio.timeout(PATIENCE):
                await wakes.until(1)

    asyncio.run(steps())


def test_a_run_that_is_forgotten_while_there_is_trouble_wakes_who_follows_with_zero(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path, busy_seconds=0.02) as trial, opened(path) as other:
            await trial.claim("run")
            wakes = Wakes()
            trial.log.follow("ann", "run", wakes.wake)
            await trial.log.find_run("ann", "run")
            with held(path), refused("locked"):
                await trial.log.forget("ann")
            await other.log.forget("ann")
            await wakes.until(0)

    asyncio.run(steps())


# The error itself.


def test_an_error_can_be_pickled_with_all_that_it_says() -> None:
    error = SqliteLogError("full", "no room")
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert isinstance(copied, SqliteLogError)
    assert (copied.reason, copied.message, str(copied)) == ("full", "no room", str(error))
