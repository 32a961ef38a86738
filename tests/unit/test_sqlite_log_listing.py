"""Reading a log's file from outside: some of its runs, files that nobody has open, and damage."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent_messaging import ConfigurationError
from agent_messaging.eventlog._sqlite_errors import SqliteLogError, explained
from agent_messaging.eventlog._sqlite_reader import SqliteLogReader
from support.event_logs import HandClock
from support.listed_runs import Written, logged, write_runs
from support.sqlite_logs import opened

STORY = logged(("agent_started", "{}"), ("agent_thinking", "{}"), ("agent_completed", "{}"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def entries(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))  # noqa: PTH208 - names


# Some of its runs.


def test_runs_are_listed_from_the_newest_on_page_by_page(path: Path) -> None:
    names = [f"run {number}" for number in range(1200)]
    write_runs(path, *map(Written, names))
    with SqliteLogReader(path) as reader:
        forwards = [run.record.run_id for run in reader.runs()]
        backwards = [run.record.run_id for run in reader.runs(newest_first=True)]
    assert forwards == names
    assert backwards == names[::-1]


def test_runs_of_a_user_or_of_threads_with_one_id_are_listed_alone(path: Path) -> None:
    write_runs(path, Written("1", "ann", "a"), Written("2", "bob", "a"), Written("3", "ann", "b"))
    with SqliteLogReader(path) as reader:

        def listed(user_id: str | None, thread_id: str | None) -> list[str]:
            runs = reader.runs(user_id=user_id, thread_id=thread_id)
            return [run.record.run_id for run in runs]

        assert listed("ann", None) == ["1", "3"]
        assert listed(None, "a") == ["1", "2"]
        assert listed("ann", "a") == ["1"]
        assert listed("bob", "b") == []


def test_runs_are_found_by_the_beginning_of_their_ids_the_very_one_first(path: Path) -> None:
    write_runs(path, Written("ab1"), Written("ab2", "bob"), Written("ab"), Written("A%"))
    with SqliteLogReader(path) as reader:

        def found(start: str, user_id: str | None = None, limit: int = 9) -> list[str]:
            runs = reader.runs_beginning_with(start, user_id=user_id, limit=limit)
            return [run.record.run_id for run in runs]

        assert found("ab") == ["ab", "ab1", "ab2"]
        assert found("ab", limit=2) == ["ab", "ab1"]
        assert found("ab", "bob") == ["ab2"]
        assert found("%") == found("a_") == []
        assert found("A") == ["A%"]


def test_runs_that_somebody_has_a_lease_for_are_counted(path: Path) -> None:
    async def steps() -> None:
        clock = HandClock()
        async with opened(path, clock) as trial:
            await trial.claim("first", lease_seconds=10)
            await trial.claim("second", lease_seconds=20)
            await trial.finished("third")
            with SqliteLogReader(path) as reader:
                counts = [reader.count_leased(clock.now + seconds) for seconds in (0, 10, 20)]
        assert counts == [2, 1, 0]

    asyncio.run(steps())


# Files that nobody has open.


def test_a_file_that_nobody_has_open_gets_no_company(path: Path) -> None:
    write_runs(path, Written("run", events=STORY))
    path.parent.chmod(0o777)
    with SqliteLogReader(path) as reader:
        assert list(reader.events("ann", "run")) == STORY
        assert entries(path) == ["log.db"]
    assert entries(path) == ["log.db"]


def test_a_file_may_be_named_by_a_link(path: Path) -> None:
    link = path.parent / "link"
    link.symlink_to(path)

    async def steps() -> None:
        async with opened(path) as trial:
            await trial.finished("run")
            with SqliteLogReader(link) as reader:
                assert len(list(reader.runs())) == 1

    asyncio.run(steps())


def test_a_file_that_is_opened_while_it_is_read_is_read_with_all_that_is_new(path: Path) -> None:
    write_runs(path, *[Written(f"run {number}") for number in range(600)])

    async def steps() -> None:
        with SqliteLogReader(path) as reader:
            runs = reader.runs()
            first = next(runs)
            async with opened(path) as trial:
                await trial.claim("new")
                names = [first.record.run_id, *(run.record.run_id for run in runs)]
        assert names == [*[f"run {number}" for number in range(600)], "new"]

    asyncio.run(steps())


def test_a_file_that_was_used_and_closed_while_it_is_read_is_read_anew(path: Path) -> None:
    write_runs(path, Written("run 1"))
    with SqliteLogReader(path) as reader:
        assert len(list(reader.runs())) == 1
        write_runs(path, Written("run 2", events=STORY))
        assert entries(path) == ["log.db"]
        assert [run.record.run_id for run in reader.runs()] == ["run 1", "run 2"]
        assert list(reader.events("ann", "run 2")) == STORY


def test_a_file_that_becomes_another_while_it_is_read_is_told(path: Path) -> None:
    write_runs(path, Written("run 1"))
    with SqliteLogReader(path) as reader:
        path.write_bytes(b"dear diary, " * 1000)
        with pytest.raises(SqliteLogError) as raised:
            list(reader.runs())
        assert raised.value.reason == "foreign"


# Damage.


def damaged_by(path: Path, *statements: str) -> None:
    """Write into the file what no log writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE runs SET user_id = x'ff'",
        "UPDATE runs SET claimed_at = 'yesterday'",
        "UPDATE runs SET last_seq = 'two'",
        "UPDATE runs SET owner = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_run_that_no_log_has_written_is_damage(path: Path, statement: str) -> None:
    write_runs(path, Written("run", events=STORY))
    damaged_by(path, statement)
    reads: list[Callable[[SqliteLogReader], object]] = [
        lambda reader: list(reader.runs()),
        lambda reader: list(reader.runs(newest_first=True)),
        lambda reader: reader.runs_beginning_with("run", limit=1),
    ]
    with SqliteLogReader(path) as reader:
        for read in reads:
            with pytest.raises(SqliteLogError, match="the file is damaged") as raised:
                read(reader)
            assert raised.value.reason == "corrupt"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = x'7b7d'",
        "UPDATE events SET payload = CAST(x'ff' AS TEXT)",
        "UPDATE events SET timestamp = 'now'",
    ],
)
def test_an_event_that_no_log_has_written_is_damage(path: Path, statement: str) -> None:
    write_runs(path, Written("run", events=STORY))
    damaged_by(path, statement)
    with SqliteLogReader(path) as reader:
        with pytest.raises(SqliteLogError, match="the file is damaged") as raised:
            list(reader.events("ann", "run"))
        assert raised.value.reason == "corrupt"


