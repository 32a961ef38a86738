"""What becomes of a message on a thread, by the policy and by what the thread does already.

The thread is ``t``. Its run, where it has one, is that of the message ``old``; a message that
waits behind it is ``next``; the message that comes is ``new``. Each has seconds to work.
"""

import asyncio
from typing import Final, NamedTuple, TypeAlias

import pytest

from agent_messaging import Limits, ThreadPolicy
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site

Situation: TypeAlias = str


class Heard(NamedTuple):
    """What a connection hears until all is over.

    one: the only one: it sent ``old``, and sends ``new``.
    other: another tab that watches ``old`` and ``next``, and sends nothing.
    fresh: where nobody watches ``old`` and ``next`` any more, the one that sends ``new``.
    """

    one: str
    other: str
    fresh: str


WHOLE_NEW: Final = "new started, new completed"

#: Before ``new`` comes, everybody who watches has heard what there was to hear.
TABLE: Final[dict[ThreadPolicy, dict[Situation, Heard]]] = {
    "queue": {
        "idle": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "running": Heard(
            one="new queued 1, old completed, new started, new completed",
            other="old completed",
            fresh="new queued 1, new started, new completed",
        ),
        "queued": Heard(
            one="new queued 2, old completed, next started, next completed, "
            "new started, new completed",
            other="old completed, next started, next completed",
            fresh="new queued 2, new started, new completed",
        ),
        "stopping": Heard(
            one="new queued 1, old cancelled stopped, stopped old, new started, new completed",
            other="old cancelled stopped",
            fresh="new queued 1, new started, new completed",
        ),
        "abandoned": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "draining": Heard(
            one="error shutting_down new, old completed",
            other="old completed",
            fresh="error shutting_down new",
        ),
    },
    "reject": {
        "idle": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "running": Heard(
            one="error thread_busy new, old completed",
            other="old completed",
            fresh="error thread_busy new",
        ),
        # Under this policy the message that would wait was refused.
        "queued": Heard(
            one="error thread_busy new, old completed",
            other="old completed",
            fresh="error thread_busy new",
        ),
        "stopping": Heard(
            one="error thread_busy new, old cancelled stopped, stopped old",
            other="old cancelled stopped",
            fresh="error thread_busy new",
        ),
        "abandoned": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "draining": Heard(
            one="error shutting_down new, old completed",
            other="old completed",
            fresh="error shutting_down new",
        ),
    },
    "replace": {
        "idle": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "running": Heard(
            one="new queued 1, old cancelled replaced, new started, new completed",
            other="old cancelled replaced",
            fresh="new queued 1, new started, new completed",
        ),
        # As ``next`` came, it replaced ``old``, which takes seconds to end.
        "queued": Heard(
            one="next cancelled replaced, new queued 1, old cancelled replaced, "
            "new started, new completed",
            other="next cancelled replaced, old cancelled replaced",
            fresh="new queued 1, new started, new completed",
        ),
        "stopping": Heard(
            one="new queued 1, old cancelled stopped, stopped old, new started, new completed",
            other="old cancelled stopped",
            fresh="new queued 1, new started, new completed",
        ),
        "abandoned": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "draining": Heard(
            one="error shutting_down new, old completed",
            other="old completed",
            fresh="error shutting_down new",
        ),
    },
    "parallel": {
        "idle": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "running": Heard(
            one="new started, new completed, old completed",
            other="old completed",
            fresh="new started, new completed",
        ),
        # Under this policy nothing waits: ``next`` runs too.
        "queued": Heard(
            one="new started, new completed, old completed, next completed",
            other="old completed, next completed",
            fresh="new started, new completed",
        ),
        "stopping": Heard(
            one="new started, new completed, old cancelled stopped, stopped old",
            other="old cancelled stopped",
            fresh="new started, new completed",
        ),
        "abandoned": Heard(
            one="new started, new completed",
            other="",
            fresh="new started, new completed",
        ),
        "draining": Heard(
            one="error shutting_down new, old completed",
            other="old completed",
            fresh="error shutting_down new",
        ),
    },
}

ROWS: Final = [
    pytest.param(policy, situation, heard, id=f"{policy}, {situation}")
    for policy, situations in TABLE.items()
    for situation, heard in situations.items()
]


async def bring_about(situation: Situation, policy: ThreadPolicy, client: Connection) -> None:
    """Bring the thread into the situation."""
    endpoint = client.site.endpoint
    if situation == "idle":
        return
    if situation == "abandoned":
        await client.chat("deaf 60", "old", "t")
    elif situation == "stopping" or (policy, situation) == ("replace", "queued"):
        await client.chat("tidy 5", "old", "t")
    else:
        await client.chat("work 5", "old", "t")
    await client.heard()
    if situation == "queued":
        await client.chat("work 5", "next", "t")
    elif situation == "draining":
        endpoint.start_draining()
    elif situation != "running":
        await client.stop("old")
    if situation == "abandoned":
        await asyncio.sleep(11)
    await client.heard()


@pytest.mark.parametrize(("policy", "situation", "heard"), ROWS)
def test_a_message_on_a_watched_thread_does_what_the_policy_says(
    policy: ThreadPolicy, situation: Situation, heard: Heard
) -> None:
    async def main() -> None:
        async with Site(thread_policy=policy, on_disconnect="detach") as site:
            one, other = await site.connect(), await site.connect()
            await bring_about(situation, policy, one)
            await other.resume(thread_id="t")
            await other.heard()
            await one.chat("work 1", "new", "t")
            await asyncio.sleep(30)
            assert await one.heard() == heard.one
            assert await other.heard() == heard.other

    run_virtual(main())


