"""Who follows a run as a session does: woken, it reads page by page from its cursor."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from agent_messaging import EventLog, EventPage
from support.seam.calls import Calls
from support.seam.ledger import Ledger, see

__all__ = ["Client", "Follower", "Reader"]


class Client:
    """Who is shown a run, over any number of connections one after the other.

    Attributes:
        ledger: the run.
        cursor: the last event that it was shown, or was told to be gone.
        is_done: whether there is no more to be shown.
    """

    def __init__(self, ledger: Ledger, cursor: int) -> None:
        self.ledger: Final = ledger
        self.cursor = cursor
        self.is_done = False


class Reader(Protocol):
    """One connection of a client, whatever it is made of."""

    task: asyncio.Task[None]
    has_left: bool

    @property
    def client(self) -> Client:
        """Whose connection it is."""
        ...

    @property
    def is_stalled(self) -> bool:
        """Whether it takes no events until it is told to."""
        ...

    @property
    def has_caught_up(self) -> bool:
        """Whether it was shown all that there is, and waits for more; or has seen the end."""
        ...

    @property
    def place(self) -> str:
        """Where it is, in words."""
        ...

    def stall(self) -> None:
        """Take no more events, as a client that does not read its socket."""
        ...

    def read_on(self) -> None:
        """Take events again."""
        ...

    def have_leave(self, other: "Reader") -> None:
        """Have another leave, or itself, the next time that this one is woken."""
        ...

    def leave(self) -> None:
        """Be shown nothing more, whatever is under way."""
        ...


class Follower:
    """One connection of a client: it follows the run, and then reads it.

    Args:
        log: the log, as the connection's process has it.
        client: whose connection it is.
        limit: how many events it reads at once.
        pace: how many turns of the loop it takes over each event.
        is_eager: whether it reads in the very turn of the loop in which it follows.
        calls: told what occurs, what is wrong, and whenever it has come on.

    Attributes:
        client: whose connection it is.
        task: reads, and ends when it has left.
        has_left: whether it follows no more.
    """

    def __init__(
        self,
        log: EventLog,
        client: Client,
        limit: int,
        pace: int,
        calls: Calls,
        *,
        is_eager: bool = False,
    ) -> None:
        self.client: Final = client
        self.has_left = False
        self._leaves: Reader | None = None
        self._log = log
        self._ledger = client.ledger
        self._limit = limit
        self._pace = pace
        self._calls = calls
        self._woken = asyncio.Event()
        self._reads_on = asyncio.Event()
        self._reads_on.set()
        self._waits = False
        self._unfollow: Callable[[], object] = bool
        if not is_eager:
            self._follow()
        self.task = asyncio.create_task(self._deliver(follows=is_eager))
        self.task.add_done_callback(self._ended)

    @property
    def is_stalled(self) -> bool:
        """Whether it takes no events until it is told to."""
        return not self._reads_on.is_set()

    def stall(self) -> None:
        """Take no more events, as a client that does not read its socket."""
        self._reads_on.clear()

    def read_on(self) -> None:
        """Take events again."""
        self._reads_on.set()

    @property
    def has_caught_up(self) -> bool:
        """Whether it was shown all that there is, and waits to be woken; or has seen the end."""
        return self.has_left or (self._waits and self.client.cursor >= self._ledger.last_seq)

    @property
    def place(self) -> str:
        """Where it is, in words."""
        waits = "waits to be woken" if self._waits else "reads"
        return f"a follower of {self._ledger} {waits} at {self.client.cursor}"

    def have_leave(self, other: Reader) -> None:
        """Have another leave, or itself, the next time that this one is woken."""
        self._leaves = other

    def leave(self) -> None:
        """Follow no more, whatever is under way."""
        if self.has_left:
            return
        self.has_left = True
        self._unfollow()
        self._unfollow()  # which may be called twice
        self.task.cancel()
        self._calls.occurred("left while waiting" if self._waits else "left while reading")
        self._calls.moved()

    def _follow(self) -> None:
        ledger = self._ledger
        self._unfollow = self._log.follow(ledger.user_id, ledger.run_id, self._wake)

    def _wake(self, last_seq: int) -> None:
        try:
            self._see_wake(last_seq)
        except AssertionError as fault:
            self._calls.failed(fault)
        if self._woken.is_set():
            self._calls.occurred("wake-ups merged")
        self._waits = False
        self._woken.set()
        other, self._leaves = self._leaves, None
        if other is not None and not other.has_left:
            self._calls.occurred("left while others were woken")
            other.leave()

    def _see_wake(self, last_seq: int) -> None:
        ledger = self._ledger
        see(not self.has_left, f"woken with {last_seq}, and had left {ledger}")
        if last_seq:
            see(ledger.may_end_with(last_seq), f"woken with {last_seq} of {ledger}")
        else:
            see(ledger.presence != "known", f"woken as if {ledger} had been forgotten")

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._calls.failed(error)

    async def _deliver(self, *, follows: bool) -> None:
        client = self.client
        if follows:
            self._follow()
        while True:
            self._woken.clear()
            page = await self._read()
            if page is None:
                self._calls.occurred("forgotten while it was followed")
                break
            if client.cursor + 1 < page.first_seq:
                self._calls.occurred("told of an eviction")
                client.cursor = page.first_seq - 1
            else:
                await self._show(page)
            if client.cursor < page.last_seq:
                continue
            if page.is_ended:
                self._calls.occurred("shown to its end")
                break
            if not self._woken.is_set():
                self._waits = True
                self._calls.moved()
                await self._woken.wait()
        client.is_done = self.has_left = True
        self._unfollow()
        self._calls.moved()

    async def _read(self) -> EventPage | None:
        ledger, asked, after = self._ledger, self._ledger.now(), self.client.cursor
        page = await self._log.read(ledger.user_id, ledger.run_id, after=after, limit=self._limit)
        if page is None:
            ledger.check_unknown(asked)
        else:
            ledger.check_page(page, after, self._limit, asked)
        return page

    async def _show(self, page: EventPage) -> None:
        """Take the events one by one; others come, and some go, meanwhile."""
        events = tuple(page.events)
        for event in page.events:
            await self._reads_on.wait()
            for _ in range(self._pace):
                await asyncio.sleep(0)
            see(event.seq == self.client.cursor + 1, f"{self.place}, and {event} comes")
            self.client.cursor = event.seq
        see(tuple(page.events) == events, f"{self.place}, and its page has changed")
