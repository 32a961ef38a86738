"""What a log may tell of one run, worked out from what its callers asked and were answered."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from agent_messaging import EventPage, Lease, LoggedEvent, MessageType, RunRecord, RunStatus

__all__ = ["LEASED_FOR", "Batch", "Ledger", "Moment", "Taking", "see"]

#: Seconds that every lease is made or renewed for.
LEASED_FOR: Final = 60.0
#: Seconds that may pass on their own while an example runs, by a log's clock that is a real one.
_LENIENCE: Final = 25.0

#: Whether a log knows the run: once its claim was answered, until its user is forgotten.
Presence: TypeAlias = Literal["claiming", "known", "forgetting", "gone"]

_STATUS: Final[Mapping[MessageType, RunStatus]] = {
    MessageType.AGENT_QUEUED: "queued",
    MessageType.AGENT_COMPLETED: "completed",
    MessageType.AGENT_FAILED: "failed",
    MessageType.AGENT_CANCELLED: "cancelled",
}
_ENDED: Final = ("completed", "failed", "cancelled")


def see(holds: object, what: str) -> None:
    """An assertion whose message pytest need not work out."""
    if not holds:
        raise AssertionError(what)


class Batch:
    """Events that one owner tries to append together, once or again and again.

    Attributes:
        lease: by what right.
        events: what.
        is_new: whether nobody ever asked for it before.
        was_cancelled: whether a call for it was, and none has been made since.
    """

    def __init__(self, lease: Lease, events: tuple[LoggedEvent, ...]) -> None:
        self.lease: Final = lease
        self.events: Final = events
        self.is_new = True
        self.was_cancelled = False

    @property
    def last_seq(self) -> int:
        """The number of the last event."""
        return self.events[-1].seq

    @property
    def is_last(self) -> bool:
        """Whether its last event is the run's."""
        return _STATUS.get(self.events[-1].type, "running") in _ENDED


class Moment(NamedTuple):
    """What was certain when a question was asked."""

    acknowledged: int
    first_seq: int
    is_ended: bool
    presence: Presence


class Taking:
    """A call of `take_expired` that is under way, or was cancelled."""

    def __init__(self, owner: str) -> None:
        self.owner: Final = owner


