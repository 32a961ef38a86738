"""Strategies for frames that are one step away from valid, each with what is wrong with it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, cast, final

from hypothesis import assume
from hypothesis import strategies as st

from agent_messaging import ErrorCode, Limits, Message, MessageType
from agent_messaging.testing._program import Printer
from agent_messaging.testing._wire_strategies import (
    AGENT_TYPES,
    ENCODERS,
    NUMBERS,
    TEXTS,
    ids,
    json_values,
    messages,
)

__all__ = ["NearValidFrame", "near_valid_frames"]

#: Characters of a frame that are printed; one that is too large would fill the screen.
_PRINTED: Final = 400

_Fields: TypeAlias = dict[str, object]


@final
@dataclass(frozen=True, slots=True, repr=False)
class NearValidFrame:
    """A frame that is one step away from valid.

    Attributes:
        frame: what is received.
        fault: what is wrong with it, in a few words.
        code: with which an `agent_messaging.Endpoint` refuses it; None where that depends on the
            rest of the frame, which may then be accepted.
    """

    frame: str | bytes
    fault: str
    code: ErrorCode | None

    def _repr_pretty_(self, printer: Printer, _cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        frame = repr(self.frame)
        if len(frame) > _PRINTED:
            half = _PRINTED // 2
            frame = f"{frame[:half]} ... {len(frame) - _PRINTED} more ... {frame[-half:]}"
        code = None if self.code is None else str(self.code)
        return f"<NearValidFrame, {self.fault} ({code}): {frame}>"


def near_valid_frames(
    *, user_id: str | None = None, limits: Limits | None = None
) -> st.SearchStrategy[NearValidFrame]:
    """Frames that differ in one thing from what `frames` draws, and what is wrong with each.

    The faults that are always refused, and their codes:

    - ``malformed_frame``: a number that is not finite, or is longer than the limit; a lone
      surrogate; nesting beyond the limit; bytes that are no UTF-8, or text in another encoding; a
      list, a value, or two objects where there should be one object.
    - ``frame_too_large``: a frame that is padded beyond the limit.
    - ``invalid_message``: a field of the envelope of the wrong type or form, or no type; a text
      that is no text; a control message with a payload that it cannot have.
    - ``missing_content``: an agent message without a text, or with a blank one.
    - ``unsupported_type``: a type that is nearly one of the library's, or is for events.
    - ``identity_mismatch``: another user's id. Drawn only where ``user_id`` is given.

    Those without a code are a character or a byte that is dropped, replaced, doubled or put in, a
    frame that is cut off, a field that occurs twice, and a number that is odd but allowed.

    Where a dialect has a parser of the host's, that may make a float of a number that is too long,
    which is then accepted.

    Args:
        user_id: the connection's user.
        limits: those of the dialect that is to refuse the frames; the default ones otherwise. They
            have to leave room for what `frames` draws: 64 KiB, a depth of 12, numbers of 32.
    """
    limits = limits or Limits()
    faults = [
        _wrong_envelope(),
        _missing_text(),
        _wrong_text(),
        _wrong_control(),
        _wrong_type(),
        _edited_text(),
        _edited_bytes(),
        _doubled_field(),
        _odd_number(),
        *_hostile_values(limits),
        _no_utf_8(),
        _other_shape(),
        _too_large(limits),
    ]
    if user_id is not None:
        faults.append(_other_user(user_id))
    return st.one_of(faults)


# The envelope and the payload.

_CONTAINERS: Final = st.sampled_from([list[object](), _Fields()])
_SCALARS: Final = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
_WRONG_IDS: Final[st.SearchStrategy[object]] = st.one_of(
    st.just(""),
    st.integers(129, 300).map(lambda length: "x" * length),
    st.sampled_from(["a\nb", "\x00", "a\x7f", "\u2028", "\u200b", "tab\t"]),
    st.integers(-9, 9),
    st.booleans(),
    _CONTAINERS,
)
_MESSAGES: Final = messages()
_AGENT_MESSAGES: Final = messages(*AGENT_TYPES)


@st.composite
def _wrong_envelope(draw: st.DrawFn) -> NearValidFrame:
    fields = draw(_MESSAGES).to_dict()
    name = draw(
        st.sampled_from(
            ["type", "payload", "thread_id", "run_id", "message_id", "timestamp", "user_id"]
        )
    )
    fault = f"a {name} that is none"
    if name == "payload":
        fields[name] = draw(st.one_of(NUMBERS, TEXTS, st.booleans(), st.lists(_SCALARS)))
    elif name == "timestamp":
        fields[name] = draw(st.one_of(TEXTS, st.booleans(), _CONTAINERS))
    elif name == "type" and draw(st.booleans()):
        del fields[name]
        fault = "no type"
    else:
        fields[name] = draw(_WRONG_IDS)
    return NearValidFrame(draw(ENCODERS)(fields), fault, ErrorCode.INVALID_MESSAGE)


@st.composite
def _missing_text(draw: st.DrawFn) -> NearValidFrame:
    message = draw(_AGENT_MESSAGES)
    for name in ("user_request", "message", "content", "text"):
        if name in message.payload and draw(st.booleans()):
            message.payload[name] = draw(st.sampled_from([None, "", " ", "\r\n\t", "\u2003"]))
        else:
            message.payload.pop(name, None)
    frame = draw(ENCODERS)(message.to_dict())
    return NearValidFrame(frame, "no text", ErrorCode.MISSING_CONTENT)


@st.composite
def _wrong_text(draw: st.DrawFn) -> NearValidFrame:
    message = draw(_AGENT_MESSAGES)
    # The first field that it may stand in, since what stands behind a text is not looked at.
    name = "user_request" if message.type == MessageType.START_AGENT else "message"
    message.payload[name] = draw(st.one_of(NUMBERS, st.booleans(), _CONTAINERS))
    frame = draw(ENCODERS)(message.to_dict())
    return NearValidFrame(frame, "a text that is none", ErrorCode.INVALID_MESSAGE)


#: What the control messages cannot have as their payload.
_WRONG_PAYLOADS: Final[tuple[tuple[MessageType, _Fields], ...]] = (
    (MessageType.PING, {"id": 1.5}),
    (MessageType.PING, {"id": True}),
    (MessageType.PING, {"id": ""}),
    (MessageType.PING, {"id": []}),
    (MessageType.STOP_AGENT, {}),
    (MessageType.STOP_AGENT, {"run_id": 1}),
    (MessageType.STOP_AGENT, {"thread_id": ""}),
    (MessageType.STOP_AGENT, {"run_id": "r", "thread_id": "t"}),
    (MessageType.RESUME, {}),
    (MessageType.RESUME, {"thread_id": 1}),
    (MessageType.RESUME, {"after": ["r"]}),
    (MessageType.RESUME, {"after": {"r": -1}}),
    (MessageType.RESUME, {"after": {"r": "1"}}),
    (MessageType.RESUME, {"after": {"r": True}}),
    (MessageType.RESUME, {"after": {"": 1}}),
)


@st.composite
def _wrong_control(draw: st.DrawFn) -> NearValidFrame:
    kind, payload = draw(st.sampled_from(_WRONG_PAYLOADS))
    message = Message(type=kind, payload=payload, message_id=draw(st.none() | ids()))
    frame = draw(ENCODERS)(message.to_dict())
    return NearValidFrame(frame, f"a payload that no {kind} has", ErrorCode.INVALID_MESSAGE)


@st.composite
def _wrong_type(draw: st.DrawFn) -> NearValidFrame:
    fields = draw(_MESSAGES).to_dict()
    kind = str(fields["type"])
    fields["type"] = draw(
        st.sampled_from([kind.upper(), f"{kind}s", f" {kind}", f"{kind} ", kind[:-1]])
        | st.sampled_from([MessageType.PONG, MessageType.AGENT_STARTED, MessageType.RESUMED])
    )
    frame = draw(ENCODERS)(fields)
    return NearValidFrame(frame, "a type that is not for clients", ErrorCode.UNSUPPORTED_TYPE)


@st.composite
def _other_user(draw: st.DrawFn, user_id: str) -> NearValidFrame:
    fields = draw(_MESSAGES).to_dict()
    fields["user_id"] = draw(st.sampled_from([f"{user_id[:127]}2", user_id[:-1]]) | ids())
    assume(fields["user_id"] not in ("", user_id))
    frame = draw(ENCODERS)(fields)
    return NearValidFrame(frame, "another user's id", ErrorCode.IDENTITY_MISMATCH)


# The text.


@st.composite
def _edited_text(draw: st.DrawFn) -> NearValidFrame:
    base = draw(ENCODERS)(draw(_MESSAGES).to_dict())
    at = draw(st.integers(0, len(base) - 1))
    other = draw(st.sampled_from('{}[]",:\\0-eN\t\n') | st.characters())
    edits = {
        "a character dropped": base[:at] + base[at + 1 :],
        "a character replaced": base[:at] + other + base[at + 1 :],
        "a character doubled": base[:at] + base[at] + base[at:],
        "a character put in": base[:at] + other + base[at:],
        "cut off": base[:at],
    }
    fault = draw(st.sampled_from(list(edits)))
    assume(edits[fault] != base)
    return NearValidFrame(edits[fault], fault, None)


@st.composite
def _edited_bytes(draw: st.DrawFn) -> NearValidFrame:
    base = draw(ENCODERS)(draw(_MESSAGES).to_dict()).encode()
    at = draw(st.integers(0, len(base) - 1))
    if draw(st.booleans()):
        return NearValidFrame(base[:at] + base[at + 1 :], "a byte dropped", None)
    octet = draw(st.binary(min_size=1, max_size=1))
    assume(octet != base[at : at + 1])
    return NearValidFrame(base[:at] + octet + base[at + 1 :], "a byte replaced", None)


@st.composite
def _doubled_field(draw: st.DrawFn) -> NearValidFrame:
    fields = draw(_MESSAGES).to_dict()
    name = draw(st.sampled_from(list(fields)))
    other = json.dumps(draw(json_values()))
    frame = draw(ENCODERS)(fields)
    doubled = f'{{"{name}":{other},{frame[1:]}'
    if draw(st.booleans()):
        doubled = f'{frame[:-1]},"{name}":{other}}}'
    return NearValidFrame(doubled, "a field twice", None)


@st.composite
def _with_value(draw: st.DrawFn, value: str) -> str:
    """A frame with this JSON somewhere in its payload."""
    place = "@here@"
    fields = draw(_AGENT_MESSAGES).to_dict()
    inside = draw(st.sampled_from([place, [0, place], {"a": {"b": place}}]))
    payload = cast("_Fields", fields["payload"])
    frame = draw(ENCODERS)({**fields, "payload": {**payload, "place": inside}})
    assume(frame.count(place) == 1)
    return frame.replace(f'"{place}"', value)


@st.composite
def _odd_number(draw: st.DrawFn) -> NearValidFrame:
    number = draw(st.sampled_from(["-0", "-0.0", "1E5", "1e-999", "0.1e1", "1" + "0" * 77]))
    return NearValidFrame(draw(_with_value(number)), "an odd number", None)


def _hostile_values(limits: Limits) -> Iterator[st.SearchStrategy[NearValidFrame]]:
    """Frames with a value in them that no frame may hold, by what is wrong with it."""
    digits = st.integers(limits.number_length + 1, limits.number_length + 9000)
    depths = st.integers(limits.json_depth + 1, limits.json_depth + 2000)
    beyond_any_stack = st.just(max(limits.json_depth + 1, min(100_000, limits.frame_bytes // 3)))
    values: dict[str, st.SearchStrategy[str]] = {
        "a number that is not finite": st.sampled_from(
            ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]
        ),
        "a number that is too long": digits.map(lambda count: "7" * count),
        "a lone surrogate": st.sampled_from(
            ['"\\ud800"', '"\\uDFFF x"', '"\\udc00\\ud800"', '"\ud800"']
        ),
        "lists nested too deep": (depths | beyond_any_stack).map(
            lambda depth: "[" * depth + "]" * depth
        ),
        "objects nested too deep": depths.map(lambda depth: '{"a":' * depth + "0" + "}" * depth),
    }
    for fault, value in values.items():
        yield _refused_value(fault, value, limits.frame_bytes)


@st.composite
def _refused_value(
    draw: st.DrawFn, fault: str, values: st.SearchStrategy[str], frame_bytes: int
) -> NearValidFrame:
    frame = draw(_with_value(draw(values)))
    assume(len(frame.encode(errors="replace")) <= frame_bytes)
    return NearValidFrame(frame, fault, ErrorCode.MALFORMED_FRAME)


@st.composite
def _no_utf_8(draw: st.DrawFn) -> NearValidFrame:
    message = draw(_AGENT_MESSAGES)
    message.payload["place"] = draw(st.characters(min_codepoint=0x80, exclude_categories=["Cs"]))
    text = json.dumps(message.to_dict(), ensure_ascii=False)
    if draw(st.booleans()):
        encoding = draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-32"]))
        return NearValidFrame(text.encode(encoding), encoding, ErrorCode.MALFORMED_FRAME)
    octets = text.encode()
    broken = [at for at, octet in enumerate(octets) if octet >= 0x80]
    at = draw(st.sampled_from(broken))
    frame = octets[:at] + octets[at + 1 :]
    return NearValidFrame(frame, "a character without one of its bytes", ErrorCode.MALFORMED_FRAME)


@st.composite
def _other_shape(draw: st.DrawFn) -> NearValidFrame:
    fields = draw(_MESSAGES).to_dict()
    base = draw(ENCODERS)(fields)
    shapes = {
        "a list": f"[{base}]",
        "a text": json.dumps(base),
        "two objects": base + base,
        "a value": json.dumps(fields["type"]),
        "nothing": "",
    }
    fault = draw(st.sampled_from(list(shapes)))
    return NearValidFrame(shapes[fault], f"{fault} for an object", ErrorCode.MALFORMED_FRAME)


@st.composite
def _too_large(draw: st.DrawFn, limits: Limits) -> NearValidFrame:
    base = draw(ENCODERS)(draw(_MESSAGES).to_dict())
    lacking = max(limits.frame_bytes + 1 - len(base.encode()), 0)
    padding = draw(st.sampled_from(" \t\n\r")) * (lacking + draw(st.sampled_from([0, 1, 4096])))
    frame = draw(st.sampled_from([base + padding, padding + base]))
    return NearValidFrame(frame, "too large", ErrorCode.FRAME_TOO_LARGE)
