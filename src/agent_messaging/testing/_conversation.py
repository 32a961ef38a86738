"""Conversations of clients with an endpoint, without a server: in virtual time, or in a loop."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from itertools import count
from types import TracebackType
from typing import Final, final

from agent_messaging._endpoint import Endpoint
from agent_messaging._handler import MessageHandler
from agent_messaging._run import NO_METADATA
from agent_messaging.testing._agent import REAL_TIMEOUT, VIRTUAL_TIMEOUT
from agent_messaging.testing._async_client import ADVICE, AsyncClient
from agent_messaging.testing._client import Client
from agent_messaging.testing._determinism import counted_ids, loop_clock
from agent_messaging.testing._loop import (
    VirtualTimeLoop,
    closing_runner,
    refuse_within_a_loop,
)
from agent_messaging.testing._troubles import Troubles

__all__ = ["AsyncConversation", "SyncConversation", "converse", "converse_async"]


def converse(
    handler: MessageHandler | Endpoint,
    *,
    user_id: str = "user-1",
    metadata: Mapping[str, object] = NO_METADATA,
    timeout: float | None = None,
    seed: int | None = None,
    real_time: bool = False,
) -> "SyncConversation":
    """Talk to a handler or an endpoint as its client, in an event loop of its own.

    ::

        with converse(handler) as client:
            client.send("one two three")
            run = client.expect_run()

    In virtual time: whatever an agent, a time-out or a grace waits for takes no time, and happens
    while a method of the client is called. Threads that the loop does not know (an `EventLog` in a
    file), sockets and subprocesses need ``real_time``.

    Args:
        handler: a handler gets an endpoint of its own, whose ids are counted, whose times are the
            loop's, those of its runs too, and which sends no heartbeats. An endpoint is entered
            and left, and goes by its own ids and times.
        user_id: whose client it is.
        metadata: for the contexts of its runs, as a host would give it.
        timeout: seconds that the client waits by default; a day of virtual time, 5 s of real time.
        seed: of the order in which tasks go on, as a `VirtualTimeLoop`'s, in virtual time.
        real_time: whether waiting takes its time.

    Returns:
        A context manager that gives the `Client`. At its end its clients disconnect, the endpoint
        does with their runs what it does then, and is drained; what still runs after ``timeout`` is
        cancelled. It then raises what came that no test expected: an
        `UnexpectedError`, or what the agent of a failed run raised.

    Raises:
        ValueError: a seed, and no virtual time.
    """
    if real_time and seed is not None:
        raise ValueError("a seed orders the tasks of virtual time, and not those of real_time")
    if timeout is None:
        timeout = REAL_TIMEOUT if real_time else VIRTUAL_TIMEOUT
    conversation = AsyncConversation(handler, user_id, metadata, timeout)
    return SyncConversation(
        conversation, asyncio.new_event_loop if real_time else lambda: VirtualTimeLoop(seed)
    )


def converse_async(
    handler: MessageHandler | Endpoint,
    *,
    user_id: str = "user-1",
    metadata: Mapping[str, object] = NO_METADATA,
    timeout: float = REAL_TIMEOUT,
) -> "AsyncConversation":
    """`converse` for a test that runs in an event loop already; seconds are that loop's."""
    return AsyncConversation(handler, user_id, metadata, timeout)


@final
class AsyncConversation:
    """An endpoint in a test, and its clients; an async context manager, which gives the first one.

    Attributes:
        endpoint: the endpoint.
        timeout: seconds that a client waits by default.
        troubles: what the library logged.
    """

    def __init__(
        self,
        handler: MessageHandler | Endpoint,
        user_id: str,
        metadata: Mapping[str, object],
        timeout: float,
    ) -> None:
        self.endpoint: Final[Endpoint] = (
            handler
            if isinstance(handler, Endpoint)
            else Endpoint(handler, heartbeat=None, clock=loop_clock(), new_id=counted_ids())
        )
        self.timeout: Final[float] = timeout
        self.troubles: Final[Troubles] = Troubles()
        self._user_id = user_id
        self._metadata = metadata
        self._clients: list[AsyncClient] = []
        self._messages = count(1)

    def new_message_id(self) -> str:
        """An id for a message, each once."""
        return f"message-{next(self._messages)}"

    async def join(self, user_id: str, metadata: Mapping[str, object]) -> AsyncClient:
        """One more client."""
        client = AsyncClient(self, user_id, metadata)
        await client.connect()
        self._clients.append(client)
        return client

    async def __aenter__(self) -> AsyncClient:
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._wake)
        self.troubles.changed = wake
        with self.troubles.listen():
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.endpoint)
                client = await self.join(self._user_id, self._metadata)
                stack.pop_all()
        return client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.troubles.listen():
            async with AsyncExitStack() as stack:
                stack.push_async_exit(self.endpoint)
                stack.push_async_callback(self.endpoint.drain, 0.0 if error else self.timeout)
                for client in reversed(self._clients):
                    stack.push_async_callback(client.disconnect)
        if error is None:
            self._check()

    def _check(self) -> None:
        for client in self._clients:
            client.check()
        advice = "; ".join((ADVICE, *map(str, self._clients)))
        self.troubles.check_runs(advice)
        self.troubles.check(advice)

    def _wake(self) -> None:
        for client in self._clients:
            client.wake()


@final
class SyncConversation:
    """A conversation in an event loop of its own; a context manager, which gives the client."""

    def __init__(
        self,
        conversation: AsyncConversation,
        make_loop: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        self._conversation = conversation
        self._make_loop = make_loop
        self._stack = ExitStack()

    def __enter__(self) -> Client:
        refuse_within_a_loop("use converse_async there")
        with ExitStack() as stack:
            runner = stack.enter_context(closing_runner(self._make_loop))
            client = Client(runner, runner.run(self._conversation.__aenter__()))
            stack.push(partial(self._end, runner))
            self._stack = stack.pop_all()
        return client

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _end(
        self,
        runner: asyncio.Runner,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        runner.run(self._conversation.__aexit__(kind, error, trace))