class Ledger:
    """All that is certain of one run, and what else is possible.

    Args:
        lease: the one that it is claimed with.
        owner: who claims it.
        now: when, by the log's clock.
        may_evict: whether its user has had more events than the log has to hold.
        occurred: told of situations that not every example comes to.

    Attributes:
        user_id: the run's user.
        run_id: the run.
        message_id: the message that it is claimed for.
        presence: whether a log knows it.
        lease: the last one that was handed out for it.
        owner: who has that.
        names: everybody who ever had a lease of it, or may have.
        events: those that were appended.
        acknowledged: up to which of them that was answered, or shown.
        possible: what the owner asked to append beyond them, and has not been answered.
        takings: calls that may have taken it, unknown to who has the lease.
    """

    def __init__(
        self,
        lease: Lease,
        owner: str,
        now: float,
        may_evict: Callable[[], bool],
        occurred: Callable[[str], None],
    ) -> None:
        self.user_id: Final = lease.user_id
        self.run_id: Final = lease.run_id
        self.message_id: Final = f"message of {lease.run_id}"
        self.presence: Presence = "claiming"
        self.lease = lease
        self.owner = owner
        self.names: Final = {owner}
        self.events: list[LoggedEvent] = []
        self.acknowledged = 0
        self.possible: Batch | None = None
        self.takings: set[Taking] = set()
        self._leased_until = now + LEASED_FOR
        self._first_seq = 1
        #: Where batches end: nobody is ever to see half of one.
        self._ends: set[int] = {0}
        #: What must never show, and why.
        self._impossible: dict[LoggedEvent, str] = {}
        self._may_evict = may_evict
        self._occurred = occurred

    def __repr__(self) -> str:
        return f"{self.run_id} of {self.user_id}"

    @property
    def last_seq(self) -> int:
        """The last event that is known to be appended."""
        return len(self.events)

    @property
    def is_ended(self) -> bool:
        """Whether its last event is known to be appended."""
        return self._status(self.last_seq) in _ENDED

    @property
    def is_certain(self) -> bool:
        """Whether it is known, and nothing that could change that is under way."""
        return self.presence == "known" and not self.takings

    def now(self) -> Moment:
        """What is certain now."""
        return Moment(self.acknowledged, self._first_seq, self.is_ended, self.presence)

    # Appends.

    def forbid(self, batch: Batch, why: str) -> None:
        """Events are to be refused, and never to be shown."""
        for event in batch.events:
            if event not in self.events:
                self._impossible.setdefault(event, why)

    def accepted(self, batch: Batch) -> None:
        """The log says that they were appended."""
        for event in batch.events:
            see(event not in self._impossible, f"accepted: {self._why(event)}")
        self._note_last(batch.last_seq)
        self.acknowledged = max(self.acknowledged, batch.last_seq)

    def refused(self, batch: Batch) -> None:
        """The log says that the lease was lost."""
        is_forbidden = not self._impossible.keys().isdisjoint(batch.events)
        is_lost = batch.lease != self.lease or self.takings or self.presence != "known"
        # A log that holds nothing of a run which has ended cannot tell a retry from anything else.
        is_evicted = batch.is_last and not batch.is_new and self._may_evict()
        see(is_forbidden or is_lost or is_evicted, f"{self}: {batch.events} refused")
        if batch.is_new:
            see(batch.events[0] not in self.events, f"{self}: {batch.events} refused, and shown")
            if self.possible is batch:
                self.possible = None
            self.forbid(batch, "it was refused")

    def _why(self, event: LoggedEvent) -> str:
        return f"{self}: {event}, although {self._impossible.get(event)}"

    def _settle_possible(self) -> None:
        """What was possible has happened."""
        batch, self.possible = self.possible, None
        assert batch is not None
        if batch.was_cancelled:
            self._occurred("cancelled appends that had happened")
        self.events.extend(batch.events)
        self._ends.add(self.last_seq)

    def _note_last(self, last_seq: int) -> None:
        """The run is said to have events up to this one."""
        see(self.may_end_with(last_seq), f"{self} ends with {last_seq}, where no batch does")
        if self.possible is not None and last_seq == self.possible.last_seq:
            self._settle_possible()

    def may_end_with(self, last_seq: int) -> bool:
        """Whether the run may have events up to this one, or may have had no more."""
        batch = self.possible
        return last_seq in self._ends or (batch is not None and last_seq == batch.last_seq)

    # Leases.

    def is_leased(self, now: float) -> bool:
        """Whether its lease is certainly good, or not needed any more."""
        return self.is_ended or now < self._leased_until - _LENIENCE

    def may_be_taken(self, taking: Taking) -> None:
        """Somebody asks for runs whose lease has expired, as this one's may have."""
        self.takings.add(taking)
        self.names.add(taking.owner)

    def taken(self, taking: Taking, lease: Lease, record: RunRecord, asked: Moment) -> None:
        """Somebody has taken the run: what the last owner has not appended by now, it never will.

        Args:
            taking: the call.
            lease: the new one.
            record: the run as it was then.
            asked: the moment before the call.
        """
        see(taking in self.takings, f"{self} was taken, and its lease was good")
        see(not asked.is_ended, f"{self} was taken, and had ended")
        see(lease.token != self.lease.token, f"{self} was taken with the token of another")
        self.check_record(record, asked)
        # Whoever has the new lease is only told of it now.
        late = self.events[record.last_seq :]
        see(not late, f"{self} was taken at {record.last_seq}, and its old owner appended {late}")
        if self.possible is not None:
            self._occurred("taken over an append")
            self.forbid(self.possible, f"the run was taken at {record.last_seq}")
            self.possible = None
        self.takings.clear()
        self.lease, self.owner = lease, taking.owner
        if self.presence == "claiming":
            self.presence = "known"

    def leased(self, asked: float) -> None:
        """The lease is good for its time from then on."""
        self._leased_until = max(self._leased_until, asked + LEASED_FOR)

    # Answers.

    def check_record(self, record: RunRecord, asked: Moment) -> None:
        """What `find_run` says, and others."""
        ids = (record.run_id, record.message_id)
        see(ids == (self.run_id, self.message_id), f"{self} is told as {record}")
        self._check_place(record.first_seq, record.last_seq, record.status, asked)

    def check_page(self, page: EventPage, after: int, limit: int, asked: Moment) -> None:
        """What `read` says: the first events after the cursor that are held, none left out."""
        for event in page.events:
            see(event not in self._impossible, f"shown: {self._why(event)}")
        self._check_place(page.first_seq, page.last_seq, page.status, asked)
        first = max(after + 1, page.first_seq)
        expected = range(first, min(first + limit, page.last_seq + 1))
        seqs = [event.seq for event in page.events]
        see(seqs == list(expected), f"{self}: {seqs} read after {after}, of {page[1:]}")
        for event in page.events:
            appended = self.events[event.seq - 1]
            see(event == appended, f"{self}: {event} is read, and {appended} was appended")

    def check_shown(self, event: LoggedEvent) -> None:
        """What a client is shown, whose time may have been rounded on its way."""
        if self.possible is not None and self.last_seq < event.seq <= self.possible.last_seq:
            self._settle_possible()
        see(event.seq <= self.last_seq, f"shown: {self._why(event)}")
        appended = self.events[event.seq - 1]
        is_it = event[:3] == appended[:3] and abs(event.timestamp - appended.timestamp) < 1e-5
        see(is_it, f"{self}: {event} is shown, and {appended} was appended")
        self.acknowledged = max(self.acknowledged, event.seq)

    def check_resumed(self, first_seq: int, last_seq: int, *, is_evicted: bool) -> None:
        """A client is told which events come, and whether the log holds none before them."""
        self._note_last(last_seq)
        see(first_seq <= last_seq + 1, f"{self} is resumed from {first_seq} on, of {last_seq}")
        see(not is_evicted or self._may_evict(), f"{self}: evicted where there was room")

    def check_unknown(self, asked: Moment) -> None:
        """The log says that there is no such run."""
        see(self.presence != "known", f"{self} is unknown, and nobody forgot it")
        if self.presence == "forgetting":
            self.presence = "gone"

    def _check_place(self, first_seq: int, last_seq: int, status: RunStatus, asked: Moment) -> None:
        see(asked.presence != "gone", f"{self} is known again")
        see(last_seq >= asked.acknowledged, f"{self}: {asked.acknowledged} is gone, of {last_seq}")
        self._note_last(last_seq)
        self.acknowledged = max(self.acknowledged, last_seq)
        is_possible = asked.first_seq <= first_seq <= last_seq + 1
        see(is_possible, f"{self} starts with {first_seq}, after {asked.first_seq}, of {last_seq}")
        see(first_seq == 1 or self._may_evict(), f"{self}: evicted where there was room")
        self._first_seq = max(self._first_seq, first_seq)
        see(status == self._status(last_seq), f"{self} is said to be {status} at {last_seq}")

    def _status(self, last_seq: int) -> RunStatus:
        if not last_seq:
            return "queued"
        return _STATUS.get(self.events[last_seq - 1].type, "running")
