"""The server's agent, and what a client may expect of each of its ways to behave.

Every text names the user and the message that it answers, so that a client sees by the content
alone whether an event is its own.
"""

import asyncio
from contextlib import suppress
from typing import Final

from agent_messaging import AgentError, AgentMessageHandler, FinishHook, Run

#: The code of an agent that fails as it was asked to.
ASKED_FOR: Final = "asked_for"

#: How a run of each behaviour may end, if nobody cancels it.
ENDINGS: Final = {
    "quick": "agent_completed",
    "chatty": "agent_completed",
    "flood": "agent_completed",
    "team": "agent_completed",
    "fails": "agent_failed",
    "waits": "agent_completed",
    "stubborn": "agent_completed",
}

#: Seconds that an agent lasts which is made to be stopped.
LONG: Final = 20.0
#: Seconds for which a run waits for a client that is gone.
GRACE: Final = 2.0
#: Seconds for which a stubborn agent swallows cancellations; longer than the server's grace.
STUBBORN: Final = 2.5
#: Characters that make a flood wide enough to fill every buffer between agent and client.
WIDE: Final = "." * 500


async def agent(run: Run) -> str:
    behaviour, _, _ = run.request.partition(" ")
    name = f"{run.context.user_id} {run.context.message_id}"
    await run.thinking(f"{name} begins")
    match behaviour:
        case "quick":
            async with run.tool("look", {"for": name}) as call:
                call.result = name
        case "chatty":
            for number in range(40):
                await run.chunk(f"{name} {number}")
                await asyncio.sleep(0.03)
        case "flood":
            for number in range(600):
                await run.chunk(f"{name} {number} {WIDE}")
        case "team":
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(_work(run, name, number))
        case "fails":
            raise AgentError(f"{name} was asked to fail", code=ASKED_FOR)
        case "waits":
            async with run.tool("wait", {"for": name}):
                await asyncio.sleep(LONG)
        case "stubborn":
            await _be_stubborn()
        case _:
            raise ValueError(behaviour)
    return name


async def _work(run: Run, name: str, number: int) -> None:
    async with run.tool("work", {"for": name, "number": number}) as call:
        await asyncio.sleep(0.01 * number)
        await run.chunk(f"{name} part {number}")
        call.result = number


async def _be_stubborn() -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + STUBBORN
    while (left := end - loop.time()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


def make_handler(on_run_finished: FinishHook) -> AgentMessageHandler:
    """The handler of the soak's server."""
    return AgentMessageHandler(agent, on_run_finished=on_run_finished)
