"""Owners of runs, who claim, append, renew and take over, and users who are forgotten."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent_messaging import EventLog, Lease, LoggedEvent, MessageType, TakenRun
from support.seam.calls import Calls
from support.seam.ledger import LEASED_FOR, Batch, Ledger, Taking, see
from support.seam.programs import Again, Append, Claim, Forget, Intrude, Renew, Take, some

__all__ = ["Owners"]

#: Runs that one owner renews at once.
_RENEWED: Final = 5


@dataclass(eq=False)
class Holder:
    """Who has, or had, a lease.

    Attributes:
        name: the owner's.
        lease: the right to append.
        ledger: the run.
        unsure: events of which it does not know whether they were appended.
        last: the events that it appended last.
        has_lost: whether it was told that it has the lease no more.
    """

    name: str
    lease: Lease
    ledger: Ledger
    unsure: Batch | None = None
    last: Batch | None = None
    has_lost: bool = False


class Owners:
    """Whoever writes to a log.

    Args:
        logs: the log as each owner has it, by the owners' names.
        held_events: how many events of a user it is to hold at least.
        calls: makes the calls.

    Attributes:
        now: what the log's clock shows, but for when it began.
        ledgers: every run that was ever claimed, by user and run id; oldest first.
    """

    def __init__(self, logs: Mapping[str, EventLog], held_events: int, calls: Calls) -> None:
        self.now = 0.0
        self.ledgers: Final[dict[tuple[str, str], Ledger]] = {}
        self._logs = logs
        self._held_events = held_events
        self._calls = calls
        self._number = 0
        self._holders: list[Holder] = []
        #: Claims of which it is not known whether they were made.
        self._unsure: list[Holder] = []
        #: Runs to which an append is under way, each by the log that it was given to.
        self._appending: set[tuple[Ledger, EventLog]] = set()
        #: How many events of each user there ever were, or may have been.
        self._asked_for: Counter[str] = Counter()
        self._tokens: set[str] = set()

    @property
    def known(self) -> list[Ledger]:
        """Runs that were claimed; some of them were forgotten since."""
        return [ledger for ledger in self.ledgers.values() if ledger.presence != "claiming"]

    # Claims.

    def claim(self, act: Claim) -> None:
        """Claim a new run, or claim one again where that was cancelled."""
        if self._is_being_forgotten(act.user_id) or self._forgets(act.user_id):
            return
        again = [
            holder
            for holder in self._unsure
            if (holder.name, holder.lease.user_id) == (act.owner, act.user_id)
        ]
        if again:
            self._unsure.remove(again[0])
            self._calls.occurred("claimed again")
        holder = again[0] if again else self._new_holder(act.user_id, act.owner)
        ledger, asked = holder.ledger, holder.ledger.now()

        def ended(was_cancelled: bool) -> None:
            if was_cancelled:
                self._unsure.append(holder)
            else:
                self._holders.append(holder)
                ledger.presence = "known" if ledger.presence == "claiming" else ledger.presence

        asking = self._logs[act.owner].claim(
            holder.lease,
            thread_id="thread",
            message_id=ledger.message_id,
            digest="digest",
            owner=act.owner,
            lease_seconds=LEASED_FOR,
        )
        self._calls.begin(
            act, asking, answered=lambda record: ledger.check_record(record, asked), ended=ended
        )

    def _new_holder(self, user_id: str, owner: str) -> Holder:
        self._number += 1
        lease = Lease(user_id, f"run {self._number}", f"token {self._number}")
        self._tokens.add(lease.token)

        def may_evict() -> bool:
            return self._asked_for[user_id] > self._held_events

        ledger = Ledger(lease, owner, self.now, may_evict, self._calls.occurred)
        self.ledgers[user_id, lease.run_id] = ledger
        return Holder(owner, lease, ledger)

    # Appends.

    def append(self, act: Append) -> None:
        """Append new events, or those again whose append was cancelled."""
        holders = [
            holder
            for holder in self._holders
            if self._may_append(holder) and not holder.ledger.is_ended
        ]
        if not holders:
            return
        holder = some(holders, act.nth)
        if holder.unsure is not None:
            self._calls.occurred("appended again after a cancellation")
            self._append_each(act, holder, [holder.unsure])
            return
        events = self._events(holder.ledger, act.size, act.end)
        batches = [(event,) for event in events] if act.is_one_by_one else [events]
        self._append_each(act, holder, [Batch(holder.lease, batch) for batch in batches])

    def append_again(self, act: Again) -> None:
        """Append the very events that a run ends with."""
        holders = [
            holder
            for holder in self._holders
            if self._may_append(holder)
            and holder.unsure is None
            and holder.ledger.possible is None
            and holder.last is not None
            and holder.last.last_seq == holder.ledger.last_seq
            and holder.lease == holder.ledger.lease
        ]
        if holders:
            holder = some(holders, act.nth)
            assert holder.last is not None
            self._calls.occurred("appended again")
            self._append_each(act, holder, [holder.last])

    def _may_append(self, holder: Holder) -> bool:
        """Whether no other append to its run is under way where it appends."""
        return (holder.ledger, self._logs[holder.name]) not in self._appending

    def _events(
        self, ledger: Ledger, size: int, end: MessageType | None = None, *, skipped: int = 0
    ) -> tuple[LoggedEvent, ...]:
        """New events, each like no other."""
        first = ledger.last_seq + 1 + skipped
        self._asked_for[ledger.user_id] += size
        events: list[LoggedEvent] = []
        for seq in range(first, first + size):
            self._number += 1
            kind = MessageType.AGENT_THINKING if seq > 1 else MessageType.AGENT_QUEUED
            payload = f'{{"number":{self._number}}}'
            events.append(LoggedEvent(kind, payload, seq, 1.7e9 + self._number / 7))
        if end is not None:
            events[-1] = events[-1]._replace(type=end)
        return tuple(events)

    def _append_each(self, act: Append | Again, holder: Holder, batches: Sequence[Batch]) -> None:
        ledger, log = holder.ledger, self._logs[holder.name]
        place = ledger, log
        batch = batches[0]

        async def append() -> None:
            nonlocal batch
            for batch in batches:
                self._begin(holder, batch)
                await log.append(batch.lease, batch.events)
                ledger.accepted(batch)
                holder.unsure, holder.last = None, batch
                batch.is_new = False

        def lost() -> None:
            if holder.lease != ledger.lease:
                self._calls.occurred("fenced off")
            ledger.refused(batch)
            holder.unsure = None
            holder.has_lost = True

        def ended(was_cancelled: bool) -> None:
            self._appending.discard(place)
            batch.is_new = False
            batch.was_cancelled = was_cancelled

        self._appending.add(place)
        self._calls.begin(act, append(), lost=lost, ended=ended)

    def _begin(self, holder: Holder, batch: Batch) -> None:
        ledger = holder.ledger
        if batch.is_new:
            if ledger.presence == "gone":
                ledger.forbid(batch, "the run was forgotten")
            elif holder.has_lost or holder.lease != ledger.lease:
                ledger.forbid(batch, "the lease was lost")
            else:
                ledger.possible = batch
        batch.was_cancelled = False
        holder.unsure = batch

    def intrude(self, act: Intrude) -> None:
        """Append what is to be refused."""
        ledgers = [
            ledger
            for ledger in self.ledgers.values()
            if ledger.presence == "known"
            and ledger.possible is None
            and not any(ledger is other for other, _ in self._appending)
        ]
        if not ledgers:
            return
        ledger = some(ledgers, act.nth)
        batch = self._wrong(ledger, act)
        ledger.forbid(batch, act.wrong)
        places = {(ledger, log) for log in self._logs.values()}
        log = self._logs[ledger.owner]

        async def append() -> None:
            await log.append(batch.lease, batch.events)
            ledger.accepted(batch)

        def lost() -> None:
            self._calls.occurred(f"refused: {act.wrong}")

        def ended(was_cancelled: bool) -> None:
            self._appending.difference_update(places)

        self._appending.update(places)
        self._calls.begin(act, append(), lost=lost, ended=ended)

    def _wrong(self, ledger: Ledger, act: Intrude) -> Batch:
        lease, old = ledger.lease, tuple(ledger.events[-1:])
        new = self._events(ledger, 1)
        match act.wrong:
            case "other content" if old:
                return Batch(lease, (old[0]._replace(payload=new[0].payload),))
            case "half of it was before" if old:
                return Batch(lease, old + new)
            case "a gap":
                return Batch(lease, self._events(ledger, 1, skipped=1))
            case _:
                return Batch(lease._replace(token="another's"), new)

    # Leases.

    @property
    def are_taking(self) -> bool:
        """Whether somebody takes runs just now."""
        return any(isinstance(act, Take) for act in self._calls.acts.values())

    def take(self, act: Take, situation: str = "leases lost") -> None:
        """Take runs whose lease has expired."""
        taking, now = Taking(act.owner), self.now
        moments = {key: ledger.now() for key, ledger in self.ledgers.items()}
        due = [
            ledger
            for ledger in self.ledgers.values()
            if ledger.presence != "gone" and not ledger.is_leased(now)
        ]
        for ledger in due:
            ledger.may_be_taken(taking)

        def answered(runs: Sequence[TakenRun]) -> None:
            see(len(runs) <= act.limit, f"{len(runs)} were taken, {act.limit} were asked for")
            for lease, record in runs:
                key = lease.user_id, lease.run_id
                see(key in moments, f"{lease} was taken, of a run that is none of these")
                see(lease.token not in self._tokens, f"the token of {lease} was another's")
                self._tokens.add(lease.token)
                ledger = self.ledgers[key]
                ledger.taken(taking, lease, record, moments[key])
                ledger.leased(now)
                self._holders.append(Holder(act.owner, lease, ledger))
                self._calls.occurred(situation)
            for ledger in due:
                ledger.takings.discard(taking)

        asking = self._logs[act.owner].take_expired(act.owner, LEASED_FOR, limit=act.limit)
        self._calls.begin(act, asking, answered=answered)

    async def recover(self) -> None:
        """Take all that has not ended and is not held any more, and end it."""
        due = {
            ledger: ledger.lease
            for ledger in self.known
            if ledger.presence == "known" and not ledger.is_ended
        }
        self.take(Take("one", len(self.ledgers) + 1, None), "recovered")
        await self._calls.end()
        for ledger, lease in due.items():
            see(ledger.lease != lease, f"{ledger} is never taken, and its lease has expired")
        for holder in self._holders:
            ledger = holder.ledger
            is_its = holder.lease == ledger.lease and not holder.has_lost
            if is_its and ledger.presence == "known" and not ledger.is_ended:
                end = self._events(ledger, 1, MessageType.AGENT_FAILED)
                act = Append(0, 1, False, MessageType.AGENT_FAILED, None)
                self._append_each(act, holder, [Batch(holder.lease, end)])

    def renew(self, act: Renew) -> None:
        """Keep an owner's leases, those too that it has lost."""
        holders = [holder for holder in self._holders if holder.name == act.owner][-_RENEWED:]
        now = self.now
        were_lost = [holder for holder in holders if holder.lease != holder.ledger.lease]

        def answered(lost: Sequence[Lease]) -> None:
            for holder in holders:
                ledger = holder.ledger
                if ledger.presence != "known" or ledger.is_ended or ledger.possible is not None:
                    continue  # what is said of a run that has ended is nobody's business
                if holder.lease not in lost:
                    see(holder not in were_lost, f"{holder.lease} was renewed, and is lost")
                    if holder.lease == ledger.lease and not ledger.takings:
                        ledger.leased(now)
                        self._calls.occurred("renewed")
                elif holder.lease == ledger.lease:
                    see(ledger.takings, f"{holder.lease} is said to be lost")

        leases = [holder.lease for holder in holders]
        asking = self._logs[act.owner].renew(leases, LEASED_FOR)
        self._calls.begin(act, asking, answered=answered)

    # Users.

    def _is_being_forgotten(self, user_id: str) -> bool:
        return any(
            ledger.presence == "forgetting"
            for ledger in self.ledgers.values()
            if ledger.user_id == user_id
        )

    def _forgets(self, user_id: str) -> bool:
        """Whether a call for that is under way."""
        calls = self._calls.acts.values()
        return any(isinstance(act, Forget) and act.user_id == user_id for act in calls)

    @property
    def half_forgotten(self) -> set[str]:
        """The users of whom it is not known whether they were forgotten."""
        users = {ledger.user_id for ledger in self.ledgers.values()}
        return set(filter(self._is_being_forgotten, users))

    def forget(self, act: Forget) -> None:
        """Forget a user, unless there is a claim under way."""
        if any(isinstance(call, Claim) for call in self._calls.acts.values()):
            return
        ledgers = [
            ledger
            for ledger in self.ledgers.values()
            if ledger.user_id == act.user_id and ledger.presence != "gone"
        ]
        for ledger in ledgers:
            ledger.presence = "forgetting"
        self._unsure = [each for each in self._unsure if each.lease.user_id != act.user_id]

        def answered(_: None) -> None:
            for ledger in ledgers:
                ledger.presence = "gone"
            self._calls.occurred("users forgotten")

        log = next(iter(self._logs.values()))
        self._calls.begin(act, log.forget(act.user_id), answered=answered)
