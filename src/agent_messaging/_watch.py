"""A session's cursor in one run."""

import logging
from collections.abc import Callable
from typing import Final, Protocol, final

from agent_messaging._emitter import Encode
from agent_messaging._errors import EventLogError
from agent_messaging._log import log
from agent_messaging._session_end import SessionEndReason
from agent_messaging._users import OwnedRun
from agent_messaging.dialects.native import NativeRunEncoder
from agent_messaging.eventlog.protocol import ENDED, EventLog, EventPage, RunStatus

__all__ = ["CROWD", "Finish", "Watch", "note_loss"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")


def note_loss(level: int, user_id: str, run_id: str, seen: int, last_seq: int) -> None:
    """A client has seen events that the log lacks: it went backwards, or the client errs."""
    fields: dict[str, object] = {"user_id": user_id, "run_id": run_id}
    log(_logger, level, "log_went_backwards", fields | {"seen": seen, "last": last_seq})


class Finish(Protocol):
    """Ends a session."""

    def __call__(self, reason: SessionEndReason, error: Exception | None = None) -> None:
        """The first reason counts."""
        ...


#: Events behind which a session that reads well never falls for long: an eighth of the default
#: bound. Beyond it, awaiting an emit leaves turns of the loop to the session.
CROWD: Final = 32


@final
class Watch:
    """A session's cursor in one run.

    Attributes:
        run_id: the run.
        thread_id: its conversation.
        status: where the run was when it was last read.
        cursor: the last event that the transport accepted, or that the client had before.
        begun: the last event that the transport was given.
        active: the run, if it is one of this endpoint's that has not been reported.
        is_live: whether the session has caught up with the run once.
        is_due: whether its session knows that there is more to read, and is about to.
        encode: makes frames of its events.
        unfollow: has the log wake it no more.
    """

    __slots__ = (
        "_finish",
        "_user_id",
        "_woken",
        "active",
        "begun",
        "cursor",
        "encode",
        "is_due",
        "is_live",
        "run_id",
        "status",
        "thread_id",
        "unfollow",
    )

    def __init__(
        self,
        woken: "Callable[[Watch, int], None]",
        finish: Finish,
        user_id: str,
        thread_id: str,
        run_id: str,
        status: RunStatus,
        cursor: int,
    ) -> None:
        self._woken = woken
        self._finish = finish
        self._user_id = user_id
        self.thread_id: str = thread_id
        self.run_id: str = run_id
        self.status: RunStatus = status
        self.cursor: int = cursor
        self.begun: int = cursor
        self.active: OwnedRun | None = None
        self.is_live: bool = False
        self.is_due: bool = False
        self.encode: Encode[str] = NativeRunEncoder(user_id, thread_id, run_id).encode
        self.unfollow: Callable[[], None] = _nothing

    def wake(self, last_seq: int) -> None:
        """The run has events up to ``last_seq``."""
        if not self.is_due or last_seq - self.cursor > CROWD:
            self._woken(self, last_seq)

    async def read(self, event_log: EventLog, limit: int) -> EventPage | None:
        """The first ``limit`` events behind the cursor; None if the run is gone.

        Raises:
            EventLogError: the log cannot give them.
        """
        cursor = self.cursor
        page = await event_log.read(self._user_id, self.run_id, after=cursor, limit=limit)
        if page is None or page.events or not cursor < page.last_seq >= page.first_seq:
            return page
        # It would be read over and over.
        raise EventLogError("the log lacks events that it says it has")

    def note_if_lost(self, page: EventPage | None) -> bool:
        """Note whether the log has lost what was sent already, or a run under way: log that."""
        if page is None:
            if self.active is not None:
                self.status = self.active.end or self.status
            last_seq, is_lost = 0, self.status not in ENDED
        else:
            last_seq = page.last_seq
            # What was sent last is no end, and yet the log ends there: another is in its place.
            is_replaced = page.is_ended and self.status not in ENDED and self.cursor == last_seq
            is_lost = self.cursor > last_seq or is_replaced
        if is_lost:
            note_loss(logging.WARNING, self._user_id, self.run_id, self.cursor, last_seq)
        return is_lost

    def is_held_at(self, page: EventPage) -> bool:
        """Whether the run's terminal event is in the log, and its thread not free yet.

        Whoever has read the end of a run may send the next message, which nothing is to refuse.
        """
        return page.is_ended and self.active is not None and self.active.is_ending

    def lose_log(self) -> None:
        """The run's events can be kept no more."""
        self._finish("log_unavailable")

    def evicted(self, first_seq: int, last_seq: int) -> dict[str, object]:
        """What RESUMED tells of the run where the log holds some of its events no more."""
        return {
            "run_id": self.run_id,
            "thread_id": self.thread_id,
            "status": self.status,
            "from_seq": first_seq,
            "to_seq": last_seq,
            "evicted": True,
        }

    def leave(self, grace: float) -> None:
        """Watch no more; the run goes on for ``grace`` seconds at least."""
        self.unfollow()
        self.unfollow = _nothing
        active, self.active = self.active, None
        if active is not None:
            active.leave(self, grace)


def _nothing() -> None:
    """What is to be undone for a run that is not followed."""
