"""Handlers of the host's own types behind an endpoint: its sessions are their websockets."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from agent_messaging import (
    AgentMessageHandler,
    Limits,
    Message,
    MessageRouter,
    Session,
    TransportError,
    WebSocketLike,
)
from agent_messaging.testing import RecordingTransport, run_virtual
from support import tasks_left
from support.endpoints import Site, frame, now, settle, worker
from support.lines import own_records

Work = Callable[[str, Session, Message], Awaitable[object]]


class Reports:
    """A host's handler of ``report`` messages, which works as it is told."""

    def __init__(self, work: Work) -> None:
        self.called: list[str] = []
        self.ended: list[str] = []
        self._work = work

    @property
    def supported_types(self) -> frozenset[str]:
        return frozenset({"report"})

    def can_handle(self, message_type: str) -> bool:
        return message_type == "report"

    def get_stats(self) -> Mapping[str, object]:
        return {}

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        assert isinstance(websocket, Session)
        self.called.append(user_id)
        try:
            await self._work(user_id, websocket, message)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("returned")
        return True


async def answers(user_id: str, session: Session, message: Message) -> None:
    await session(frame("reported", {"id": f"{user_id} {message.payload.get('name')}"}))


async def works(user_id: str, session: Session, message: Message) -> None:
    await asyncio.sleep(float(str(message.payload.get("seconds", 5))))
    await answers(user_id, session, message)


@asynccontextmanager
async def site_with(work: Work, **options: Any) -> AsyncGenerator[tuple[Site, Reports], None]:
    """A site whose router has a handler of the host's, inside a router of its own."""
    reports = Reports(work)
    router = MessageRouter(AgentMessageHandler(worker), MessageRouter(reports))
    async with Site(handler=router, **options) as site:
        yield site, reports
    assert not site.endpoint.users()


# What it is given, and what it sends.


def test_it_is_given_the_session_to_answer_on() -> None:
    async def main() -> None:
        async with site_with(answers) as (site, reports):
            client = await site.connect("u7")
            await client.send("report", {"name": "may"})
            assert await client.heard() == "reported u7 may"
            assert reports.called == ["u7"]
            assert site.endpoint.users() == {
                "u7": {"sessions": 1, "runs_in_flight": 0, "runs_queued": 0}
            }

    run_virtual(main())


def test_only_who_asked_is_answered() -> None:
    async def main() -> None:
        async with site_with(answers) as (site, _):
            client, other = await site.connect(), await site.connect()
            await client.send("report", {"name": "may"})
            assert await other.heard() == ""

    run_virtual(main())


def test_it_finds_the_hosts_metadata_on_the_session() -> None:
    async def main() -> None:
        found: list[object] = []

        async def looks(user_id: str, session: Session, message: Message) -> None:
            found.append((session.metadata, session.user_id, session.connection_id))

        async with site_with(looks) as (site, _):
            transport = RecordingTransport()
            session = await site.endpoint.open("u1", transport, metadata={"role": "admin"})
            await session.receive(frame("report"))
            await settle()
            assert found == [({"role": "admin"}, "u1", session.connection_id)]

    run_virtual(main())


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="nothing")


def test_it_runs_in_the_context_that_its_message_was_received_in() -> None:
    async def main() -> None:
        found: list[str] = []

        async def looks(user_id: str, session: Session, message: Message) -> None:
            found.append(VARIABLE.get())

        async with site_with(looks) as (site, _):
            client = await site.connect()
            VARIABLE.set("the trace")
            await client.send("report")
            assert found == ["the trace"]

    run_virtual(main())


def test_its_frames_go_between_those_of_runs_and_in_their_order() -> None:
    async def main() -> None:
        async def says(user_id: str, session: Session, message: Message) -> None:
            for number in range(3):
                await session(frame("reported", {"id": number}))

        async with site_with(says) as (site, _):
            client = await site.connect(turns=2)
            await client.chat("say 50", "m1")
            await client.send("report")
            await asyncio.sleep(1.0)
            heard = await client.heard()
            assert heard.count("chunk") == 50
            assert [word for word in heard.split(", ") if word.startswith("reported")] == [
                "reported 0",
                "reported 1",
                "reported 2",
            ]

    run_virtual(main())


