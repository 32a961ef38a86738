"""Frames to messages: what decodes, and how each kind of bad frame is answered."""

import json
from collections.abc import Callable
from typing import cast

import msgspec
import orjson
import pytest

from agent_messaging import (
    AgentMessageHandler,
    Limits,
    Message,
    MessageRouter,
    NativeDialect,
    RemoteError,
    Run,
)
from agent_messaging._limits import DEFAULT_LIMITS
from agent_messaging.testing import RecordingTransport, run_virtual
from support import decoded

FRAME_BYTES = 262_144


def frame_with(payload: str, message_id: str = '"m1"') -> str:
    """A CHAT with this JSON as its payload."""
    return f'{{"type":"chat","message_id":{message_id},"payload":{payload}}}'


def sized(size: int, character: str = "x") -> str:
    """A frame of so many characters."""
    empty = frame_with('{"text":""}')
    return frame_with(f'{{"text":"{character * (size - len(empty))}"}}')


def refusal(
    frame: object,
    loads: Callable[[str], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> RemoteError:
    """How the frame is refused."""
    with pytest.raises(RemoteError) as caught:
        NativeDialect(loads=loads, limits=limits).decode(cast("str", frame))
    return caught.value


# What decodes.


def test_a_frame_is_text_or_anything_with_bytes() -> None:
    dialect = NativeDialect()
    frame = frame_with('{"text":"für 用户 😀"}')
    message = Message(type="chat", message_id="m1", payload={"text": "für 用户 😀"})
    octets = frame.encode()
    assert dialect.decode(frame) == message
    for buffer in (octets, bytearray(octets), memoryview(octets)):
        assert dialect.decode(buffer) == message
    every_other = bytes(octet for pair in zip(octets, octets, strict=True) for octet in pair)
    assert dialect.decode(memoryview(every_other)[::2]) == message


def test_a_surrogate_pair_is_one_character() -> None:
    assert NativeDialect().decode(frame_with('{"text":"\\ud83d\\ude00"}')).payload == {"text": "😀"}


def test_an_escaped_backslash_before_a_u_is_no_escape() -> None:
    message = NativeDialect().decode(frame_with('{"text":"\\\\ud800"}'))
    assert message.payload == {"text": "\\ud800"}


def test_numbers_within_the_limit_are_exact() -> None:
    frame = frame_with(f'{{"a":{"9" * 128},"b":-0.5,"c":1e3,"d":0,"e":0.{"5" * 126}}}')
    payload = NativeDialect().decode(frame).payload
    assert payload == {"a": 10**128 - 1, "b": -0.5, "c": 1000.0, "d": 0, "e": 5 / 9}
    assert [type(value) for value in payload.values()] == [int, float, float, int, float]


def test_the_frame_and_its_payload_are_two_levels() -> None:
    limits = Limits(json_depth=2)
    assert NativeDialect(limits=limits).decode(frame_with("{}")).payload == {}
    assert refusal(frame_with('{"a":[]}'), limits=limits).code == "malformed_frame"
    # The limit is on nesting and not on how many brackets there are.
    wide = frame_with(json.dumps(dict.fromkeys("abcdefgh", 0)))
    assert NativeDialect(limits=limits).decode(wide[:-1] + ',"other":{}}').type == "chat"
    braces = {"text": "{[" * 100}
    assert NativeDialect(limits=limits).decode(frame_with(json.dumps(braces))).payload == braces


def test_a_frame_at_each_limit_decodes() -> None:
    dialect = NativeDialect()
    for deepest in ("[" * 30 + "]" * 30, '{"a":' * 30 + "0" + "}" * 30):
        value = json.loads(deepest)
        assert dialect.decode(frame_with(f'{{"a":{deepest}}}')).payload == {"a": value}
        twice = dialect.decode(frame_with(f'{{"a":{deepest},"b":{deepest}}}')).payload
        assert twice == {"a": value, "b": value}
    assert dialect.decode(sized(FRAME_BYTES)).type == "chat"
    assert dialect.decode(sized(FRAME_BYTES).encode()).type == "chat"


# What is refused: name, frame, the code on the wire, and the message id of the reply.

SURROGATE = "a text in the frame is not Unicode: it has a lone surrogate"
Refused = tuple[str, object, str, str | None]

MALFORMED_JSON: list[Refused] = [
    (f"malformed JSON {number}", frame, "malformed_frame", None)
    for number, frame in enumerate(
        [
            "",
            " ",
            "{",
            "hello",
            '{"type":"chat"',
            '{"type":"chat",}',
            "{'type':'chat'}",
            '{"type":"chat"} {}',
            '{type:"chat"}',
            '\ufeff{"type":"chat"}',
            b'\xef\xbb\xbf{"type":"chat"}',
            frame_with('{"text":"a\nb"}'),
            frame_with('{"text":"\\x"}'),
            frame_with("{}") + "\x00",
            frame_with("{}")[:-1],
            frame_with("[01]"),
            frame_with("[.5]"),
        ]
    )
]

NOT_UTF_8: list[Refused] = [
    (f"invalid UTF-8 {number}", frame, "malformed_frame", None)
    for number, frame in enumerate(
        [
            b"\xff",
            frame_with('{"text":"ü"}').encode("latin-1"),
            frame_with('{"text":"ü"}').encode("utf-16"),
            frame_with('{"text":"ü"}').encode()[:-4],
            frame_with('{"text":"@"}').encode().replace(b"@", b"\xed\xa0\x80"),
            frame_with('{"text":"@"}').encode().replace(b"@", b"\xc0\xaf"),
            bytearray(b"\x80"),
            memoryview(b"\x80"),
        ]
    )
]

SURROGATES: list[Refused] = [
    (f"lone surrogate {name}", frame_with(payload), "malformed_frame", "m1")
    for name, payload in [
        ("escaped", '{"text":"\\ud800"}'),
        ("escaped in upper case", '{"text":"\\uDFFF"}'),
        ("escaped pair in the wrong order", '{"text":"\\ude00\\ud83d"}'),
        ("escaped in a name", '{"\\udead":1}'),
        ("escaped within a list", '{"a":[{"b":["\\udead"]}]}'),
        ("literal", '{"text":"\ud800"}'),
        ("literal in a name", '{"\udead":1}'),
    ]
]

NUMBERS: list[Refused] = [
    (f"number {number[:20]}", frame_with(f'{{"n":[{number}]}}'), "malformed_frame", "m1")
    for number in [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1" * 129,
        "-" + "2" * 128,
        "3" * 5000,
        "4" * 100_000,
        "0." + "5" * 5000,
        "6e" + "0" * 5000,
    ]
]

NESTING: list[Refused] = [
    ("list nested 33 deep", frame_with(f'{{"a":{"[" * 31 + "]" * 31}}}'), "malformed_frame", "m1"),
    (
        "object nested 33 deep",
        frame_with('{"a":' * 32 + "0" + "}" * 32),
        "malformed_frame",
        "m1",
    ),
    (
        "list nested 100,000 deep",
        frame_with(f'{{"a":{"[" * 100_000 + "]" * 100_000}}}'),
        "malformed_frame",
        None,
    ),
    ("nested and cut off", "[" * 100_000, "malformed_frame", None),
    ("object nested 40,000 deep", '{"a":' * 40_000 + "0" + "}" * 40_000, "malformed_frame", None),
]

SHAPES: list[Refused] = [
    (f"shape {frame!r:.20}", frame, "malformed_frame", None)
    for frame in ["[]", "null", "true", "5", '"chat"', f"[{frame_with('{}')}]", "[NaN]", "-1e999"]
]

TYPES_OF_FRAMES: list[Refused] = [
    (f"frame of {type(frame).__name__}", frame, "malformed_frame", None)
    for frame in [None, 5, {"type": "chat"}, ["chat"], object()]
]

SIZES: list[Refused] = [
    ("oversize text", sized(FRAME_BYTES + 1), "frame_too_large", None),
    ("oversize bytes", sized(FRAME_BYTES + 1).encode(), "frame_too_large", None),
    ("oversize multi-byte text", sized(FRAME_BYTES - 1, "ü"), "frame_too_large", None),
    ("oversize bytes that are no UTF-8", b"\xff" * (FRAME_BYTES + 1), "frame_too_large", None),
    ("oversize surrogates", "\ud800" * (FRAME_BYTES + 1), "frame_too_large", None),
]

_WRONG_VALUES: dict[str, list[object]] = {
    "type": [None, 5, True, [], "", "x" * 129, "a\nb", "\x00"],
    "payload": [[], "text", 5, True],
    "thread_id": [5, [], {}, "", "x" * 129, "\x00"],
    "run_id": [5, "x" * 129, "a\tb"],
    "message_id": [5, True, {}, "", "x" * 129, "a\nb"],
    "user_id": [5, "x" * 129, "\x1b[0m"],
    "timestamp": ["now", True, [], {}],
}

FIELDS: list[Refused] = [
    (
        f"field {name}={value!r:.20}",
        json.dumps({"type": "chat", "message_id": "m1", name: value}),
        "invalid_message",
        None if name == "message_id" else "m1",
    )
    for name, values in _WRONG_VALUES.items()
    for value in values
]

UNREADABLE_IDS: list[Refused] = [
    (f"{name} beside a bad number", frame_with('{"n":NaN}', message_id), "malformed_frame", None)
    for name, message_id in [
        ("a number as id", "5"),
        ("NaN as id", "NaN"),
        ("a float as id", "1.5"),
        ("an overlong id", json.dumps("x" * 129)),
        ("an id with a control character", '"a\\u0000"'),
        ("an object as id", "{}"),
    ]
]

DECODING = [
    *MALFORMED_JSON,
    *NOT_UTF_8,
    *SURROGATES,
    *NUMBERS,
    *NESTING,
    *SHAPES,
    *TYPES_OF_FRAMES,
    *SIZES,
    *FIELDS,
    *UNREADABLE_IDS,
]

#: These decode; what they ask for is refused.
HANDLING: list[Refused] = [
    ("unknown type", '{"type":"acme","message_id":"m1"}', "unsupported_type", "m1"),
    ("no text", frame_with("{}"), "missing_content", "m1"),
    ("blank text", frame_with('{"text":" \\n\\u3000"}'), "missing_content", "m1"),
    ("text of the wrong type", frame_with('{"text":["a"]}'), "invalid_message", "m1"),
    (
        "start without a request",
        '{"type":"start_agent","message_id":"m1","payload":{"text":"a"}}',
        "missing_content",
        "m1",
    ),
    (
        "foreign user",
        '{"type":"chat","message_id":"m1","payload":{"text":"a"},"user_id":"u2"}',
        "identity_mismatch",
        "m1",
    ),
    ("foreign user and unknown type", '{"type":"acme","user_id":"u2"}', "identity_mismatch", None),
]


def named(cases: list[Refused]) -> pytest.MarkDecorator:
    # In a list of their own, ids with backslashes would change each time they are collected.
    return pytest.mark.parametrize(
        ("frame", "code", "message_id"), [pytest.param(*case[1:], id=case[0]) for case in cases]
    )


@named(DECODING)
def test_a_bad_frame_is_refused(frame: object, code: str, message_id: str | None) -> None:
    error = refusal(frame)
    assert (error.code, error.message_id) == (code, message_id)


@named([*DECODING, *HANDLING])
def test_a_bad_frame_is_answered_and_the_connection_lives_on(
    frame: object, code: str, message_id: str | None
) -> None:
    async def agent(run: Run) -> str:
        requests.append(run.request)
        return "done"

    async def main() -> None:
        assert not await router.handle_frame("u1", transport, cast("str", frame))
        assert await router.handle_frame("u1", transport, frame_with('{"text":"good"}'))

    requests: list[str] = []
    transport = RecordingTransport()
    router = MessageRouter(AgentMessageHandler(agent))
    run_virtual(main())
    reply, *events = decoded(transport.frames)
    assert reply["type"] == "error_message"
    assert reply["payload"]["code"] == code
    assert reply["payload"].get("message_id") == message_id
    assert set(reply["payload"]) == {"code", "message"} | ({"message_id"} if message_id else set())
    assert [event["type"] for event in events] == ["agent_started", "agent_completed"]
    assert requests == ["good"]


def test_the_user_of_the_connection_may_stand_in_the_frame() -> None:
    async def agent(run: Run) -> str:
        return run.context.user_id

    transport = RecordingTransport()
    frame = '{"type":"chat","payload":{"text":"a"},"user_id":"u1"}'
    assert run_virtual(
        MessageRouter(AgentMessageHandler(agent)).handle_frame("u1", transport, frame)
    )
    assert decoded(transport.frames)[-1]["payload"]["result"] == "u1"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("{", "the frame is not valid JSON"),
        ("[]", "a frame is a JSON object"),
        (b"\xff", "a frame is UTF-8"),
        (5, "a frame is text or bytes, not int"),
        (frame_with('{"text":"\\ud800"}'), SURROGATE),
        (frame_with('{"n":NaN}'), "a number in the frame is not finite"),
        (frame_with(f'{{"n":{"1" * 129}}}'), "a number in the frame is too long"),
        (frame_with(f'{{"n":0.{"1" * 127}}}'), "a number in the frame is too long"),
        (frame_with(f'{{"a":{"[" * 40 + "]" * 40}}}'), "a frame nests at most 32 deep"),
    ],
)
def test_the_sentence_of_a_refusal_says_what_was_wrong(frame: object, message: str) -> None:
    assert refusal(frame).message == message


