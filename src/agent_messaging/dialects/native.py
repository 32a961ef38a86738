"""The native dialect: one JSON object a frame, both ways."""

import json
import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import Final, cast, final

from typing_extensions import Buffer

from agent_messaging._errors import ErrorCode, PayloadError, RemoteError
from agent_messaging._json_encoder import json_encoder
from agent_messaging._limits import DEFAULT_LIMITS, Limits, is_id
from agent_messaging._messages import Message, MessageType

__all__ = ["NativeDialect", "NativeRunEncoder"]

#: How a frame of each type begins. Microseconds are as fine as the clocks are, and formatting them
#: takes less time than the shortest exact form of a float.
_HEADS: Final = {kind: f'{{"type":"{kind}","payload":' for kind in MessageType}

_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")


@final
class NativeRunEncoder:
    """Encodes the events of one run; what they share is encoded once."""

    __slots__ = ("_tail",)

    def __init__(self, user_id: str, thread_id: str, run_id: str) -> None:
        quoted = encode_basestring_ascii
        self._tail = (
            f',"user_id":{quoted(user_id)},"thread_id":{quoted(thread_id)}'
            f',"run_id":{quoted(run_id)},"seq":'
        )

    def encode(self, kind: MessageType, payload: str, seq: int, timestamp: float) -> str:
        """One event's frame, from its payload as `NativeDialect.encode_payload` gave it."""
        return f'{_HEADS[kind]}{payload}{self._tail}{seq},"timestamp":{timestamp:.6f}}}'


