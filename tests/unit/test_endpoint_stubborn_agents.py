"""Agents that do not end when they are cancelled: nothing that an endpoint does waits for them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest

from agent_messaging import AgentMessageHandler, LifecycleError, MessageType, Run
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site, now, worker
from support.lines import own_records

#: Seconds after which the agents give up, long after every test has seen what it came for.
_GIVE_UP: Final = 500.0

#: An endpoint's defaults, in seconds.
_CANCEL_GRACE: Final = 10.0
_DRAIN_TIMEOUT: Final = 30.0

Agent = Callable[[Run], Awaitable[object]]


async def deaf(run: Run) -> str:
    """Swallows every cancellation."""
    while now() < _GIVE_UP:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(_GIVE_UP - now())
    return "at last"


async def shielding(run: Run) -> str:
    """Sees an inner task out, whatever happens."""
    inner = asyncio.create_task(asyncio.sleep(_GIVE_UP), name="an agent's own")
    try:
        await asyncio.shield(inner)
    finally:
        await inner
    return "at last"


async def babbling(run: Run) -> str:
    """Emits for ever, and takes no notice of anything."""
    while now() < _GIVE_UP:
        with suppress(asyncio.CancelledError, LifecycleError):
            await run.chunk("still here")
            await asyncio.sleep(1)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
    return "at last"


AGENTS: Final = [deaf, shielding, babbling]


def stubborn(agent: Agent) -> Agent:
    """The agent for messages that ask for it; `worker` for all others."""

    async def either(run: Run) -> object:
        return await (agent(run) if run.request == "stubborn" else worker(run))

    return either


def beside_chunks(heard: str) -> str:
    """What was heard, without what the agent babbled."""
    return ", ".join(words for words in heard.split(", ") if not words.endswith("still here"))


async def begin(site: Site) -> Connection:
    """A client whose message ``old`` keeps the thread ``t`` busy, at 0 seconds."""
    client = await site.connect()
    await client.chat("stubborn", "old", "t")
    assert beside_chunks(await client.heard()) == "old started"
    return client


async def see_silence(client: Connection) -> None:
    """See that nothing more of the run comes, though its agent goes on until it gives up."""
    await client.heard()
    await asyncio.sleep(2 * _GIVE_UP)
    assert await client.heard() == ""


def see_counts(site: Site, *, alive: int) -> None:
    stats = site.endpoint.stats()
    assert (stats["agents_abandoned"], stats["agents_abandoned_alive"]) == (1, alive)
    assert stats["runs_cancelled"] == 1
    assert (
        len([each for each in site.finished if each.report.outcome == MessageType.AGENT_CANCELLED])
        == 1
    )


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("target", ["run", "thread"])
def test_a_stop_returns_and_frees_the_thread(agent: Agent, target: str) -> None:
    async def main() -> None:
        async with Site(stubborn(agent)) as site:
            client = await begin(site)
            if target == "run":
                await client.stop("old")
            else:
                await client.stop(thread_id="t")
            await asyncio.sleep(_CANCEL_GRACE - 0.1)
            assert beside_chunks(await client.heard()) == ""
            await asyncio.sleep(0.1)
            assert beside_chunks(await client.heard()) == "old cancelled stopped, stopped old"
            see_counts(site, alive=1)
            await client.chat("answer", "new", "t")
            assert await client.heard() == "new started, new completed"
            await see_silence(client)
            see_counts(site, alive=0)

    run_virtual(main())


@pytest.mark.parametrize("agent", AGENTS)
def test_one_that_is_replaced_gives_its_place_up(agent: Agent) -> None:
    async def main() -> None:
        async with Site(stubborn(agent), thread_policy="replace") as site:
            client = await begin(site)
            await client.chat("answer", "new", "t")
            await asyncio.sleep(_CANCEL_GRACE)
            assert beside_chunks(await client.heard()) == (
                "new queued 1, old cancelled replaced, new started, new completed"
            )
            see_counts(site, alive=1)
            await see_silence(client)

    run_virtual(main())


@pytest.mark.parametrize("agent", AGENTS)
def test_draining_returns(agent: Agent) -> None:
    async def main() -> None:
        async with Site(stubborn(agent)) as site:
            client = await begin(site)
            began = now()
            await site.endpoint.drain(5)
            assert now() - began == pytest.approx(5 + _CANCEL_GRACE)
            assert beside_chunks(await client.heard()) == "old cancelled shutdown"
            see_counts(site, alive=1)
            await see_silence(client)

    run_virtual(main())


@pytest.mark.parametrize("agent", AGENTS)
def test_leaving_the_endpoint_returns_though_the_agents_task_outlives_it(agent: Agent) -> None:
    async def main() -> None:
        async with Site(stubborn(agent)) as site:
            client = await begin(site)
            began = now()
        assert now() - began == pytest.approx(_DRAIN_TIMEOUT + _CANCEL_GRACE)
        assert beside_chunks(await client.heard()) == (
            "old cancelled shutdown, error shutting_down"
        )
        assert client.transport.closed == ["shutdown"]
        see_counts(site, alive=1)
        await see_silence(client)
        see_counts(site, alive=0)

    run_virtual(main())


@pytest.mark.parametrize("agent", AGENTS)
def test_leaving_by_an_exception_returns_too(agent: Agent) -> None:
    async def main() -> None:
        site = Site(stubborn(agent))

        async def host() -> None:
            async with site:
                await begin(site)
                raise ValueError("the host's")

        with pytest.raises(ValueError, match="the host's"):
            await host()
        assert now() == pytest.approx(_DRAIN_TIMEOUT + _CANCEL_GRACE, abs=0.1)
        see_counts(site, alive=1)

    run_virtual(main())


@pytest.mark.parametrize("agent", AGENTS)
def test_one_that_is_left_is_abandoned_too(agent: Agent) -> None:
    async def main() -> None:
        async with Site(stubborn(agent), on_disconnect="cancel") as site:
            client = await begin(site)
            await client.close()
            await asyncio.sleep(_CANCEL_GRACE)
            assert site.endpoint.runs("u1") == ()
            assert (await site.history("old")).endswith("old cancelled disconnected at 10")
            see_counts(site, alive=1)

    run_virtual(main())


@pytest.mark.parametrize("agent", AGENTS)
def test_whoever_comes_back_while_it_does_not_end_hears_the_end_in_time(agent: Agent) -> None:
    async def main() -> None:
        async with Site(stubborn(agent), on_disconnect="cancel") as site:
            client = await begin(site)
            await client.close()
            await asyncio.sleep(_CANCEL_GRACE / 2)
            back = await site.connect()
            await back.resume(thread_id="t")
            await asyncio.sleep(_CANCEL_GRACE / 2)
            assert (await back.heard()).endswith("old cancelled disconnected")
            assert now() == pytest.approx(_CANCEL_GRACE, abs=0.1)
            see_counts(site, alive=1)

    run_virtual(main())


@pytest.mark.parametrize("agent", AGENTS)
def test_forgetting_its_user_returns(agent: Agent) -> None:
    async def main() -> None:
        async with Site(stubborn(agent)) as site:
            client = await begin(site)
            began = now()
            await site.endpoint.forget("u1")
            assert now() - began == pytest.approx(_CANCEL_GRACE)
            assert client.ended() == "forgotten"
            see_counts(site, alive=1)
            assert site.endpoint.users() == {}

    run_virtual(main())


# Being abandoned.


def test_the_grace_is_the_endpoints_and_an_agent_that_ends_in_it_is_not_abandoned() -> None:
    async def main() -> None:
        async with Site(cancel_grace=3) as site:
            client = await site.connect()
            for name, act in (("in time", "deaf 2.9"), ("late", "deaf 3.1")):
                await client.chat(act, name)
                await client.stop(name)
                await client.heard()
                await asyncio.sleep(2.9)
                in_time = await client.heard()
                await asyncio.sleep(0.1)
                late = await client.heard()
                expected = f"{name} cancelled stopped, stopped {name}"
                assert (in_time, late) == ((expected, "") if name == "in time" else ("", expected))
            assert site.endpoint.stats()["agents_abandoned"] == 1

    run_virtual(main())


def test_what_an_abandoned_agent_emits_is_refused_and_its_result_is_nobodys() -> None:
    refusals: list[Exception] = []

    async def main() -> None:
        async def agent(run: Run) -> str:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.sleep(20)
            for emit in (run.thinking, run.chunk, run.progress):
                try:
                    await emit("late")
                except LifecycleError as refusal:
                    refusals.append(refusal)
            return "late"

        async with Site(agent) as site:
            client = await site.connect()
            await client.chat("x", "old")
            await client.stop("old")
            await asyncio.sleep(30)
            assert await client.heard() == "old started, old cancelled stopped, stopped old"
            assert len(refusals) == 3
            assert site.endpoint.stats()["runs_completed"] == 0

    run_virtual(main())


def test_an_abandoned_agent_that_returns_in_the_end_is_counted_once() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(stubborn(deaf))
        async with Site(handler=handler) as site:
            client = await begin(site)
            await client.stop("old")
            await asyncio.sleep(2 * _GIVE_UP)
            stats = handler.processing_stats
            assert (stats["runs_cancelled"], stats["runs_in_flight"]) == (1, 0)
            assert stats["durations"]["count"] == 1

    run_virtual(main())


def test_open_tools_of_an_abandoned_agent_are_interrupted() -> None:
    async def main() -> None:
        async def agent(run: Run) -> str:
            async with run.tool("search"):
                return await deaf(run)

        async with Site(agent) as site:
            client = await site.connect()
            await client.chat("x", "old")
            await client.stop("old")
            await asyncio.sleep(_CANCEL_GRACE)
            assert [frame["type"] for frame in client.frames[1:-1]] == [
                "agent_started",
                "tool_executing",
                "tool_completed",
                "agent_cancelled",
            ]
            assert client.frames[3]["payload"]["status"] == "interrupted"
            assert client.frames[4]["payload"]["duration_ms"] == 10_000

    run_virtual(main())


def test_an_abandoned_agent_is_logged_once_with_its_names_and_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> str:
        async with Site(stubborn(deaf)) as site:
            client = await begin(site)
            await client.stop("old")
            await asyncio.sleep(_CANCEL_GRACE)
            await client.stop("old")
            await asyncio.sleep(2 * _GIVE_UP)
            return site.run_id("old")

    run_id = run_virtual(main())
    (record,) = [each for each in own_records(caplog) if vars(each)["event"] == "agent_abandoned"]
    assert record.levelno == logging.ERROR
    fields = ("user_id", "thread_id", "run_id", "agent")
    assert [vars(record)[name] for name in fields] == ["u1", "t", run_id, "either"]


def test_what_an_abandoned_agent_raises_in_the_end_hurts_nobody() -> None:
    class Halt(BaseException):
        pass

    async def main() -> None:
        async def agent(run: Run) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.sleep(20)
            raise Halt

        async with Site(agent) as site:
            client = await site.connect()
            await client.chat("x", "old")
            await client.stop("old")
            await asyncio.sleep(30)
            assert await client.heard() == "old started, old cancelled stopped, stopped old"
            see_counts(site, alive=0)

    run_virtual(main())


def test_many_stubborn_agents_end_together_and_not_one_after_another() -> None:
    async def main() -> None:
        async with Site(stubborn(deaf)) as site:
            clients = [await site.connect(f"u{number}") for number in range(20)]
            for client in clients:
                await client.chat("stubborn", "old", "t")
                await client.chat("stubborn", "waits", "t")
            began = now()
            await site.endpoint.drain(1)
            assert now() - began == pytest.approx(1 + _CANCEL_GRACE)
            for client in clients:
                assert await client.heard() == (
                    "old started, waits queued 1, waits cancelled shutdown, old cancelled shutdown"
                )
            assert site.endpoint.stats()["agents_abandoned"] == 20

    run_virtual(main())
