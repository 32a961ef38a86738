"""What becomes of runs whose watchers leave, by the policy and by what the runs do.

The thread's run is that of the message ``old``, which takes 30 seconds; a message that waits
behind it is ``next``, and takes 5.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from agent_messaging import (
    ConfigurationError,
    Lease,
    MemoryEventLog,
    OnDisconnect,
    RunRecord,
    grace,
)
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site

Situation: TypeAlias = str


class History(NamedTuple):
    """What the log tells of the runs in the end: each event with the second it was decided in.

    last: the only watcher leaves, at 2 seconds.
    one_of_two: one of two watchers leaves.
    both: the other leaves a second later.
    back: the only watcher leaves; a second later another comes, and leaves after a second more.
    """

    last: str
    one_of_two: str
    both: str
    back: str


def always(history: str) -> History:
    return History(history, history, history, history)


COMPLETED: Final = "old started at 0, old completed at 30"
BOTH_COMPLETED: Final = (
    "old started at 0, old completed at 30, "
    "next queued 1 at 1, next started at 30, next completed at 35"
)


def cut(at: int) -> str:
    return f"old started at 0, old cancelled disconnected at {at}"


def both_cut(at: int) -> str:
    return f"{cut(at)}, next queued 1 at 1, next cancelled disconnected at {at}"


#: Stopped at 1 second; the agent takes 5 more to end, or never does. Who watches is no matter.
STOPPED: Final = always("old started at 0, old cancelled stopped at 6")
ABANDONED: Final = always("old started at 0, old cancelled stopped at 11")

TABLE: Final[dict[str, tuple[OnDisconnect, dict[Situation, History]]]] = {
    "cancel": (
        "cancel",
        {
            "idle": always(""),
            "running": History(cut(2), COMPLETED, cut(3), cut(2)),
            "queued": History(both_cut(2), BOTH_COMPLETED, both_cut(3), both_cut(2)),
            "stopping": STOPPED,
            "abandoned": ABANDONED,
            "draining": History(cut(2), COMPLETED, cut(3), cut(2)),
        },
    ),
    "detach": (
        "detach",
        {
            "idle": always(""),
            "running": always(COMPLETED),
            "queued": always(BOTH_COMPLETED),
            "stopping": STOPPED,
            "abandoned": ABANDONED,
            "draining": always(COMPLETED),
        },
    ),
    "grace": (
        grace(10),
        {
            "idle": always(""),
            "running": History(cut(12), COMPLETED, cut(13), cut(14)),
            "queued": History(both_cut(12), BOTH_COMPLETED, both_cut(13), both_cut(14)),
            "stopping": STOPPED,
            "abandoned": ABANDONED,
            "draining": History(cut(12), COMPLETED, cut(13), cut(14)),
        },
    ),
    "a grace that is long enough": (
        grace(40),
        {
            "running": always(COMPLETED),
            "queued": always(BOTH_COMPLETED),
        },
    ),
}

ROWS: Final = [
    pytest.param(policy, situation, history, id=f"{name}, {situation}")
    for name, (policy, situations) in TABLE.items()
    for situation, history in situations.items()
]


async def bring_about(situation: Situation, client: Connection) -> None:
    """Bring the thread into the situation, at 1 second, and wait for the next."""
    act = {"stopping": "tidy 5", "abandoned": "deaf 60"}.get(situation, "work 30")
    if situation != "idle":
        await client.chat(act, "old", "t")
    await asyncio.sleep(1)
    if situation == "queued":
        await client.chat("work 5", "next", "t")
    elif situation in {"stopping", "abandoned"}:
        await client.stop("old")
    elif situation == "draining":
        client.site.endpoint.start_draining()
    await asyncio.sleep(11 if situation == "abandoned" else 1)


@pytest.mark.parametrize(("policy", "situation", "history"), ROWS)
@pytest.mark.parametrize("watchers", History._fields)
def test_runs_that_are_left_end_as_the_policy_says(
    policy: OnDisconnect, situation: Situation, history: History, watchers: str
) -> None:
    async def main() -> None:
        async with Site(on_disconnect=policy) as site:
            first, second = await site.connect(), await site.connect()
            await bring_about(situation, first)
            if watchers in {"one_of_two", "both"}:
                await second.resume(thread_id="t")
            await first.close()
            await asyncio.sleep(1)
            if watchers == "back":
                await second.resume(thread_id="t")
                await asyncio.sleep(1)
            if watchers in {"both", "back"}:
                await second.close()
            await asyncio.sleep(60)
            assert await site.history("old", "next") == getattr(history, watchers)

    run_virtual(main())


class SlowClaims:
    """Takes a second over each claim."""

    def __init__(self) -> None:
        self.log = MemoryEventLog()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def claim(self, lease: Lease, **rest: Any) -> RunRecord:
        await asyncio.sleep(1)
        return await self.log.claim(lease, **rest)


@pytest.mark.parametrize(
    ("policy", "alone", "behind"),
    [
        (
            "cancel",
            "new started at 2, new cancelled disconnected at 2",
            "new queued 1 at 2, new cancelled disconnected at 2",
        ),
        (
            "detach",
            "new started at 2, new completed at 7",
            "new queued 1 at 2, new started at 31, new completed at 36",
        ),
        (
            grace(3),
            "new started at 2, new cancelled disconnected at 5",
            "new queued 1 at 2, new cancelled disconnected at 5",
        ),
    ],
)
def test_a_message_that_is_accepted_when_its_session_is_gone_is_left_already(
    policy: OnDisconnect, alone: str, behind: str
) -> None:
    async def main() -> None:
        log = SlowClaims()
        async with Site(log=log, on_disconnect=policy) as site:
            site.log = log.log
            other, gone, lonely = [await site.connect() for _ in range(3)]
            await other.chat("work 30", "old", "t")
            sent = [
                asyncio.create_task(gone.chat("work 5", "new", "t")),
                asyncio.create_task(lonely.chat("work 5", "alone", "t2")),
            ]
            await asyncio.sleep(0.5)
            await gone.close()
            await lonely.close()
            await asyncio.wait(sent)
            await asyncio.sleep(60)
            assert await site.history("new") == behind
            assert await site.history("alone") == alone.replace("new", "alone")

    run_virtual(main())


# Leaving, in each of its ways.


async def fail_to_send(client: Connection) -> None:
    client.transport.fail()
    await client.send("ping")


LEAVE: Final[dict[str, Callable[[Connection], Awaitable[None]]]] = {
    "the host closes the session": lambda client: client.close(),
    "the client sends disconnect": lambda client: client.send("disconnect"),
    "the transport fails": fail_to_send,
}


@pytest.mark.parametrize("way", LEAVE)
def test_the_policy_applies_whichever_way_the_last_watcher_leaves(way: str) -> None:
    async def main() -> None:
        async with Site(on_disconnect=grace(10)) as site:
            client = await site.connect()
            await client.chat("work 30", "old", "t")
            await asyncio.sleep(2)
            await LEAVE[way](client)
            await asyncio.sleep(20)
            assert await site.history("old") == cut(12)

    run_virtual(main())


def test_a_retry_takes_a_run_up_again_that_was_left() -> None:
    async def main() -> None:
        async with Site(on_disconnect=grace(10)) as site:
            gone, back = await site.connect(), await site.connect()
            await gone.chat("work 30", "old", "t")
            await asyncio.sleep(2)
            await gone.close()
            await asyncio.sleep(9)
            await back.chat("work 30", "old", "t")
            assert await back.heard() == "old started"
            await asyncio.sleep(30)
            assert await back.heard() == "old completed"

    run_virtual(main())


def test_one_that_is_still_being_told_what_it_missed_watches() -> None:
    async def main() -> None:
        async with Site(on_disconnect="cancel") as site:
            first, second = await site.connect(), await site.connect()
            await first.chat("work 30", "old", "t")
            second.transport.hang()
            await second.resume(thread_id="t")
            await first.close()
            await asyncio.sleep(20)
            second.transport.read_on()
            await asyncio.sleep(20)
            assert await second.heard() == "resumed old 1-1 running, old started, old completed"

    run_virtual(main())


def test_a_stop_in_the_grace_of_a_run_that_was_left_is_the_stop_of_the_run() -> None:
    async def main() -> None:
        async with Site(on_disconnect=grace(10)) as site:
            gone, other = await site.connect(), await site.connect()
            await gone.chat("tidy 5", "old", "t")
            await asyncio.sleep(2)
            await gone.close()
            await asyncio.sleep(9)
            await other.stop("old")
            await asyncio.sleep(20)
            assert await other.heard() == "stopped old"
            # The grace would have been over at 12.
            assert await site.history("old") == "old started at 0, old cancelled stopped at 16"

    run_virtual(main())


def test_a_run_that_had_ended_is_reported_as_soon_as_nobody_watches() -> None:
    async def main() -> None:
        async with Site(on_disconnect="detach") as site:
            client = await site.connect()
            await client.chat("work 2", "old")
            client.transport.hang()
            await asyncio.sleep(3)
            assert site.finished == []
            await client.close()
            (finished,) = site.finished
            assert finished.report.undelivered == 1

    run_virtual(main())


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", None])
def test_a_grace_is_a_positive_number_of_seconds(seconds: object) -> None:
    with pytest.raises(ConfigurationError, match="grace"):
        grace(seconds)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
