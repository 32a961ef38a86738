"""A log with its owners and followers, who do what a program says."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from agent_messaging import EventLog
from conformance import LogOnTrial
from support.seam.calls import Calls
from support.seam.followers import Client, Follower
from support.seam.ledger import LEASED_FOR, Ledger, see
from support.seam.notices import Notices
from support.seam.owners import Owners
from support.seam.programs import (
    OWNERS,
    USERS,
    Act,
    Again,
    Append,
    Await,
    AwaitOne,
    Cancel,
    Claim,
    Follow,
    Forget,
    Intrude,
    Leave,
    LeaveWhenWoken,
    Notify,
    Program,
    Read,
    ReadOn,
    Renew,
    Return,
    Settle,
    Stall,
    Take,
    TimePasses,
    some,
)

__all__ = ["World"]

#: Events of a user that a log holds which was given no bound.
_ALWAYS_HELD: Final = 1000


class World:
    """All of it; `play` does what a program says, and raises what is wrong with the log.

    Args:
        on_trial: the log.
        others: the same log as other processes have it.
        held_events: how many events of a user it is to hold.
        patience: seconds of the loop's time until what has to come is missed.
        situations: how often each of them occurred; added to.
    """

    def __init__(
        self,
        on_trial: LogOnTrial,
        others: Sequence[EventLog],
        held_events: int | None,
        patience: float,
        situations: Counter[str],
    ) -> None:
        self._advance = on_trial.advance
        self._logs: Final = (on_trial.log, *others)
        self._calls: Final = Calls(patience, situations)
        log_of = dict(zip(OWNERS, (self._logs[0], self._logs[-1]), strict=True))
        held = _ALWAYS_HELD if held_events is None else held_events
        self._owners: Final = Owners(log_of, held, self._calls)
        self._notices: Final = Notices(log_of, self._owners.ledgers, self._calls)
        self._patience = patience
        self._clients: list[Client] = []
        self._followers: list[Follower] = []

    async def play(self, program: Program) -> None:
        """Do what it says; what the log has to do in the end, it has done then."""
        try:
            self._calls.begin(Settle(), self._notices.listen())
            for owner in OWNERS:
                self._owners.claim(Claim(USERS[0], owner, None))
            await self._calls.end()
            for step in program.steps:
                self._calls.history.append(repr(step))
                await self._do(step.act)
                self._calls.cancel_newest(step.act)
                await _pass(step.turns)
                self._calls.check()
            self._read_on()
            await self._settle()
            await self._let_time_pass(2 * LEASED_FOR)
            await self._owners.recover()
            await self._settle()
        except AssertionError as fault:
            # A log in real time may do it once, and then not again for a long time.
            fault.add_note("\n".join(["What happened last:", *self._calls.history]))
            raise
        finally:
            for follower in self._followers:
                follower.leave()
            await self._calls.give_up()
            if self._followers:
                tasks = [follower.task for follower in self._followers]
                await asyncio.wait(tasks, timeout=self._patience)
            for log in reversed(self._logs):
                await log.aclose()
        self._calls.check()

    async def _do(self, act: Act) -> None:
        match act:
            case Claim():
                self._owners.claim(act)
            case Append():
                self._owners.append(act)
            case Again():
                self._owners.append_again(act)
            case Intrude():
                self._owners.intrude(act)
            case Take():
                self._owners.take(act)
            case Renew():
                self._owners.renew(act)
            case Forget():
                self._owners.forget(act)
            case Notify() if self._owners.known:
                log = self._logs[act.nth % len(self._logs)]
                self._notices.notify(act, some(self._owners.known, act.nth), log)
            case TimePasses() if not self._owners.are_taking:
                # Two who take a run one after the other are then told so in that order.
                await self._let_time_pass(act.seconds)
            case Cancel() if self._calls.acts:
                some(list(self._calls.acts), act.nth).cancel()
            case Await():
                await self._calls.end()
            case AwaitOne() if self._calls.acts:
                await self._calls.one_ends()
            case Settle():
                await self._settle()
            case _:
                self._do_as_a_reader(act)

    def _do_as_a_reader(self, act: Act) -> None:
        match act:
            case Follow() if self._owners.known:
                ledger = some(self._owners.known, act.nth)
                client = Client(ledger, max(0, ledger.acknowledged - act.back))
                self._clients.append(client)
                self._follow(client, act)
            case Return():
                self._return(act)
            case Leave() if self._present:
                some(self._present, act.nth).leave()
            case LeaveWhenWoken() if self._present:
                follower = some(self._present, act.nth)
                ledger = follower.client.ledger
                beside = [each for each in self._present if each.client.ledger is ledger]
                follower.leaves_when_woken = some(beside, act.other)
            case Stall() if self._present:
                some(self._present, act.nth).stall()
            case ReadOn():
                self._read_on()
            case Read() if self._owners.known:
                self._read(act, some(self._owners.known, act.nth))
            case _:
                pass  # there is nothing to do it with

    async def _let_time_pass(self, seconds: float) -> None:
        self._owners.now += seconds
        self._notices.time_passes()
        await self._advance(seconds)

    # Followers and readers.

    @property
    def _present(self) -> list[Follower]:
        return [follower for follower in self._followers if not follower.has_left]

    def _log_for(self, act: Follow | Return | Read) -> EventLog:
        return self._logs[-1] if act.is_elsewhere else self._logs[0]

    def _follow(self, client: Client, act: Follow | Return) -> None:
        follower = Follower(
            self._log_for(act),
            client,
            act.limit,
            act.pace,
            self._calls,
            is_eager=isinstance(act, Follow) and act.is_eager,
        )
        self._followers.append(follower)

    def _return(self, act: Return) -> None:
        present = {follower.client for follower in self._present}
        gone = [client for client in self._clients if client not in present]
        if gone:
            self._calls.occurred("came back")
            self._follow(some(gone, act.nth), act)

    def _read_on(self) -> None:
        for follower in self._followers:
            follower.read_on()

    def _read(self, act: Read, ledger: Ledger) -> None:
        log, asked = self._log_for(act), ledger.now()

        async def read() -> None:
            page = await log.read(ledger.user_id, ledger.run_id, after=act.after, limit=act.limit)
            if page is None:
                ledger.check_unknown(asked)
            else:
                ledger.check_page(page, act.after, act.limit, asked)

        self._calls.begin(act, read())

    # What has to come.

    async def _settle(self) -> None:
        """Wait until all is done that was asked for, and all is shown that is there."""
        await self._calls.end()
        for user_id in self._owners.half_forgotten:
            self._owners.forget(Forget(user_id, None))
        await self._calls.end()
        for ledger in self._owners.ledgers.values():
            for log in self._logs:
                self._calls.begin(Settle(), self._look(log, ledger))
        await self._calls.end()
        await self._calls.until(
            lambda: not (self._late or self._notices.missing),
            lambda: [*(follower.place for follower in self._late), *self._notices.missing],
        )

    async def _look(self, log: EventLog, ledger: Ledger) -> None:
        """See all that the log has of a run."""
        asked, batch = ledger.now(), ledger.possible
        record = await log.find_run(ledger.user_id, ledger.run_id)
        page = await log.read(ledger.user_id, ledger.run_id, after=0, limit=_ALWAYS_HELD)
        see((record is None) == (page is None), f"{ledger} is known or unknown by half")
        if record is None or page is None:
            ledger.check_unknown(asked)
            return
        ledger.check_record(record, asked)
        ledger.check_page(page, 0, _ALWAYS_HELD, asked)
        if batch is not None and batch is ledger.possible and batch.was_cancelled:
            self._calls.occurred("cancelled appends that had not happened")

    @property
    def _late(self) -> list[Follower]:
        """Who is to be shown more, or to see that the run is gone."""
        return [
            follower
            for follower in self._present
            if not follower.is_stalled
            and not (follower.has_caught_up and follower.client.ledger.presence != "gone")
        ]


async def _pass(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
