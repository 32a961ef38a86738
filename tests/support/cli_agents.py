"""Agents for the command line, as ``--agent support.cli_agents:name``."""

import asyncio
import signal
import sys
import threading

from agent_messaging import AgentError, AgentRegistry, Run


async def echo(run: Run) -> str:
    return run.request


async def who(run: Run) -> str:
    return run.context.user_id


async def prints(run: Run) -> None:
    print("for the author")


async def polite(run: Run) -> None:
    raise AgentError("Not today.")


async def broken(run: Run) -> None:
    raise ValueError("for the author")


async def unreadable(run: Run) -> object:
    return object()


async def exits(run: Run) -> None:
    raise SystemExit(7)


async def exits_unless_told_to_wait(run: Run) -> None:
    if run.request == "wait":
        await asyncio.Event().wait()
    raise SystemExit(7)


async def cancels_the_host(run: Run) -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def interrupted(run: Run) -> None:
    """Ctrl-C comes while a tool is at work."""
    async with run.tool("wait", {}):
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()


async def interrupted_later(run: Run) -> None:
    """Ctrl-C comes when the run has ended."""
    asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGINT)


async def terminated_mildly(run: Run) -> None:
    """SIGTERM comes, and the agent goes on."""
    signal.raise_signal(signal.SIGTERM)


async def terminated_later(run: Run) -> None:
    """SIGTERM comes when the run has ended."""
    asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGTERM)


async def terminated(run: Run) -> None:
    """SIGTERM comes while the run is in flight."""
    signal.raise_signal(signal.SIGTERM)
    await asyncio.Event().wait()


async def waits(run: Run) -> None:
    """Never ends by itself."""
    async with run.tool("wait", {}):
        await asyncio.Event().wait()


async def blocks(run: Run) -> None:
    """Leaves a thread behind that never ends."""
    async with run.tool("block", {}):
        await asyncio.to_thread(threading.Event().wait)


async def endless(run: Run) -> None:
    """Never stops talking."""
    while True:
        await run.chunk("and then " * 100)


async def floods(run: Run) -> None:
    """Says more than a pipe holds, then waits, and tells on standard error how far it is."""
    for _ in range(20):
        await run.chunk("and then " * 1000)
    sys.stderr.write("flooded\n")
    try:
        await asyncio.Event().wait()
    finally:
        sys.stderr.write("cancelled\n")


def plain(run: Run) -> None:
    """No agent: not a coroutine function."""


class Team:
    registry = AgentRegistry()


Team.registry.register("second", who)
