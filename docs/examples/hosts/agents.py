"""The agents that the host programs serve, and the endpoint in front of them."""

import asyncio
import os

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    AgentRegistry,
    Endpoint,
    FinishHook,
    Run,
    grace,
)

#: A report ends by itself, whatever becomes of its reader.
REPORT_LINES = 1000
#: A book is more than a client takes that does not read.
BOOK_PAGES = 450
PAGE = "x" * 32_000
#: Seconds that one run may take.
RUN_TIMEOUT = 300.0
#: Seconds that a run waits for its reader to come back; a reload takes one or two.
RELOAD = 30.0
#: Seconds that runs may go on after a SIGTERM; less than the platform gives the whole process.
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS", "20"))


def make_endpoint(on_run_finished: FinishHook) -> Endpoint:
    """An endpoint for one server; the hook is told of each run."""
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
    async def book(run: Run) -> int:
        """Send page after page, whether anybody reads or not."""
        for _ in range(BOOK_PAGES):
            await run.chunk(PAGE)
            await asyncio.sleep(0)
        return BOOK_PAGES

    @agents.agent()
    async def go(run: Run) -> None:
        """Let the waiting reports go on."""
        await run.thinking("Going on")
        go_on.set()

    return Endpoint(
        AgentMessageHandler(agents, run_timeout=RUN_TIMEOUT, on_run_finished=on_run_finished),
        on_disconnect=grace(RELOAD),
        drain_timeout=DRAIN_SECONDS,
    )
