"""Who follows a run over an endpoint: clients of sessions, which resume it at their cursors."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from agent_messaging import (
    AgentMessageHandler,
    Endpoint,
    EventLog,
    EventPage,
    Lease,
    Limits,
    LoggedEvent,
    MessageType,
    Notice,
    Run,
    RunRecord,
    TakenRun,
)
from support.frames import Json
from support.seam.calls import Calls
from support.seam.followers import Client, Reader
from support.seam.ledger import see

__all__ = ["Watcher", "endpoint_for_watchers"]

#: Bounds that no program comes to, but for that on clients that do not read.
_LIMITS: Final = Limits(frames_per_minute=None, sessions_per_user=10_000, lag_events=6)

_ENDED: Final = ("completed", "failed", "cancelled")
_ENDS: Final = (
    MessageType.AGENT_COMPLETED,
    MessageType.AGENT_FAILED,
    MessageType.AGENT_CANCELLED,
)


class _WatchedLog:
    """A log of which an endpoint sees all and changes nothing: its runs are owned by others."""

    def __init__(self, log: EventLog) -> None:
        self._log: Final = log

    async def claim(
        self,
        lease: Lease,
        *,
        thread_id: str,
        message_id: str,
        digest: str,
        owner: str,
        lease_seconds: float,
    ) -> RunRecord:
        raise AssertionError("nobody sends a message")

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self._log.find_claim(user_id, message_id)

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        raise AssertionError("no run is the endpoint's")

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self._log.read(user_id, run_id, after=after, limit=limit)

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self._log.find_run(user_id, run_id)

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        return await self._log.runs(user_id, thread_id, limit=limit, unended=unended)

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        return self._log.follow(user_id, run_id, wake)

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return True

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return self._log.follow_notices(owner, tell)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        return ()

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return ()

    async def forget(self, user_id: str) -> None:
        raise AssertionError("no user is forgotten by the endpoint")

    async def aclose(self) -> None:
        pass


async def _no_agent(run: Run) -> None:
    raise AssertionError("nobody sends a message")


@asynccontextmanager
async def endpoint_for_watchers(log: EventLog) -> AsyncGenerator[Endpoint, None]:
    """An endpoint whose sessions watch the runs of others."""
    handler = AgentMessageHandler(_no_agent)
    async with Endpoint(handler, log=_WatchedLog(log), limits=_LIMITS, heartbeat=None) as endpoint:
        yield endpoint


class Watcher:
    """One connection of a client, over a session that resumes the run; as `Follower` otherwise.

    Args:
        endpoint: where the session is.
        client: whose connection it is.
        pace: how many turns of the loop a frame takes.
        calls: told what occurs, what is wrong, and whenever it has come on.

    Attributes:
        client: whose connection it is.
        task: what the host does with the connection; ends when it has left.
        has_left: whether it is shown nothing more.
    """

    def __init__(self, endpoint: Endpoint, client: Client, pace: int, calls: Calls) -> None:
        self.client: Final = client
        self.has_left = False
        self._endpoint = endpoint
        self._pace = pace
        self._calls = calls
        self._leaves: Reader | None = None
        self._is_resumed = False
        self._over = asyncio.Event()
        self._reads_on = asyncio.Event()
        self._reads_on.set()
        self.task = asyncio.create_task(self._host())
        self.task.add_done_callback(self._ended)

    @property
    def is_stalled(self) -> bool:
        """Whether it takes no frames until it is told to."""
        return not self._reads_on.is_set()

    def stall(self) -> None:
        """Take no more frames."""
        self._reads_on.clear()

    def read_on(self) -> None:
        """Take frames again."""
        self._reads_on.set()

    @property
    def has_caught_up(self) -> bool:
        """Whether it was shown all that there is, or the end, or is gone."""
        is_at_the_end = self._is_resumed and self.client.cursor >= self.client.ledger.last_seq
        return self.has_left or (is_at_the_end and not self.client.ledger.is_ended)

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"a session that watches {self.client.ledger} is at {self.client.cursor}"

    def have_leave(self, other: Reader) -> None:
        """Have another leave the next time that this one is shown something."""
        self._leaves = other

    def leave(self) -> None:
        """The connection is cut, whatever is under way."""
        if not self.has_left:
            self._calls.occurred("left while watching")
            self._leave()
            self.task.cancel()

    def _leave(self) -> None:
        self.has_left = True
        self._over.set()
        self._calls.moved()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._calls.failed(error)

    async def _host(self) -> None:
        ledger = self.client.ledger
        session = await self._endpoint.open(ledger.user_id, self._send, close=self._closed)
        try:
            after = {ledger.run_id: self.client.cursor}
            await session.receive(json.dumps({"type": "resume", "payload": {"after": after}}))
            await self._over.wait()
        finally:
            await session.close()

    async def _closed(self, reason: str) -> None:
        if reason == "log_unavailable":
            see(self.client.ledger.presence != "known", f"{self.place}, and has ended: {reason}")
            self._calls.occurred("forgotten while it was followed")
            self._finish()
            return
        self._calls.occurred("ended as too slow")
        see(reason == "slow_consumer", f"{self.place}, and has ended: {reason}")
        self._leave()

    async def _send(self, text: str) -> None:
        await self._reads_on.wait()
        for _ in range(self._pace):
            await asyncio.sleep(0)
        if self.has_left:
            return
        frame: Json = json.loads(text)
        other, self._leaves = self._leaves, None
        if other is not None:
            other.leave()
        try:
            if "run_id" in frame:
                self._show(frame)
            elif frame["type"] == "resumed":
                self._resume(frame["payload"]["runs"])
        except AssertionError as fault:
            self._calls.failed(fault)
        self._calls.moved()

    def _show(self, frame: Json) -> None:
        client, ledger = self.client, self.client.ledger
        event = LoggedEvent(
            MessageType(frame["type"]),
            json.dumps(frame["payload"], separators=(",", ":")),
            frame["seq"],
            frame["timestamp"],
        )
        see(event.seq == client.cursor + 1, f"{self.place}, and {event} comes")
        see(frame["run_id"] == ledger.run_id, f"{self.place}, and {frame} comes")
        ledger.check_shown(event)
        client.cursor = event.seq
        if event.type in _ENDS:
            self._calls.occurred("shown to its end")
            self._finish()

    def _resume(self, runs: Sequence[Json]) -> None:
        client, ledger = self.client, self.client.ledger
        self._is_resumed = True
        run = runs[0] if runs else None
        is_over = run is not None and run["status"] in _ENDED
        if run is None or (run["evicted"] and run["from_seq"] == client.cursor + 1 and is_over):
            see(ledger.presence != "known", f"{self.place}, and is told of {runs}")
            self._calls.occurred("forgotten while it was followed")
            self._finish()
            return
        first, last = run["from_seq"], run["to_seq"]
        ledger.check_resumed(first, last, is_evicted=run["evicted"])
        if run["evicted"]:
            self._calls.occurred("told of an eviction")
            see(first > client.cursor, f"{self.place}, and is told of {run}")
            client.cursor = first - 1
        see(first == client.cursor + 1, f"{self.place}, and is told of {run}")
        if is_over and first > last:
            self._finish()

    def _finish(self) -> None:
        """There is no more to be shown of the run."""
        self.client.is_done = True
        self._leave()
