"""What a log in an SQLite file lets go of, a portion at a time."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, final

from agent_messaging._records import record
from agent_messaging.eventlog._sqlite_store import PORTION, Store

__all__ = ["Retained", "Retention"]

#: Seconds between looks at what has grown old.
_SWEEP_SECONDS: Final = 60.0

#: Seconds after its end in which a run is spared, whatever there is too much of: those who watch it
#: are to read its end.
_SPARED_SECONDS: Final = 60.0

#: Seconds that a notice is there for other processes, which look many times a second.
_NOTICE_SECONDS: Final = 60.0

_HELD_OF_USER: Final = """
    SELECT coalesce(max(runs), 0), coalesce(max(events), 0) FROM users WHERE user_id = ?
"""
_UNDER_WAY: Final = """
    SELECT
        number,
        (SELECT min(seq) FROM events WHERE run = runs.number),
        (SELECT max(seq) FROM events WHERE run = runs.number)
    FROM runs WHERE user_id = ? AND ended_at IS NULL
"""
_OLDEST_OF_USER: Final = """
    SELECT number, user_id, held, last_seq, ended_at FROM runs
    WHERE user_id = ? AND held > 0 ORDER BY ended_at, number LIMIT 1
"""
_OLDEST: Final = """
    SELECT number, user_id, held, last_seq FROM runs
    WHERE held > 0 AND ended_at <= ? ORDER BY ended_at LIMIT 1
"""
#: A claim outlives the events of its run.
_OVER: Final = """
    SELECT number FROM runs WHERE ended_at <= ? AND held = 0 ORDER BY ended_at LIMIT ?
"""


@final
@record
class Retained:
    """What a log keeps at most, or for so long."""

    runs_per_user: int
    events_per_user: int
    keep_seconds: float
    claim_seconds: float


@final
class Retention:
    """Removes what is beyond the bounds, or too old."""

    __slots__ = ("_bounds", "_clock", "_evicting", "_later", "_now", "_sweep_at", "_users")

    def __init__(self, bounds: Retained, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        #: Users of whom there may be too much.
        self._users: dict[str, None] = {}
        #: Those of whom there is, and who are looked at again when their runs are spared no more.
        self._later: dict[str, None] = {}
        #: The user whose run is being removed: it goes wholly, once it was begun.
        self._evicting: str | None = None
        self._now = 0.0
        self._sweep_at: float | None = None

    def look_at(self, users: set[str]) -> None:
        """Look whether there is too much of these users."""
        self._users.update(dict.fromkeys(users))

    @property
    def is_due(self) -> bool:
        """Whether there may be something to remove."""
        return bool(self._users) or self._sweep_at is None or self._time() >= self._sweep_at

    def remove(self, store: Store) -> None:
        """Remove a portion of what is beyond the bounds, or too old."""
        now = self._clock()
        if self._users:
            user_id = next(iter(self._users))
            if not self._relieve(store, user_id, now):
                del self._users[user_id]
        elif not (
            store.remove_forgotten()
            or self._remove_old_events(store, now)
            or self._remove_old_claims(store, now)
            or self._remove_old_notices(store, now)
        ):
            self._users, self._later = self._later, {}
            self._sweep_at = now + _SWEEP_SECONDS

    def postpone(self) -> None:
        """The log is in trouble; try again later."""
        self._later |= self._users
        self._users.clear()
        self._sweep_at = self._time() + _SWEEP_SECONDS

    def _time(self) -> float:
        """The time, or when that could be told last."""
        with suppress(
            Exception
        ):  # the clock is the host's; who needs the time meets what it raises
            self._now = self._clock()
        return self._now

    def _relieve(self, store: Store, user_id: str, now: float) -> bool:
        """Remove a portion of what there is too much of; whether there was any."""
        bounds, execute = self._bounds, store.connection.execute
        runs, events = execute(_HELD_OF_USER, (user_id,)).fetchone()
        under_way = execute(_UNDER_WAY, (user_id,)).fetchall()
        speaking = [row for row in under_way if row[1] is not None]
        growing = sum(last_seq + 1 - first_seq for _, first_seq, last_seq in speaking)
        is_over = (
            runs + len(under_way) > bounds.runs_per_user
            or events + growing > bounds.events_per_user
        )
        if not is_over and self._evicting != user_id:
            return False
        *oldest, ended_at = execute(_OLDEST_OF_USER, (user_id,)).fetchone() or (None,)
        if ended_at is not None and ended_at <= now - _SPARED_SECONDS:
            removed = self._evict(store, oldest, PORTION)
            self._evicting = user_id if removed < oldest[2] else None
            return True
        if ended_at is not None:
            self._later[user_id] = None
        return growing > bounds.events_per_user and self._trim(
            store, speaking, growing - bounds.events_per_user
        )

    def _trim(self, store: Store, runs: Sequence[tuple[int, int, int]], excess: int) -> bool:
        """Remove the oldest events of the longest run under way; whether it could do with less."""
        number, first_seq, last_seq = max(runs, key=lambda row: row[2] - row[1])
        count = min(excess, PORTION, last_seq - first_seq)  # its newest event stays
        store.connection.execute(
            "DELETE FROM events WHERE run = ? AND seq < ?", (number, first_seq + count)
        )
        store.removed(())
        return count > 0

    def _remove_old_events(self, store: Store, now: float) -> bool:
        left = PORTION
        while left > 0:
            oldest = store.connection.execute(
                _OLDEST, (now - self._bounds.keep_seconds,)
            ).fetchone()
            if oldest is None:
                break
            left -= self._evict(store, oldest, left)
        return left < PORTION

    def _evict(self, store: Store, run: Sequence[Any], portion: int) -> int:
        """Remove the oldest events of a run that has ended; how many."""
        execute = store.connection.execute
        number, user_id, held, last_seq = run
        count: int = min(held, portion)
        end = last_seq + 1 - held + count
        execute("DELETE FROM events WHERE run = ? AND seq < ?", (number, end))
        execute("UPDATE runs SET held = held - ? WHERE number = ?", (count, number))
        execute(
            "UPDATE users SET runs = runs - ?, events = events - ? WHERE user_id = ?",
            (count == held, count, user_id),
        )
        execute("DELETE FROM users WHERE user_id = ? AND runs = 0", (user_id,))
        store.removed(())
        return count

    def _remove_old_claims(self, store: Store, now: float) -> bool:
        over = store.connection.execute(
            _OVER, (now - self._bounds.claim_seconds, PORTION)
        ).fetchall()
        if over:
            store.connection.executemany("DELETE FROM runs WHERE number = ?", over)
            store.removed([number for (number,) in over])
        return bool(over)

    def _remove_old_notices(self, store: Store, now: float) -> bool:
        return bool(
            store.connection.execute(
                "DELETE FROM notices WHERE number IN"
                " (SELECT number FROM notices WHERE told_at <= ? ORDER BY number LIMIT ?)",
                (now - _NOTICE_SECONDS, PORTION),
            ).rowcount
        )
