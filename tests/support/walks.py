"""Agents for sweeps: each is a path on which something is done to it at every step."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from agent_messaging import Run, TransportError
from support.loop import TICK

#: What a walk does between its own steps.
Step: TypeAlias = Callable[[], Awaitable[None]]


async def no_step() -> None:
    """What the walk does between two steps, unless a sweep wants more."""


async def walk(run: Run, step: Step = no_step) -> str:
    """Each kind of event, tools nested and overlapping, waits of every kind."""
    await step()
    await run.thinking("thinking: where to look")
    await step()
    async with run.tool("search", {"q": run.request}) as search:
        await asyncio.sleep(0)
        await step()
        async with run.tool("fetch") as fetch:
            await step()
            fetch.result = {"status": 200}
        await asyncio.sleep(TICK)
        await step()
        search.result = ["a"]
    await run.tool_executing("open", "never closed")
    async with asyncio.TaskGroup() as group:
        group.create_task(part(run, 1, step))
        group.create_task(part(run, 2, step))
    await step()
    await run.progress("done", {"share": 1})
    return "all of it"


async def part(run: Run, number: int, step: Step) -> None:
    async with run.tool("part", number) as call:
        await asyncio.sleep(number * TICK)
        await step()
        call.result = number
    await step()
    await run.chunk(f"chunk: part {number}")


async def cleaning(run: Run) -> str:
    """Goes on emitting and waiting while it is cancelled."""
    try:
        return await walk(run)
    finally:
        await run.thinking("thinking: cleaning up")
        await asyncio.sleep(0)
        async with run.tool("clean up"):
            await asyncio.sleep(TICK)


async def stubborn(run: Run) -> str:
    """Swallows the cancellations of its walk, and ends as if there had been none."""
    try:
        await walk(run)
    except asyncio.CancelledError:
        await run.chunk("chunk: in spite of it")
        await asyncio.sleep(TICK)
    return "done in spite of it"


async def hasty(run: Run) -> None:
    """Awaits none of its emits, and is over before the first of them is sent."""
    run.thinking("thinking: fast")
    run.tool_executing("1", "left open")
    run.tool_executing("2", "closed")
    run.tool_completed("2", "result")
    run.chunk("chunk: fast")


async def careless(run: Run) -> str:
    """Does not mind that its transport fails."""
    for number in range(6):
        try:
            async with run.tool("try", number):
                await asyncio.sleep(TICK)
        except TransportError:
            await asyncio.sleep(0)
    return "as if nothing had happened"


async def short(run: Run) -> None:
    """A walk short enough to cancel it at every pair of steps."""
    await run.thinking("thinking: briefly")
    await asyncio.sleep(0)
    async with run.tool("search"):
        for _ in range(6):
            await asyncio.sleep(0)
    await asyncio.sleep(TICK)
    await run.chunk("chunk: found")
