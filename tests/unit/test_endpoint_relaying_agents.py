"""Agents that relay their own end, and do not return."""

import asyncio
from contextlib import suppress
from typing import Final

import pytest

from agent_messaging import MessageType, Run
from agent_messaging.testing import run_virtual
from support.endpoints import Site, now

#: Seconds after which the agents give up, long after every test has seen what it came for.
_GIVE_UP: Final = 500.0

#: An endpoint's default, in seconds.
_CANCEL_GRACE: Final = 10.0


async def relaying(run: Run) -> None:
    """Says that it completed, and goes on; deaf, or as long as it likes."""
    await run.relay(MessageType.AGENT_COMPLETED, {"result": "all"})
    while run.request == "deaf" and now() < _GIVE_UP:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(_GIVE_UP - now())
    await asyncio.sleep(_GIVE_UP)


@pytest.mark.parametrize(("act", "seconds"), [("deaf", _CANCEL_GRACE), ("tidy", 0.0)])
def test_one_that_has_relayed_its_end_is_stopped_all_the_same(act: str, seconds: float) -> None:
    async def main() -> None:
        async with Site(relaying) as site:
            client = await site.connect()
            await client.chat(act, "old", "t")
            assert await client.heard() == "old started, old completed"
            (going_on,) = site.endpoint.runs("u1")
            assert (going_on.state, going_on.watchers) == ("running", 0)
            began = now()
            await client.stop("old")
            if seconds:
                assert site.endpoint.runs("u1")[0].state == "stopping"
                await client.stop("old")
                await asyncio.sleep(seconds - 0.1)
                assert await client.heard() == ""
                await asyncio.sleep(0.1)
                assert await client.heard() == "stopped old, stopped old"
            else:
                assert await client.heard() == "stopped old"
            assert now() - began == pytest.approx(seconds, abs=0.1)
            (finished,) = site.finished
            assert finished.report.outcome is MessageType.AGENT_COMPLETED
            assert (finished.reason, finished.report.undelivered) == (None, 0)
            stats = site.endpoint.stats()
            assert (stats["runs_completed"], stats["runs_cancelled"]) == (1, 0)
            assert stats["agents_abandoned"] == (1 if seconds else 0)
            assert await site.history("old") == "old started at 0, old completed at 0"

    run_virtual(main())


def test_one_that_has_relayed_its_end_is_not_cut_because_nobody_watches_any_more() -> None:
    async def main() -> None:
        ended: list[float] = []

        async def agent(run: Run) -> None:
            await run.relay(MessageType.AGENT_COMPLETED, {})
            await asyncio.sleep(5)
            ended.append(now())

        async with Site(agent, on_disconnect="cancel") as site:
            client = await site.connect()
            await client.chat("x", "old")
            await client.close()
            await asyncio.sleep(10)
            assert ended == [pytest.approx(5, abs=0.1)]

    run_virtual(main())


def test_draining_returns_for_one_that_has_relayed_its_end() -> None:
    async def main() -> None:
        async with Site(relaying) as site:
            client = await site.connect()
            await client.chat("deaf", "old", "t")
            await client.chat("deaf", "waits", "t")
            await site.endpoint.drain(5)
            assert now() == pytest.approx(5 + _CANCEL_GRACE, abs=0.1)
            assert await client.heard() == (
                "old started, old completed, waits queued 1, waits cancelled shutdown"
            )

    run_virtual(main())
