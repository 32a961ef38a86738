"""Frames that no honest client sends: each has one answer, and the session lives on."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import pytest

from agent_messaging import ErrorCode, Lease, Limits, MemoryEventLog, OnDisconnect
from agent_messaging.testing import RecordingTransport, run_virtual
from support import Json, tasks_left
from support.endpoints import Connection, Site, frame, now, settle
from support.logs import TroubledLog, site_on, takes
from support.recording_log import RecordingLog

CODES: Final = frozenset(str(code) for code in ErrorCode)
LIMIT: Final = Limits().frame_bytes
NO_RATES: Final = Limits(frames_per_minute=None, messages_per_minute=None)


@asynccontextmanager
async def opened(limits: Limits = NO_RATES) -> AsyncGenerator[Connection]:
    """A connection; at the end it is to answer as ever."""
    async with Site(limits=limits) as site:
        client = await site.connect()
        yield client
        begin = len(client.frames)
        await client.send("ping", {"id": "still there"})
        assert [sent["payload"] for sent in client.frames[begin:]] == [{"id": "still there"}]


def answers(*frames: object) -> list[Json]:
    """What these frames are answered by, in one session."""

    async def main() -> list[Json]:
        async with opened() as client:
            for hostile in frames:
                await client.session.receive(hostile)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                await settle()
            return client.frames[1:]

    return run_virtual(main())


def code(*frames: object) -> str:
    """The code of the one answer to these frames."""
    [answer] = answers(*frames)
    assert answer["type"] == "error_message", answer
    found: str = answer["payload"]["code"]
    return found


def ending(client: Connection) -> str | None:
    """Why the client's session ended."""
    return None if client.session.end is None else client.session.end.reason


# Too large.


def filled(size: int) -> str:
    """A message of exactly so many bytes."""
    empty = frame("chat", {"text": ""})
    return frame("chat", {"text": "x" * (size - len(empty))})


def test_a_message_of_the_largest_size_is_taken() -> None:
    assert [sent["type"] for sent in answers(filled(LIMIT))] == ["agent_started", "agent_completed"]


@pytest.mark.parametrize(
    "hostile",
    [
        filled(LIMIT + 1),
        filled(LIMIT + 1).encode(),
        memoryview(filled(LIMIT + 1).encode()),
        bytearray(LIMIT + 1),
        " " * (LIMIT + 1),
        "\N{PILE OF POO}" * (LIMIT // 4 + 1),
        memoryview(bytes(8 * LIMIT)).cast("d"),
        "[" * (40 * LIMIT),
    ],
    ids=["text", "bytes", "a view", "zeros", "blanks", "four bytes each", "doubles", "ten MiB"],
)
def test_a_frame_beyond_the_size_is_refused(hostile: object) -> None:
    assert code(hostile) == "frame_too_large"


def test_a_flood_of_oversized_frames_is_never_copied() -> None:
    async def main() -> int:
        hostile = bytes(20 * 1024 * 1024)
        async with opened() as client:
            tracemalloc.start()
            try:
                for _ in range(500):
                    await client.session.receive(hostile)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            await settle()
            assert len(client.frames) == 501
            return peak

    assert run_virtual(main()) < 2 * 1024 * 1024


# Too deep, too long, not JSON.


def nested(depth: int, opening: str = "[", closing: str = "]", inner: str = "1") -> str:
    return opening * depth + inner + closing * depth


@pytest.mark.parametrize(
    "hostile",
    [
        frame("chat", {"text": "hi"})[:-1] + ',"x":' + nested(33) + "}",
        frame("chat", {"text": "hi"})[:-1] + ',"x":' + nested(10_000) + "}",
        frame("chat", {"text": "hi"})[:-1] + ',"x":' + nested(20_000, '{"a":', "}") + "}",
        "[" * 100_000,
        '{"a":' * 50_000,
        nested(100_000),
        nested(50_000, "[[", "]]", "{}"),
        '{"type":"chat","payload":' + nested(20_000, '{"text":[', "]}", "{}") + "}",
    ],
    ids=["33", "10,000", "objects", "unclosed", "unclosed objects", "bare", "pairs", "payload"],
)
def test_a_deep_frame_is_malformed(hostile: str) -> None:
    assert code(hostile) == "malformed_frame"


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        " ",
        "\x00",
        "null",
        "true",
        "1",
        '"chat"',
        "[]",
        "{",
        "}",
        "{}{}",
        "{'type':'chat'}",
        '{"type":"chat",}',
        '{"type":NaN}',
        '{"type":"chat","payload":{"text":"hi","n":Infinity}}',
        '{"type":"chat","payload":{"text":"hi","n":1e999}}',
        '{"type":"chat","payload":{"text":"hi","n":' + "9" * 200_000 + "}}",
        '{"type":"chat","payload":{"text":"hi","n":1' + "0" * 5000 + "e-5000}}",
        '{"type":"chat","payload":{"text":"\\ud800"}}',
        '{"type":"chat","payload":{"\\udfff":1}}',
        "\ud800",
        b"\xff",
        b"\x80abc",
        b'{"type":"\xc0\xaf"}',
        b"\xef\xbb\xbf{}",
        "\ufeff{}",
        7,
        None,
        ["chat"],
        object(),
    ],
)
def test_what_is_no_json_object_is_malformed(hostile: object) -> None:
    assert code(hostile) == "malformed_frame"


