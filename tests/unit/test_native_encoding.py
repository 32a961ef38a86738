"""Events to frames: ASCII JSON, encoded once, or a PayloadError."""

import json
import json.encoder
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum

import msgspec
import orjson
import pytest

from agent_messaging import Limits, MessageType, NativeDialect, PayloadError
from agent_messaging.dialects.native import NativeRunEncoder

HOSTILE: dict[str, object] = {
    "quotes": 'a"b\\c/d',
    "controls": "\x00\x1f\n\r\t\x7f",
    "separators": "\u2028\u2029",
    "text": "für 用户 😀",
    "numbers": [0, -1, 1.5, 1e300, 2**63 - 1, True, None],
    "nested": {"a": [{}, [], {"": ""}]},
}


def refused(payload: object, dialect: NativeDialect | None = None) -> PayloadError:
    """How the payload is refused."""
    with pytest.raises(PayloadError) as caught:
        (dialect or NativeDialect()).encode_payload({"value": payload})
    return caught.value


# Frames.


def test_the_frame_of_an_event() -> None:
    dialect, encoder = NativeDialect(), NativeRunEncoder("u1", "t1", "r1")
    payload = dialect.encode_payload({"text": "Hé", "list": [1, None]})
    frame = encoder.encode(MessageType.AGENT_THINKING, payload, 2, 1700.25)
    assert frame == (
        '{"type":"agent_thinking","payload":{"text":"H\\u00e9","list":[1,null]},"user_id":"u1",'
        '"thread_id":"t1","run_id":"r1","seq":2,"timestamp":1700.250000}'
    )


def test_the_frame_of_a_control_event() -> None:
    frame = NativeDialect().encode_control(MessageType.PONG, {"id": "p1"}, 1700.25)
    assert json.loads(frame) == {"type": "pong", "payload": {"id": "p1"}, "timestamp": 1700.25}
    assert frame.isascii()


@pytest.mark.parametrize("kind", MessageType)
def test_every_type_stands_on_the_wire_in_lower_case(kind: MessageType) -> None:
    encoder = NativeRunEncoder("u1", "t1", "r1")
    for frame in (
        encoder.encode(kind, "{}", 1, 0.0),
        NativeDialect().encode_control(kind, {}, 0.0),
    ):
        assert json.loads(frame)["type"] == kind.name.lower()


@pytest.mark.parametrize("odd", ['a"b', "a\\b", "für", "用户", "😀", "</script>", "{0}", "%s"])
def test_an_id_is_quoted_and_stays_what_it_is(odd: str) -> None:
    frame = NativeRunEncoder(odd, odd + "2", odd + "3").encode(MessageType.PONG, "{}", 1, 0.5)
    assert frame.isascii()
    assert json.loads(frame) == {
        "type": "pong",
        "payload": {},
        "user_id": odd,
        "thread_id": odd + "2",
        "run_id": odd + "3",
        "seq": 1,
        "timestamp": 0.5,
    }


@pytest.mark.parametrize("timestamp", [0, 1763850000, 1763850000.123456, 0.000001])
def test_a_timestamp_keeps_its_microseconds(timestamp: float) -> None:
    frame = NativeDialect().encode_control(MessageType.PONG, {}, timestamp)
    assert json.loads(frame)["timestamp"] == timestamp


def test_a_payload_cannot_reach_the_envelope() -> None:
    payload = NativeDialect().encode_payload({"type": "x", "seq": 99, "user_id": "u2"})
    frame = NativeRunEncoder("u1", "t1", "r1").encode(MessageType.AGENT_PROGRESS, payload, 1, 0.0)
    fields = json.loads(frame)
    assert (fields["type"], fields["seq"], fields["user_id"]) == ("agent_progress", 1, "u1")


# Payloads.


class Color(StrEnum):
    RED = "red"


class Shade(str, Enum):  # noqa: UP042 - as hosts write it
    DARK = "dark"


class Level(IntEnum):
    HIGH = 3


Encoder = Callable[[object, int], tuple[object, ...]]


def refuses(*arguments: object) -> Encoder:
    raise TypeError("other arguments")


def breaks(*arguments: object) -> Encoder:
    raise SystemError("bad internal call")


def writes_something_else(*arguments: object) -> Encoder:
    return lambda value, level: ("{}",)


def gives_no_text(*arguments: object) -> Encoder:
    return lambda value, level: (1, 2)