def test_a_send_has_succeeded_when_the_socket_has_taken_the_frame() -> None:
    async def main() -> None:
        async with site_with(answers) as (site, reports):
            client = await site.connect()
            client.transport.hang()
            await client.send("report")
            await asyncio.sleep(5.0)
            assert reports.ended == []
            client.transport.read_on()
            await settle()
            assert reports.ended == ["returned"]

    run_virtual(main())


def test_receiving_waits_for_no_handler() -> None:
    async def main() -> None:
        async with site_with(works) as (site, _):
            client = await site.connect()
            await client.send("report", {"name": "may"})
            await client.send("ping", {"id": "p"})
            await client.chat("answer", "m1")
            assert (await client.heard()).startswith("pong p")
            assert now() < 1.0
            await asyncio.sleep(10.0)
            assert await client.heard() == "reported u1 may"

    run_virtual(main())


# What fails.


def test_one_that_fails_is_answered_and_logged_without_what_it_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async def breaks(user_id: str, session: Session, message: Message) -> None:
            raise ValueError("private")

        async with site_with(breaks) as (site, _):
            client = await site.connect()
            await client.send("report", message_id="m1")
            assert await client.heard() == "error agent_error m1"
            assert "private" not in client.transport.frames[-1]
            await client.send("report")
            assert await client.heard() == "error agent_error"
            assert site.endpoint.users()["u1"]["sessions"] == 1

    run_virtual(main())
    first = own_records(caplog)[0]
    assert first.levelname == "ERROR"
    assert first.getMessage().startswith("handler_failed handler=Reports error=ValueError raised_")
    assert "private" not in caplog.text


def test_one_whose_message_no_handler_takes_is_refused() -> None:
    async def main() -> None:
        async with site_with(answers) as (site, reports):
            client = await site.connect()
            await client.send("other", message_id="m1")
            assert await client.heard() == "error unsupported_type m1"
            assert reports.called == []

    run_virtual(main())


def test_a_handler_alone_needs_no_router_and_is_asked_whether_it_handles_a_message() -> None:
    async def main() -> None:
        reports = Reports(answers)
        async with Site(handler=reports) as site:
            client = await site.connect()
            await client.send("report", {"name": "may"})
            await client.chat("answer", "m1")
            assert await client.heard() == "reported u1 may, error unsupported_type m1"

    run_virtual(main())


def test_another_users_name_in_the_message_is_refused() -> None:
    async def main() -> None:
        async with site_with(answers) as (site, reports):
            client = await site.connect()
            await client.send("report", message_id="m1", user_id="u2")
            assert await client.heard() == "error identity_mismatch m1"
            assert reports.called == []

    run_virtual(main())


# Places and limits.


def test_calls_take_places_among_the_runs() -> None:
    async def main() -> None:
        async with site_with(works, limits=Limits(runs_per_user=2)) as (site, _):
            client = await site.connect()
            await client.send("report")
            await client.chat("work 1", "m1", "t1")
            await client.send("report", message_id="m2")
            await client.chat("answer", "m3", "t2")
            heard = await client.heard()
            assert "error too_many_runs m2" in heard
            assert "error too_many_runs m3" in heard
            await asyncio.sleep(2.0)
            await client.chat("answer", "m3", "t2")
            assert (await client.heard()).endswith("completed")
            await asyncio.sleep(10.0)
            await client.send("report")
            await client.send("report")
            assert "error" not in (await client.heard())

    run_virtual(main())


