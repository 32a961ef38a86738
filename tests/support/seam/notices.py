"""What owners are told of their runs, and who is to be told."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from agent_messaging import EventLog, Lease, LoggedEvent, MessageType, Notice
from support.seam.calls import Calls
from support.seam.ledger import LEASED_FOR, Ledger, see
from support.seam.programs import Notify

__all__ = ["Notices"]

#: Seconds after which an owner that is not told anything yet is told again.
_SOON: Final = 0.05


class Notices:
    """Owners who listen, and those who tell them something.

    Args:
        logs: the log as each owner has it, by the owners' names.
        ledgers: every run, by user and run id.
        calls: makes the calls.
    """

    def __init__(
        self,
        logs: Mapping[str, EventLog],
        ledgers: Mapping[tuple[str, str], Ledger],
        calls: Calls,
    ) -> None:
        self._logs = logs
        self._ledgers = ledgers
        self._calls = calls
        self._heard = asyncio.Event()
        self._given: set[tuple[Ledger, Notice]] = set()
        self._told: set[tuple[str, Ledger, Notice]] = set()
        self._due: set[tuple[str, Ledger, Notice]] = set()
        self._leaps = 0

    async def listen(self) -> None:
        """Have the owners listen; returns once they are told of what is said."""
        for owner, log in self._logs.items():
            log.follow_notices(owner, self._listener(owner))
            lease = Lease("nobody", f"run of {owner}", owner)
            await log.claim(
                lease,
                thread_id="thread",
                message_id=owner,
                digest="digest",
                owner=owner,
                lease_seconds=LEASED_FOR,
            )
            self._heard.clear()
            while not self._heard.is_set():
                await log.notify(lease.user_id, lease.run_id, "stop")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._heard.wait(), _SOON)
            await log.append(lease, (LoggedEvent(MessageType.AGENT_COMPLETED, "{}", 1, 0.5),))

    def _listener(self, owner: str) -> Callable[[str, str, Notice], None]:
        def tell(user_id: str, run_id: str, notice: Notice) -> None:
            ledger = self._ledgers.get((user_id, run_id))
            if ledger is None:
                self._heard.set()
            elif (ledger, notice) not in self._given or owner not in ledger.names:
                self._calls.failed(AssertionError(f"{owner} is told to {notice} {ledger}"))
            else:
                self._told.add((owner, ledger, notice))
                self._calls.moved()

        return tell

    def notify(self, act: Notify, ledger: Ledger, log: EventLog) -> None:
        """Tell a run's owner something."""
        asked, owner, was_certain = ledger.now(), ledger.owner, ledger.is_certain
        leaps = self._leaps
        self._given.add((ledger, act.notice))

        def answered(is_known: bool) -> None:
            is_certain = was_certain and ledger.is_certain and ledger.owner == owner
            if is_known:
                see(not asked.is_ended, f"{ledger} was told to {act.notice}, and has ended")
                see(asked.presence != "gone", f"{ledger} was told to {act.notice}, and is gone")
                if is_certain and leaps == self._leaps:
                    self._due.add((owner, ledger, act.notice))
                    self._calls.occurred("owners told")
            elif is_certain and ledger.possible is None:
                see(ledger.is_ended, f"{ledger} cannot be told to {act.notice}")

        asking = log.notify(ledger.user_id, ledger.run_id, act.notice)
        self._calls.begin(act, asking, answered=answered)

    def time_passes(self) -> None:
        """The log's clock leaps: what was to be told soon may not be told any more."""
        self._leaps += 1
        self._due.clear()

    @property
    def missing(self) -> set[tuple[str, Ledger, Notice]]:
        """What owners are still to be told."""
        return self._due - self._told
