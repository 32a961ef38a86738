"""What looks like a cancellation of the run and is none: the agent's own business."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, suppress

import pytest

from agent_messaging import AgentMessageHandler, Run
from agent_messaging.testing import run_virtual
from support import chat
from support.clients import Client
from support.loop import steps

AgentBody = Callable[[Run], Awaitable[object]]


async def forever() -> None:
    await asyncio.Event().wait()


async def inner_task_cancelled(run: Run) -> None:
    inner = asyncio.create_task(forever())
    await asyncio.sleep(0)
    inner.cancel()
    await inner


async def raised_by_hand(run: Run) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("agent", [inner_task_cancelled, raised_by_hand])
def test_a_cancellation_that_nobody_asked_for_is_an_agent_error(agent: AgentBody) -> None:
    client = Client(AgentMessageHandler(agent))
    assert client.say(chat()) is False
    assert client.payload("agent_failed")["code"] == "agent_error"
    stats = client.handler.get_stats()
    assert (stats["runs_failed"], stats["runs_cancelled"], stats["errors"]) == (1, 0, 1)


async def failing() -> None:
    raise ValueError


async def own_timeout(run: Run) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await forever()


async def own_wait_for(run: Run) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(forever(), 1)


async def own_cancelled_task(run: Run) -> None:
    with suppress(asyncio.CancelledError):
        await inner_task_cancelled(run)


async def own_task_group(run: Run) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(forever())
            group.create_task(failing())
    except* ValueError:
        pass


async def own_task_group_whose_body_waits(run: Run) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())
            await forever()
    except* ValueError:
        pass


async def failing_group() -> None:
    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())


async def own_task_group_in_a_generator(run: Run) -> None:
    async def pages() -> AsyncGenerator[int, None]:
        await failing_group()
        yield 1

    async for _ in pages():
        pass


@asynccontextmanager
async def connection() -> AsyncGenerator[None, None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(failing())
        yield


async def own_task_group_in_a_context_manager(run: Run) -> None:
    try:
        async with connection():
            pass
    except* ValueError:
        pass


class Waiting:
    def __await__(self) -> Generator[object, None, None]:
        return failing_group().__await__()


async def own_task_group_in_an_awaitable(run: Run) -> None:
    await Waiting()


OWN_BUSINESS = [
    own_task_group_in_a_generator,
    own_task_group_in_a_context_manager,
    own_task_group_in_an_awaitable,
    own_timeout,
    own_wait_for,
    own_cancelled_task,
    own_task_group,
    own_task_group_whose_body_waits,
]


@pytest.mark.parametrize("agent", OWN_BUSINESS)
@pytest.mark.parametrize("run_timeout", [None, 60])
def test_an_agents_own_cancellations_that_it_handled_are_its_own_business(
    agent: AgentBody, run_timeout: float | None
) -> None:
    client = Client(AgentMessageHandler(agent, run_timeout=run_timeout))
    assert client.say(chat()) is True
    assert client.types[-1] == "agent_completed"


@pytest.mark.parametrize("agent", OWN_BUSINESS)
def test_a_run_is_cancelled_after_its_agents_own_cancellations_too(agent: AgentBody) -> None:
    async def main() -> None:
        async def agent_and_more(run: Run) -> None:
            await agent(run)
            await run.thinking("past it")
            await forever()

        client = Client(AgentMessageHandler(agent_and_more))
        task = client.start(chat())
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types == ["agent_started", "agent_thinking", "agent_cancelled"]

    run_virtual(main())


def test_a_task_that_survived_an_earlier_cancellation_can_have_a_message_handled() -> None:
    async def main() -> None:
        async def agent(run: Run) -> str:
            await asyncio.sleep(1)
            return "goodbye"

        client = Client(AgentMessageHandler(agent))

        async def host() -> bool:
            with suppress(asyncio.CancelledError):
                await forever()
            return await client.send(chat())

        task = asyncio.create_task(host())
        await steps()
        task.cancel()
        assert await task is True
        assert client.payload("agent_completed")["result"] == "goodbye"

    run_virtual(main())


async def slow_to_end() -> None:
    try:
        await forever()
    finally:
        await asyncio.sleep(2)


async def group_that_fails_in_its_body(run: Run) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(slow_to_end())
        await asyncio.sleep(0)
        group.create_task(failing())
        await forever()


async def group_whose_body_raises(run: Run) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(slow_to_end())
        await asyncio.sleep(0)
        raise ValueError


async def group_that_fails_while_it_waits(run: Run) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(slow_to_end())
        await asyncio.sleep(0)
        group.create_task(failing())


@pytest.mark.parametrize(
    "group",
    [
        group_that_fails_in_its_body,
        group_whose_body_raises,
        group_that_fails_while_it_waits,
    ],
)
def test_a_run_is_cancelled_while_its_own_task_group_ends(group: AgentBody) -> None:
    async def main() -> None:
        async def agent(run: Run) -> str:
            with suppress(ExceptionGroup):
                await group(run)
            return "as if nothing had been"

        client = Client(AgentMessageHandler(agent))
        task = client.start(chat())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types == ["agent_started", "agent_cancelled"]

    run_virtual(main())
