"""The log in Redis keeps the contract of event logs, over a real server and a real client."""

import asyncio
from collections.abc import Generator

import pytest

from agent_messaging.eventlog.redis_streams import RedisStreamsEventLog
from agent_messaging.testing.conformance import EVENT_LOG_CASES, LogOnTrial
from integration.redis_server import RedisServer, client_of, running_server
from support.redis_logs import redis_log_on_trial


@pytest.fixture(scope="module", params=["alone", "in a cluster"])
def server(request: pytest.FixtureRequest) -> Generator[RedisServer]:
    """A server; one of a cluster refuses whatever is not in one slot."""
    options = () if request.param == "alone" else ("--cluster-enabled", "yes")
    with running_server(*options, "--save", "") as running:
        if options:
            running.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            running.wait_for("cluster_state:ok", "CLUSTER", "INFO")
        yield running


@pytest.mark.parametrize(("protocol", "decodes"), [(2, False), (3, True)])
@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_the_log_in_redis_passes(
    server: RedisServer, name: str, protocol: int, decodes: bool
) -> None:
    async def main() -> None:
        async with client_of(server, protocol=protocol, decode_responses=decodes) as client:
            server.ask("FLUSHALL")

            async def make_log(*, held_events: int | None = None) -> LogOnTrial:
                log = RedisStreamsEventLog(client, events_per_run=held_events or 10_000)
                return redis_log_on_trial(log)

            await EVENT_LOG_CASES[name](make_log)

    asyncio.run(main())
