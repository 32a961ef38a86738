"""What an endpoint refuses: each limit with its code, and how fast a user may be."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from agent_messaging import AgentMessageHandler, AgentRegistry, ErrorCode, Limits, RemoteError
from agent_messaging._users import User
from agent_messaging.testing import RecordingTransport, run_virtual
from support.endpoints import Connection, Site, frame, settle, worker
from support.lines import lines, own_records


def errors(connection: Connection) -> list[tuple[str, str | None, float | None]]:
    """The refusals that it was told: code, message id and when to try again."""
    return [
        (payload["code"], payload.get("message_id"), payload.get("retry_after"))
        for payload in (
            each["payload"] for each in connection.frames if each["type"] == "error_message"
        )
    ]


# How fast a user may be.


def test_a_minutes_messages_may_come_at_once_and_then_one_for_each_that_is_refilled() -> None:
    async def main() -> None:
        async with Site(limits=Limits(messages_per_minute=60, frames_per_minute=None)) as site:
            client = await site.connect()
            for number in range(61):
                await client.chat("answer", f"m{number}")
            assert errors(client) == [("rate_limited", "m60", 1.0)]
            await asyncio.sleep(0.5)
            await client.chat("answer", "m60")
            assert errors(client)[1] == ("rate_limited", "m60", 0.5)
            await asyncio.sleep(0.6)
            await client.chat("answer", "m60")
            await client.chat("answer", "m61")
            assert errors(client)[2:] == [("rate_limited", "m61", 0.9)]
            assert site.endpoint.stats()["runs_accepted"] == 61

    run_virtual(main())


def test_every_frame_counts_whatever_is_in_it() -> None:
    async def main() -> None:
        async with Site(limits=Limits(frames_per_minute=6)) as site:
            client = await site.connect()
            await client.send("ping")
            await client.send("no such type")
            await client.session.receive("not JSON")
            await client.chat("answer", "m")
            await client.stop("m")
            await client.resume(thread_id="t")
            await client.heard()
            for kind in ("ping", "connect", "stop_agent", "resume"):
                await client.send(kind, message_id=kind)
                assert errors(client)[-1] == ("rate_limited", kind, 10.0)
            await client.chat("answer", "new")
            assert errors(client)[-1] == ("rate_limited", "new", 10.0)
            await asyncio.sleep(10)
            await client.send("ping", {"id": 1})
            assert (await client.heard()).endswith("pong 1")

    run_virtual(main())


def test_a_user_has_one_bucket_over_all_sessions_and_another_user_another() -> None:
    async def main() -> None:
        async with Site(limits=Limits(messages_per_minute=2, frames_per_minute=10)) as site:
            first, second = await site.connect(), await site.connect()
            stranger = await site.connect("u2")
            for number in range(2):
                await first.chat("answer", f"m{number}")
            await second.chat("answer", "m2")
            assert errors(second) == [("rate_limited", "m2", 30.0)]
            for _ in range(7):
                await first.send("ping")
            await second.send("ping")
            assert errors(second)[1] == ("rate_limited", None, 6.0)
            await stranger.chat("answer", "theirs")
            assert await stranger.heard() == "theirs started, theirs completed"

    run_virtual(main())


def test_coming_back_makes_nobody_faster() -> None:
    async def main() -> None:
        async with Site(limits=Limits(messages_per_minute=2)) as site:
            for number in range(5):
                client = await site.connect()
                await client.chat("answer", f"m{number}")
                await client.close()
                assert site.endpoint.users() == {}
            assert site.endpoint.stats()["refusals"] == {"rate_limited": 3}
            await asyncio.sleep(30)
            client = await site.connect()
            await client.chat("answer", "later")
            assert await client.heard() == "later started, later completed"

    run_virtual(main())


def test_a_bucket_holds_no_more_than_a_minutes_worth_however_long_a_user_was_silent() -> None:
    async def main() -> None:
        async with Site(limits=Limits(messages_per_minute=2)) as site:
            client = await site.connect()
            await asyncio.sleep(3600)
            for number in range(3):
                await client.chat("answer", f"m{number}")
            assert errors(client) == [("rate_limited", "m2", 30.0)]

    run_virtual(main())


def test_without_a_bound_a_user_may_be_as_fast_as_it_can() -> None:
    async def main() -> None:
        limits = Limits(messages_per_minute=None, frames_per_minute=None)
        async with Site(limits=limits) as site:
            client = await site.connect()
            for number in range(2000):
                await client.session.receive(frame("chat", {"text": "answer"}))
                if not number % 10:
                    await settle()
            await settle()
            assert errors(client) == []
            assert site.endpoint.stats()["runs_completed"] == 2000

    run_virtual(main())


@pytest.mark.parametrize("state", ["too fast", "draining", "too many runs"])
def test_a_retry_is_answered_whatever_the_limits(state: str) -> None:
    async def main() -> None:
        limits = Limits(messages_per_minute=2, frames_per_minute=3, runs_per_user=1)
        async with Site(limits=limits) as site:
            client, other = await site.connect(), await site.connect()
            await client.chat("answer", "m")
            if state == "draining":
                site.endpoint.start_draining()
            elif state == "too many runs":
                await client.chat("work 5", "long")
            else:
                for _ in range(5):
                    await client.send("ping")
            await other.chat("answer", "m")
            assert await other.heard() == "m started, m completed"
            await other.chat("answer", "new")
            assert len(errors(other)) == 1
            assert site.endpoint.stats()["retries"] == 1

    run_virtual(main())


def test_a_client_that_is_too_fast_may_still_leave() -> None:
    async def main() -> None:
        async with Site(limits=Limits(frames_per_minute=1)) as site:
            client = await site.connect()
            await client.send("ping")
            await client.send("ping")
            await client.send("disconnect")
            assert client.ended() == "disconnected"

    run_virtual(main())


def test_what_another_limit_refuses_takes_no_message_token() -> None:
    async def main() -> None:
        limits = Limits(messages_per_minute=2, runs_per_user=1)
        async with Site(limits=limits, thread_policy="reject") as site:
            client = await site.connect()
            await client.chat("work 5", "m", "t")
            for name, thread in (("busy", "t"), ("many", "t2")):
                for _ in range(5):
                    await client.chat("answer", name, thread)
            await asyncio.sleep(5)
            await client.chat("answer", "last", "t")
            await client.chat("answer", "fast", "t")
            assert [code for code, _, _ in errors(client)] == [
                *["thread_busy"] * 5,
                *["too_many_runs"] * 5,
                "rate_limited",
            ]

    run_virtual(main())


# Each code.

Act = Callable[[Connection], Awaitable[object]]


async def be_many(client: Connection) -> None:
    for _ in range(2):
        await client.chat("work 5", thread_id=None)
        client.session.thread_id = None
    await client.chat("answer", "m", "another")


async def fill_the_queue(client: Connection) -> None:
    for name in ("a", "b", "m"):
        await client.chat("work 5", name, "t")


async def say_otherwise(client: Connection) -> None:
    await client.chat("answer", "m")
    await client.chat("something else", "m")


async def drain(client: Connection) -> None:
    client.site.endpoint.start_draining()
    await client.chat("answer", "m")


async def hurry(client: Connection) -> None:
    for number in range(6):
        await client.chat("answer", "m" if number == 5 else None)


CODES: Final[dict[str, tuple[Act, str | None]]] = {
    "malformed_frame": (lambda client: client.session.receive("{"), None),
    "frame_too_large": (lambda client: client.session.receive("[" * 1000), None),
    "invalid_message": (lambda client: client.send("chat", {}, message_id="m", thread_id=5), "m"),
    "unsupported_type": (lambda client: client.send("dance", message_id="m"), "m"),
    "missing_content": (lambda client: client.send("chat", {"text": " "}, message_id="m"), "m"),
    "unknown_agent": (
        lambda client: client.send(
            "start_agent", {"user_request": "x", "agent": "nobody"}, message_id="m"
        ),
        "m",
    ),
    "identity_mismatch": (
        lambda client: client.send("chat", {"text": "x"}, message_id="m", user_id="u2"),
        "m",
    ),
    "rate_limited": (hurry, "m"),
    "too_many_runs": (be_many, "m"),
    "queue_full": (fill_the_queue, "m"),
    "message_id_conflict": (say_otherwise, "m"),
    "shutting_down": (drain, "m"),
}


@pytest.mark.parametrize("code", CODES)
def test_each_refusal_has_its_code_its_counter_and_its_line_and_the_session_lives_on(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    act, message_id = CODES[code]

    async def main() -> None:
        registry = AgentRegistry()
        registry.register("worker", worker)
        handler = AgentMessageHandler(registry)
        limits = Limits(
            frame_bytes=500, runs_per_user=2, queued_per_thread=1, messages_per_minute=5
        )
        async with Site(handler=handler, limits=limits) as site:
            client = await site.connect()
            with caplog.at_level(logging.INFO, "agent_messaging.endpoint"):
                await act(client)
            await settle()
            ((told, about, retry_after),) = errors(client)
            assert (told, about) == (code, message_id)
            assert (retry_after is not None) == (code == "rate_limited")
            assert site.endpoint.stats()["refusals"] == {code: 1}
            await client.send("ping", {"id": 9})
            assert (await client.heard()).endswith("pong 9")
            (line,) = [vars(each) for each in own_records(caplog) if each.msg]
            fields = ("event", "user_id", "connection_id", "code", "message_id")
            connection_id = client.session.connection_id
            assert [line[name] for name in fields] == [
                "frame_refused",
                "u1",
                connection_id,
                code,
                message_id,
            ]

    run_virtual(main())


def test_every_code_of_a_refusal_is_seen_here_or_where_it_belongs() -> None:
    elsewhere = {"thread_busy", "too_many_sessions", "slow_consumer", "log_unavailable"}
    outcomes = {"agent_error", "timeout", "interrupted"}
    assert {str(code) for code in ErrorCode} == {*CODES} | elsewhere | outcomes


def test_no_more_stops_wait_for_their_runs_than_answers_may_wait() -> None:
    async def main() -> None:
        async with Site(limits=Limits(pending_replies=3)) as site:
            client, tab = await site.connect(), await site.connect()
            await client.chat("tidy 5", "a")
            for _ in range(3):
                await tab.stop("a")
            await tab.send("stop_agent", {"thread_id": "t"}, message_id="s")
            assert errors(tab) == [("rate_limited", "s", None)]
            await tab.send("ping")
            await asyncio.sleep(5)
            await tab.stop("a")
            assert (await tab.heard()).endswith(
                "pong, stopped a, stopped a, stopped a, stopped nothing"
            )

    run_virtual(main())


# Sessions.


def test_a_session_too_many_is_refused_until_another_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Site(limits=Limits(sessions_per_user=2)) as site:
            first, _ = await site.connect(), await site.connect()
            for _ in range(2):
                with pytest.raises(RemoteError) as refused:
                    await site.endpoint.open("u1", RecordingTransport())
                assert refused.value.code is ErrorCode.TOO_MANY_SESSIONS
                assert refused.value.message == "at most 2 sessions at once"
            await site.connect("u2")
            await first.close()
            await site.connect()
            stats = site.endpoint.stats()
            assert stats["refusals"] == {"too_many_sessions": 2}
            assert (stats["sessions"], stats["sessions_opened"]) == (3, 4)

    with caplog.at_level(logging.INFO, "agent_messaging"):
        run_virtual(main())
    refusals = lines(caplog, "session_refused")
    assert [(each["user_id"], each["code"]) for each in refusals] == [
        ("u1", "too_many_sessions"),
        ("u1", "too_many_sessions"),
    ]


# Memory.


def test_ten_thousand_threads_of_one_user_leave_nothing_behind() -> None:
    async def main() -> None:
        limits = Limits(messages_per_minute=None, frames_per_minute=None)
        async with Site(limits=limits) as site:
            client = await site.connect()
            for number in range(10_000):
                await client.session.receive(
                    frame("chat", {"text": "answer"}, thread_id=f"thread {number}")
                )
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            await settle()
            user: Any = client.session.user
            assert (user.threads, user.runs, user.places) == ({}, {}, 0)
            assert not client.session.delivery.watches

    run_virtual(main())


def left(site: Site) -> dict[str, object]:
    """The users of whom nothing is known but how fast they were."""
    return dict(site.endpoint._users._idle)  # pyright: ignore[reportPrivateUsage]


def test_of_users_that_left_nothing_is_known_a_minute_later() -> None:
    async def main() -> None:
        async with Site() as site:
            for number in range(100):
                await (await site.connect(f"u{number}")).close()
            assert len(left(site)) == 100
            await asyncio.sleep(60)
            await (await site.connect("another")).close()
            assert [*left(site)] == ["another"]

    run_virtual(main())


def test_of_users_that_left_no_more_than_a_bound_are_known_at_all() -> None:
    async def main() -> None:
        async with Site() as site:
            await (await site.connect("first")).close()
            leave = site.endpoint._users._set_idle  # pyright: ignore[reportPrivateUsage]
            for number in range(100_000):
                leave(User(f"u{number}", Limits(), 0.0, lambda user: None))
            assert len(left(site)) == 100_000
            assert "first" not in left(site)

    run_virtual(main())
