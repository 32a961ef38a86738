"""Handlers of a host's own message types, in an endpoint."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from agent_messaging import (
    AgentMessageHandler,
    Limits,
    Message,
    MessageRouter,
    TransportError,
    WebSocketLike,
    as_transport,
)
from agent_messaging.testing import loop_clock, run_virtual
from support.endpoints import Connection, Site, frame, now, settle, worker
from support.lines import own_records

Work = Callable[[Callable[[str], Awaitable[object]], Message], Awaitable[object]]


class Handler:
    """Handles ``own`` by what it is given."""

    supported_types = ("own",)

    def __init__(self, work: Work) -> None:
        self._work = work
        self.seen: list[tuple[str, str]] = []

    def can_handle(self, message_type: str) -> bool:
        return message_type == "own"

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        self.seen.append((user_id, message.type))
        assert websocket is not None
        await self._work(as_transport(websocket), message)
        return True

    def get_stats(self) -> dict[str, object]:
        return {}


def beside_agents(work: Work) -> MessageRouter:
    """A router of the handler in a router, and of an agent's."""
    return MessageRouter(
        AgentMessageHandler(worker, clock=loop_clock()), MessageRouter(Handler(work))
    )


async def say(connection: Connection, **payload: object) -> None:
    await connection.send("own", payload, message_id="o")


OWN: Final = '{"type":"own","payload":{"id":1}}'


async def echo(send: Callable[[str], Awaitable[object]], message: Message) -> None:
    await asyncio.sleep(float(str(message.payload.get("seconds", 0))))
    await send(json.dumps({"type": "own", "payload": {"id": message.payload.get("id", 0)}}))


def test_what_it_sends_goes_out_in_order_with_everything_else() -> None:
    async def main() -> None:
        async with Site(handler=beside_agents(echo)) as site:
            client = await site.connect(turns=2)
            for number in range(3):
                await client.session.receive(frame("own", {"id": number}))
            await client.session.receive(frame("ping", {"id": 3}))
            assert await client.heard() == "pong 3, own 0, own 1, own 2"
            await client.chat("answer")
            assert len(client.frames) == 7

    run_virtual(main())


def test_a_handler_needs_no_router_and_takes_what_it_can() -> None:
    async def main() -> None:
        handler = Handler(echo)
        async with Site(handler=handler) as site:
            client = await site.connect()
            await say(client, id=1)
            await client.chat("answer", "a")
            assert await client.heard() == "own 1, error unsupported_type a"
            assert handler.seen == [("u1", "own")]

    run_virtual(main())


def test_it_holds_up_no_other_frame_and_many_work_at_once() -> None:
    async def main() -> None:
        async with Site(handler=beside_agents(echo)) as site:
            client = await site.connect()
            for number in range(1, 4):
                await say(client, id=number, seconds=5 - number)
            await client.send("ping")
            assert await client.heard() == "pong"
            assert site.endpoint.stats()["runs_in_flight"] == 0
            await asyncio.sleep(5)
            assert await client.heard() == "own 3, own 2, own 1"

    run_virtual(main())


def test_its_calls_and_runs_share_the_users_places() -> None:
    async def main() -> None:
        limits = Limits(runs_per_user=2)
        async with Site(handler=beside_agents(echo), limits=limits) as site:
            client = await site.connect()
            await say(client, id=1, seconds=5)
            await client.chat("work 3", "a")
            await say(client, id=2)
            client.session.thread_id = None
            await client.chat("answer", "b")
            assert (await client.heard()).endswith("error too_many_runs o, error too_many_runs b")
            await asyncio.sleep(3)
            await say(client, id=3)
            assert (await client.heard()).endswith("own 3")
            await asyncio.sleep(3)
            assert (await client.heard()).endswith("own 1")
            assert site.endpoint.users()["u1"]["runs_in_flight"] == 0

    run_virtual(main())


