"""Whatever a client sends decodes to a message or is refused with a documented code."""

import json
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import orjson
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from agent_messaging import Message, MessageType, NativeDialect, RemoteError
from agent_messaging.testing.strategies import NearValidFrame, frames, near_valid_frames
from support.strategies import any_messages, any_texts, patient

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
def test_a_frame_that_is_nearly_valid_decodes_or_is_refused_with_a_documented_code(
    codec: Codec,
) -> None:
    dialect = codec.dialect()

    @settings(patient, max_examples=250)
    @given(near_valid_frames(user_id="user-1"))
    def decode(near_valid: NearValidFrame) -> None:
        error = refusal(dialect, near_valid.frame)
        if error is not None:
            check_documented(dialect, error)
            assert near_valid.code in (None, error.code)
        elif near_valid.fault == "a number that is too long":
            # What a host's parser makes a float of is no long number any more.
            assert codec.loads is not None
        else:
            assert near_valid.code not in {"malformed_frame", "frame_too_large"}

    decode()


@codecs
@pytest.mark.parametrize("code", [*sorted(DOCUMENTED), None])
def test_a_frame_that_is_nearly_valid_meets_each_of_them(codec: Codec, code: str | None) -> None:
    dialect = codec.dialect()

    def meets(near_valid: NearValidFrame) -> bool:
        error = refusal(dialect, near_valid.frame)
        return (None if error is None else error.code) == code

    # As many as it takes: whether each is met among a few is luck.
    searching = settings(patient, max_examples=5000, database=None, phases=[Phase.generate])
    find(near_valid_frames(user_id="user-1"), meets, settings=searching)


@codecs
def test_every_valid_frame_decodes(codec: Codec) -> None:
    dialect = codec.dialect()

    @patient
    @given(frames(user_id="user-1", agents=["travel"]))
    def decode(frame: str | bytes) -> None:
        assert refusal(dialect, frame) is None

    decode()


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
@given(any_messages)
def test_a_message_survives_its_dictionary(message: Message) -> None:
    assert Message.from_dict(message.to_dict()) == message


@codecs
def test_a_valid_frame_decodes_to_the_message_that_it_was_made_of(codec: Codec) -> None:
    dialect = codec.dialect()

    @patient
    @given(any_messages)
    def decode(message: Message) -> None:
        frame = json.dumps(message.to_dict())
        assert dialect.decode(frame) == message
        assert dialect.decode(frame.encode()) == message

    decode()
