"""Files as earlier versions of the log in an SQLite file left them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from agent_messaging import LoggedEvent

__all__ = ["VERSION_1", "make_version_0", "make_version_1"]

#: The tables of version 1, written out: what the package says of them today does not matter.
VERSION_1: Final = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    owner TEXT NOT NULL,
    token TEXT NOT NULL,
    expires REAL NOT NULL,
    claimed_at REAL NOT NULL,
    ended_at REAL,
    UNIQUE (user_id, run_id),
    UNIQUE (user_id, message_id)
);
CREATE INDEX runs_of_thread ON runs (user_id, thread_id);
CREATE INDEX runs_leased ON runs (expires) WHERE ended_at IS NULL;
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    timestamp REAL NOT NULL,
    UNIQUE (run, seq)
);
CREATE TABLE notices (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    user_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    notice TEXT NOT NULL,
    told_at REAL NOT NULL
);
PRAGMA application_id = 1634559340;
PRAGMA user_version = 1;
"""


def make_version_0(path: Path) -> None:
    """A file that SQLite has made, with nothing in it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute("DROP TABLE theirs")
        connection.commit()


def make_version_1(path: Path, runs: Sequence[tuple[str, str, Sequence[LoggedEvent]]]) -> None:
    """A file of version 1 with those runs: user, run, events; the token of each is its run's id."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(VERSION_1)
        for user_id, run_id, events in runs:
            is_ended = bool(events) and events[-1].type.value.endswith(("completed", "failed"))
            number = connection.execute(
                "INSERT INTO runs (user_id, run_id, thread_id, message_id, digest, owner, token,"
                " expires, claimed_at, ended_at) VALUES (?, ?, 'thread', ?, 'digest', 'owner', ?,"
                " 5000.0, 900.0, ?)",
                (user_id, run_id, f"message of {run_id}", run_id, 1000.0 if is_ended else None),
            ).lastrowid
            connection.executemany(
                "INSERT INTO events (run, seq, type, payload, timestamp) VALUES (?, ?, ?, ?, ?)",
                [
                    (number, event.seq, event.type.value, event.payload, event.timestamp)
                    for event in events
                ],
            )
