"""The agent of a fuzzed session, which does what the client's text says."""

import asyncio
import re
from typing import Final

from agent_messaging import AgentError, Run

_ORDER: Final = re.compile(r"([a-z]+)([0-9]{0,2})")

#: Orders that count in one text.
_ORDERS: Final = 12


class Stage:
    """Where the agents are; one agent function for all runs.

    Attributes:
        over: set when all are to come to their end.
        faults: how many ended as no agent should: with an exception that is no `AgentError`.
    """

    def __init__(self) -> None:
        self.over: Final = asyncio.Event()
        self.faults = 0

    async def agent(self, run: Run) -> object:
        """What the handler runs; gives the payload back that it was sent."""
        try:
            for order in run.request.split(maxsplit=_ORDERS)[:_ORDERS]:
                if found := _ORDER.fullmatch(order):
                    await self._obey(run, found[1], int(found[2] or 1))
        except (AgentError, asyncio.CancelledError):
            raise
        except Exception:
            self.faults += 1
            raise
        return run.message.payload

    async def _obey(self, run: Run, verb: str, number: int) -> None:
        payload = run.message.payload
        match verb:
            case "say":
                for nth in range(min(number, 40)):
                    await run.chunk(f"{run.request} {nth}")
            case "blurt":
                for _ in range(min(number, 40)):
                    run.thinking(run.request)
            case "progress":
                await run.progress("told", payload)
            case "tool":
                async with run.tool("search", payload) as call:
                    await self._wait(number)
                    call.result = payload
            case "open":
                await run.tool_executing(f"call-{number}", "search", payload)
            case "close":
                await run.tool_completed(f"call-{number}", payload)
            case "group":
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(number, 5)):
                        group.create_task(self._obey(run, "say", 3))
            case "wait":
                await self._wait(number)
            case "deaf":
                await self._be_deaf(number)
            case "fail":
                raise AgentError(run.request, code="odd", retryable=number > 1)
            case "raise":
                raise RuntimeError("not for the client")
            case "cancel":
                self.faults += 1
                raise asyncio.CancelledError
            case _:
                await run.thinking(verb)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            pass

    async def _be_deaf(self, seconds: float) -> None:
        """Take no notice of cancellations for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until and not self.over.is_set():
            try:
                await self._wait(until - loop.time())
            except asyncio.CancelledError:
                continue