NO_IDS: Final[tuple[object, ...]] = (
    "",
    "x" * 129,
    "line\nbreak",
    "\u200bhidden",
    "\x00",
    1,
    1.5,
    True,
    [],
    {},
    ["t"],
)


@pytest.mark.parametrize("name", ["type", "thread_id", "run_id", "message_id", "user_id"])
@pytest.mark.parametrize("value", [pytest.param(value, id=repr(value)) for value in NO_IDS])
def test_an_envelope_whose_id_is_none_is_invalid(name: str, value: object) -> None:
    fields: dict[str, object] = {"type": "chat", "payload": {"text": "hi"}, name: value}
    assert code(json.dumps(fields)) == "invalid_message"


@pytest.mark.parametrize("value", ["", 1, [], "text", 1.5, True], ids=repr)
def test_an_envelope_whose_payload_is_no_object_is_invalid(value: object) -> None:
    assert code(json.dumps({"type": "chat", "payload": value})) == "invalid_message"


@pytest.mark.parametrize("value", ["now", True, [], {}, "1"], ids=repr)
def test_an_envelope_whose_timestamp_is_no_number_is_invalid(value: object) -> None:
    fields = {"type": "chat", "payload": {"text": "hi"}, "timestamp": value}
    assert code(json.dumps(fields)) == "invalid_message"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("ping", {"id": ""}),
        ("ping", {"id": 1.5}),
        ("ping", {"id": True}),
        ("ping", {"id": []}),
        ("ping", {"id": {"a": 1}}),
        ("ping", {"id": "x" * 129}),
        ("stop_agent", {}),
        ("stop_agent", {"run_id": None}),
        ("stop_agent", {"run_id": ""}),
        ("stop_agent", {"run_id": 1}),
        ("stop_agent", {"run_id": ["r"]}),
        ("stop_agent", {"run_id": "r", "thread_id": "t"}),
        ("stop_agent", {"run_id": "r", "thread_id": 1}),
        ("stop_agent", {"thread_id": {}}),
        ("stop_agent", {"thread_id": "x" * 129}),
        ("resume", {}),
        ("resume", {"after": {}}),
        ("resume", {"after": None}),
        ("resume", {"after": []}),
        ("resume", {"after": "r"}),
        ("resume", {"after": {"r": -1}}),
        ("resume", {"after": {"r": 1.0}}),
        ("resume", {"after": {"r": True}}),
        ("resume", {"after": {"r": None}}),
        ("resume", {"after": {"r": "1"}}),
        ("resume", {"after": {"": 1}}),
        ("resume", {"after": {"x" * 129: 1}}),
        ("resume", {"after": {"r\n": 1}}),
        ("resume", {"after": {f"r{number}": 0 for number in range(101)}}),
        ("resume", {"after": {f"r{number}": 0 for number in range(10_000)}}),
        ("resume", {"thread_id": 1}),
        ("resume", {"thread_id": ""}),
        ("resume", {"thread_id": ["t"], "after": {"r": 1}}),
        ("chat", {"text": 1}),
        ("chat", {"text": ["hi"]}),
        ("start_agent", {"user_request": "hi", "agent": 1}),
        ("start_agent", {"user_request": "hi", "agent": ""}),
    ],
)
def test_a_payload_of_the_wrong_form_is_invalid(kind: str, payload: Json) -> None:
    assert code(frame(kind, payload)) == "invalid_message"


