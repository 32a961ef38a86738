"""The log in Redis keeps the contract, over a fake server and clients of several kinds."""

import fakeredis
import pytest

from agent_messaging.eventlog.redis_streams import RedisClient, RedisStreamsEventLog
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import EVENT_LOG_CASES, LogOnTrial, MakeLog
from support.redis_logs import FaultyClient, fake_client, redis_log_on_trial

#: A notice that a client sends again is told again; this one counts them.
COUNTS_NOTICES = "a_notice_is_told_as_it_was_given"


def made_over(client: RedisClient) -> MakeLog:
    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        return redis_log_on_trial(
            RedisStreamsEventLog(client, events_per_run=held_events or 10_000)
        )

    return make_log


@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_the_log_in_redis_passes(name: str) -> None:
    async def main() -> None:
        async with fake_client() as client:
            await EVENT_LOG_CASES[name](made_over(client))

    run_virtual(main())


@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_it_passes_over_a_client_that_decodes_what_it_reads(name: str) -> None:
    async def main() -> None:
        server = fakeredis.FakeServer()
        decoding = fakeredis.FakeAsyncRedis(
            version=(7, 0), server=server, decode_responses=True, protocol=3
        )
        async with decoding as client:
            await EVENT_LOG_CASES[name](made_over(client))

    run_virtual(main())


@pytest.mark.parametrize("name", sorted(EVENT_LOG_CASES.keys() - {COUNTS_NOTICES}))
def test_it_passes_over_a_client_that_sends_everything_twice(name: str) -> None:
    async def main() -> None:
        async with fake_client() as client:
            twice = FaultyClient(client)
            twice.sends_twice = True
            await EVENT_LOG_CASES[name](made_over(twice))

    run_virtual(main())
