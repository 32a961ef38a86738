"""What users of comparable libraries report: one test each for what belongs to the core.

The others come with their rooms: a run killed by a page reload (the endpoint's ``on_disconnect``),
a stop that reaches only one of several tasks (the endpoint's STOP_AGENT), a duplicate start after
a retry (the event log's claim), and a session cache keyed by thread alone (the sessions).
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agent_messaging import AgentMessageHandler, Run, TransportError
from agent_messaging.testing import RecordingTransport, run_virtual
from support import chat
from support.clients import Client
from support.loop import steps

SECRET = "hunter2"


async def golden(run: Run) -> str:
    await run.thinking("Looking")
    async with run.tool("search"):
        pass
    return run.request


async def fails_at_once(run: Run) -> None:
    raise ValueError(SECRET)


async def fails_late(run: Run) -> None:
    await golden(run)
    raise ValueError(SECRET)


async def fails_in_a_tool(run: Run) -> None:
    async with run.tool("search"):
        raise ValueError(SECRET)


async def fails_to_encode(run: Run) -> object:
    return {"key": {SECRET}}


async def emits_what_it_must_not(run: Run) -> None:
    await run.tool_completed("never opened")


def test_a_cancelled_run_has_its_terminal_event() -> None:
    """A terminal event missing on cancellation."""

    async def main() -> None:
        for moment in range(12):
            client = Client(AgentMessageHandler(golden), RecordingTransport(turns=1))
            task = client.start(chat())
            await steps(moment)
            task.cancel()
            await asyncio.wait([task])
            ends = {"agent_cancelled", "agent_completed"}
            assert [kind for kind in client.types if kind in ends] == client.types[-1:]
            assert bool(client.types) == (moment > 0), "only what was begun has an end"

    run_virtual(main())


def test_a_cancel_is_never_a_success_and_never_acknowledged() -> None:
    """A cancel reported as success; a cancelled handler acknowledged."""

    async def main() -> None:
        async def swallows(run: Run) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "as if nothing had been"
            return "never"

        handler = AgentMessageHandler(swallows)
        task = Client(handler).start(chat())
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert handler.processing_stats["messages_processed"] == 0
        assert handler.processing_stats["runs_cancelled"] == 1

    run_virtual(main())


def test_a_run_is_not_left_running_for_nobody() -> None:
    """A run left running for nobody."""
    noticed: list[str] = []

    async def endless(run: Run) -> None:
        try:
            while True:
                await run.chunk("again")
                await asyncio.sleep(1)
        except TransportError:
            noticed.append("the connection is gone")
            raise

    assert Client(AgentMessageHandler(endless), RecordingTransport(fails_at=5)).say(chat()) is False
    assert noticed == ["the connection is gone"]


def test_one_slow_reader_delays_nobody_else() -> None:
    """One slow reader wedging a server."""

    async def main() -> None:
        handler = AgentMessageHandler(golden)
        stuck = Client(handler, RecordingTransport(hangs_at=2), "slow").start(chat())
        await steps()
        others = [Client(handler, user_id=f"user-{number}") for number in range(5)]
        assert await asyncio.gather(*(other.send(chat()) for other in others)) == [True] * 5
        assert asyncio.get_running_loop().time() == 0
        assert await stuck is False
        await handler.aclose()

    run_virtual(main())


@pytest.mark.parametrize(
    "agent", [fails_at_once, fails_late, fails_in_a_tool, fails_to_encode, emits_what_it_must_not]
)
def test_no_error_text_reaches_the_wire(agent: Callable[[Run], Awaitable[object]]) -> None:
    """An error text on the wire."""
    client = Client(AgentMessageHandler(agent))
    client.say(chat())
    wire = "".join(client.transport.frames)
    for private in (SECRET, "Error", "Traceback", "never opened", ".py"):
        assert private not in wire
    assert client.payload("agent_failed")["message"] == "The agent failed."