@pytest.mark.parametrize(
    "kind", ["resumed", "pong", "agent_started", "agent_completed", "Chat", " "]
)
def test_a_type_that_is_not_a_clients_is_unsupported(kind: str) -> None:
    assert code(frame(kind, {"text": "hi"})) == "unsupported_type"


def test_the_largest_numbers_that_are_taken_do_no_harm() -> None:
    largest = int("9" * 128)
    [pong, resumed] = answers(
        frame("ping", {"id": largest}), frame("resume", {"after": {"r": largest}})
    )
    assert pong["payload"] == {"id": largest}
    assert resumed["payload"] == {"runs": []}


def test_a_cursor_beyond_the_end_of_a_run_brings_the_run_again() -> None:
    async def main() -> list[Json]:
        async with Site(limits=NO_RATES) as site:
            client = await site.connect()
            await client.chat("answer", "m")
            await client.send("resume", {"after": {site.run_id("m"): int("9" * 128)}})
            return client.frames[-3:]

    resumed, *events = run_virtual(main())
    [told] = resumed["payload"]["runs"]
    assert (told["from_seq"], told["to_seq"], told["evicted"]) == (1, 2, True)
    assert [event["seq"] for event in events] == [1, 2]


def test_keys_of_the_envelope_within_a_payload_change_nothing() -> None:
    payload = {"text": "answer", "user_id": "ada", "run_id": "r", "type": "ping", "seq": 9}
    frames = answers(frame("chat", payload))
    assert [sent["type"] for sent in frames] == ["agent_started", "agent_completed"]
    assert {sent["user_id"] for sent in frames} == {"u1"}


# Whatever comes.


def _noise(random: Random) -> object:
    """Bytes, text, or a mutilated frame."""
    good = frame("chat", {"text": "answer", "more": [1, {"a": None}]}, message_id="m")
    match random.randrange(5):
        case 0:
            return random.randbytes(random.randrange(40))
        case 1:
            return "".join(chr(random.randrange(0x11000)) for _ in range(random.randrange(20)))
        case 2:
            start = random.randrange(len(good))
            return good[:start] + good[start + random.randrange(1, 9) :]
        case 3:
            position = random.randrange(len(good))
            return good[:position] + random.choice('{}[]",:\\\x00 e9-') + good[position:]
        case _:
            return json.dumps(_value(random, 4))


def _value(random: Random, depth: int) -> object:
    words = ("type", "payload", "chat", "ping", "resume", "stop_agent", "after", "run_id", "u1", "")
    match random.randrange(9 if depth else 6):
        case 0:
            return None
        case 1:
            return random.random() < 0.5
        case 2:
            return random.randrange(-(10**6), 10**6)
        case 3:
            return random.random()
        case 4 | 5:
            return random.choice(words)
        case 6:
            return [_value(random, depth - 1) for _ in range(random.randrange(4))]
        case _:
            return {random.choice(words): _value(random, depth - 1) for _ in range(4)}


@pytest.mark.parametrize("seed", range(20))
def test_no_input_is_left_without_exactly_one_answer_or_run(seed: int) -> None:
    async def main() -> None:
        random = Random(seed)
        async with opened() as client:
            for _ in range(200):
                begin = len(client.frames)
                noise = _noise(random)
                await client.session.receive(noise)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                await settle()
                answer = client.frames[begin:]
                kinds = [sent["type"] for sent in answer]
                if kinds == ["error_message"]:
                    assert answer[0]["payload"]["code"] in CODES
                else:
                    assert kinds in (
                        ["agent_started", "agent_completed"],
                        ["pong"],
                        ["stopped"],
                        ["resumed"],
                        ["connection_established"],
                    )

    run_virtual(main())


