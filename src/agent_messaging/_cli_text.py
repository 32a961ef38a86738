"""Server frames as lines of the command line's output: as they are, or readable."""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, final

from agent_messaging._messages import MessageType

__all__ = ["TextLines", "json_line", "payload_text", "printable", "text_line"]

#: Runs whose numbers are remembered: as many as the log remembers.
_RUNS: Final = 1000

_Show: TypeAlias = Callable[[Any], str]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


_LABEL: Final = "{}:".format
_DURATION: Final = "({} ms)".format
_MESSAGE_ID: Final = "(message {})".format

#: What is shown of an event's payload, in this order; a field that it lacks is left out.
_SHOWN: Final[Mapping[str, Mapping[str, _Show]]] = {
    MessageType.CONNECTION_ESTABLISHED: {"protocol": "protocol {}".format},
    MessageType.PONG: {"id": str},
    MessageType.AGENT_QUEUED: {"position": "position {}".format},
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

#: The events that begin a run, as the client sees it; they tell its thread.
_FIRST: Final = (MessageType.AGENT_QUEUED, MessageType.AGENT_STARTED)


def printable(text: str) -> str:
    """The text with what is not printable escaped: one line, in which nothing drives a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def text_line(text: str, encoding: str) -> bytes:
    """The text as one line in this encoding; what that lacks is escaped, too."""
    return f"{printable(text)}\n".encode(encoding, "backslashreplace")


def payload_text(kind: str, payload: Mapping[str, Any]) -> str:
    """What a payload says to a reader; empty if nothing."""
    shown = [show(payload[name]) for name, show in _SHOWN.get(kind, {}).items() if name in payload]
    return " ".join(shown) if shown or not payload else _json(payload)


@final
class TextLines:
    """Makes readable lines of server frames, in which nothing can drive a terminal.

    Runs are numbered as they appear.

    Args:
        encoding: the output's; what it lacks is escaped.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._last = 0

    def __call__(self, frame: str) -> bytes:
        """The frame as a line."""
        return text_line(self._text(json.loads(frame)), self._encoding)

    def _text(self, fields: dict[str, Any]) -> str:
        kind, payload, run_id = fields["type"], fields["payload"], fields.get("run_id")
        place = "-" if run_id is None else f"{self._number(run_id)}.{fields['seq']}"
        if kind == MessageType.STOPPED:
            shown = self._stopped(payload["run_ids"])
        elif kind == MessageType.RESUMED:
            shown = self._resumed(payload["runs"])
        else:
            shown = payload_text(kind, payload)
        parts = [f"[{place}]", kind]
        if payload:
            parts.append(shown)
        if kind in _FIRST:
            parts.append(f"(thread {fields['thread_id']})")
        return " ".join(parts)

    def _stopped(self, run_ids: list[str]) -> str:
        return ", ".join(f"run {self._number(run_id)}" for run_id in run_ids) or "nothing"

    def _resumed(self, runs: list[dict[str, Any]]) -> str:
        return "; ".join(map(self._resumed_run, runs)) or "nothing"

    def _resumed_run(self, run: dict[str, Any]) -> str:
        first, last = run["from_seq"], run["to_seq"]
        if first > last:
            events = "its events are gone" if run["evicted"] else "nothing missed"
        else:
            events = f"{first} to {last}" + (", earlier ones are gone" if run["evicted"] else "")
        return f"run {self._number(run['run_id'])} ({run['status']}): {events}"

    def _number(self, run_id: str) -> int:
        number = self._numbers.get(run_id)
        if number is None:
            self._last += 1
            number = self._numbers[run_id] = self._last
            if len(self._numbers) > _RUNS:
                self._numbers.popitem(last=False)
        return number


def json_line(frame: str) -> bytes:
    """The frame as a line."""
    return f"{frame}\n".encode("ascii")
