"""Strategies for what a client sends: JSON values, ids, messages and the frames of messages."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from hypothesis import strategies as st

from agent_messaging import Message, MessageType

__all__ = [
    "AGENT_TYPES",
    "ENCODERS",
    "NUMBERS",
    "TEXTS",
    "frames",
    "ids",
    "json_values",
    "messages",
]

#: The types that start a run, the simplest first.
AGENT_TYPES: Final = (MessageType.CHAT, MessageType.USER_MESSAGE, MessageType.START_AGENT)

_INBOUND_TYPES: Final = (
    *AGENT_TYPES,
    MessageType.PING,
    MessageType.CONNECT,
    MessageType.STOP_AGENT,
    MessageType.RESUME,
    MessageType.DISCONNECT,
)

#: What means something in a payload of one type or another.
_PAYLOAD_FIELDS: Final = frozenset(
    ("user_request", "agent", "message", "content", "text", "id", "run_id", "thread_id", "after")
)

# What is drawn from often is made once: making a strategy takes longer than a draw.

#: What can go into UTF-8: everything but surrogates.
_CHARACTERS: Final = st.characters(exclude_categories=["Cs"])

TEXTS: Final = st.text(_CHARACTERS, max_size=20)

#: Texts that are not blank.
_REQUESTS: Final = st.text(_CHARACTERS, min_size=1, max_size=40).filter(
    lambda text: not text.isspace()
)

_INTEGERS: Final = st.integers(-(2**63), 2**63 - 1)

#: Numbers that every JSON library has.
NUMBERS: Final[st.SearchStrategy[float]] = _INTEGERS | st.floats(
    allow_nan=False, allow_infinity=False
)

_JSON_VALUES: Final[st.SearchStrategy[object]] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)

_PRINTABLE: Final = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
_SHORT_IDS: Final = st.text(_PRINTABLE, min_size=1, max_size=128)
_IDS: Final[st.SearchStrategy[str]] = st.one_of(
    # The longest ones are a few choices, and not 128, so that drawing and shrinking are quick.
    *(_SHORT_IDS, _SHORT_IDS, _SHORT_IDS),
    _PRINTABLE.map(lambda character: character * 128),
)

_OTHER_FIELDS: Final = st.dictionaries(
    TEXTS.filter(lambda name: name not in _PAYLOAD_FIELDS), _JSON_VALUES, max_size=3
)

#: The ways in which a client may write its JSON.
ENCODERS: Final[st.SearchStrategy[Callable[[object], str]]] = st.builds(
    partial,
    st.just(json.dumps),
    ensure_ascii=st.booleans(),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\r\n:")]),
)


def json_values() -> st.SearchStrategy[object]:
    """JSON values that come back from any JSON library as they went in.

    Drawn are None, booleans, integers of 64 bits, finite floats, texts of at most 20 characters,
    and lists and dictionaries of these with at most 4 items and some 8 leaves in all. They fit into
    a frame and into an event. Not drawn: longer integers, NaN, lone surrogates, and nesting
    anywhere near what `agent_messaging.Limits` allow.
    """
    return _JSON_VALUES


def ids() -> st.SearchStrategy[str]:
    """Ids as clients and hosts may choose them: 1 to 128 printable characters of any script.

    Spaces are among them, and ids of nothing else; control characters, other separators and
    surrogates are not.
    """
    return _IDS


def messages(
    *types: str, user_id: str | None = None, agents: Sequence[str] = ()
) -> st.SearchStrategy[Message]:
    """Messages that an `agent_messaging.Endpoint` accepts, of these types.

    An agent message has a text that is not blank, in any of the fields that it may stand in, and a
    control message the payload that is its own. Other fields hold any JSON value. Ids and the
    timestamp are there or not. A type that is not the library's has any payload.

    Args:
        types: ids; without any, all eight that a client may send.
        user_id: the connection's user, whom a message may then name; otherwise none names any.
        agents: what a START_AGENT may name as its agent; otherwise none names one.
    """
    user_ids = st.none() if user_id is None else st.sampled_from([None, user_id])
    return st.one_of(
        [
            _message(str(kind), _own_fields(kind, agents), user_ids)
            for kind in types or _INBOUND_TYPES
        ]
    )


@st.composite
def _message(
    draw: st.DrawFn,
    kind: str,
    own_fields: st.SearchStrategy[dict[str, object]],
    user_ids: st.SearchStrategy[str | None],
) -> Message:
    payload = draw(own_fields)
    thread_id = draw(st.none() | _IDS)
    run_id = draw(st.none() | _IDS)
    if not payload and _names_nothing(kind, thread_id, run_id):
        thread_id = draw(_IDS)
    return Message(
        type=kind,
        payload=payload | draw(_OTHER_FIELDS),
        thread_id=thread_id,
        run_id=run_id,
        message_id=draw(st.none() | _IDS),
        timestamp=draw(st.none() | NUMBERS),
        user_id=draw(user_ids),
    )


def _names_nothing(kind: str, thread_id: str | None, run_id: str | None) -> bool:
    """Whether a message of this type, without a payload, is about nothing at all."""
    if kind == MessageType.STOP_AGENT:
        return thread_id is None and run_id is None
    return kind == MessageType.RESUME and thread_id is None


def _own_fields(kind: str, agents: Sequence[str]) -> st.SearchStrategy[dict[str, object]]:
    """The fields of a payload that mean something in this type."""
    no_fields = st.fixed_dictionaries(dict[str, st.SearchStrategy[object]]())
    match kind:
        case MessageType.START_AGENT:
            named = {"agent": st.sampled_from(agents)} if agents else {}
            return st.fixed_dictionaries({"user_request": _REQUESTS}, optional=named)
        case MessageType.USER_MESSAGE | MessageType.CHAT:
            return _text_fields()
        case MessageType.PING:
            return st.fixed_dictionaries({}, optional={"id": st.none() | _INTEGERS | _IDS})
        case MessageType.STOP_AGENT:
            by_name = [st.fixed_dictionaries({name: _IDS}) for name in ("run_id", "thread_id")]
            return st.one_of(no_fields, *by_name)
        case MessageType.RESUME:
            after = st.dictionaries(_IDS, st.integers(0, 2**63 - 1), min_size=1, max_size=3)
            return st.fixed_dictionaries({}, optional={"after": after, "thread_id": _IDS})
        case _:
            return no_fields


_BLANK_TEXTS: Final = st.sampled_from([None, "", " ", "\n\t"])


@st.composite
def _text_fields(draw: st.DrawFn) -> dict[str, object]:
    """The text in any of the fields where it is looked for, and those before it blank."""
    names = ["message", "content", "text"]
    place = draw(st.integers(0, 2))
    fields: dict[str, object] = {name: draw(_BLANK_TEXTS) for name in names[:place]}
    fields[names[place]] = draw(_REQUESTS)
    return {name: each for name, each in fields.items() if each is not None}


def frames(
    *types: str, user_id: str | None = None, agents: Sequence[str] = ()
) -> st.SearchStrategy[str | bytes]:
    """Frames that an `agent_messaging.Endpoint` accepts: native ones, as text or as UTF-8.

    Each holds one of `messages`, with its fields in any order, with fields that mean nothing or are
    null, and written as JSON libraries write it: with or without escapes and white space. The
    arguments are those of `messages`.
    """
    return _frame(messages(*types, user_id=user_id, agents=agents))


_IDLE_FIELDS: Final = st.lists(
    st.sampled_from(["client", "run_id", "timestamp", "user_id"]), max_size=2, unique=True
)
_AROUND: Final = st.sampled_from([("", ""), ("", "\n"), (" \t", "\r\n ")])


@st.composite
def _frame(draw: st.DrawFn, messages: st.SearchStrategy[Message]) -> str | bytes:
    fields = draw(messages).to_dict()
    for name in draw(_IDLE_FIELDS):
        if name == "client":
            fields[name] = draw(_JSON_VALUES)
        else:
            fields.setdefault(name, None)
    shuffled = draw(st.permutations(list(fields.items())))
    before, behind = draw(_AROUND)
    text = before + draw(ENCODERS)(dict(shuffled)) + behind
    return text.encode() if draw(st.booleans()) else text
