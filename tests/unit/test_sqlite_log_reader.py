"""Reading a log's file from outside, as operators do."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent_messaging.eventlog._sqlite_reader import ListedRun, SqliteLogReader
from agent_messaging.eventlog._sqlite_schema import APPLICATION_ID, VERSION
from agent_messaging.eventlog.sqlite import SqliteLogError
from agent_messaging.testing.conformance._event_logs.trial import event, story
from support.event_logs import HandClock
from support.sqlite_fixtures import make_version_1
from support.sqlite_logs import opened

PAGES = 1200  # more than two pages


def test_all_runs_of_all_users_are_listed_in_the_order_of_their_claims(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        clock = HandClock()
        async with opened(path, clock) as trial:
            await trial.finished("first", "bob")
            clock.now += 5
            await trial.claim("second", "ann", owner="another")
            lease = await trial.claim("first", "ann")
            await trial.append(lease, [event(1)])
            with SqliteLogReader(path) as reader:
                listed = list(reader.runs())
            assert [(run.user_id, run.record.run_id) for run in listed] == [
                ("bob", "first"),
                ("ann", "second"),
                ("ann", "first"),
            ]
            for run in listed:
                assert run.record == await trial.log.find_run(run.user_id, run.record.run_id)
            assert [run.owner for run in listed] == ["owner", "another", "owner"]
            assert [run.claimed_at for run in listed] == [1000.0, 1005.0, 1005.0]
            assert [run.ended_at for run in listed] == [1000.0, None, None]

    asyncio.run(steps())


def test_runs_and_events_come_page_by_page_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            for number in range(PAGES):
                await trial.claim(f"run {number}")
            lease = await trial.claim("long")
            await trial.append(lease, story(PAGES + 2)[:PAGES])
            with SqliteLogReader(path) as reader:
                runs = reader.runs()
                events = reader.events("ann", "long")
                seen, read = [next(runs)], [next(events)]
                # Nothing holds up the writer, or is held up by it.
                await trial.claim("new")
                await trial.append(lease, story(PAGES + 2)[PAGES:])
                with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                    found = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    assert found == (0, 0, 0), "no page is held"
                seen += runs
                read += events
            names = [run.record.run_id for run in seen]
            assert names == [*[f"run {number}" for number in range(PAGES)], "long", "new"]
            assert read == story(PAGES + 2)

    asyncio.run(steps())


def test_one_run_is_found_within_its_user(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await trial.finished("run", "ann")
            await trial.claim("run", "bob")

    asyncio.run(steps())
    with SqliteLogReader(str(path)) as reader:
        found = reader.find_run("ann", "run")
        assert isinstance(found, ListedRun)
        assert (found.user_id, found.record.status) == ("ann", "completed")
        assert reader.find_run("eve", "run") is None
        assert list(reader.events("ann", "run")) == story(3)
        assert list(reader.events("bob", "run")) == []
        assert list(reader.events("eve", "run")) == []


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            await trial.finished("run")

    asyncio.run(steps())
    before = path.read_bytes()
    with SqliteLogReader(path) as reader:
        assert len(list(reader.runs())) == 1
        connection = reader._connection  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM runs")
        reader.close()
    assert path.read_bytes() == before


def refusal(path: Path) -> SqliteLogError:
    with pytest.raises(SqliteLogError) as raised:
        SqliteLogReader(path)
    return raised.value


def test_a_file_that_is_no_log_of_this_version_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.db").reason == "io"
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "diary.db").write_text("dear diary, " * 1000)
    assert refusal(tmp_path / "diary.db").reason == "foreign"
    (tmp_path / "folder.db").mkdir()
    assert refusal(tmp_path / "folder.db").reason == "io"
    with closing(sqlite3.connect(tmp_path / "newer.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    assert refusal(tmp_path / "newer.db").reason == "newer_schema"
    make_version_1(tmp_path / "older.db", [])
    older = refusal(tmp_path / "older.db")
    assert older.reason == "read_only"
    assert "brings it up to date" in older.message


def test_a_file_that_is_damaged_is_told_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def steps() -> None:
        async with opened(path) as trial:
            for number in range(200):
                await trial.claim(f"run {number}")

    asyncio.run(steps())
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with SqliteLogReader(path) as reader:
        with pytest.raises(SqliteLogError) as raised:
            list(reader.runs())
        assert raised.value.reason == "corrupt"
        with pytest.raises(SqliteLogError):
            list(reader.events("ann", "run 1"))
