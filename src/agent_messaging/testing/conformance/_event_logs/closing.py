"""Cases: a log that was closed says so."""

from collections.abc import Awaitable, Callable

from agent_messaging import EventLog, EventLogError, Lease
from agent_messaging.testing.conformance._event_logs.trial import (
    LEASE_SECONDS,
    MakeLog,
    Wakes,
    event,
    opened,
)
from agent_messaging.testing.conformance._expect import ConformanceError

LEASE = Lease("ann", "run", "token of ann for run")


async def _append(log: EventLog) -> None:
    await log.append(LEASE, (event(1),))


async def _claim(log: EventLog) -> None:
    await log.claim(
        Lease("ann", "new", "t"),
        thread_id="thread",
        message_id="new",
        digest="digest",
        owner="owner",
        lease_seconds=LEASE_SECONDS,
    )


async def _follow(log: EventLog) -> None:
    log.follow("ann", "run", Wakes().wake)


async def _follow_notices(log: EventLog) -> None:
    log.follow_notices("owner", lambda user_id, run_id, notice: None)


#: A call of each method but `aclose`, as it would do well on a log that is open.
CALLS: dict[str, Callable[[EventLog], Awaitable[object]]] = {
    "claim": _claim,
    "find_claim": lambda log: log.find_claim("ann", "message of run"),
    "append": _append,
    "read": lambda log: log.read("ann", "run", after=0, limit=9),
    "find_run": lambda log: log.find_run("ann", "run"),
    "runs": lambda log: log.runs("ann", "thread", limit=9),
    "follow": _follow,
    "notify": lambda log: log.notify("ann", "run", "stop"),
    "follow_notices": _follow_notices,
    "renew": lambda log: log.renew([LEASE], LEASE_SECONDS),
    "take_expired": lambda log: log.take_expired("owner", LEASE_SECONDS, limit=9),
    "forget": lambda log: log.forget("ann"),
}


async def every_method_of_a_log_that_is_closed_raises(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("run")
        await trial.log.aclose()
        for name, call in CALLS.items():
            try:
                await call(trial.log)
            except EventLogError:
                continue
            raise ConformanceError(f"{name} of a closed log raised no EventLogError")


async def a_log_may_be_closed_again(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("run")
        await trial.log.aclose()
        await trial.log.aclose()


async def a_log_that_was_never_used_may_be_closed(make_log: MakeLog) -> None:
    async with opened(make_log):
        pass


async def who_follows_may_leave_after_the_log_was_closed(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("run")
        unfollow = trial.log.follow("ann", "run", Wakes().wake)
        unfollow_notices = trial.log.follow_notices("owner", lambda user_id, run_id, notice: None)
        await trial.log.aclose()
        unfollow()
        unfollow_notices()
