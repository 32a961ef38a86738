"""An event log in a Redis server, shared by processes, over the host's own client."""

import asyncio
import math
import random as _random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Final, cast, final

from agent_messaging._checks import check_bound, check_claims, check_seconds
from agent_messaging._errors import ConfigurationError, LeaseLost
from agent_messaging._ids import new_id
from agent_messaging.eventlog import _redis_scripts as scripts
from agent_messaging.eventlog._redis_answers import FoundRun, page_of, text, texts
from agent_messaging.eventlog._redis_calls import Calls, Part
from agent_messaging.eventlog._redis_client import RedisClient, RedisLogError, RedisPipeline
from agent_messaging.eventlog._redis_keys import (
    SHARDS,
    Keys,
    UserKeys,
    decoded,
    encoded,
    member_of,
    parts_of,
)
from agent_messaging.eventlog._redis_readers import NoticeReader, Outage, Reading, WakeReader
from agent_messaging.eventlog.protocol import (
    STATUS_AFTER,
    TERMINAL,
    EventPage,
    Lease,
    LoggedEvent,
    Notice,
    RunRecord,
    TakenRun,
)

__all__ = ["RedisClient", "RedisLogError", "RedisPipeline", "RedisStreamsEventLog"]

#: A claim is kept for a day at least: that is the contract of event logs.
_DAY: Final = 24 * 3600
#: Wake-ups of a shard, and notices of an owner, that a slow reader finds. One that is slower still
#: looks at all runs that are followed.
_NEWS_HELD: Final = 4096
#: Milliseconds that an owner's notices are there, at most, for a reader that has lost the server.
_NOTICES_KEPT: Final = 600_000
#: How often a user's runs may change while the user is being forgotten.
_FORGETTINGS: Final = 10


