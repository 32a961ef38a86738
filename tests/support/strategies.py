"""Hypothesis strategies for messages, and for frames that are valid, nearly valid or neither."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final, TypeAlias, cast

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from agent_messaging import Message, MessageType
from support.frames import Json

Frame: TypeAlias = str | bytes

#: Tests know no wall clock: a slow machine is no failure.
patient: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: Text that can go into UTF-8: everything but surrogates.
texts: st.SearchStrategy[str] = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

#: Any text at all, lone surrogates included.
any_texts: st.SearchStrategy[str] = st.text(st.characters(exclude_categories=[]))

surrogates: st.SearchStrategy[str] = st.characters(categories=["Cs"])

ids: st.SearchStrategy[str] = st.text(
    st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128
).filter(str.isprintable)

_containers: st.SearchStrategy[object] = st.sampled_from([list[object](), dict[str, object]()])

wrong_ids: st.SearchStrategy[object] = st.one_of(
    st.just(""),
    st.integers(129, 300).map(lambda length: "x" * length),
    st.sampled_from(["a\nb", "\x00", "a\x7f", "\u2028", "\u200b", "tab\t"]),
    surrogates,
    st.integers(),
    st.booleans(),
    _containers,
)

numbers: st.SearchStrategy[float] = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)

_scalars: st.SearchStrategy[object] = st.one_of(st.none(), st.booleans(), numbers, texts)

json_values: st.SearchStrategy[object] = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)

payloads: st.SearchStrategy[dict[str, object]] = st.dictionaries(texts, json_values, max_size=4)

types: st.SearchStrategy[str] = st.one_of(st.sampled_from(MessageType).map(str), ids)

messages: st.SearchStrategy[Message] = st.builds(
    Message,
    type=types,
    payload=payloads,
    thread_id=st.none() | ids,
    run_id=st.none() | ids,
    message_id=st.none() | ids,
    timestamp=st.none() | numbers,
    user_id=st.none() | ids,
)


_Encode: TypeAlias = Callable[[object], str]

#: The ways in which a client may write its JSON.
_encoders: st.SearchStrategy[_Encode] = st.builds(
    partial,
    st.just(json.dumps),
    ensure_ascii=st.booleans(),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\r\n:")]),
)


@st.composite
def valid_frames(draw: st.DrawFn) -> str:
    """A frame that decodes."""
    return draw(_encoders)(draw(messages).to_dict())


class Kind(StrEnum):
    """How a sample came about."""

    BYTES = "arbitrary bytes"
    TEXT = "arbitrary text"
    VALID = "valid"
    MUTATED = "one mutation away from valid"


@dataclass(frozen=True)
class Sample:
    """A frame, how it came about, and what has to come of it where that is known.

    ``base`` is the valid frame that was mutated; ``code`` the code it must be refused with.
    """

    kind: Kind
    frame: Frame
    base: str | None = None
    code: str | None = None


@st.composite
def _edited_text(draw: st.DrawFn) -> Sample:
    """One character dropped, replaced, doubled or put in, or the frame cut off."""
    base = draw(valid_frames())
    at = draw(st.integers(0, len(base) - 1))
    other = draw(st.one_of(st.sampled_from('{}[]",:\\0-eN\t\n'), st.characters()))
    edited = draw(
        st.sampled_from(
            [
                base[:at] + base[at + 1 :],
                base[:at] + other + base[at + 1 :],
                base[:at] + base[at] + base[at:],
                base[:at] + other + base[at:],
                base[:at],
            ]
        )
    )
    assume(edited != base)
    return Sample(Kind.MUTATED, edited, base)


@st.composite
def _edited_bytes(draw: st.DrawFn) -> Sample:
    """One byte of the UTF-8 replaced or dropped."""
    base = draw(valid_frames())
    before = base.encode()
    octets = bytearray(before)
    at = draw(st.integers(0, len(octets) - 1))
    if draw(st.booleans()):
        octets[at] = draw(st.integers(0, 255))
    else:
        del octets[at]
    after = bytes(octets)
    assume(after != before)
    return Sample(Kind.MUTATED, after, base)


#: JSON tokens that must not be let in, by what is wrong with them.
_hostile_tokens: st.SearchStrategy[str] = st.one_of(
    st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]),
    st.sampled_from(['"\\ud800"', '"\\uDFFF x"', '"\\udc00\\ud800"', '"\ud800"']),
    st.integers(4400, 9000).map(lambda digits: "7" * digits),
    st.one_of(st.integers(33, 2000), st.just(100_000)).map(lambda depth: "[" * depth + "]" * depth),
    st.integers(33, 2000).map(lambda depth: '{"a":' * depth + "0" + "}" * depth),
)


@st.composite
def _hostile_value(draw: st.DrawFn) -> Sample:
    """One value in the payload, at any depth, replaced by one that no frame may hold."""
    place = "@here@"
    fields = draw(messages).to_dict()
    inside = draw(st.sampled_from([place, [0, place], {"a": {"b": place}}]))
    fields["payload"] = {**cast("Json", fields["payload"]), "place": inside}
    base = draw(_encoders)(fields)
    assume(base.count(place) == 1)
    frame = base.replace(f'"{place}"', draw(_hostile_tokens))
    return Sample(Kind.MUTATED, frame, base, "malformed_frame")


@st.composite
def _wrong_field(draw: st.DrawFn) -> Sample:
    """One field with a value of the wrong type or form, or the type left out."""
    fields = draw(messages).to_dict()
    encode = draw(_encoders)
    base = encode(fields)
    name = draw(
        st.sampled_from(
            ["type", "payload", "thread_id", "run_id", "message_id", "timestamp", "user_id"]
        )
    )
    code = "invalid_message"
    if name == "payload":
        fields[name] = draw(st.one_of(numbers, texts, st.booleans(), st.lists(_scalars)))
    elif name == "timestamp":
        fields[name] = draw(st.one_of(texts, st.booleans(), _containers))
    elif name == "type" and draw(st.booleans()):
        del fields[name]
    else:
        wrong = fields[name] = draw(wrong_ids)
        if isinstance(wrong, str) and "\ud800" <= wrong <= "\udfff":
            code = "malformed_frame"  # refused as text before anyone looks at the field
    return Sample(Kind.MUTATED, encode(fields), base, code)


@st.composite
def _other_shape(draw: st.DrawFn) -> Sample:
    """The whole frame wrapped, repeated or reduced to one of its values."""
    base = draw(valid_frames())
    shape = draw(st.sampled_from(["list", "text", "twice", "value"]))
    frame = {
        "list": f"[{base}]",
        "text": json.dumps(base),
        "twice": base + base,
        "value": json.dumps(json.loads(base)["type"]),
    }[shape]
    return Sample(Kind.MUTATED, frame, base, "malformed_frame")


@st.composite
def _oversize(draw: st.DrawFn) -> Sample:
    """The frame padded beyond the limit, with what JSON allows around it."""
    base = draw(valid_frames())
    padding = draw(st.sampled_from(" \t\n\r")) * 256 * 1024
    frame = draw(st.sampled_from([base + padding, padding + base]))
    return Sample(Kind.MUTATED, frame, base, "frame_too_large")


mutated: st.SearchStrategy[Sample] = st.one_of(
    _edited_text(),
    _edited_bytes(),
    _hostile_value(),
    _wrong_field(),
    _other_shape(),
    _oversize(),
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """A frame of any kind; half of them are one mutation away from valid."""
    kind = draw(
        st.sampled_from(
            [Kind.MUTATED, Kind.BYTES, Kind.MUTATED, Kind.TEXT, Kind.MUTATED, Kind.VALID]
        )
    )
    if kind is Kind.MUTATED:
        return draw(mutated)
    if kind is Kind.VALID:
        frame = draw(valid_frames())
        return Sample(kind, frame.encode() if draw(st.booleans()) else frame)
    return Sample(kind, draw(st.binary()) if kind is Kind.BYTES else draw(any_texts))
