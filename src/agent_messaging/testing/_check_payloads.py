"""The fields that frames have on the wire, and what of a frame is not as it is documented.

The tables say what the reference page of the wire protocol says, in its words.
"""

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Final, NamedTuple, cast, get_args

from agent_messaging._control import PROTOCOL
from agent_messaging._errors import ErrorCode
from agent_messaging._events import CancelReason, ToolStatus
from agent_messaging._limits import is_id
from agent_messaging._messages import MessageType
from agent_messaging.eventlog.protocol import RunStatus

__all__ = [
    "CONTROL_ENVELOPE",
    "EVENT_ENVELOPE",
    "EVENT_FIELDS",
    "LIMITS",
    "PAYLOADS",
    "RESUMED_RUN",
    "Field",
    "faults_of",
]

_NO_FIELDS: Final[Mapping[str, "Field"]] = MappingProxyType({})


class Field(NamedTuple):
    """What a field holds.

    Attributes:
        kind: its type, as the reference page has it.
        among: the strings that it may be; empty for any.
        least: the least number that it may be.
        inner: the fields of the object, or of each object of the array, that it is.
        is_optional: whether it may be left out.
        statuses: those of the ``status`` beside it with which alone it is there; empty for all.
    """

    kind: str
    among: tuple[str, ...] = ()
    least: int | None = None
    inner: Mapping[str, "Field"] = _NO_FIELDS
    is_optional: bool = False
    statuses: tuple[str, ...] = ()


_ID: Final = Field("id")
_STRING: Final = Field("string")
_ANY: Final = Field("any JSON")
_NUMBER: Final = Field("number")
_MILLISECONDS: Final = Field("integer", least=0)
_BOUND: Final = Field("integer", least=1)
_BOUND_OR_NONE: Final = Field("integer or null", least=1)
_PAYLOAD: Final = Field("object")

#: What a run's event has beside its type and payload, and a control frame has not.
EVENT_FIELDS: Final[Mapping[str, Field]] = {
    "user_id": _ID,
    "thread_id": _ID,
    "run_id": _ID,
    "seq": Field("integer", least=1),
}

EVENT_ENVELOPE: Final[Mapping[str, Field]] = {
    "payload": _PAYLOAD,
    **EVENT_FIELDS,
    "timestamp": _NUMBER,
}

CONTROL_ENVELOPE: Final[Mapping[str, Field]] = {"payload": _PAYLOAD, "timestamp": _NUMBER}

LIMITS: Final[Mapping[str, Field]] = {
    "frame_bytes": _BOUND,
    "json_depth": _BOUND,
    "messages_per_minute": _BOUND_OR_NONE,
    "frames_per_minute": _BOUND_OR_NONE,
    "runs_per_user": _BOUND,
    "queued_per_thread": _BOUND,
    "sessions_per_user": _BOUND,
}

RESUMED_RUN: Final[Mapping[str, Field]] = {
    "run_id": _ID,
    "thread_id": _ID,
    "status": Field("string", among=get_args(RunStatus)),
    "from_seq": Field("integer", least=1),
    "to_seq": Field("integer", least=0),
    "evicted": Field("boolean"),
}

