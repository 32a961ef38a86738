"""What type checkers take for an event log, and what they know of its values; never run."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import assert_never, assert_type

from agent_messaging import (
    APPENDED,
    AgentMessageHandler,
    Endpoint,
    EventLog,
    EventPage,
    Lease,
    LoggedEvent,
    MemoryEventLog,
    MessageType,
    Notice,
    RunRecord,
    RunStatus,
    TakenRun,
)
from agent_messaging.eventlog.sqlite import Reason, SqliteEventLog, SqliteLogError


class DerivesNothing:
    """A log of a host's, which inherits from nothing; its append is a coroutine function."""

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
        raise NotImplementedError

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return None

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None: ...

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return None

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return None

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> list[RunRecord]:
        return []

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        return print

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return False

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return print

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> list[Lease]:
        return list(leases)

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> tuple[TakenRun, ...]:
        return ()

    async def forget(self, user_id: str) -> None: ...

    async def aclose(self) -> None: ...


class AppendsAtOnce(DerivesNothing):
    """A log whose append is done when it returns."""

    def append(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, lease: Lease, events: Sequence[LoggedEvent]
    ) -> Awaitable[None]:
        return APPENDED


class DerivesTheContract(EventLog):
    """A log that does name the protocol, and so hears of a method with other arguments."""

    async def find_run(self, user_id: str) -> RunRecord | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


class CannotForget:
    """Everything but one method."""

    claim = DerivesNothing.claim
    find_claim = DerivesNothing.find_claim
    append = DerivesNothing.append
    read = DerivesNothing.read
    find_run = DerivesNothing.find_run
    runs = DerivesNothing.runs
    follow = DerivesNothing.follow
    notify = DerivesNothing.notify
    follow_notices = DerivesNothing.follow_notices
    renew = DerivesNothing.renew
    take_expired = DerivesNothing.take_expired
    aclose = DerivesNothing.aclose


class BlocksTheLoop(DerivesNothing):
    def read(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, user_id: str, run_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        return None


def a_log_is_whatever_has_its_methods(handler: AgentMessageHandler) -> None:
    logs: list[EventLog] = [MemoryEventLog(), DerivesNothing(), AppendsAtOnce()]
    for log in logs:
        Endpoint(handler, log=log)
    Endpoint(handler, log=CannotForget())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint(handler, log=BlocksTheLoop())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint(handler, log=MemoryEventLog)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def what_a_log_gives(log: EventLog, lease: Lease) -> None:
    record = await log.claim(
        lease, thread_id="t1", message_id="m1", digest="d", owner="o", lease_seconds=30
    )
    assert_type(record, RunRecord)
    assert_type(await log.find_claim("u1", "m1"), RunRecord | None)
    assert_type(await log.find_run("u1", "r1"), RunRecord | None)
    assert_type(await log.runs("u1", "t1", limit=10), Sequence[RunRecord])
    assert_type(await log.read("u1", "r1", after=0, limit=10), EventPage | None)
    assert_type(log.append(lease, ()), Awaitable[None])
    assert_type(log.follow("u1", "r1", print), Callable[[], None])
    assert_type(log.follow_notices("o", print), Callable[[], None])
    assert_type(await log.notify("u1", "r1", "stop"), bool)
    assert_type(await log.renew([lease], 30), Sequence[Lease])
    assert_type(await log.take_expired("o", 30, limit=10), Sequence[TakenRun])
    assert_type(await log.forget("u1"), None)
    assert_type(await log.aclose(), None)
    assert_type(APPENDED, Awaitable[None])
    await log.read("u1", "r1", 0, 10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await log.claim(lease, "t1", "m1", "d", "o", 30)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    log.follow("u1", "r1", lambda: None)  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]


def its_values_are_typed(
    event: LoggedEvent, page: EventPage, record: RunRecord, taken: TakenRun
) -> str:
    assert_type(event.type, MessageType)
    assert_type(event.payload, str)
    assert_type(event.seq, int)
    assert_type(event.timestamp, float)
    assert_type(page.events, Sequence[LoggedEvent])
    assert_type(page.first_seq, int)
    assert_type(page.last_seq, int)
    assert_type(page.status, RunStatus)
    assert_type(page.is_ended, bool)
    assert_type(record.run_id, str)
    assert_type(record.thread_id, str)
    assert_type(record.message_id, str)
    assert_type(record.digest, str)
    assert_type(record.first_seq, int)
    assert_type(record.last_seq, int)
    assert_type(record.is_ended, bool)
    assert_type(taken.lease, Lease)
    assert_type(taken.lease.user_id, str)
    assert_type(taken.lease.run_id, str)
    assert_type(taken.lease.token, str)
    assert_type(taken.record, RunRecord)
    event.seq = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    LoggedEvent("agent_thinking", "{}", 1, 0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    match record.status:
        case "queued" | "running":
            return "goes on"
        case "completed" | "failed" | "cancelled":
            return "ended"
        case _:
            assert_never(record.status)


def a_record_is_of_one_moment(record: RunRecord) -> None:
    record.status = "failed"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def the_memory_log_is_bounded_by_name() -> None:
    MemoryEventLog(
        runs_per_user=1,
        events_per_user=1,
        bytes_per_user=1,
        runs=1,
        events=1,
        bytes=1,
        claims_per_user=1,
        claims=1,
        claim_seconds=86_400.5,
        clock=lambda: 0.0,
    )
    MemoryEventLog(10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    MemoryEventLog(runs=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    MemoryEventLog(events=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_log_in_a_file_is_an_event_log(path: Path) -> None:
    log: EventLog = SqliteEventLog(path)
    await log.aclose()
    async with SqliteEventLog(
        "events.db",
        durability="power",
        runs_per_user=1,
        events_per_user=1,
        keep_seconds=0.5,
        claim_seconds=86_400,
        max_bytes=None,
        waiting_calls=1,
        busy_seconds=0.5,
        poll_seconds=0.5,
        clock=lambda: 0.0,
    ) as opened:
        assert_type(opened, SqliteEventLog)
    SqliteEventLog(path, durability="paper")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SqliteEventLog(path, "power")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_log_in_a_file_says_what_is_the_matter(error: SqliteLogError) -> str:
    assert_type(error.message, str)
    assert_type(error.reason, Reason)
    match error.reason:
        case "locked" | "full" | "read_only":
            return "reading goes on"
        case "corrupt" | "newer_schema" | "foreign" | "io":
            return "nothing goes on"
        case _:
            assert_never(error.reason)


def what_a_log_in_a_file_says_stays(error: SqliteLogError) -> None:
    error.reason = "io"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
