"""The agents that the host programs serve, and the router in front of them."""

import asyncio

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    AgentRegistry,
    FinishHook,
    MessageRouter,
    Run,
)

#: A report ends by itself, whatever becomes of its reader.
REPORT_LINES = 1000
#: Seconds that one run may take; a server that is told to stop waits for runs.
RUN_TIMEOUT = 60.0


def make_router(on_run_finished: FinishHook) -> MessageRouter:
    """A router for one server; the hook is told of each run."""
    agents = AgentRegistry()
    go_on = asyncio.Event()

    @agents.agent(default=True)
    async def assistant(run: Run) -> dict[str, int]:
        """Walk the whole Golden Path."""
        await run.thinking("Counting the words")
        async with run.tool("count_words", {"text": run.request}) as call:
            words = run.request.split()
            call.result = len(words)
        for word in words:
            await run.chunk(f"{word} ")
        return {"words": len(words)}

    @agents.agent()
    async def refusing(run: Run) -> None:
        """Fail in words that are meant for the user."""
        await run.thinking("Looking at the clock")
        raise AgentError("The library is closed on Sundays.", code="closed", retryable=True)

    @agents.agent()
    async def breaking(run: Run) -> None:
        """Fail as code fails, inside a tool."""
        async with run.tool("look_up", {"text": run.request}):
            raise KeyError("the name of a private table")

    @agents.agent()
    async def report(run: Run) -> int:
        """Send one line, wait until somebody says `go`, and send the rest."""
        await run.chunk("line 1\n")
        await go_on.wait()
        for number in range(2, REPORT_LINES + 1):
            await run.chunk(f"line {number}\n")
            # A model takes its time for each token, and gives the server its turn.
            await asyncio.sleep(0)
        return REPORT_LINES

    @agents.agent()
    async def go(run: Run) -> None:
        """Let the waiting reports go on."""
        await run.thinking("Going on")
        go_on.set()

    return MessageRouter(
        AgentMessageHandler(agents, run_timeout=RUN_TIMEOUT, on_run_finished=on_run_finished)
    )