#: The payload of each type of frame that a client gets.
PAYLOADS: Final[Mapping[MessageType, Mapping[str, Field]]] = {
    MessageType.AGENT_QUEUED: {"message_id": _ID, "position": Field("integer", least=1)},
    MessageType.AGENT_STARTED: {"message_id": _ID, "agent": _STRING},
    MessageType.AGENT_THINKING: {"text": _STRING},
    MessageType.AGENT_RESPONSE_CHUNK: {"text": _STRING},
    MessageType.AGENT_PROGRESS: {"name": _STRING, "data": _ANY},
    MessageType.TOOL_EXECUTING: {"tool_call_id": _ID, "tool_name": _ID, "arguments": _ANY},
    MessageType.TOOL_COMPLETED: {
        "tool_call_id": _ID,
        "tool_name": _ID,
        "status": Field("string", among=get_args(ToolStatus)),
        "result": Field("any JSON", statuses=("ok",)),
        "error": Field("string or null", statuses=("error", "interrupted")),
        "duration_ms": _MILLISECONDS,
    },
    MessageType.AGENT_COMPLETED: {"result": _ANY, "duration_ms": _MILLISECONDS},
    MessageType.AGENT_FAILED: {
        "code": _STRING,
        "message": _STRING,
        "retryable": Field("boolean"),
        "duration_ms": _MILLISECONDS,
    },
    MessageType.AGENT_CANCELLED: {
        "reason": Field("string", among=get_args(CancelReason)),
        "duration_ms": _MILLISECONDS,
    },
    MessageType.CONNECTION_ESTABLISHED: {
        "connection_id": _ID,
        "protocol": Field("string", among=(PROTOCOL,)),
        "limits": Field("object", inner=LIMITS),
    },
    MessageType.PONG: {"id": Field("id or integer", is_optional=True)},
    MessageType.HEARTBEAT: _NO_FIELDS,
    MessageType.STOPPED: {"run_ids": Field("array of ids")},
    MessageType.RESUMED: {"runs": Field("array", inner=RESUMED_RUN)},
    MessageType.ERROR_MESSAGE: {
        "code": Field("string", among=tuple(map(str, ErrorCode))),
        "message": _STRING,
        "message_id": Field("id", is_optional=True),
        "retry_after": Field("number", least=0, is_optional=True),
    },
}


def faults_of(
    fields: Mapping[str, Field], frame: Mapping[str, object], place: str = ""
) -> Iterator[str]:
    """What is wrong with an object that is to have these fields; others are not looked at.

    Args:
        fields: what it is to have.
        frame: the object.
        place: where in the frame it stands, with a dot at the end.
    """
    for name, field in fields.items():
        where = place + name
        if field.statuses and frame.get("status") not in field.statuses:
            # With a status that is none, the other field may be the one that is too many.
            if name in frame and frame.get("status") in fields["status"].among:
                yield f"{where} is there only if the status is {' or '.join(field.statuses)}"
        elif name in frame:
            yield from _faults_of_value(field, frame[name], where)
        elif not field.is_optional:
            yield f"{where} is missing"


def _faults_of_value(field: Field, value: object, where: str) -> Iterator[str]:
    if not _KINDS[field.kind](value):
        yield f"{where} must be {_with_article(field.kind)}, not {_told(value, field.kind)}"
    elif field.among and value not in field.among:
        yield f"{where} must be {' or '.join(field.among)}"
    elif field.least is not None and value is not None and cast("float", value) < field.least:
        yield f"{where} must be at least {field.least}"
    elif isinstance(value, dict):
        yield from faults_of(field.inner, cast("dict[str, object]", value), f"{where}.")
    elif isinstance(value, list) and field.inner:
        for index, item in enumerate(cast("list[object]", value)):
            if isinstance(item, dict):
                members = cast("dict[str, object]", item)
                yield from faults_of(field.inner, members, f"{where}[{index}].")
            else:
                yield f"{where}[{index}] must be an object, not {_told(item, 'object')}"


def _is_integer(value: object) -> bool:
    """Whether it is an integer that any language can count with."""
    return type(value) is int and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return (type(value) is float and isfinite(value)) or _is_integer(value)


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(is_id, cast("list[object]", value)))


#: What a value of each kind is.
_KINDS: Final[Mapping[str, Callable[[object], bool]]] = {
    "id": is_id,
    "string": lambda value: isinstance(value, str),
    "string or null": lambda value: value is None or isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "integer or null": lambda value: value is None or _is_integer(value),
    "id or integer": lambda value: is_id(value) or type(value) is int,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "array of ids": _is_ids,
    "any JSON": lambda _: True,
}

_NOUNS: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def _told(value: object, kind: str) -> str:
    """What a value is that was to be of some kind; never the value itself."""
    noun = _NOUNS[type(value)]
    if noun == "null":
        return noun
    if noun in kind or (noun == "string" and kind.startswith("id")):
        return f"another {noun}"
    return _with_article(noun)


def _with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aio" else f"a {words}"
