"""The host's agent: what it does is in the message, and that it does it, in a file."""

import asyncio
import json
import os
from typing import Final, final

from agent_messaging import AgentError, Run
from kill.gate import Gate, say
from kill.points import ASKED_FOR

#: Seconds between an agent's events, so that several runs go on at once.
_PACE: Final = 0.002


@final
class Agents:
    """The one agent, with its file of executions."""

    def __init__(self, gate: Gate, executions: str) -> None:
        self._gate = gate
        # What was written before a process is killed stays; what several write is not mixed.
        self._executions = os.open(executions, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def work(self, run: Run) -> str:
        context = run.context
        execution = (context.user_id, context.message_id, context.run_id)
        os.write(self._executions, f"{json.dumps(execution)}\n".encode())
        await self._gate.tell_at("running", context.message_id)
        match run.request:
            case "talks":
                await run.thinking(f"about {context.message_id}")
                for number in range(12):
                    await run.chunk(f"{context.message_id} {number}")
                    await asyncio.sleep(_PACE)
            case "works":
                async with asyncio.TaskGroup() as group:
                    for number in range(2):
                        group.create_task(self._use_a_tool(run, number))
                await self._use_a_tool(run, 2)
            case "fails":
                async with run.tool("fail"):
                    await self._be_in_a_tool(run)
                    raise AgentError("as it was asked to", code=ASKED_FOR)
            case "waits":
                async with run.tool("wait"):
                    await self._be_in_a_tool(run)
                    await self._wait(context.message_id)
            case _:
                raise ValueError(run.request)
        return context.message_id

    async def _use_a_tool(self, run: Run, number: int) -> None:
        async with run.tool("work", {"number": number}) as call:
            await self._be_in_a_tool(run)
            await run.progress("part", {"number": number})
            await asyncio.sleep(_PACE)
            call.result = number
        say(point="running", message_id=run.context.message_id)

    async def _be_in_a_tool(self, run: Run) -> None:
        await self._gate.tell_at("in a tool", run.context.message_id)

    async def _wait(self, message_id: str) -> None:
        """Until the run is stopped."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._gate.tell_at("stopping", message_id)
