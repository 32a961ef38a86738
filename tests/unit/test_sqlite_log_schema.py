"""The tables of the log in an SQLite file: made, brought up to date, and the same either way."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent_messaging import Lease, LoggedEvent
from agent_messaging.eventlog._sqlite_schema import STEPS, VERSION, upgrade
from agent_messaging.testing.conformance._event_logs.trial import story
from support.event_logs import HandClock
from support.sqlite_fixtures import make_version_0, make_version_1
from support.sqlite_logs import opened, until_gone

RUNS: list[tuple[str, str, list[LoggedEvent]]] = [
    ("ann", "ended", story(4)),
    ("ann", "under way", story(9)[:5]),
    ("ann", "silent", []),
    ("bob", "ended", story(3)),
    ("bob", "ended too", story(5)),
]


def schema(path: Path) -> dict[str, str]:
    """What the tables and indexes of a file are made with, and its marks."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall()
        marks = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version", "journal_mode")
        ]
    return {name: " ".join(sql.split()) for name, sql in found} | {"marks": str(marks)}


async def visit(path: Path) -> None:
    async with opened(path):
        pass


def test_a_new_file_is_marked_as_the_logs(tmp_path: Path) -> None:
    asyncio.run(visit(tmp_path / "log.db"))
    assert schema(tmp_path / "log.db")["marks"] == str([0x616D656C, VERSION, "wal"])


def test_a_file_with_nothing_in_it_is_made_a_log(tmp_path: Path) -> None:
    make_version_0(tmp_path / "log.db")
    (tmp_path / "empty.db").touch()
    for name in ("new.db", "log.db", "empty.db"):
        asyncio.run(visit(tmp_path / name))
        assert schema(tmp_path / name) == schema(tmp_path / "new.db")


def test_a_file_of_an_earlier_version_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    make_version_1(tmp_path / "log.db", RUNS)
    assert schema(tmp_path / "log.db")["marks"].endswith("1, 'wal']")
    for name in ("new.db", "log.db"):
        asyncio.run(visit(tmp_path / name))
    assert schema(tmp_path / "log.db") == schema(tmp_path / "new.db")


def test_the_first_step_makes_what_files_of_version_1_have(tmp_path: Path) -> None:
    make_version_1(tmp_path / "log.db", [])
    with closing(sqlite3.connect(tmp_path / "first.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in STEPS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA application_id = 1634559340")
        connection.execute("PRAGMA user_version = 1")
    assert schema(tmp_path / "first.db") == schema(tmp_path / "log.db")


def test_what_a_file_of_an_earlier_version_holds_is_kept_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    make_version_1(path, RUNS)

    async def steps() -> None:
        async with opened(path, HandClock()) as trial:
            for user_id, run_id, events in RUNS:
                assert await trial.events(run_id, user_id) == events
                found = await trial.log.find_claim(user_id, f"message of {run_id}")
                assert found is not None
                assert found.run_id == run_id
            page = await trial.page("ended")
            assert (page.status, page.first_seq, page.last_seq) == ("completed", 1, 4)
            lease = Lease("ann", "under way", "under way")
            await trial.append_each(lease, story(9)[5:])
            assert (await trial.page("under way")).is_ended
            assert await trial.refuses(Lease("ann", "ended", "ended"), story(5)[4:])
            await trial.append(Lease("ann", "ended", "ended"), story(4)[3:])

    asyncio.run(steps())


def test_what_was_held_before_counts_when_there_is_too_much(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    make_version_1(path, RUNS)

    async def steps() -> None:
        async with opened(path, runs_per_user=2) as trial:
            await trial.finished("new", "bob")
            await trial.advance(60)
            await until_gone(trial, "ended", "bob")
            assert await trial.events("ended too", "bob") == story(5)
            assert await trial.events("new", "bob") == story(3)

    asyncio.run(steps())
    with closing(sqlite3.connect(path)) as connection:
        counts = connection.execute("SELECT * FROM users ORDER BY user_id").fetchall()
    assert counts == [("ann", 1, 4), ("bob", 2, 8)]


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    make_version_1(path, RUNS)
    before = schema(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE removals (theirs)")

    async def steps() -> None:
        with pytest.raises(Exception, match="removals"):
            await visit(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DROP TABLE removals")
        assert schema(path) == before
        await visit(path)

    asyncio.run(steps())


def test_logs_that_open_a_file_of_an_earlier_version_at_once_all_find_it_up_to_date(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"
    make_version_1(path, RUNS)

    async def steps() -> None:
        await asyncio.gather(*[visit(path) for _ in range(6)])
        async with opened(path) as trial:
            assert await trial.events("ended") == story(4)

    asyncio.run(steps())


def test_logs_that_make_a_file_at_once_share_it(tmp_path: Path) -> None:
    async def steps() -> None:
        for number in range(10):
            await asyncio.gather(*[visit(tmp_path / f"log {number}.db") for _ in range(5)])
            assert schema(tmp_path / f"log {number}.db")["marks"].endswith("'wal']")

    asyncio.run(steps())


def test_a_file_that_is_up_to_date_is_not_changed(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        upgrade(connection, 0)
        before = connection.total_changes
        upgrade(connection, VERSION)
        assert connection.total_changes == before
