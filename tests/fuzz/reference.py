"""What a frame has to decode to, worked out in the plainest way; of the package only its bounds."""

import json
from dataclasses import dataclass
from math import isfinite
from typing import Final, TypeAlias, TypeGuard, cast

from agent_messaging import Limits
from support.frames import Json

#: A code that the frame is refused with, or the fields of its message.
Judgement: TypeAlias = str | Json

_FIELDS: Final = ("thread_id", "run_id", "message_id", "timestamp", "user_id", "type", "payload")
_IDS: Final = ("thread_id", "run_id", "message_id", "user_id")


@dataclass(frozen=True, slots=True)
class Reference:
    """Judges frames as the wire protocol's page does.

    Args:
        limits: the bounds on them.
        is_lenient: whether a host's parser is in the way, which lets numbers through that are no
            JSON's or too long. A frame holds then what that makes of it: no digits beyond those of
            a double, and of members with the same name the last.
    """

    limits: Limits
    is_lenient: bool = False

    def judge(self, frame: str | bytes) -> Judgement:
        """What has to become of a frame."""
        limits = self.limits
        if len(frame) > limits.frame_bytes:
            return "frame_too_large"
        try:
            octets = frame.encode() if isinstance(frame, str) else frame
            text = octets.decode()
        except UnicodeError:
            return "malformed_frame"
        if len(octets) > limits.frame_bytes:
            return "frame_too_large"
        try:
            fields = self._parsed(text)
            self._see_acceptable(fields, 1)
        except (ValueError, RecursionError):
            return "malformed_frame"
        if not isinstance(fields, dict):
            return "malformed_frame"
        return _message(cast("Json", fields))

    def _parsed(self, text: str) -> object:
        if self.is_lenient:
            return json.loads(text)
        return json.loads(
            text,
            parse_int=lambda digits: int(self._short(digits)),
            parse_float=lambda digits: _finite(float(self._short(digits))),
            parse_constant=lambda name: _finite(float(name)),
        )

    def _short(self, text: str) -> str:
        if len(text) > self.limits.number_length:
            raise ValueError("a long number")
        return text

    def _see_acceptable(self, value: object, depth: int) -> None:
        if isinstance(value, str):
            value.encode()
        if isinstance(value, float):
            _finite(value)
        if isinstance(value, int):
            self._short(str(value))
        if isinstance(value, dict | list) and depth > self.limits.json_depth:
            raise ValueError("too deep")
        if isinstance(value, dict):
            for name, member in cast("Json", value).items():
                self._see_acceptable(name, depth)
                self._see_acceptable(member, depth + 1)
        elif isinstance(value, list):
            for item in cast("list[object]", value):
                self._see_acceptable(item, depth + 1)


def legible_message_id(frame: str | bytes) -> str | None:
    """The message id with which a frame has to be refused, if any can be read in it."""
    try:
        fields: object = json.loads(frame if isinstance(frame, str) else frame.decode())
    except (ValueError, RecursionError):
        return None
    message_id = cast("Json", fields).get("message_id") if isinstance(fields, dict) else None
    return message_id if _is_id(message_id) else None


def _finite(number: float) -> float:
    if not isfinite(number):
        raise ValueError("no JSON number")
    return number


def _message(fields: Json) -> Judgement:
    """The fields that count, without those that are null."""
    given = {name: fields[name] for name in _FIELDS if fields.get(name) is not None}
    message: Json = {"type": None, "payload": {}, **given}
    is_valid = (
        isinstance(message["payload"], dict)
        and _is_id(message["type"])
        and all(_is_id(message.get(name, "x")) for name in _IDS)
        and type(message.get("timestamp", 0)) in (int, float)
    )
    return message if is_valid else "invalid_message"


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= 128 and value.isprintable()