def test_what_is_refused_is_never_shown_to_the_log() -> None:
    async def main() -> None:
        log = RecordingLog()
        async with Site(limits=NO_RATES, log=log) as site:
            client = await site.connect()
            begin = len(log.calls)
            for hostile in (
                filled(LIMIT + 1),
                "[" * 100_000,
                frame("sing"),
                frame("chat", {"text": " "}, message_id="m"),
                frame("chat", {"text": "hi"}, message_id="m", user_id="ada"),
                frame("start_agent", {"user_request": "hi", "agent": "nobody"}, message_id="m"),
                frame("stop_agent", {}),
                frame("resume", {"after": {"r": -1}}),
            ):
                await client.session.receive(hostile)
            assert log.calls[begin:] == []

    run_virtual(main())


# Slow ones.


def test_a_client_that_drips_its_frames_holds_up_nobody() -> None:
    async def main() -> None:
        async def drip() -> AsyncGenerator[str]:
            for number in range(1000):
                await asyncio.sleep(50.0)  # for a frame to be complete
                yield frame("ping", {"id": number})
            await asyncio.sleep(50.0)

        async with Site() as site:
            dripping = RecordingTransport()
            serving = asyncio.create_task(site.endpoint.serve("slow", drip(), dripping))
            client = await site.connect()
            for _ in range(100):
                await asyncio.sleep(500.0)
                start = now()
                await client.chat("answer")
                assert now() - start < 0.001
            end = await serving
            assert end.reason == "disconnected"
            assert len(dripping.frames) == 1001

    run_virtual(main())


def test_a_connection_that_never_completes_a_frame_is_idle() -> None:
    async def main() -> None:
        completed = asyncio.Event()

        async def never() -> AsyncGenerator[str]:
            while await completed.wait():
                yield frame("ping")

        async with Site(idle_timeout=60.0) as site:
            start = now()
            end = await site.endpoint.serve("slow", never(), RecordingTransport())
            assert end.reason == "idle"
            assert now() - start == pytest.approx(60.0)
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_a_session_that_is_kept_awake_by_rubbish_holds_no_more_for_it() -> None:
    async def main() -> None:
        async with Site(idle_timeout=60.0) as site:
            client = await site.connect()
            for _ in range(1000):
                await asyncio.sleep(59.0)
                await client.session.receive("rubbish")
            await settle()
            assert ending(client) is None
            assert site.endpoint.users()["u1"] == {
                "sessions": 1,
                "runs_in_flight": 0,
                "runs_queued": 0,
            }
            await asyncio.sleep(61.0)
            assert ending(client) == "idle"

    run_virtual(main())


# A client that is gone before it was answered.


@pytest.mark.parametrize("policy", ["cancel", "detach"])
def test_a_message_of_a_client_that_is_gone_starts_no_run_that_nobody_knows_of(
    policy: OnDisconnect,
) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("find_claim", takes(5.0))
        async with site_on(log, on_disconnect=policy) as site:
            client = await site.connect()
            message = frame("chat", {"text": "work 100"}, message_id="m")
            sending = asyncio.create_task(client.session.receive(message))
            await asyncio.sleep(1.0)
            await client.close()
            await sending
            await settle()
            stats = site.endpoint.stats()
            ended = stats["runs_completed"] + stats["runs_failed"] + stats["runs_cancelled"]
            assert stats["runs_in_flight"] == stats["runs_accepted"] - ended

    run_virtual(main())


def test_a_stop_of_a_client_that_is_gone_waits_for_no_other_workers_run() -> None:
    async def main() -> None:
        log = TroubledLog()
        await claimed_elsewhere(log.inner, "r")
        log.always("notify", takes(5.0))
        async with site_on(log) as site:
            client = await site.connect()
            stopping = asyncio.create_task(
                client.session.receive(frame("stop_agent", {"run_id": "r"}))
            )
            await asyncio.sleep(1.0)
            await client.close()
            await stopping
            await settle()
            assert tasks_left() == []

    run_virtual(main())


async def claimed_elsewhere(log: MemoryEventLog, run_id: str) -> None:
    """A run of the same user whose owner is another worker, which is gone."""
    await log.claim(
        Lease("u1", run_id, "another worker's"),
        thread_id="t",
        message_id="m",
        digest="",
        owner="another worker",
        lease_seconds=30.0,
    )
