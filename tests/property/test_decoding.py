"""Whatever a client sends decodes to a message or is refused with a documented code."""

import json
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_messaging import Message, MessageType, NativeDialect, RemoteError
from support.strategies import Kind, Sample, any_texts, messages, patient, samples

DOCUMENTED = {"malformed_frame", "frame_too_large", "invalid_message"}


class Codec(NamedTuple):
    """A JSON library as a host hands it in; None is the dialect's own."""

    loads: Callable[[str], object] | None
    dumps: Callable[[object], str | bytes] | None

    def dialect(self) -> NativeDialect:
        return NativeDialect(loads=self.loads, dumps=self.dumps)


CODECS = {
    "own": Codec(None, None),
    "json": Codec(json.loads, json.dumps),
    "orjson": Codec(orjson.loads, orjson.dumps),
    "msgspec": Codec(msgspec.json.decode, msgspec.json.encode),
}

codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def refusal(dialect: NativeDialect, frame: str | bytes) -> RemoteError | None:
    """How the frame is refused; None where it decodes, and then encodes again to the same."""
    try:
        message = dialect.decode(frame)
    except RemoteError as error:
        return error
    again = dialect.encode_payload(message.to_dict())
    assert dialect.decode(again) == message
    assert Message.from_dict(message.to_dict()) == message
    return None


def check_documented(dialect: NativeDialect, error: RemoteError) -> None:
    assert error.code in DOCUMENTED
    reply = json.loads(dialect.encode_control(MessageType.ERROR_MESSAGE, error.reply, 0.0))
    assert reply["payload"]["code"] == error.code
    assert reply["payload"].get("message_id") == error.message_id


@codecs
def test_any_frame_decodes_or_is_refused_with_a_documented_code(codec: Codec) -> None:
    dialect = codec.dialect()
    kinds: Counter[Kind] = Counter()
    codes: Counter[str] = Counter()

    @settings(patient, max_examples=250)
    @given(samples())
    def decode(sample: Sample) -> None:
        kinds[sample.kind] += 1
        error = refusal(dialect, sample.frame)
        codes["decoded" if error is None else error.code] += 1
        if error is not None:
            check_documented(dialect, error)
            assert sample.kind is not Kind.VALID
        if sample.code is not None:
            assert error is not None
            assert error.code == sample.code
        if sample.base is not None:
            assert refusal(dialect, sample.base) is None
            assert sample.frame not in (sample.base, sample.base.encode())

    decode()
    assert kinds[Kind.MUTATED] * 3 >= kinds.total()
    assert set(kinds) == set(Kind)
    assert set(codes) == {*DOCUMENTED, "decoded"}


@codecs
def test_arbitrary_bytes_and_text_raise_nothing_else(codec: Codec) -> None:
    dialect = codec.dialect()

    @patient
    @given(st.one_of(st.binary(), any_texts, any_texts.map(lambda text: f'{{"type":"{text}"}}')))
    def decode(frame: str | bytes) -> None:
        error = refusal(dialect, frame)
        if error is not None:
            check_documented(dialect, error)

    decode()


@patient
@given(messages)
def test_a_message_survives_its_dictionary(message: Message) -> None:
    assert Message.from_dict(message.to_dict()) == message


@codecs
def test_a_valid_frame_decodes_to_the_message_that_it_was_made_of(codec: Codec) -> None:
    dialect = codec.dialect()

    @patient
    @given(messages)
    def decode(message: Message) -> None:
        frame = json.dumps(message.to_dict())
        assert dialect.decode(frame) == message
        assert dialect.decode(frame.encode()) == message

    decode()