@final
class NativeDialect:
    """Frames to `Message`, and events to frames of ASCII JSON.

    Args:
        loads: parses one JSON text in the place of `json`; what it lets through of JSON's kind is
            checked all the same. Any exception of it means a malformed frame.
        dumps: encodes one payload in the place of `json`, as text or UTF-8; NaN and cycles are
            then for it to refuse. Any exception of it means a payload that will not encode.
        default: gives a JSON value for an object that `json` does not know.
        limits: the bounds on frames and payloads.
    """

    __slots__ = ("_dumps", "_has_own_dumps", "_limits", "_loads", "_suspect")

    def __init__(
        self,
        *,
        loads: Callable[[str], object] | None = None,
        dumps: Callable[[object], str | bytes] | None = None,
        default: Callable[[object], object] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._limits = limits
        self._suspect = None if loads is None else _suspect(limits.number_length)
        self._loads = loads or _json_loads(limits.number_length)
        self._has_own_dumps = dumps is not None
        self._dumps = json_encoder(default or _unknown) if dumps is None else _ascii(dumps)

    # In: frames to messages.

    def decode(self, frame: str | Buffer) -> Message:
        """The message in one frame, a JSON object as text or as UTF-8.

        Raises:
            RemoteError: ``frame_too_large``, ``malformed_frame`` or ``invalid_message``, with
                the frame's ``message_id`` where it could be read. The dialect keeps no state.
        """
        try:
            text = self._text(frame)
        except UnicodeError as error:
            message_id = _message_id(frame) if isinstance(frame, str) else None
            raise _malformed("a frame is UTF-8", message_id) from error
        try:
            fields = self._loads(text)
            if (
                text.count("{") + text.count("[") > self._limits.json_depth
                or (self._suspect is not None and self._is_suspect(self._suspect, text))
                or ("\\u" in text and _SURROGATE_ESCAPE.search(text))
            ):
                self._check(fields)
        except Exception as error:  # whatever the host's loads makes of it
            raise _malformed(_why(error), _message_id(text)) from error
        if type(fields) is not dict:
            raise _malformed("a frame is a JSON object")
        return Message.from_dict(cast("dict[str, object]", fields))

    def _text(self, frame: object) -> str:
        limit = self._limits.frame_bytes
        if isinstance(frame, str):
            text = frame
            size = len(text)
            if size <= limit and not text.isascii():
                size = len(text.encode())
        elif isinstance(frame, Buffer):
            size = memoryview(frame).nbytes
            text = bytes(frame).decode() if size <= limit else ""
        else:
            raise _malformed(f"a frame is text or bytes, not {type(frame).__name__}")
        if size > limit:
            raise RemoteError(ErrorCode.FRAME_TOO_LARGE, f"a frame is at most {limit} bytes")
        return text

    @staticmethod
    def _is_suspect(long_number: re.Pattern[str], text: str) -> bool:
        """Whether the host's parser may have let through a number that JSON or we refuse.

        The text is looked at: looking at every value takes longer than a fast parser does.
        """
        return "NaN" in text or "nfinity" in text or long_number.search(text) is not None

    def _check(self, fields: object) -> None:
        """Refuse what a lenient parser lets through, without recursion."""
        limits = self._limits
        waiting: list[tuple[object, int]] = [(fields, 1)]
        while waiting:
            value, depth = waiting.pop()
            if isinstance(value, str):
                if not value.isascii():
                    value.encode()  # fails for a lone surrogate
            elif isinstance(value, dict | list):
                if depth > limits.json_depth:
                    raise _UnacceptableError(f"a frame nests at most {limits.json_depth} deep")
                if isinstance(value, dict):
                    members = cast("dict[object, object]", value)
                    waiting.extend((key, depth) for key in members)
                    waiting.extend((item, depth + 1) for item in members.values())
                else:
                    items = cast("list[object]", value)
                    waiting.extend((item, depth + 1) for item in items)
            elif isinstance(value, float):
                _finite(value)
            elif isinstance(value, int) and (
                # Bits first: the digits of a very long integer take long to come by.
                value.bit_length() > 4 * limits.number_length
                or len(str(value)) > limits.number_length
            ):
                raise _UnacceptableError(_TOO_LONG)

    # Out: events to frames.

    def encode_payload(self, payload: Mapping[str, object]) -> str:
        """A payload as JSON text.

        Raises:
            PayloadError: it will not encode, or is too large; nothing has changed.
        """
        try:
            text = self._dumps(payload)
        except Exception as error:  # of the host's dumps, default or objects
            raise PayloadError(f"a payload must encode as JSON: {_said(error)}") from error
        if len(text) > self._limits.payload_bytes:
            raise PayloadError(f"a payload is at most {self._limits.payload_bytes} bytes")
        return text

    def encode_text(self, text: str) -> str:
        """The payload of an event that holds a text and nothing else.

        Raises:
            PayloadError: ``text`` is no string, or is too large; nothing has changed.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PayloadError(f"a text must be a string, not {type(text).__name__}")
        if self._has_own_dumps:
            return self.encode_payload({"text": text})
        payload = f'{{"text":{encode_basestring_ascii(text)}}}'
        if len(payload) > self._limits.payload_bytes:
            raise PayloadError(f"a payload is at most {self._limits.payload_bytes} bytes")
        return payload

    def encode_own(self, payload: Mapping[str, object]) -> str:
        """A payload of plain values, which the library made: it always encodes.

        Neither the host's encoder nor the bound on what the host emits can stop it.
        """
        try:
            return self.encode_payload(payload)
        except PayloadError:
            return json.dumps(payload)

    def encode_control(
        self, kind: MessageType, payload: Mapping[str, object], timestamp: float
    ) -> str:
        """The frame of a control event of plain values, ``timestamp`` in Unix seconds."""
        return f'{_HEADS[kind]}{self.encode_own(payload)},"timestamp":{timestamp:.6f}}}'


class _UnacceptableError(ValueError):
    """JSON that is well formed and still refused; its text is for the client."""


_TOO_LONG: Final = "a number in the frame is too long"


def _why(error: Exception) -> str:
    if isinstance(error, _UnacceptableError):
        return str(error)
    if isinstance(error, UnicodeError):
        return "a text in the frame is not Unicode: it has a lone surrogate"
    return "the frame is not valid JSON"


def _said(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a foreign exception's own text may raise
        return type(error).__name__


def _malformed(why: str, message_id: str | None = None) -> RemoteError:
    return RemoteError(ErrorCode.MALFORMED_FRAME, why, message_id=message_id)


def _finite(value: float) -> float:
    if not isfinite(value):
        raise _UnacceptableError("a number in the frame is not finite")
    return value


def _suspect(number_length: int) -> re.Pattern[str]:
    """Finds a number that has an exponent or may be too long; it may also be within a string."""
    return re.compile(rf"[0-9](?:[eE]|[0-9.]{{{number_length - 1}}})")


def _json_loads(number_length: int) -> Callable[[str], object]:
    def parse_int(text: str) -> int:
        if len(text) > number_length:
            raise _UnacceptableError(_TOO_LONG)
        return int(text)

    def parse_float(text: str) -> float:
        if len(text) > number_length:
            raise _UnacceptableError(_TOO_LONG)
        return _finite(float(text))

    def parse_constant(text: str) -> float:
        return _finite(float(text))

    decoder = json.JSONDecoder(
        parse_int=parse_int, parse_float=parse_float, parse_constant=parse_constant
    )

    def loads(text: str) -> object:
        # What most clients send: no white space around the object.
        if text.startswith("{"):
            value, end = decoder.raw_decode(text)
            if end == len(text):
                return value
        return decoder.decode(text)

    return loads


def _ascii(dumps: Callable[[object], str | bytes]) -> Callable[[object], str]:
    """What ``dumps`` gives as ASCII, in which no host's send can fail for a surrogate."""

    def encode(value: object) -> str:
        encoded = dumps(value)
        text = encoded if isinstance(encoded, str) else str(encoded, "utf-8")
        return text if text.isascii() else _NON_ASCII.sub(_escaped, text)

    return encode


_NON_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


def _escaped(match: re.Match[str]) -> str:
    # JSON has such characters in strings only, where an escape means the same.
    return encode_basestring_ascii(match[0])[1:-1]


def _unknown(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not a JSON type, and no default= converts it")


def _message_id(text: str) -> str | None:
    """The message id of a frame that was refused, where its JSON can be read at all."""
    try:
        fields: object = json.loads(text, parse_int=_no_id)
    except (ValueError, RecursionError):
        return None
    if isinstance(fields, dict):
        message_id = cast("dict[str, object]", fields).get("message_id")
        return message_id if is_id(message_id) else None
    return None


def _no_id(text: str) -> None:
    """An integer where an id is looked for: of any length, which Python's own may not be."""
