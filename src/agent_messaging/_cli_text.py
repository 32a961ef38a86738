"""Server frames as lines of the command line's output: as they are, or readable."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent_messaging._messages import MessageType

__all__ = ["as_text", "json_line", "text_line"]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


_LABEL: Final = "{}:".format
_DURATION: Final = "({} ms)".format
_MESSAGE_ID: Final = "(message {})".format

#: What is shown of an event's payload, in this order; a field that it lacks is left out.
_SHOWN: Final[Mapping[str, Mapping[str, Callable[[object], str]]]] = {
    MessageType.AGENT_STARTED: {"agent": str},
    MessageType.AGENT_THINKING: {"text": str},
    MessageType.AGENT_RESPONSE_CHUNK: {"text": _json},
    MessageType.AGENT_PROGRESS: {"name": str, "data": _json},
    MessageType.TOOL_EXECUTING: {"tool_name": str, "arguments": _json},
    MessageType.TOOL_COMPLETED: {
        "tool_name": str,
        "status": str,
        "result": _json,
        "error": str,
        "duration_ms": _DURATION,
    },
    MessageType.AGENT_COMPLETED: {"result": _json, "duration_ms": _DURATION},
    MessageType.AGENT_FAILED: {"code": _LABEL, "message": str, "duration_ms": _DURATION},
    MessageType.AGENT_CANCELLED: {"reason": str, "duration_ms": _DURATION},
    MessageType.ERROR_MESSAGE: {"code": _LABEL, "message": str, "message_id": _MESSAGE_ID},
}


def as_text(frame: str) -> str:
    """A server frame as one readable line, in which nothing can drive a terminal."""
    fields: dict[str, Any] = json.loads(frame)
    kind, payload = fields["type"], fields["payload"]
    shown = [show(payload[name]) for name, show in _SHOWN.get(kind, {}).items() if name in payload]
    if payload and not shown:
        shown = [_json(payload)]
    line = " ".join([f"[{fields.get('seq', '-')}]", kind, *shown])
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in line
    )


def text_line(encoding: str, frame: str) -> bytes:
    """A line of readable text, in which what the encoding lacks is escaped."""
    return f"{as_text(frame)}\n".encode(encoding, "backslashreplace")


def json_line(frame: str) -> bytes:
    """The frame as a line."""
    return f"{frame}\n".encode("ascii")
