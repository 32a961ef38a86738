"""Logs in a fake Redis, and clients of it that fail as one of a real server may."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import fakeredis

from agent_messaging.eventlog.redis_streams import (
    RedisClient,
    RedisPipeline,
    RedisStreamsEventLog,
)
from agent_messaging.testing.conformance import LogOnTrial
from agent_messaging.testing.conformance._event_logs.trial import Trial

__all__ = ["FaultyClient", "fake_client", "keys_in", "redis_log_on_trial", "redis_trial"]


def fake_client() -> "fakeredis.FakeAsyncRedis":
    """A client of a new and empty server, which is none."""
    return fakeredis.FakeAsyncRedis(version=(7, 0), server=fakeredis.FakeServer())


async def keys_in(client: "fakeredis.FakeAsyncRedis", pattern: str = "*") -> list[str]:
    """The keys that there are, in their order."""
    held = await cast("RedisClient", client).execute_command("KEYS", pattern)
    return sorted(key.decode() for key in held)


def redis_log_on_trial(log: RedisStreamsEventLog) -> LogOnTrial:
    """A log, and the way to move on the time by which its scripts go."""

    async def advance(seconds: float) -> None:
        log._seconds_ahead += seconds  # pyright: ignore[reportPrivateUsage] - there for this

    return LogOnTrial(log, advance)


def redis_trial(client: RedisClient, **options: Any) -> Trial:
    """A new log over the client, with short words for what is asked of it."""
    return Trial(redis_log_on_trial(RedisStreamsEventLog(client, **options)))


class FaultyClient:
    """A client that fails when it is told to.

    Attributes:
        error: what is raised instead of anything else, if there is one.
        is_silent: whether no answer comes.
        hears_nothing: whether none comes to a read of a stream.
        sends_twice: whether pipelines go to the server twice, as a client's own retries have it.
        before: called with each script's call before it is sent, and awaited.
        reply: what takes the place of a reply, given the script's call; None for none.
        reads: how often a stream was read, and when by the loop's clock.
        pipelines: how many pipelines were sent.
    """

    def __init__(self, client: "fakeredis.FakeAsyncRedis") -> None:
        self.client: Final = cast("RedisClient", client)
        self.error: Exception | None = None
        self.is_silent = False
        self.hears_nothing = False
        self.sends_twice = False
        self.before: Callable[[tuple[Any, ...]], Awaitable[object]] | None = None
        self.reply: Callable[[tuple[Any, ...]], object] | None = None
        self.reads: list[float] = []
        self.pipelines = 0

    async def check(self) -> None:
        """Fail, if that is what is to be done."""
        if self.error is not None:
            raise self.error
        if self.is_silent:
            await asyncio.Event().wait()

    async def execute_command(self, *args: Any) -> Any:
        self.reads.append(asyncio.get_running_loop().time())
        await self.check()
        if self.hears_nothing:
            await asyncio.Event().wait()
        return await self.client.execute_command(*args)

    def pipeline(self, transaction: bool = True) -> RedisPipeline:
        assert not transaction, "what is atomic is a script"
        return _FaultyPipeline(self)


class _FaultyPipeline:
    def __init__(self, client: FaultyClient) -> None:
        self._client: Final = client
        self._commands: list[tuple[Any, ...]] = []

    def execute_command(self, *args: Any) -> None:
        self._commands.append(args)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        assert not raise_on_error
        client = self._client
        client.pipelines += 1
        await client.check()
        replies: list[Any] = []
        for _ in range(1 + client.sends_twice):
            pipeline = client.client.pipeline(transaction=False)
            for command in self._commands:
                if client.before is not None:
                    await client.before(command)
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)
        for at, command in enumerate(self._commands):
            instead = None if client.reply is None else client.reply(command)
            replies[at] = replies[at] if instead is None else instead
        return replies
