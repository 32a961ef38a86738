"""A log with its owners and followers, who do what a program says."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from agent_messaging import EventLog
from support.seam.calls import Calls
from support.seam.followers import Client, Reader
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

__all__ = ["Connect", "World"]

#: Events of a user that a log holds which was given no bound.
_ALWAYS_HELD: Final = 1000


#: Makes the connection of a client, as an act has it.
Connect: TypeAlias = Callable[[Client, Follow | Return, Calls], Reader]


class World:
    """All of it; `play` does what a program says, and raises what is wrong with the log.

    Args:
        logs: the log, as one or two processes have it.
        advance: lets so many seconds pass by its clock.
        connects: make connections to each of these.
        held_events: how many events of a user it is to hold.
        patience: seconds of the loop's time until what has to come is missed.
        situations: how often each of them occurred; added to.
    """

    def __init__(
        self,
        logs: Sequence[EventLog],
        advance: Callable[[float], Awaitable[object]],
        connects: Sequence[Connect],
        *,
        held_events: int | None,
        patience: float,
        situations: Counter[str],
    ) -> None:
        self._logs = logs
        self._advance = advance
        self._connects = connects
        self._calls: Final = Calls(patience, situations)
        log_of = {OWNERS[0]: logs[0], OWNERS[1]: logs[-1]}
        held = _ALWAYS_HELD if held_events is None else held_events
        self._owners: Final = Owners(log_of, held, self._calls)
        self._notices: Final = Notices(log_of, self._owners.ledgers, self._calls)
        self._patience = patience
        self._clients: list[Client] = []
        self._readers: list[Reader] = []

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
            self._all_return()
            await self._settle()
            await self._let_time_pass(2 * LEASED_FOR)
            await self._owners.recover()
            await self._settle()
        except AssertionError as fault:
            # A log in real time may do it once, and then not again for a long time.
            fault.add_note("\n".join(["What happened last:", *self._calls.history]))
            raise
        finally:
            for reader in self._readers:
                reader.leave()
            await self._calls.give_up()
            if self._readers:
                await asyncio.wait([each.task for each in self._readers], timeout=self._patience)
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
                reader = some(self._present, act.nth)
                ledger = reader.client.ledger
                beside = [each for each in self._present if each.client.ledger is ledger]
                reader.have_leave(some(beside, act.other))
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
    def _present(self) -> list[Reader]:
        return [reader for reader in self._readers if not reader.has_left]

    @property
    def _gone(self) -> list[Client]:
        """Clients without a connection."""
        present = {reader.client for reader in self._present}
        return [client for client in self._clients if client not in present]

    def _follow(self, client: Client, act: Follow | Return) -> None:
        connect = self._connects[-1] if act.is_elsewhere else self._connects[0]
        self._readers.append(connect(client, act, self._calls))

    def _return(self, act: Return) -> None:
        if self._gone:
            self._calls.occurred("came back")
            self._follow(some(self._gone, act.nth), act)

    def _all_return(self) -> None:
        """Every client that has something left to see comes back for it."""
        for client in self._gone:
            if not client.is_done:
                self._follow(client, Return(0, 64, 0, is_elsewhere=False))

    def _read_on(self) -> None:
        for reader in self._readers:
            reader.read_on()

    def _read(self, act: Read, ledger: Ledger) -> None:
        log = self._logs[-1] if act.is_elsewhere else self._logs[0]
        asked = ledger.now()

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
            lambda: [*(reader.place for reader in self._late), *self._notices.missing],
        )

    async def _look(self, log: EventLog, ledger: Ledger) -> None:
        """See all that the log has of a run."""
        asked, batch = ledger.now(), ledger.possible
        record = await log.find_run(ledger.user_id, ledger.run_id)
        page = await log.read(ledger.user_id, ledger.run_id, after=0, limit=_ALWAYS_HELD)
        # A claim that was cancelled may be made a moment later, and in between.
        is_whole = (record is None) == (page is None) or ledger.presence == "claiming"
        see(is_whole, f"{ledger} is known or unknown by half")
        if record is None or page is None:
            ledger.check_unknown(asked)
            return
        ledger.check_record(record, asked)
        ledger.check_page(page, 0, _ALWAYS_HELD, asked)
        if batch is not None and batch is ledger.possible and batch.was_cancelled:
            self._calls.occurred("cancelled appends that had not happened")

    @property
    def _late(self) -> list[Reader]:
        """Who is to be shown more, or to see that the run is gone."""
        return [
            reader
            for reader in self._present
            if not reader.is_stalled
            and not (reader.has_caught_up and reader.client.ledger.presence != "gone")
        ]


async def _pass(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
