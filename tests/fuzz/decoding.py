"""Any bytes as a frame, and as text: decoded as they have to be, or refused as documented."""

import json
from random import Random
from typing import Final

from agent_messaging import (
    AgentMessageHandler,
    AgentRegistry,
    Limits,
    Message,
    MessageRouter,
    MessageType,
    NativeDialect,
    RemoteError,
    Run,
    compat,
)
from agent_messaging._intake import _digest  # pyright: ignore[reportPrivateUsage]
from fuzz.mutations import Mutate, mutated_json
from fuzz.reference import Judgement, Reference, legible_message_id
from support.frames import Json

#: Small, so that short inputs come to every bound and beyond it; a frame may still be nested deeper
#: than a parser can recurse.
LIMITS: Final = Limits(frame_bytes=2500, json_depth=6, number_length=20)

#: Bytes of the longest input: somewhat longer than a frame may be.
LENGTH: Final = 2600

#: What libFuzzer puts into inputs, beside what it finds in comparisons.
WORDS: Final = (
    *(f'"{kind}"' for kind in MessageType),
    *('"type":', '"payload":', '"thread_id":', '"run_id":', '"message_id":', '"user_id":'),
    *('"timestamp":', '"user_request":', '"message":', '"content":', '"text":', '"agent":'),
    *("null", "true", "false", "NaN", "Infinity", "-Infinity", "1e999", "-0.0", "1e-400"),
    *("123456789012345678901", "0.1234567890123456789", '"\\ud800"', '"\\udc00"', "\\u0000"),
    *(
        "[[[[[[",
        "]]]]]]",
        "[" * 1100,
        "]" * 1100,
        " " * 1300,
        '{"a":{"a":',
        "}}",
        "\N{PILE OF POO}",
        "\\ud83d\\udca9",
        "\ufeff",
    ),
    *("\u2028", "\x7f", "x" * 129, '"ada"', '"known"', '"start_agent"'),
)

_LIST: Final = list[object]()

#: What takes the place of a value in a frame now and then.
_VALUES: Final[tuple[object, ...]] = (
    *(str(kind) for kind in MessageType),
    *(None, True, False, 0, -1, 1.5, -0.0, 1e308, 2**63, 10**19, 10**20, 1.2345678901234567e-100),
    *("", " ", "x", "ada", "known", "x" * 128, "x" * 129, "\ud800", "\U0001f4a9", "a\nb", "\x00"),
    *(
        _LIST,
        {"": _LIST},
        [[[[[[_LIST]]]]]],
        {"a": {"a": {"a": {"a": {"a": {"a": 0}}}}}},
        {"text": "hi"},
    ),
)

_FRAMES: Final = (
    b'{"type":"chat","payload":{"text":"hi"},"message_id":"m","timestamp":1.5}',
    b'{"type":"start_agent","payload":{"user_request":"hi","agent":"known"},"thread_id":"t"}',
    b'{"type":"user_message","payload":{"content":"x"},"user_id":"ada","run_id":"r","more":[1]}',
)

#: What inputs are made of at first: valid frames, and one for each way in which a frame may just be
#: valid or just not. A fuzzer keeps such a frame only if it leads to another line than others do.
SEEDS: Final = (
    *_FRAMES,
    *(b'{"type":"ping","timestamp":%b}' % value for value in (b"true", b"7", b'"7"', b"1e999")),
    *(b'{"type":"ping","payload":%b}' % value for value in (b"null", b"[]", b"NaN", b"[" * 1100)),
    *(b'{"type":"ping","a":%b}' % (b"[" * depth + b"]" * depth) for depth in (5, 6, 500)),
    *(b'{"type":"ping","a":%b}' % (b"7" * digits) for digits in (20, 21)),
    *(
        b'{"type":"ping","a":"\\u%b"}' % code
        for code in (b"d7ff", b"d800", b"dbff", b"dc00", b"DFFF")
    ),
    *(b'{"type":"ping","a":"\\ud83d\\udca9"}', b'{"type":"ping","\\udfff":0}', b'{"":NaN,"":0}'),
    *(b'{"type":"%b"}' % name for name in (b"x" * 128, b"x" * 129, b" ", b"\xe2\x80\xa8", b"\xe9")),
    *(b'{"type":"chat","user_id":"%b","payload":{"text":"x"}}' % name for name in (b"ada", b"bob")),
    *(b'{"message_id":"m","type":%b}' % value for value in (b"0", b"NaN", b'"\\udc00"', b'"\xff"')),
    *("\N{PILE OF POO}".encode() * count for count in (625, 626)),
    *(b" " * 2500, b" " * 2501, b"\xff", b"", b"[]", b"{}", b"\xef\xbb\xbf{}", b"{}{}"),
)