@final
class RedisStreamsEventLog:
    """Keeps events in a Redis server, shared by all processes that use it; an `EventLog`.

    It is as durable as the server is set up to be: see the how-to. Redis 7.0 or newer; one
    server, a primary with replicas, or a cluster if the client is a `redis.asyncio.RedisCluster`.

    Each run's events are a stream. A run under way keeps its newest ``events_per_run`` events; one
    that has ended keeps those for ``keep_seconds``, and is found for ``claim_seconds`` after its
    end, and so is its claim. Everything expires by itself: a server that nobody uses is empty
    after ``claim_seconds``.

    A process takes one connection of the client's pool for each of the 64 shards of users in which
    it follows runs, one for each owner whose notices it follows, and one more.

    Args:
        client: a `redis.asyncio.Redis` of the host's, which stays open when the log is closed.
            Its ``socket_timeout``, if it has one, is to be longer than ``block_seconds``.
        prefix: what all keys begin with: ASCII letters, digits and ``_.:/-``. Logs with different
            prefixes share a server without sharing anything else.
        events_per_run: events of one run that are held.
        keep_seconds: how long the events of a run are held after its end.
        claim_seconds: how long a claim is kept after the end of its run: a day at least, and not
            less than ``keep_seconds``.
        timeout: seconds until a call that the server does not answer raises `RedisLogError`; up
            to twice as long for one that had to wait for others first.
        waiting_calls: calls that wait while others are under way. One more raises `RedisLogError`
            at once; one that is cancelled makes room.
        block_seconds: seconds for which a reader asks the server to hold its answer back until
            there is news.
        random: numbers from 0 to 1, for the pauses of readers that have lost the server.

    Raises:
        ConfigurationError: one of these is not what it is to be.
    """

    __slots__ = (
        "_bound",
        "_calls",
        "_hold",
        "_keep",
        "_keys",
        "_notice_readers",
        "_reading",
        "_seconds_ahead",
        "_wake_readers",
    )

    def __init__(
        self,
        client: RedisClient,
        prefix: str = "agent_messaging",
        *,
        events_per_run: int = 10_000,
        keep_seconds: float = 3600.0,
        claim_seconds: float = _DAY,
        timeout: float = 5.0,
        waiting_calls: int = 10_000,
        block_seconds: float = 2.0,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._bound: Final = check_bound("events_per_run", events_per_run)
        check_bound("waiting_calls", waiting_calls)
        for name, seconds in {
            "keep_seconds": keep_seconds,
            "timeout": timeout,
            "block_seconds": block_seconds,
        }.items():
            check_seconds(name, seconds)
        check_claims(claim_seconds)
        if claim_seconds < keep_seconds:
            raise ConfigurationError(
                f"claim_seconds must be keep_seconds ({keep_seconds}) at least, not {claim_seconds}"
            )
        self._keys: Final = Keys(prefix)
        self._calls: Final = Calls(client, timeout, waiting_calls)
        self._keep: Final = _milliseconds(keep_seconds)
        self._hold: Final = _milliseconds(claim_seconds)
        self._reading: Final = Reading(
            client, self._calls, block_seconds, timeout, random, Outage()
        )
        self._wake_readers: Final[dict[int, WakeReader]] = {}
        self._notice_readers: Final[dict[str, NoticeReader]] = {}
        #: Nothing but a test moves the server's clock on.
        self._seconds_ahead = 0.0

    # Claims.

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
        """Make the lease's run, unless this user's message has one already; in one atomic step.

        Raises:
            RedisLogError: the server, or the way to it, is in trouble.
            ConfigurationError: the run id is that of another message's run.
        """
        keys, run = self._keys.user(lease.user_id), encoded(lease.run_id)
        while True:
            claimed = await self._calls.ask(
                scripts.CLAIM,
                (self._keys.leases(keys.shard), keys.runs, keys.ends, keys.events + run),
                (
                    *(self._ahead, _milliseconds(lease_seconds), self._hold),
                    *(member_of(lease.user_id, lease.run_id), run),
                    *map(encoded, (lease.token, owner, thread_id, message_id, digest)),
                ),
            )
            if claimed == 0:
                raise ConfigurationError("run ids must be new; this one is another message's")
            if claimed == 1:
                return RunRecord(
                    run_id=lease.run_id,
                    thread_id=thread_id,
                    message_id=message_id,
                    digest=digest,
                    status="queued",
                    first_seq=1,
                    last_seq=0,
                )
            (found,) = await self._look(keys, (text(claimed),))
            if found is not None:  # else the user was forgotten just now
                return found.record

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        """The run that was claimed for this message of the user."""
        keys = self._keys.user(user_id)
        claimed = await self._calls.ask(scripts.FIND, (keys.runs,), (encoded(message_id),))
        if claimed is None:
            return None
        (found,) = await self._look(keys, (text(claimed),))
        return None if found is None else found.record

    # Events.

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        """Append events to the run, all of them or none.

        Appends of several runs that are made at once go to the server together.

        Raises:
            LeaseLost: the token is not the run's, the run is unknown or ended, or the events do
                not continue it. Also where the server has lost events that it had.
            RedisLogError: the server, or the way to it, is in trouble.
        """
        self._calls.check_open()
        if not events:
            return
        first = events[0].seq
        if first < 1:
            raise LeaseLost(f"event {first} does not continue any run; the first is 1")
        words: list[str] = []
        for seq, (kind, payload, own_seq, timestamp) in enumerate(events, first):
            if seq != own_seq:
                raise LeaseLost(f"event {own_seq} does not continue events up to {seq - 1}")
            words += (f"{kind} {float(timestamp)!r}", payload)
        if any(event.type in TERMINAL for event in events[:-1]):
            raise LeaseLost("an event follows the end of the run")
        user_id, run_id, token = lease
        keys, run = self._keys.user(user_id), encoded(run_id)
        last = events[-1].type
        status = STATUS_AFTER.get(last, "running")
        what = f"{keys.user}:{run} {encoded(token)} {first} {len(events)} {status}"
        shard: tuple[str, ...] = self._keys.wakes(keys.shard)
        part: tuple[str, ...] = (keys.runs, keys.events + run)
        script = scripts.APPEND
        if last in TERMINAL:
            script = scripts.END
            shard, part = (*shard, self._keys.leases(keys.shard)), (*part, keys.ends)
        head = Part(shard, (self._appending,))
        match text(await self._calls.ask(script, part, (what, *words), head)):
            case "done":
                pass
            case "lease":
                raise LeaseLost("the run is unknown, or another's by now")
            case "ended":
                raise LeaseLost("the run has ended")
            case known:
                raise LeaseLost(f"event {first} does not continue a run of {known}")

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        """The first ``limit`` events whose ``seq`` is greater than ``after``; None for no run."""
        keys, run = self._keys.user(user_id), encoded(run_id)
        answer = await self._calls.ask(
            scripts.READ, (keys.runs, keys.events + run), (run, max(after + 1, 0), limit)
        )
        if answer is None:
            return None
        return page_of(answer)

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        """The run, or None."""
        (found,) = await self._look(self._keys.user(user_id), (encoded(run_id),))
        return None if found is None else found.record

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        """The newest ``limit`` runs of a user's thread, or of its unended ones; oldest first."""
        keys = self._keys.user(user_id)
        thread = encoded(thread_id)
        if unended:
            listed = text(await self._calls.ask(scripts.UNENDED, (keys.runs,), (thread,)))
            newest = listed.split()[::-1][:limit]
        else:
            newest = texts(await self._calls.ask(scripts.THREAD, (keys.runs,), (thread, limit)))
        looked = await self._look(keys, newest[::-1])
        return [found.record for found in looked if found is not None]

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        """Have ``wake`` called after each append to the run, until what is returned is called.

        Also called when the server was lost and is back, for whatever was missed.
        """
        self._calls.check_open()
        shard = self._keys.user(user_id).shard
        reader = self._wake_readers.get(shard)
        if reader is None:
            reader = WakeReader(self._reading, self._keys.wakes(shard)[0], self._last_seqs)
            self._wake_readers[shard] = reader
        return reader.follow(member_of(user_id, run_id), wake)

    async def _last_seqs(self, user_id: str, run_ids: Sequence[str]) -> Sequence[int | None]:
        found = await self._look(self._keys.user(user_id), [encoded(run_id) for run_id in run_ids])
        return [None if one is None else one.record.last_seq for one in found]

    # Notices.

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        """Tell the owner of a run something; whether there is such a run that has not ended."""
        (found,) = await self._look(self._keys.user(user_id), (encoded(run_id),))
        if found is None or found.record.is_ended:
            return False
        await self._calls.ask(
            scripts.TELL,
            self._keys.notices(found.owner),
            (_NOTICES_KEPT, _NEWS_HELD, member_of(user_id, run_id), notice),
        )
        return True

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        """Have ``tell`` called for each notice of the owner's runs: user id, run id, notice.

        An owner is one process's, and its name is not used again. Where the server has lost
        something, or a client has asked again, a notice may be told twice.
        """
        self._calls.check_open()
        reader = self._notice_readers.get(owner)
        if reader is None:
            ended = partial(self._notice_readers.pop, owner, None)
            reader = NoticeReader(self._reading, self._keys.notices(owner)[0], ended)
            self._notice_readers[owner] = reader
        return reader.follow(tell)

    # Leases.

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        """Keep the leases for so long from now, by the server's clock; those that were lost.

        Raises:
            RedisLogError: the server, or the way to it, is in trouble. Some leases may have been
                renewed; to renew them again is sound.
        """
        self._calls.check_open()
        arguments = (self._ahead, _milliseconds(lease_seconds), self._hold)
        answers = await self._calls.ask_each(
            scripts.RENEW, [self._leased(lease, arguments) for lease in leases]
        )
        for answer in answers:
            if isinstance(answer, RedisLogError):
                raise answer
        return [lease for lease, answer in zip(leases, answers, strict=True) if not answer]

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        """Take over runs whose lease has expired, each with a new token; each in an atomic step.

        Raises:
            RedisLogError: the server, or the way to it, is in trouble. Runs that were taken all
                the same have leases that expire.
        """
        self._calls.check_open()
        shards = [
            Part((self._keys.leases(shard),), (self._ahead, limit)) for shard in range(SHARDS)
        ]
        expired = await self._calls.ask_each(scripts.EXPIRED, [(None, part) for part in shards])
        members = [
            member
            for found in expired
            if not isinstance(found, RedisLogError)
            for member in texts(found)
        ]
        leases = [Lease(*parts_of(member), new_id()) for member in members[:limit]]
        arguments = (self._ahead, _milliseconds(lease_seconds), self._hold, encoded(owner))
        answers = await self._calls.ask_each(
            scripts.TAKE, [self._leased(lease, arguments) for lease in leases]
        )
        return [
            TakenRun(lease, FoundRun(answer, lease.run_id).record)
            for lease, answer in zip(leases, answers, strict=True)
            if answer and not isinstance(answer, RedisLogError)
        ]

    def _leased(self, lease: Lease, arguments: tuple[str | int, ...]) -> tuple[Part, Part]:
        """What a script needs that does the same for several leases."""
        user_id, run_id, token = lease
        keys, run = self._keys.user(user_id), encoded(run_id)
        return (
            Part((self._keys.leases(keys.shard),), arguments),
            Part(
                (keys.runs, keys.ends, keys.events + run),
                (member_of(user_id, run_id), run, encoded(token)),
            ),
        )

    # The end of a user, and of the log.

    async def forget(self, user_id: str) -> None:
        """Drop all that is known of a user: runs, events and claims. Idempotent.

        Raises:
            RedisLogError: the server, or the way to it, is in trouble, or new runs of the user
                came all the time.
        """
        keys = self._keys.user(user_id)
        for _ in range(_FORGETTINGS):
            listed = await self._calls.ask(scripts.RUNS, (keys.runs,))
            runs = texts(listed)
            members = [member_of(user_id, decoded(run)) for run in runs]
            is_done = await self._calls.ask(
                scripts.FORGET,
                (
                    *(*self._keys.wakes(keys.shard), self._keys.leases(keys.shard)),
                    *(keys.runs, keys.ends),
                    *(keys.events + run for run in runs),
                ),
                (self._hold, _NEWS_HELD, *chain.from_iterable(zip(members, runs, strict=True))),
            )
            if is_done:
                return
        raise RedisLogError(
            "tried to forget a user, expected to come to an end, got new runs each time: have the "
            "user's sessions closed; then ask again"
        )

    async def aclose(self) -> None:
        """End what reads, and wait for it; the client stays open. Idempotent.

        Calls under way raise `EventLogError`; what they were for may have happened.
        """
        # All are cancelled before any of them goes on.
        await asyncio.gather(
            self._calls.aclose(),
            *(reader.aclose() for reader in self._wake_readers.values()),
            *(reader.aclose() for reader in self._notice_readers.values()),
        )

    # What the methods share.

    @property
    def _ahead(self) -> int:
        return round(self._seconds_ahead * 1000)

    @property
    def _appending(self) -> str:
        return f"{self._ahead} {self._bound} {self._keep} {self._hold} {_NEWS_HELD}"

    async def _look(self, keys: UserKeys, runs: Sequence[str]) -> Sequence[FoundRun | None]:
        """What is known of a user's runs, whose ids are encoded."""
        self._calls.check_open()
        if not runs:
            return ()
        answers = await self._calls.ask(
            scripts.LOOK, (keys.runs, *(keys.events + run for run in runs)), runs
        )
        return [
            FoundRun(answer, decoded(run)) if answer else None
            for run, answer in zip(runs, cast("list[object]", answers), strict=True)
        ]


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
