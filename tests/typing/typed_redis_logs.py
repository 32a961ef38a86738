"""What type checkers take for a client of Redis; never run."""

from typing import assert_type

import redis.asyncio

from agent_messaging import AgentMessageHandler, Endpoint, EventLog, EventLogError
from agent_messaging.eventlog.redis_streams import (
    RedisClient,
    RedisLogError,
    RedisStreamsEventLog,
)


def a_real_client_is_one(client: "redis.asyncio.Redis") -> RedisStreamsEventLog:
    taken: RedisClient = client
    log = RedisStreamsEventLog(taken, "chat")
    assert_type(log, RedisStreamsEventLog)
    return RedisStreamsEventLog(client)


def a_real_client_of_a_pool_is_one() -> None:
    pool = redis.asyncio.BlockingConnectionPool(max_connections=100)
    RedisStreamsEventLog(redis.asyncio.Redis(connection_pool=pool))
    RedisStreamsEventLog(redis.asyncio.Redis(decode_responses=True))


def the_log_is_one(log: RedisStreamsEventLog, handler: AgentMessageHandler) -> EventLog:
    Endpoint(handler, log=log)
    return log


def its_options_are_named(client: "redis.asyncio.Redis") -> None:
    RedisStreamsEventLog(
        client,
        prefix="chat",
        events_per_run=100,
        keep_seconds=60,
        claim_seconds=90_000.0,
        timeout=1.5,
        block_seconds=1,
        random=lambda: 0.5,
    )
    RedisStreamsEventLog(client, "chat", 100)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    RedisStreamsEventLog(client, events_per_run=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def nothing_else_is_a_client() -> None:
    RedisStreamsEventLog("redis://localhost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def its_error_is_one_of_a_log(error: RedisLogError) -> EventLogError:
    return error


class Derived(RedisStreamsEventLog):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    pass


class DerivedError(RedisLogError):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    pass