@pytest.mark.parametrize("work", [answers, works])
def test_a_place_is_given_back_however_a_call_ends(work: Work) -> None:
    async def main() -> None:
        async with site_with(work, limits=Limits(runs_per_user=1)) as (site, reports):
            for wait in (0, 1, 2, 3):
                client = await site.connect()
                # Between the frame and the end the handler may not have begun.
                await client.session.receive(frame("report"))
                for _ in range(wait):
                    await asyncio.sleep(0)
                await client.close()
                await settle()
                assert site.endpoint.users() == {}
                assert tasks_left() == []
            client = await site.connect()
            await client.send("report", {"seconds": 0})
            assert (await client.heard()).startswith("reported")
            # Cancelled before its first step, it has run none of its code.
            assert len(reports.called) == 4

    run_virtual(main())


def test_calls_are_frames_and_no_agent_messages() -> None:
    async def main() -> None:
        limits = Limits(messages_per_minute=1, frames_per_minute=3)
        async with site_with(answers, limits=limits) as (site, _):
            client = await site.connect()
            for number in range(4):
                await client.send("report", {"name": number}, message_id=f"m{number}")
            assert await client.heard() == (
                "reported u1 0, reported u1 1, reported u1 2, error rate_limited m3"
            )

    run_virtual(main())


# The end of a session.


@pytest.mark.parametrize("ends", ["close", "disconnect", "transport", "forget", "idle"])
def test_a_call_is_cancelled_when_its_session_ends(ends: str) -> None:
    async def main() -> None:
        async with site_with(works, idle_timeout=3.0) as (site, reports):
            client, other = await site.connect(), await site.connect()
            await client.send("report")
            if ends != "forget":
                await other.send("report", {"seconds": 1})
            if ends == "close":
                await client.close()
            elif ends == "disconnect":
                await client.send("disconnect")
            elif ends == "transport":
                client.transport.fail()
                await client.send("ping")
            elif ends == "forget":
                await site.endpoint.forget("u1")
            else:
                await asyncio.sleep(2.0)
                await other.send("ping")
                await asyncio.sleep(1.0)
            await settle()
            assert reports.ended[-1] == "CancelledError" or reports.ended[0] == "CancelledError"
            await asyncio.sleep(2.0)
            expected = ["CancelledError"] if ends == "forget" else ["CancelledError", "returned"]
            assert sorted(reports.ended) == expected

    run_virtual(main())


def test_what_it_sends_after_the_session_ended_is_refused() -> None:
    async def main() -> None:
        refused: list[str] = []

        async def persists(user_id: str, session: Session, message: Message) -> None:
            try:
                await asyncio.sleep(50.0)
            except asyncio.CancelledError:
                try:
                    await session("late")
                except TransportError as error:
                    refused.append(str(error))
                raise

        async with site_with(persists) as (site, _):
            client = await site.connect()
            await client.send("report")
            await client.close()
            await settle()
            assert refused == ["the session has ended"]
            assert "late" not in client.transport.frames

    run_virtual(main())


@pytest.mark.parametrize("ends", ["close", "transport"])
def test_what_waits_for_the_socket_when_the_session_ends_is_refused(ends: str) -> None:
    async def main() -> None:
        sending: list[asyncio.Task[None]] = []

        async def shouts(user_id: str, session: Session, message: Message) -> None:
            # The first is being sent, and the others wait; none of them is cancelled with the call.
            sending.extend(asyncio.create_task(session(f"frame {number}")) for number in range(3))
            await asyncio.Event().wait()

        async with site_with(shouts) as (site, _):
            client = await site.connect()
            client.transport.hang()
            await client.send("report")
            if ends == "close":
                await asyncio.gather(client.close(), return_exceptions=True)
            else:
                client.transport.fail()
            client.transport.read_on()
            await settle()
            for each in sending:
                with pytest.raises(TransportError):
                    await each
            assert tasks_left() == []

    run_virtual(main())