@pytest.mark.parametrize("state", ["draining", "too fast"])
def test_it_is_refused_as_a_message_is(state: str) -> None:
    async def main() -> None:
        async with Site(handler=beside_agents(echo), limits=Limits(frames_per_minute=2)) as site:
            client = await site.connect()
            if state == "draining":
                site.endpoint.start_draining()
            else:
                await client.send("ping")
                await client.send("ping")
            await say(client)
            code = "shutting_down" if state == "draining" else "rate_limited"
            assert (await client.heard()).endswith(f"error {code} o")

    run_virtual(main())


def test_one_that_raises_is_answered_neutrally_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(send: object, message: Message) -> None:
        raise ValueError("private")

    async def main() -> None:
        async with Site(handler=beside_agents(fail)) as site:
            client = await site.connect()
            for _ in range(5):  # more than there are places
                await say(client)
            answers = [each["payload"] for each in client.frames[1:]]
            answer = {"code": "agent_error", "message": "The handler failed.", "message_id": "o"}
            assert answers == [answer] * 5

    with caplog.at_level(logging.INFO):
        run_virtual(main())
    failures = [vars(each) for each in own_records(caplog) if each.levelno > logging.INFO]
    assert [each["event"] for each in failures] == ["handler_failed"] * 5
    failed = failures[0]
    assert (failed["handler"], failed["error"]) == ("Handler", "ValueError")
    assert failed["raised_at"].startswith("test_session_handlers.py:")
    assert "private" not in caplog.text


def test_one_that_ends_itself_for_good_is_logged_and_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Halt(BaseException):
        pass

    async def halt(send: object, message: Message) -> None:
        raise Halt

    async def main() -> None:
        async with Site(handler=beside_agents(halt)) as site:
            client = await site.connect()
            for _ in range(5):
                await say(client)
            await client.send("ping")
            assert await client.heard() == "pong"

    run_virtual(main())
    failures = [vars(each)["event"] for each in own_records(caplog) if each.levelno > logging.INFO]
    assert failures == ["task_failed"] * 5


def test_it_is_cancelled_when_its_session_ends_and_can_send_no_more() -> None:
    ends: list[tuple[str, float]] = []

    async def wait(send: Callable[[str], Awaitable[object]], message: Message) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await send(OWN)
            except TransportError:
                ends.append(("told", round(now(), 1)))

    async def main() -> None:
        async with Site(handler=beside_agents(wait)) as site:
            client = await site.connect()
            await say(client)
            await say(client)
            await asyncio.sleep(2)
            await client.close()
            await settle()
            assert ends == [("told", 2)] * 2
            assert await client.heard() == ""
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_one_that_is_cancelled_before_its_first_step_gives_its_place_back() -> None:
    async def main() -> None:
        async with Site(handler=beside_agents(echo), limits=Limits(runs_per_user=1)) as site:
            client, other = await site.connect(), await site.connect()
            await client.session.receive(frame("own", {"id": 1}))
            await client.close()
            await settle()
            await say(other, id=2)
            assert await other.heard() == "own 2"

    run_virtual(main())


def test_a_send_of_it_waits_for_its_socket() -> None:
    sent: list[float] = []

    async def talk(send: Callable[[str], Awaitable[object]], message: Message) -> None:
        for _ in range(3):
            await send(OWN)
            sent.append(round(now(), 1))

    async def main() -> None:
        async with Site(handler=beside_agents(talk)) as site:
            client = await site.connect(seconds=1.0)
            await say(client)
            await asyncio.sleep(5)
            assert sent == [2, 3, 4]

    run_virtual(main())


def test_a_send_of_it_that_is_given_up_is_sent_all_the_same() -> None:
    async def hurry(send: Callable[[str], Awaitable[object]], message: Message) -> None:
        try:
            await asyncio.wait_for(send(OWN), 1)
        except TimeoutError:
            await send(OWN.replace("1", "2"))

    async def main() -> None:
        async with Site(handler=beside_agents(hurry)) as site:
            client = await site.connect()
            client.transport.hang()
            await say(client)
            await asyncio.sleep(5)
            client.transport.read_on()
            assert await client.heard() == "own 1, own 2"

    run_virtual(main())
