"""The workers' agent: what it does is in the message, and that it does it, in a file."""

import asyncio
import json
import os
from pathlib import Path
from typing import Final, final

from agent_messaging import AgentError, Run

#: The code of an agent that fails as it was asked to.
ASKED_FOR: Final = "asked_for"

#: What an agent may be asked for, how often, and how the run then ends, if nothing interferes.
BEHAVIOURS: Final[dict[str, tuple[int, str]]] = {
    "quick": (30, "agent_completed"),
    "talks": (30, "agent_completed"),
    "works": (20, "agent_completed"),
    "fails": (8, "agent_failed"),
    "waits": (12, "agent_completed"),
}

#: Seconds that an agent lasts which is made to be stopped, moved away from, or killed.
_LONG: Final = 4.0


@final
class Agents:
    """The one agent, with its file of executions."""

    def __init__(self, executions: Path, worker: str) -> None:
        # What was written before a process is killed stays; what several write is not mixed.
        self._executions = os.open(executions, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._worker = worker

    def _note(self, what: str, run: Run) -> None:
        context = run.context
        line = {
            "what": what,
            "worker": self._worker,
            "pid": os.getpid(),
            "user_id": context.user_id,
            "message_id": context.message_id,
            "run_id": context.run_id,
        }
        os.write(self._executions, f"{json.dumps(line)}\n".encode())

    async def work(self, run: Run) -> str:
        self._note("begins", run)
        try:
            return await self._work(run)
        finally:
            self._note("leaves", run)

    async def _work(self, run: Run) -> str:
        name = run.context.message_id
        behaviour, _, _ = run.request.partition(" ")
        match behaviour:
            case "quick":
                async with run.tool("look", {"for": name}) as call:
                    call.result = name
            case "talks":
                await run.thinking(f"{name} begins")
                for number in range(40):
                    await run.chunk(f"{name} {number}")
                    await asyncio.sleep(0.015)
            case "works":
                async with asyncio.TaskGroup() as group:
                    for number in range(3):
                        group.create_task(self._use_a_tool(run, number))
            case "fails":
                async with run.tool("fail", {"for": name}):
                    await asyncio.sleep(0.1)
                    raise AgentError("as it was asked to", code=ASKED_FOR)
            case "waits":
                async with run.tool("wait", {"for": name}):
                    await asyncio.sleep(_LONG)
            case _:
                raise ValueError(behaviour)
        return name

    async def _use_a_tool(self, run: Run, number: int) -> None:
        async with run.tool("work", {"number": number}) as call:
            for part in range(5):
                await run.progress("part", {"number": number, "part": part})
                await asyncio.sleep(0.03)
            call.result = number
