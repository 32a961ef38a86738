from support import Recorder, chat, decoded, run

from agent_messaging import AgentMessageHandler, Run


async def agent(run: Run) -> str:
    await run.thinking("Looking")
    async with run.tool("search", {"q": run.request}) as call:
        call.result = ["a"]
    return "done"


def test_one_message_walks_the_golden_path() -> None:
    transport = Recorder()
    assert run(AgentMessageHandler(agent).handle_message("u1", transport, chat()))
    assert [frame["type"] for frame in decoded(transport.frames)] == [
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_completed",
    ]