@pytest.mark.parametrize("newest_first", [False, True])
def test_rows_that_are_out_of_order_do_not_lead_in_circles(path: Path, newest_first: bool) -> None:
    write_runs(path, Written("run 1"), Written("run 2"), Written("run 3"))
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'runs'"
        ).fetchone()
    content = bytearray(path.read_bytes())
    start = (page - 1) * 4096
    # The third row's place on its page; there its length comes first, and then its number.
    place = start + int.from_bytes(content[start + 12 : start + 14], "big")
    while content[place] & 0x80:
        place += 1
    assert content[place + 1] == 3
    content[place + 1] = 2
    path.write_bytes(content)
    with (
        SqliteLogReader(path) as reader,
        pytest.raises(SqliteLogError, match="the file is damaged"),
    ):
        list(reader.runs(newest_first=newest_first))


def test_a_schema_that_is_no_text_is_damage(path: Path) -> None:
    write_runs(path, Written("run", events=STORY))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"WHERE held > 0", b"WHERE\xc7held > 0"))
    with pytest.raises(SqliteLogError, match="the file is damaged") as raised:
        SqliteLogReader(path)
    assert raised.value.reason == "corrupt"


def test_what_a_log_meets_in_a_damaged_file_is_no_fault_of_its_caller(path: Path) -> None:
    async def steps() -> None:
        async with opened(path) as trial:
            with pytest.raises(SqliteLogError) as raised:
                await trial.log.find_run("ann", "run")
            assert raised.value.reason == "corrupt"

    write_runs(path, Written("run", events=STORY))
    damaged_by(path, "UPDATE runs SET thread_id = CAST(x'ff' AS TEXT)")
    asyncio.run(steps())
    no_text = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    error = explained(no_text, "log.db")
    assert isinstance(error, SqliteLogError)
    assert error.reason == "corrupt"
    surrogate = UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")
    assert isinstance(explained(surrogate, "log.db"), ConfigurationError)
