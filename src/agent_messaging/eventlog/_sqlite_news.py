"""What a process that shares a log is to be told of: runs that went on or are gone, notices."""

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias, final

from agent_messaging.eventlog._sqlite_store import Store
from agent_messaging.eventlog.protocol import Notice

__all__ = ["Key", "News", "Told"]

#: A run, by its user and its id.
Key: TypeAlias = tuple[str, str]

_LAST_SEQ: Final = """
    SELECT number, coalesce(last_seq, (SELECT max(seq) FROM events WHERE run = runs.number), 0)
    FROM runs WHERE user_id = ? AND run_id = ?
"""
_LAST_NUMBER: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?"


@final
class Told(NamedTuple):
    """What there is to tell, once the transaction that found it is committed.

    Attributes:
        runs: runs that are followed, with their last events; 0 for one that is gone.
        notices: owner, user id, run id, notice.
    """

    runs: Sequence[tuple[Key, int]]
    notices: Sequence[tuple[str, str, str, Notice]]


@final
class News:
    """Finds out what is new, within the transactions of a log.

    What it notes in a transaction counts from its end; taken back, it is all looked up again.
    """

    __slots__ = (
        "_asked",
        "_events_seen",
        "_keys",
        "_listens",
        "_notices",
        "_notices_seen",
        "_numbers",
        "_removals",
        "_told",
        "_wakes",
    )

    def __init__(self) -> None:
        #: Runs to be looked up, and whether they were known before.
        self._asked: dict[Key, bool] = {}
        #: Runs that are followed, by their numbers; and the other way round.
        self._keys: dict[int, Key] = {}
        self._numbers: dict[Key, int] = {}
        #: What was told of each last.
        self._told: dict[Key, int] = {}
        self._listens = False
        #: Where this process is in the tables, and in the count of what was removed.
        self._events_seen: int | None = None
        self._notices_seen: int | None = None
        self._removals: int | None = None
        #: What is told when the transaction has come to its end.
        self._wakes: list[tuple[Key, int]] = []
        self._notices: list[tuple[str, str, str, Notice, int]] = []

    @property
    def is_wanted(self) -> bool:
        """Whether anybody follows anything."""
        return self._listens or bool(self._asked or self._keys)

    @property
    def is_behind(self) -> bool:
        """Whether there is something to look up, even if nobody has written."""
        return bool(self._asked) or (self._listens and self._notices_seen is None)

    def follow(self, key: Key) -> None:
        """Look a run up, and tell of it from then on."""
        # It may be told of without cause: the run could be a new one of that name.
        self._asked.setdefault(key, False)

    def leave(self, key: Key) -> None:
        """Tell of a run no more."""
        self._asked.pop(key, None)
        self._drop(key)

    def listen(self) -> None:
        """Tell of the notices that come from now on."""
        self._listens = True

    def listen_no_more(self) -> None:
        """Tell of no notices."""
        self._listens = False
        self._notices_seen = None

    def doubt(self) -> None:
        """What was noted does not count: a transaction was taken back, or the file opened anew."""
        self._asked.update(dict.fromkeys(self._numbers, True))
        self._keys.clear()
        self._numbers.clear()
        self._told.clear()
        self._wakes.clear()
        self._notices.clear()
        self._events_seen = self._removals = None

    def look(self, connection: sqlite3.Connection, *, others_wrote: bool) -> None:
        """Look up what is asked for, and what others did; called as a transaction begins."""
        if not self._numbers:
            self._events_seen = None
        elif others_wrote:
            self._look_for_others(connection)
        for key, was_known in self._asked.items():
            if key in self._numbers:
                del self._keys[self._numbers.pop(key)]
            found = connection.execute(_LAST_SEQ, key).fetchone()
            if found is not None:
                number, last_seq = found
                self._keys[number] = key
                self._numbers[key] = number
                self._tell(key, last_seq)
            elif was_known:
                self._told.pop(key, None)
                self._wakes.append((key, 0))
        if self._numbers and self._events_seen is None:
            self._events_seen = _last_number(connection, "events")
            (self._removals,) = connection.execute("SELECT number FROM removals").fetchone()
        if self._listens and (others_wrote or self._notices_seen is None):
            last = _last_number(connection, "notices")
            # There are fewer than before where a backup took the file's place.
            if self._notices_seen is None or self._notices_seen > last:
                self._notices_seen = last

    def _look_for_others(self, connection: sqlite3.Connection) -> None:
        (removals,) = connection.execute("SELECT number FROM removals").fetchone()
        if removals != self._removals:
            # The events that tell of it may be gone, or the runs.
            self._asked.update(dict.fromkeys(self._numbers, True))
        else:
            moved = connection.execute(
                "SELECT run, max(seq) FROM events WHERE number > ? GROUP BY run",
                (self._events_seen,),
            )
            for number, last_seq in moved:
                if number in self._keys:
                    self._tell(self._keys[number], last_seq)
        self._events_seen = _last_number(connection, "events")
        self._removals = removals

    def gather(self, store: Store, *, others_wrote: bool) -> None:
        """Note what is new beside that; called before a transaction ends."""
        connection = store.connection
        if self._numbers and store.moved:
            self._events_seen = _last_number(connection, "events")
        if self._numbers and store.has_removed:
            (self._removals,) = connection.execute("SELECT number FROM removals").fetchone()
        if self._listens and (others_wrote or store.has_notices):
            self._notices = connection.execute(
                "SELECT owner, user_id, run_id, notice, number FROM notices WHERE number > ?"
                " ORDER BY number",
                (self._notices_seen,),
            ).fetchall()

    def settle(self, store: Store) -> Told:
        """What there is to tell; called after a transaction was committed."""
        self._asked.clear()
        for number in store.moved.keys() & self._keys.keys():
            self._tell(self._keys[number], store.moved[number])
        for number in self._keys.keys() & store.gone:
            key = self._keys[number]
            self._wakes.append((key, 0))
            self._drop(key)
        if self._notices:
            self._notices_seen = self._notices[-1][-1]
        told = Told(self._wakes, [notice[:-1] for notice in self._notices])
        self._wakes, self._notices = [], []
        return told

    def _tell(self, key: Key, last_seq: int) -> None:
        if self._told.get(key, 0) != last_seq:
            self._told[key] = last_seq
            self._wakes.append((key, last_seq))

    def _drop(self, key: Key) -> None:
        self._told.pop(key, None)
        number = self._numbers.pop(key, None)
        if number is not None:
            del self._keys[number]


def _last_number(connection: sqlite3.Connection, table: str) -> int:
    (number,) = connection.execute(_LAST_NUMBER, (table,)).fetchone()
    return int(number)