@pytest.mark.parametrize(("policy", "situation", "heard"), ROWS)
def test_a_message_on_a_thread_that_nobody_watches_does_what_the_policy_says(
    policy: ThreadPolicy, situation: Situation, heard: Heard
) -> None:
    async def main() -> None:
        async with Site(thread_policy=policy, on_disconnect="detach") as site:
            gone = await site.connect()
            await bring_about(situation, policy, gone)
            await gone.close()
            fresh = await site.connect()
            await fresh.chat("work 1", "new", "t")
            await asyncio.sleep(30)
            assert await fresh.heard() == heard.fresh

    run_virtual(main())


@pytest.mark.parametrize("policy", TABLE)
def test_other_threads_and_other_users_are_no_business_of_a_thread(policy: ThreadPolicy) -> None:
    async def main() -> None:
        async with Site(thread_policy=policy) as site:
            one, stranger = await site.connect(), await site.connect("u2")
            await one.chat("work 5", "old", "t")
            await one.heard()
            await one.chat("answer", "elsewhere", "t2")
            assert await one.heard() == "elsewhere started, elsewhere completed"
            await stranger.chat("answer", "theirs", "t")
            assert await stranger.heard() == "theirs started, theirs completed"
            assert await one.heard() == ""

    run_virtual(main())


# The bounds of each policy.


def test_a_queue_is_worked_off_in_its_order_and_each_hears_its_place_once() -> None:
    async def main() -> None:
        async with Site() as site:
            one = await site.connect()
            for name in ("a", "b", "c"):
                await one.chat("work 1", name, "t")
            assert await one.heard() == "a started, b queued 1, c queued 2"
            await asyncio.sleep(1)
            assert await one.heard() == "a completed, b started"
            await one.chat("answer", "d", "t")
            assert await one.heard() == "d queued 2"
            await asyncio.sleep(2)
            assert await one.heard() == (
                "b completed, c started, c completed, d started, d completed"
            )

    run_virtual(main())


def test_a_full_queue_refuses_and_takes_again_when_one_has_gone() -> None:
    async def main() -> None:
        async with Site(limits=Limits(queued_per_thread=2)) as site:
            one = await site.connect()
            for name in ("a", "b", "c", "d"):
                await one.chat("work 1", name, "t")
            assert await one.heard() == "a started, b queued 1, c queued 2, error queue_full d"
            await one.stop("b")
            await one.chat("work 1", "d", "t")
            assert await one.heard() == "b cancelled stopped, stopped b, d queued 2"
            assert site.endpoint.stats()["refusals"] == {"queue_full": 1}

    run_virtual(main())


def test_replacing_a_full_queue_is_no_matter_of_its_bound() -> None:
    async def main() -> None:
        async with Site(thread_policy="replace", limits=Limits(queued_per_thread=1)) as site:
            one = await site.connect()
            await one.chat("tidy 5", "a", "t")
            await one.heard()
            for name in ("b", "c", "d"):
                await one.chat("answer", name, "t")
            assert await one.heard() == (
                "b queued 1, b cancelled replaced, c queued 1, c cancelled replaced, d queued 1"
            )
            await asyncio.sleep(5)
            assert await one.heard() == "a cancelled replaced, d started, d completed"

    run_virtual(main())


@pytest.mark.parametrize("policy", ["queue", "replace"])
def test_what_waits_takes_the_place_of_what_ends_and_no_other(policy: ThreadPolicy) -> None:
    async def main() -> None:
        async with Site(thread_policy=policy, limits=Limits(runs_per_user=2)) as site:
            one = await site.connect()
            await one.chat("tidy 5", "a", "t1")
            await one.chat("work 9", "b", "t2")
            await one.heard()
            await one.chat("work 9", "c", "t3")
            assert await one.heard() == "error too_many_runs c"
            await one.chat("work 9", "d", "t1")
            assert await one.heard() == "d queued 1"
            await one.stop("a")
            await asyncio.sleep(5)
            heard = await one.heard()
            assert heard.endswith("d started")
            await one.chat("work 9", "c", "t3")
            assert await one.heard() == "error too_many_runs c"
            assert site.endpoint.users()["u1"]["runs_in_flight"] == 2

    run_virtual(main())


def test_parallel_runs_of_one_thread_count_against_the_users_runs() -> None:
    async def main() -> None:
        async with Site(thread_policy="parallel", limits=Limits(runs_per_user=2)) as site:
            one = await site.connect()
            for name in ("a", "b", "c"):
                await one.chat("work 5", name, "t")
            assert await one.heard() == "a started, b started, error too_many_runs c"
            await one.stop(thread_id="t")
            assert await one.heard() == ("a cancelled stopped, b cancelled stopped, stopped a b")
            await one.chat("answer", "c", "t")
            assert await one.heard() == "c started, c completed"

    run_virtual(main())


def test_a_message_that_is_refused_replaces_nothing() -> None:
    async def main() -> None:
        limits = Limits(messages_per_minute=1)
        async with Site(thread_policy="replace", limits=limits) as site:
            one = await site.connect()
            await one.chat("work 5", "a", "t")
            await one.chat("work 5", "b", "t")
            assert await one.heard() == "a started, error rate_limited b"
            await asyncio.sleep(5)
            assert await one.heard() == "a completed"

    run_virtual(main())