def test_one_that_swallows_its_cancellation_holds_up_nobody() -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def stubborn(user_id: str, session: Session, message: Message) -> None:
            while not done.is_set():
                try:
                    await done.wait()
                except asyncio.CancelledError:
                    continue

        async with site_with(stubborn) as (site, _):
            client = await site.connect()
            await client.send("report")
            await client.close()
            again = await site.connect()
            await again.chat("answer", "m1")
            assert (await again.heard()).endswith("completed")
            done.set()

    run_virtual(main())


# Draining.


def test_draining_refuses_new_calls_and_waits_for_those_there_are() -> None:
    async def main() -> None:
        async with site_with(works, cancel_grace=1.0) as (site, reports):
            client = await site.connect()
            await client.send("report", {"name": "may"})
            site.endpoint.start_draining()
            await client.send("report", message_id="m1")
            assert await client.heard() == "error shutting_down m1"
            await site.endpoint.drain()
            assert now() == pytest.approx(5.0, abs=0.01)
            assert reports.ended == ["returned"]
            assert await client.heard() == "reported u1 may"

    run_virtual(main())


def test_draining_cancels_the_calls_that_are_left() -> None:
    async def main() -> None:
        async with site_with(works) as (site, reports):
            client = await site.connect()
            await client.send("report", {"seconds": 100})
            begin = now()
            await site.endpoint.drain(2.0)
            assert now() - begin == pytest.approx(2.0, abs=0.01)
            assert reports.ended == ["CancelledError"]
            assert client.ended() is None

    run_virtual(main())


def test_draining_is_bounded_for_one_that_swallows_its_cancellation() -> None:
    async def main() -> None:
        async def tidies(user_id: str, session: Session, message: Message) -> None:
            try:
                await asyncio.sleep(100.0)
            finally:
                await asyncio.sleep(9.0)

        async with site_with(tidies, cancel_grace=3.0) as (site, reports):
            client = await site.connect()
            await client.send("report")
            begin = now()
            await site.endpoint.drain(2.0)
            assert now() - begin == pytest.approx(2.0 + 3.0, abs=0.01)
            await asyncio.sleep(10.0)
            assert reports.ended == ["CancelledError"]

    run_virtual(main())


def test_leaving_waits_for_one_that_tidies_up() -> None:
    async def main() -> None:
        async def tidies(user_id: str, session: Session, message: Message) -> None:
            try:
                await asyncio.sleep(100.0)
            finally:
                await asyncio.sleep(2.0)

        async with site_with(tidies, drain_timeout=1.0) as (site, reports):
            client = await site.connect()
            await client.send("report")
        assert reports.ended == ["CancelledError"]
        assert await client.heard() == "error shutting_down"

    run_virtual(main())


# Streams.


def test_a_stream_of_a_call_ends_when_the_call_has_ended() -> None:
    async def main() -> None:
        async with site_with(works) as (site, _):
            stream = await site.endpoint.stream("u1", frame("report", {"name": "may"}))
            chunks = [chunk async for chunk in stream]
            assert now() == pytest.approx(5.0, abs=0.01)
            assert b'"reported"' in chunks[-1]
            assert stream.end is not None
            assert stream.end.reason == "completed"

    run_virtual(main())


def test_a_stream_that_is_dropped_cancels_its_call() -> None:
    async def main() -> None:
        async with site_with(works) as (site, reports):
            stream = await site.endpoint.stream("u1", frame("report"))
            await settle()
            await stream.aclose()
            await settle()
            assert reports.ended == ["CancelledError"]

    run_virtual(main())


def test_a_stream_of_a_call_that_fails_says_so_and_ends() -> None:
    async def main() -> None:
        async def breaks(user_id: str, session: Session, message: Message) -> None:
            raise ValueError

        async with site_with(breaks) as (site, _):
            stream = await site.endpoint.stream("u1", frame("report"))
            chunks = [chunk async for chunk in stream]
            assert b'"agent_error"' in chunks[-1]

    run_virtual(main())