def takes_one_argument(*arguments: object) -> Encoder:
    def encode(value: object) -> tuple[object, ...]:
        raise AssertionError

    return encode  # type: ignore[return-value] # pyright: ignore[reportReturnType]


@pytest.fixture(
    params=[
        None,
        refuses,
        breaks,
        writes_something_else,
        gives_no_text,
        takes_one_argument,
        "none",
    ],
    ids=lambda change: getattr(change, "__name__", "has none" if change else "as it is"),
)
def interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter as it is, and as another one might be: all give the same frames.

    The standard library's own use of its C encoder, with a dictionary of markers, goes on working.
    """
    change: Callable[..., Encoder] | str | None = request.param
    known: Callable[..., Encoder] = vars(json.encoder)["c_make_encoder"]

    def make(markers: dict[int, object] | None, *arguments: object) -> Encoder:
        assert callable(change)
        return change() if markers is None else known(markers, *arguments)

    if change is not None:
        monkeypatch.setattr(json.encoder, "c_make_encoder", make if callable(change) else None)


@pytest.mark.usefixtures("interpreter")
def test_a_payload_is_ascii_json_on_one_line() -> None:
    text = NativeDialect().encode_payload(HOSTILE)
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text) == HOSTILE
    assert text == json.dumps(HOSTILE, separators=(",", ":"))


@pytest.mark.usefixtures("interpreter")
def test_a_lone_surrogate_goes_out_as_an_escape() -> None:
    assert NativeDialect().encode_payload({"a": "\ud800"}) == '{"a":"\\ud800"}'


@pytest.mark.usefixtures("interpreter")
def test_an_enum_member_goes_out_as_its_value() -> None:
    payload = {"a": Color.RED, "b": Level.HIGH, "c": Shade.DARK, Color.RED: 1}
    assert NativeDialect().encode_payload(payload) == '{"a":"red","b":3,"c":"dark","red":1}'


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes", {(1, 2): 3}, Decimal(1)]
)
def test_what_is_no_json_is_refused(value: object) -> None:
    refused(value)
    refused([{"deep": value}])


@pytest.mark.usefixtures("interpreter")
def test_a_cycle_is_refused() -> None:
    cycle: list[object] = []
    cycle.append({"again": cycle})
    refused(cycle)


@pytest.mark.usefixtures("interpreter")
def test_a_payload_that_is_nested_too_deeply_to_encode_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    refused(deep)
    # Taken apart by hand: the interpreter's own way would recurse as deeply.
    while deep:
        deep = deep.pop()  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]


def test_the_refusal_names_the_class_and_its_way_out() -> None:
    error = refused(date(2025, 1, 1))
    assert "date is not a JSON type, and no default= converts it" in str(error)
    assert isinstance(error.__cause__, TypeError)


# default=


@dataclass
class Flight:
    number: str


@pytest.mark.usefixtures("interpreter")
def test_default_converts_what_json_does_not_know() -> None:
    def default(value: object) -> object:
        if isinstance(value, Flight):
            return asdict(value)
        raise TypeError(value)

    dialect = NativeDialect(default=default)
    text = dialect.encode_payload({"flights": [Flight("LH1"), Flight("LH2")]})
    assert json.loads(text) == {"flights": [{"number": "LH1"}, {"number": "LH2"}]}
    refused(object(), dialect)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words for this")


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(
    "error", [ValueError, TypeError, RecursionError, MemoryError, StopIteration, UnspeakableError]
)
def test_whatever_default_raises_is_a_payload_error(error: type[Exception]) -> None:
    def default(value: object) -> object:
        raise error

    assert error.__name__ in str(refused(object(), NativeDialect(default=default)))


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("converted", [float("nan"), object()])
def test_what_default_gives_is_encoded_by_the_same_rules(converted: object) -> None:
    refused(Flight("LH1"), NativeDialect(default=lambda value: converted))


@pytest.mark.usefixtures("interpreter")
def test_a_default_that_gives_what_it_was_given_is_refused() -> None:
    refused(object(), NativeDialect(default=lambda value: value))


# dumps=


def in_unicode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def to_bytearray(value: object) -> bytearray:
    return bytearray(orjson.dumps(value))


def to_memoryview(value: object) -> memoryview:
    return memoryview(orjson.dumps(value))


@pytest.mark.parametrize(
    "dumps",
    [orjson.dumps, msgspec.json.encode, json.dumps, in_unicode, to_bytearray, to_memoryview],
)
def test_the_hosts_encoder_encodes_payloads_and_the_frame_stays_ascii(
    dumps: Callable[[object], str | bytes],
) -> None:
    dialect = NativeDialect(dumps=dumps)
    for text in (dialect.encode_payload(HOSTILE), dialect.encode_text("für 用户 😀")):
        assert text.isascii()
    assert json.loads(dialect.encode_payload(HOSTILE)) == HOSTILE
    assert json.loads(dialect.encode_text("für 用户 😀")) == {"text": "für 用户 😀"}
    frame = json.loads(dialect.encode_control(MessageType.PONG, {"id": "für"}, 0.0))
    assert frame["payload"] == {"id": "für"}


@pytest.mark.parametrize("dumps", [orjson.dumps, msgspec.json.encode])
@pytest.mark.parametrize("value", ["\ud800", object(), {(1, 2): 3}])
def test_what_the_hosts_encoder_refuses_is_a_payload_error(
    dumps: Callable[[object], bytes], value: object
) -> None:
    refused(value, NativeDialect(dumps=dumps))


@pytest.mark.parametrize(
    "error", [ValueError, RecursionError, MemoryError, KeyError, UnspeakableError]
)
def test_whatever_the_hosts_encoder_raises_is_a_payload_error(error: type[Exception]) -> None:
    def dumps(value: object) -> str:
        raise error

    assert isinstance(refused(1, NativeDialect(dumps=dumps)).__cause__, error)


@pytest.mark.parametrize("given", [None, 3, True, [1, 2], {"a": 1}, b"\xff", b"\xed\xa0\x80"])
def test_a_hosts_encoder_that_gives_no_text_is_a_payload_error(given: object) -> None:
    def dumps(value: object) -> str:
        return given  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    refused(1, NativeDialect(dumps=dumps))


def test_no_surrogate_of_a_hosts_encoder_gets_into_a_frame() -> None:
    dialect = NativeDialect(dumps=in_unicode)
    text = dialect.encode_payload({"a": "\ud800ü😀"})
    assert text.isascii()
    assert json.loads(text) == {"a": "\ud800ü😀"}


# A payload of one text.


@pytest.mark.parametrize("text", ["", "plain", "für 用户 😀", '"\\\x00\n\u2028', "\ud800"])
def test_a_text_is_encoded_as_a_payload_of_one_text(text: str) -> None:
    dialect = NativeDialect()
    assert dialect.encode_text(text) == dialect.encode_payload({"text": text})


def test_a_text_is_encoded_by_the_hosts_encoder_where_there_is_one() -> None:
    assert NativeDialect(dumps=json.dumps).encode_text("words") == '{"text": "words"}'


@pytest.mark.parametrize("text", [None, 5, b"bytes", ["text"], object()])
@pytest.mark.parametrize("dumps", [None, json.dumps])
def test_a_text_that_is_none_is_refused(
    text: object, dumps: Callable[[object], str] | None
) -> None:
    with pytest.raises(PayloadError, match=f"not {type(text).__name__}"):
        NativeDialect(dumps=dumps).encode_text(text)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# The bound.


@pytest.mark.parametrize("dumps", [None, orjson.dumps])
@pytest.mark.parametrize("character", ["x", "ü", "😀"])
def test_a_payload_is_bounded_in_bytes(
    dumps: Callable[[object], bytes] | None, character: str
) -> None:
    """The bytes are those of the frame, in which what is not ASCII is escaped."""
    escaped = len(json.dumps(character)) - 2
    fits = Limits(payload_bytes=len('{"text":""}') + 10 * escaped)
    dialect = NativeDialect(dumps=dumps, limits=fits)
    encoders: list[Callable[[str], str]] = [
        dialect.encode_text,
        lambda text: dialect.encode_payload({"text": text}),
    ]
    for encode in encoders:
        assert len(encode(character * 10)) == fits.payload_bytes
        with pytest.raises(PayloadError, match=f"at most {fits.payload_bytes} bytes"):
            encode(character * 11)


def test_a_control_frame_goes_out_whatever_the_hosts_encoder_and_bound() -> None:
    def no_dumps(value: object) -> str:
        raise RuntimeError

    for dialect in (
        NativeDialect(limits=Limits(payload_bytes=20)),
        NativeDialect(dumps=no_dumps),
    ):
        frame = dialect.encode_control(MessageType.PONG, {"id": "x" * 20}, 0.0)
        assert json.loads(frame)["payload"] == {"id": "x" * 20}