_DIALECT: Final = NativeDialect(limits=LIMITS)
#: As a host's parser that lets through more than JSON has.
_LENIENT: Final = NativeDialect(loads=json.loads, limits=LIMITS)
#: For what the small bounds let in and which is longer when it is encoded again.
_WIDE: Final = NativeDialect()
_REFERENCE: Final = Reference(LIMITS)
_LENIENT_REFERENCE: Final = Reference(LIMITS, is_lenient=True)

#: What may become of a message that was decoded, before anything runs.
_LATER_CODES: Final = frozenset(
    {
        "identity_mismatch",
        "unsupported_type",
        "missing_content",
        "invalid_message",
        "unknown_agent",
    }
)


async def _agent(run: Run) -> None:
    """Never runs."""


_AGENTS: Final = AgentRegistry()
_AGENTS.register("known", _agent)
_HANDLER: Final = AgentMessageHandler(_AGENTS)
_ROUTER: Final = MessageRouter(_HANDLER)


def execute(frame: bytes) -> None:
    """Decode one input in every form that it can have.

    Raises:
        AssertionError: something is not as it has to be.
        Exception: as raised by what must not raise it.
    """
    answer = _see_decoded(frame)
    for form in (bytearray(frame), memoryview(frame)):
        assert _decoded(_DIALECT, form)[0] == answer, "the same bytes have another answer"
    # Bytes that are no UTF-8 become lone surrogates, as they do in a host that is careless.
    text = frame.decode("utf-8", "surrogateescape")
    answer_to_text = _see_decoded(text)
    if answer != answer_to_text:
        # A text is looked at for its length first.
        assert {answer, answer_to_text} == {"frame_too_large", "malformed_frame"}
        assert max(text) >= "\udc80"


def mutated(frame: bytes, limit: int, random: Random, mutate: Mutate) -> bytes:
    """Another input, near this one; a valid one in the place of what is no JSON, now and then."""
    if random.random() < 0.2:
        frame = random.choice(_FRAMES)
    return mutated_json(frame, limit, random, mutate, _VALUES)


def _see_decoded(frame: str | bytes) -> str | Message:
    """What became of a frame, once it is known to be right."""
    answer, error = _decoded(_DIALECT, frame)
    _see_judged(answer, _REFERENCE.judge(frame))
    again, _ = _decoded(_LENIENT, frame)
    _see_judged(again, _LENIENT_REFERENCE.judge(frame))
    if error is not None:
        _see_reply(error)
        expected = None if error.code == "frame_too_large" else legible_message_id(frame)
        assert error.message_id == expected, f"{error.message_id}, and not {expected}"
    else:
        assert isinstance(answer, Message)
        _see_round_trip(answer)
        _see_handled(answer)
    return answer


def _decoded(
    dialect: NativeDialect, frame: str | bytes | bytearray | memoryview
) -> tuple[str | Message, RemoteError | None]:
    try:
        return dialect.decode(frame), None
    except RemoteError as error:
        return str(error.code), error


def _see_judged(answer: str | Message, judgement: Judgement) -> None:
    fields = answer.to_dict() if isinstance(answer, Message) else answer
    # Equal is not enough: 1, 1.0 and True are.
    assert repr(fields) == repr(judgement), f"it became {fields}, and not {judgement}"


def _see_reply(error: RemoteError) -> None:
    frame = _DIALECT.encode_control(MessageType.ERROR_MESSAGE, error.reply, 0.0)
    reply: Json = json.loads(frame)
    assert frame.isascii()
    assert reply["payload"] == error.reply
    assert reply["payload"]["code"] == error.code


def _see_round_trip(message: Message) -> None:
    again = _WIDE.decode(_WIDE.encode_payload(message.to_dict()))
    assert again == message, f"{message} came back as {again}"
    assert Message.from_dict(message.to_dict()) == message
    backwards = dict(reversed(message.payload.items()))
    assert _digest(message) == _digest(Message(type=message.type, payload=backwards))


def _see_handled(message: Message) -> None:
    """Everything that is decided of a message before something runs."""
    try:
        handler = _ROUTER.handler_for("ada", message)
        assert handler is _HANDLER
        _HANDLER.prepare(message)
    except RemoteError as error:
        if error.code not in _LATER_CODES or error.message_id != message.message_id:
            raise AssertionError(f"{message} is refused otherwise") from error
        _see_reply(error)
    else:
        assert message.user_id in (None, "ada"), "another user's message is handled"
        assert message.request.strip(), "a blank message is handled"
    try:
        compat.normalize_message_type(message.type)
    except RemoteError as error:
        if error.code != "unsupported_type":
            raise AssertionError(f"{message.type} is refused otherwise") from error
