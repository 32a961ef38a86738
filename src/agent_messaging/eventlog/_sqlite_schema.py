"""The tables of a log in an SQLite file, from each version of them to the next."""

import sqlite3
from typing import Final

__all__ = ["APPLICATION_ID", "STEPS", "VERSION", "upgrade"]

#: Says whose file it is, in the header of an SQLite file: "amel".
APPLICATION_ID: Final = 0x616D656C

_RUNS_EVENTS_NOTICES: Final = (
    # A number is never given again, so that nobody takes a new run for one that was forgotten.
    """
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
    )
    """,
    "CREATE INDEX runs_of_thread ON runs (user_id, thread_id)",
    "CREATE INDEX runs_leased ON runs (expires) WHERE ended_at IS NULL",
    # In the order in which they were appended, whatever the run: a batch of many runs changes few
    # pages, and whoever follows runs finds by the number what is new.
    """
    CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        type TEXT NOT NULL,
        payload TEXT NOT NULL,
        timestamp REAL NOT NULL,
        UNIQUE (run, seq)
    )
    """,
    """
    CREATE TABLE notices (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        user_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        notice TEXT NOT NULL,
        told_at REAL NOT NULL
    )
    """,
)

_RETENTION: Final = (
    # What is told of a run that has ended when its events are gone; ``held`` counts those left.
    "ALTER TABLE runs ADD COLUMN last_type TEXT",
    "ALTER TABLE runs ADD COLUMN last_seq INTEGER",
    "ALTER TABLE runs ADD COLUMN held INTEGER NOT NULL DEFAULT 0",
    """
    UPDATE runs SET
        last_type = (SELECT type FROM events WHERE run = runs.number ORDER BY seq DESC LIMIT 1),
        last_seq = (SELECT max(seq) FROM events WHERE run = runs.number),
        held = (SELECT count(*) FROM events WHERE run = runs.number)
    WHERE ended_at IS NOT NULL
    """,
    "CREATE INDEX runs_under_way ON runs (user_id) WHERE ended_at IS NULL",
    "CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL",
    "CREATE INDEX runs_held ON runs (ended_at) WHERE held > 0",
    "CREATE INDEX runs_held_of_user ON runs (user_id, ended_at) WHERE held > 0",
    # How many runs that have ended are held of a user, and how many events of theirs.
    """
    CREATE TABLE users (
        user_id TEXT PRIMARY KEY,
        runs INTEGER NOT NULL,
        events INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    INSERT INTO users
        SELECT user_id, count(*), sum(held) FROM runs WHERE held > 0 GROUP BY user_id
    """,
    # Grows when something is removed: other processes then look whether their runs are there.
    "CREATE TABLE removals (number INTEGER NOT NULL)",
    "INSERT INTO removals VALUES (0)",
)

#: Runs of which nothing is known any more but events, which are still to be removed.
_FORGETTING: Final = ("CREATE TABLE forgotten (run INTEGER PRIMARY KEY)",)

#: What makes each version out of the one before; the first, out of an empty file.
STEPS: Final = (_RUNS_EVENTS_NOTICES, _RETENTION, _FORGETTING)

#: The version that this code reads and writes.
VERSION: Final = len(STEPS)


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file of that version to the present one, within a transaction of the caller's."""
    for statements in STEPS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