def test_the_sentence_of_a_refusal_holds_nothing_of_the_frame() -> None:
    for _, frame, _, _ in DECODING:
        if isinstance(frame, str):
            assert "hello" not in refusal(frame.replace("chat", "hello")).message


# The host's own parser.


def test_the_hosts_parser_is_given_text() -> None:
    seen: list[object] = []

    def loads(text: str) -> object:
        seen.append(text)
        return {"type": "chat"}

    dialect = NativeDialect(loads=loads)
    assert dialect.decode("text").type == "chat"
    assert dialect.decode(b"bytes").type == "chat"
    assert seen == ["text", "bytes"]


@pytest.mark.parametrize("error", [ValueError, KeyError, RecursionError, MemoryError, Exception])
def test_whatever_the_hosts_parser_raises_is_a_malformed_frame(error: type[Exception]) -> None:
    def loads(text: str) -> object:
        raise error("secret")

    refused = refusal(frame_with("{}"), loads)
    assert (refused.code, refused.message_id) == ("malformed_frame", "m1")
    assert "secret" not in refused.message


LENIENT = [
    *SURROGATES,
    *NUMBERS[:5],
    *NUMBERS[7:9],
    *NESTING,
    *SHAPES,
    *SIZES,
    *FIELDS,
    *UNREADABLE_IDS,
]


@pytest.mark.parametrize("loads", [json.loads, orjson.loads, msgspec.json.decode])
@named(LENIENT)
def test_what_the_hosts_parser_lets_through_is_checked(
    frame: object, code: str, message_id: str | None, loads: Callable[[str], object]
) -> None:
    error = refusal(frame, loads)
    assert (error.code, error.message_id) == (code, message_id)


def test_a_long_integer_from_the_hosts_parser_is_refused() -> None:
    limits = Limits(number_length=10)
    decode = NativeDialect(loads=json.loads, limits=limits).decode
    assert decode(frame_with(f'{{"n":{"9" * 10}}}')).payload == {"n": 9_999_999_999}
    for number in ("1" + "0" * 10, "-1" + "0" * 9, "1" + "0" * 11, "-1" + "0" * 11):
        error = refusal(frame_with(f'{{"n":{number}}}'), json.loads, limits)
        assert (error.code, error.message_id) == ("malformed_frame", "m1")
        assert error.message == "a number in the frame is too long"
