"""Whatever can be encoded is one line of ASCII JSON that says the same, whoever encodes it."""

import json
from collections.abc import Callable
from typing import cast

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_messaging import MessageType, NativeDialect, PayloadError
from agent_messaging.dialects.native import NativeRunEncoder
from agent_messaging.testing.strategies import ids, json_values
from support.strategies import any_texts, patient, payloads

#: Not only JSON: what an agent may hand in by mistake, at any depth.
anything: st.SearchStrategy[object] = st.recursive(
    st.one_of(
        json_values(),
        any_texts,
        st.floats(),
        st.binary(),
        st.sets(st.integers()),
        st.just(object()),
        st.tuples(st.integers()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.integers() | any_texts, inner, max_size=3)
    ),
    max_leaves=6,
)


@patient
@given(payloads)
def test_a_payload_is_what_the_standard_library_writes(payload: dict[str, object]) -> None:
    text = NativeDialect().encode_payload(payload)
    assert text == json.dumps(payload, separators=(",", ":"))
    assert text.isascii()
    assert "\n" not in text


@pytest.mark.parametrize("dumps", [orjson.dumps, msgspec.json.encode])
def test_a_payload_of_the_hosts_encoder_says_the_same_in_ascii(
    dumps: Callable[[object], bytes],
) -> None:
    dialect = NativeDialect(dumps=dumps)

    @patient
    @given(payloads)
    def encode(payload: dict[str, object]) -> None:
        text = dialect.encode_payload(payload)
        assert text.isascii()
        assert json.loads(text) == payload

    encode()


@pytest.mark.parametrize("dumps", [None, json.dumps, orjson.dumps, msgspec.json.encode])
def test_whatever_an_agent_hands_in_encodes_or_is_a_payload_error(
    dumps: Callable[[object], str | bytes] | None,
) -> None:
    dialect = NativeDialect(dumps=dumps)
    outcomes: set[bool] = set()

    @patient
    @given(st.dictionaries(any_texts, anything, max_size=3))
    def encode(payload: dict[str, object]) -> None:
        try:
            text = dialect.encode_payload(payload)
        except PayloadError:
            outcomes.add(False)
        else:
            outcomes.add(True)
            assert text.isascii()
            assert isinstance(json.loads(text), dict)

    encode()
    assert outcomes == {True, False}


@patient
@given(any_texts)
def test_any_text_is_a_payload_of_one_text(text: str) -> None:
    dialect = NativeDialect()
    encoded = dialect.encode_text(text)
    assert encoded == dialect.encode_payload({"text": text})
    assert json.loads(encoded) == {"text": text}


@patient
@given(
    kind=st.sampled_from(MessageType),
    user_id=ids(),
    thread_id=ids(),
    run_id=ids(),
    payload=payloads,
    seq=st.integers(1, 10**9),
    microseconds=st.integers(0, 4 * 10**15),
)
def test_the_frame_of_an_event_says_what_went_into_it(
    kind: MessageType,
    user_id: str,
    thread_id: str,
    run_id: str,
    payload: dict[str, object],
    seq: int,
    microseconds: int,
) -> None:
    timestamp = microseconds / 1_000_000
    text = NativeDialect().encode_payload(payload)
    frame = NativeRunEncoder(user_id, thread_id, run_id).encode(kind, text, seq, timestamp)
    assert frame.isascii()
    fields = cast("dict[str, object]", json.loads(frame))
    assert list(fields) == [
        "type",
        "payload",
        "user_id",
        "thread_id",
        "run_id",
        "seq",
        "timestamp",
    ]
    assert fields == {
        "type": kind.value,
        "payload": payload,
        "user_id": user_id,
        "thread_id": thread_id,
        "run_id": run_id,
        "seq": seq,
        "timestamp": timestamp,
    }


@patient
@given(
    kind=st.sampled_from(MessageType),
    payload=payloads,
    timestamp=st.floats(allow_nan=False, allow_infinity=False),
)
def test_the_frame_of_a_control_event_is_json(
    kind: MessageType, payload: dict[str, object], timestamp: float
) -> None:
    fields = json.loads(NativeDialect().encode_control(kind, payload, timestamp))
    assert (fields["type"], fields["payload"]) == (kind.value, payload)
    assert abs(fields["timestamp"] - timestamp) <= max(1e-6, abs(timestamp) * 1e-15)
