"""What a process is told of a shared file, when its transactions are taken back or come late."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_messaging import Lease
from agent_messaging.eventlog._sqlite_file import LogFile
from agent_messaging.eventlog._sqlite_news import News, Told
from agent_messaging.eventlog._sqlite_store import Store
from agent_messaging.testing.conformance._event_logs.trial import event
from support.event_logs import HandClock

KEY = ("ann", "run")
LEASE = Lease("ann", "run", "token")


class Process:
    """One process's connection, with what it is told."""

    def __init__(self, path: Path) -> None:
        connection = LogFile(path, "process", 0.1, None).open()
        self.store = Store(connection, HandClock().read, 100)
        self.news = News()

    def transact(self, *work: Callable[[Store], object], fails: bool = False) -> Told:
        """One transaction; what there is to tell after it."""
        connection = self.store.connection
        connection.execute("BEGIN IMMEDIATE")
        others_wrote = self.store.refresh()
        self.news.look(connection, others_wrote=others_wrote)
        for one in work:
            one(self.store)
        self.store.flush()
        self.news.gather(self.store, others_wrote=others_wrote)
        if fails:
            connection.execute("ROLLBACK")
            self.news.doubt()
            # Another store begins with what is in the file, as after another connection was made.
            self.store = Store(connection, HandClock().read, 100)
            return Told((), ())
        connection.execute("COMMIT")
        told = self.news.settle(self.store)
        self.store.settle()
        return told

    def claim(self, lease: Lease = LEASE) -> None:
        self.transact(
            lambda store: store.claim(lease, "thread", lease.run_id, "digest", "owner", 60.0)
        )

    def append(self, seq: int, lease: Lease = LEASE, *, fails: bool = False) -> Told:
        return self.transact(lambda store: store.append(lease, [event(seq)]), fails=fails)

    def notify(self, *, fails: bool = False) -> Told:
        return self.transact(lambda store: store.notify("ann", "run", "stop"), fails=fails)


@contextmanager
def processes(path: Path) -> Generator[tuple[Process, Process]]:
    both = Process(path), Process(path)
    try:
        yield both
    finally:
        for one in both:
            one.store.connection.close()


def test_what_is_taken_back_is_not_told_and_what_others_did_is_told_after_it(
    tmp_path: Path,
) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        one.news.follow(KEY)
        assert one.transact().runs == []
        assert other.append(1).runs == []
        assert one.append(2, fails=True) == Told((), ())
        assert one.transact().runs == [(KEY, 1)]
        assert one.append(2).runs == [(KEY, 2)]


def test_a_run_is_told_of_again_after_its_append_was_taken_back(tmp_path: Path) -> None:
    with processes(tmp_path / "log.db") as (one, _):
        one.claim()
        one.news.follow(KEY)
        one.transact()
        one.append(1, fails=True)
        assert one.append(1).runs == [(KEY, 1)]


def test_notices_that_were_found_in_what_was_taken_back_are_told_later(tmp_path: Path) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        one.news.listen()
        one.transact()
        other.notify()
        one.transact(fails=True)
        own = ("owner", "ann", "run", "stop")
        assert one.notify().notices == [own, own]
        assert one.transact().notices == []


def test_notices_of_before_somebody_listened_are_not_told(tmp_path: Path) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        other.notify()
        one.news.listen()
        assert one.transact().notices == []
        one.news.listen_no_more()
        other.notify()
        one.news.listen()
        assert one.transact().notices == []


def test_after_a_backup_took_the_files_place_notices_are_told_from_its_last_on(
    tmp_path: Path,
) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        one.news.listen()
        for _ in range(3):
            one.notify()
        other.transact(
            lambda store: store.connection.execute("DELETE FROM notices"),
            lambda store: store.connection.execute(
                "DELETE FROM sqlite_sequence WHERE name = 'notices'"
            ),
        )
        one.transact()
        other.notify()
        assert one.transact().notices == [("owner", "ann", "run", "stop")]


def test_a_run_that_another_forgot_and_made_again_is_told_of_as_it_is(tmp_path: Path) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        one.append(1)
        one.news.follow(KEY)
        assert one.transact().runs == [(KEY, 1)]
        other.transact(lambda store: store.forget("ann"))
        other.claim()
        for seq in (1, 2, 3):
            other.append(seq)
        assert one.transact().runs == [(KEY, 3)]
        one.news.leave(KEY)
        assert not one.news.is_wanted


def test_what_moved_while_nobody_followed_is_not_looked_through(tmp_path: Path) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        one.news.follow(KEY)
        one.transact()
        one.news.leave(KEY)
        for seq in range(1, 50):
            other.append(seq)
        one.news.follow(KEY)
        looked: list[str] = []
        one.store.connection.set_trace_callback(looked.append)
        assert one.transact().runs == [(KEY, 49)]
        assert [sql for sql in looked if "max(seq) FROM events WHERE number" in sql] == []
        other.append(50)
        looked.clear()
        assert one.transact().runs == [(KEY, 50)]
        (asked,) = [sql for sql in looked if "max(seq) FROM events WHERE number" in sql]
        assert "number > 49" in asked


def test_what_is_removed_by_the_process_itself_is_looked_for_once(tmp_path: Path) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        bobs = Lease("bob", "bobs", "token")
        one.claim(bobs)
        one.news.follow(("bob", "bobs"))
        one.news.follow(KEY)
        one.transact()
        told = one.transact(lambda store: store.forget("ann"))
        assert told.runs == [(KEY, 0)]
        looked: list[str] = []
        one.store.connection.set_trace_callback(looked.append)
        other.append(1, bobs)
        assert one.transact().runs == [(("bob", "bobs"), 1)]
        assert [sql for sql in looked if "WHERE user_id" in sql] == [], "each by its number"


@pytest.mark.parametrize("appends", [1, 2])
def test_one_look_tells_of_each_run_once(tmp_path: Path, appends: int) -> None:
    with processes(tmp_path / "log.db") as (one, other):
        one.claim()
        one.news.follow(KEY)
        one.transact()
        for seq in range(1, appends + 1):
            other.append(seq)
        told = one.append(appends + 1)
        assert told.runs == [(KEY, appends), (KEY, appends + 1)]
        assert one.transact().runs == []
