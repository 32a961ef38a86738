"""The public strategies for messages and frames: what they promise to draw, and what not."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from agent_messaging import (
    AgentMessageHandler,
    AgentRegistry,
    Endpoint,
    ErrorCode,
    Limits,
    Message,
    MessageRouter,
    MessageType,
    NativeDialect,
)
from agent_messaging.testing import RecordingTransport, run_virtual, strategies
from agent_messaging.testing.strategies import (
    AgentProgram,
    NearValidFrame,
    frames,
    ids,
    json_values,
    messages,
    near_valid_frames,
)
from support import Json, decoded

T = TypeVar("T")

USER: Final = "user-1"
INBOUND: Final = {
    *("start_agent", "user_message", "chat", "ping", "connect", "stop_agent", "resume"),
    "disconnect",
}

#: The same examples each time, as long as the same modules are loaded.
repeatable: Final = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],  # to explain a failure takes longer than to find it
    suppress_health_check=[HealthCheck.too_slow],
)


def found(
    strategy: st.SearchStrategy[T], is_sought: Callable[[T], bool], max_examples: int = 2000
) -> T:
    """A value of that kind, which the strategy does draw."""
    drawing = settings(repeatable, max_examples=max_examples, phases=[Phase.generate])
    return find(strategy, is_sought, settings=drawing)


def simplest(strategy: st.SearchStrategy[T], is_sought: Callable[[T], bool]) -> T:
    """The value of that kind that others shrink to."""
    return find(strategy, is_sought, settings=settings(repeatable, max_examples=500))


def registry() -> AgentRegistry:
    agents = AgentRegistry()
    agents.register("nothing", AgentProgram())
    agents.register("other", AgentProgram())
    return agents


async def answers(frame: str | bytes, limits: Limits) -> list[Json]:
    """What an endpoint sends for one frame, up to when it says that it shuts down."""
    client = RecordingTransport()
    async with Endpoint(AgentMessageHandler(registry()), limits=limits) as endpoint:
        session = await endpoint.open(USER, client)
        await session.receive(frame)
    return [
        answer
        for answer in decoded(client.frames)
        if answer["payload"].get("code") != "shutting_down"
    ]


def refusals(frame: str | bytes, limits: Limits | None = None) -> list[str]:
    """The codes with which an endpoint refuses a frame."""
    told = run_virtual(answers(frame, limits or Limits()))
    assert all(answer["type"] == "connection_established" for answer in told[:1])
    return [answer["payload"]["code"] for answer in told if answer["type"] == "error_message"]


# Values and ids.


@repeatable
@given(json_values())
def test_json_values_come_back_from_any_json_library_as_they_went_in(value: object) -> None:
    assert json.loads(json.dumps(value)) == value
    assert orjson.loads(orjson.dumps(value)) == value
    assert msgspec.json.decode(msgspec.json.encode(value)) == value
    assert NativeDialect().encode_payload({"value": value})


@pytest.mark.parametrize("kind", [type(None), bool, int, float, str, list, dict])
def test_json_values_of_every_kind_are_drawn(kind: type) -> None:
    assert not simplest(json_values(), lambda value: type(value) is kind)


def test_json_values_are_nested() -> None:
    nested: object = simplest(json_values(), lambda value: "[{" in json.dumps(value))
    assert nested == [{}]


@repeatable
@given(ids())
def test_ids_are_ids(each: str) -> None:
    assert Message(type="chat", thread_id=each).thread_id == each


IDS: Final[dict[str, Callable[[str], bool]]] = {
    "blank": str.isspace,
    "a number": str.isdigit,
    "as long as may be": lambda each: len(each) == 128,
    "of another script": lambda each: not each.isascii(),
}


@pytest.mark.parametrize("what", IDS)
def test_ids_of_every_kind_are_drawn(what: str) -> None:
    found(ids(), IDS[what])


# Messages.


@repeatable
@given(messages())
def test_messages_are_of_the_types_that_a_client_may_send_and_name_nobody(message: Message) -> None:
    assert message.type in INBOUND
    assert message.user_id is None
    assert Message.from_dict(message.to_dict()) == message


@pytest.mark.parametrize("kind", sorted(INBOUND))
def test_messages_of_every_type_are_drawn(kind: str) -> None:
    found(messages(), lambda message: message.type == kind)


@repeatable
@given(messages("user_message", MessageType.START_AGENT))
def test_messages_are_of_the_types_that_were_asked_for(message: Message) -> None:
    assert message.type in ("user_message", "start_agent")
    assert message.request.strip()
    assert message.agent is None


def test_a_type_of_the_hosts_own_has_any_payload() -> None:
    assert found(messages("order"), lambda message: bool(message.payload)).type == "order"


@pytest.mark.parametrize("user_id", [None, USER])
@pytest.mark.parametrize("agent", [None, "nothing", "other"])
def test_messages_name_the_connections_user_and_the_agents_that_are_given(
    user_id: str | None, agent: str | None
) -> None:
    named = messages("start_agent", user_id=USER, agents=["nothing", "other"])
    found(named, lambda message: (message.user_id, message.agent) == (user_id, agent))


def named_by(kind: str) -> Callable[[Message], set[str]]:
    """What a message of this type says of what it is about, in its payload and its envelope."""
    fields = {
        "chat": ("message", "content", "text"),
        "ping": ("id",),
        "stop_agent": ("run_id", "thread_id"),
        "resume": ("after", "thread_id"),
    }[kind]
    return lambda message: {name for name in fields if name in message.payload}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("chat", ["message"]),
        ("chat", ["content"]),
        ("chat", ["message", "content", "text"]),
        ("ping", []),
        ("ping", ["id"]),
        ("stop_agent", []),
        ("stop_agent", ["run_id"]),
        ("stop_agent", ["thread_id"]),
        ("resume", []),
        ("resume", ["after"]),
        ("resume", ["after", "thread_id"]),
    ],
)
def test_what_a_message_is_about_stands_wherever_it_may(kind: str, names: Sequence[str]) -> None:
    found(messages(kind), lambda message: named_by(kind)(message) == set(names))


def test_messages_shrink_to_the_simplest() -> None:
    assert simplest(messages("chat"), lambda _: True) == Message(
        type="chat", payload={"message": "0"}
    )
    stop = simplest(messages(), lambda message: message.type == "stop_agent")
    assert stop.to_dict() in (
        {"type": "stop_agent", "payload": {}, "thread_id": "0"},
        {"type": "stop_agent", "payload": {}, "run_id": "0"},
        {"type": "stop_agent", "payload": {"run_id": "0"}},
        {"type": "stop_agent", "payload": {"thread_id": "0"}},
    )


# Frames.


@repeatable
@given(frames(user_id=USER, agents=["nothing", "other"]))
def test_every_frame_decodes_and_no_endpoint_refuses_it(frame: str | bytes) -> None:
    assert NativeDialect().decode(frame).type in INBOUND
    assert refusals(frame) == []


WAYS: Final[dict[str, Callable[[str | bytes], bool]]] = {
    "UTF-8": lambda frame: isinstance(frame, bytes) and not frame.isascii(),
    "text": lambda frame: isinstance(frame, str) and not frame.isascii(),
    "escapes": lambda frame: isinstance(frame, str) and "\\u" in frame,
    "white space": lambda frame: isinstance(frame, str) and frame[0] != "{",
    "null": lambda frame: isinstance(frame, str) and '"user_id":null' in frame,
    "a strange field": lambda frame: isinstance(frame, str) and '"client":' in frame,
    "any order": lambda frame: isinstance(frame, str) and frame.startswith('{"payload"'),
}


@pytest.mark.parametrize("way", WAYS)
def test_frames_are_written_in_every_way(way: str) -> None:
    found(frames(), WAYS[way])


def test_frames_shrink_to_the_simplest() -> None:
    frame = simplest(frames("chat"), lambda _: True)
    assert frame == '{"type":"chat","payload":{"message":"0"}}'


# Frames that are nearly valid.


@settings(repeatable, max_examples=300)
@given(near_valid_frames(user_id=USER))
def test_an_endpoint_refuses_what_is_nearly_valid_with_the_code_that_is_told(
    near_valid: NearValidFrame,
) -> None:
    told = refusals(near_valid.frame)
    assert any(near_valid.fault in kinds for kinds in FAULTS.values())
    if near_valid.code is not None:
        assert told == [near_valid.code]
    else:
        assert set(told) <= set(ErrorCode)


FIELDS: Final = ("type", "payload", "thread_id", "run_id", "message_id", "timestamp", "user_id")
#: What may be wrong, by its kind.
FAULTS: Final[dict[str, set[str]]] = {
    "envelope": {*(f"a {name} that is none" for name in FIELDS), "no type"},
    "no text": {"no text"},
    "wrong text": {"a text that is none"},
    "control": {f"a payload that no {kind} has" for kind in ("ping", "stop_agent", "resume")},
    "type": {"a type that is not for clients"},
    "user": {"another user's id"},
    "character": {
        *(f"a character {what}" for what in ("dropped", "replaced", "doubled", "put in")),
        "cut off",
    },
    "byte": {"a byte dropped", "a byte replaced"},
    "field": {"a field twice"},
    "odd number": {"an odd number"},
    "no number": {"a number that is not finite"},
    "long number": {"a number that is too long"},
    "surrogate": {"a lone surrogate"},
    "lists": {"lists nested too deep"},
    "objects": {"objects nested too deep"},
    "UTF-8": {
        *("a character without one of its bytes", "utf-8-sig", "utf-16", "utf-16-le", "utf-32")
    },
    "shape": {
        f"{what} for an object"
        for what in ("a list", "a text", "two objects", "a value", "nothing")
    },
    "size": {"too large"},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_of_every_kind_are_drawn(kind: str) -> None:
    frame = found(near_valid_frames(user_id=USER), lambda each: each.fault in FAULTS[kind])
    assert frame.code in CODES


CODES: Final = {
    *("malformed_frame", "frame_too_large", "invalid_message", "missing_content"),
    *("unsupported_type", "identity_mismatch", None),
}


@repeatable
@given(near_valid_frames(user_id=USER))
def test_a_router_refuses_what_is_nearly_valid_as_well(near_valid: NearValidFrame) -> None:
    client = RecordingTransport()
    router = MessageRouter(AgentMessageHandler(AgentProgram()))
    was_handled = run_virtual(router.handle_frame(USER, client, near_valid.frame))
    if near_valid.code is not None:
        assert not was_handled
        # It knows no control messages, and so not what is wrong with their payloads.
        assert decoded(client.frames)[-1]["payload"]["code"] in {
            near_valid.code,
            "unsupported_type",
        }


LIMITS: Final = Limits(frame_bytes=64 * 1024, json_depth=12, number_length=32)


@repeatable
@given(near_valid_frames(limits=LIMITS))
def test_what_is_nearly_valid_goes_by_the_limits_that_are_given(near_valid: NearValidFrame) -> None:
    told = refusals(near_valid.frame, LIMITS)
    assert near_valid.code != "identity_mismatch"  # nobody is named as the connection's user
    if near_valid.code is not None:
        assert told == [near_valid.code]


@pytest.mark.parametrize(
    "fault", ["too large", "a number that is too long", "lists nested too deep"]
)
def test_what_is_beyond_tight_limits_may_be_within_others(fault: str) -> None:
    def is_within_others(near_valid: NearValidFrame) -> bool:
        return near_valid.fault == fault and not refusals(near_valid.frame)

    found(near_valid_frames(limits=LIMITS), is_within_others)


@pytest.mark.parametrize("user_id", ["u", "2" * 128])
def test_another_user_is_never_the_same_one(user_id: str) -> None:
    def is_the_same(near_valid: NearValidFrame) -> bool:
        is_foreign = near_valid.code == "identity_mismatch"
        return is_foreign and NativeDialect().decode(near_valid.frame).user_id in (None, user_id)

    with pytest.raises(NoSuchExample):
        found(near_valid_frames(user_id=user_id), is_the_same, max_examples=300)


def test_a_frame_that_is_nearly_valid_prints_what_is_wrong_and_not_all_of_a_large_one() -> None:
    code = ErrorCode.MISSING_CONTENT
    assert repr(NearValidFrame(b"{}", "no text", code)) == (
        "<NearValidFrame, no text (missing_content): b'{}'>"
    )
    half = 198 * " "
    assert repr(NearValidFrame("{" + 1000 * " " + "}", "a character put in", None)) == (
        f"<NearValidFrame, a character put in (None): '{{{half} ... 604 more ... {half}}}'>"
    )


def test_hypothesis_prints_a_frame_that_is_nearly_valid_in_that_way() -> None:
    @settings(repeatable, phases=[Phase.generate])
    @given(near_valid_frames())
    def fail(near_valid: NearValidFrame) -> None:
        assert near_valid.code is None

    with pytest.raises(AssertionError) as raised:
        fail()
    assert "near_valid=<NearValidFrame, " in "".join(raised.value.__notes__)


# The module.


def test_only_who_asks_for_the_strategies_needs_hypothesis() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import agent_messaging.testing\n"
        "try:\n"
        "    import agent_messaging.testing.strategies\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "agent_messaging.testing.strategies needs Hypothesis: pip install hypothesis\n"
    )


def test_what_the_error_says_comes_from_the_first_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match="pip install hypothesis"):
        runpy.run_path(strategies.__file__)


def test_the_strategies_say_that_they_come_from_where_they_are_imported() -> None:
    names = set(strategies.__all__) - {"Step"}  # an alias, which has no name of its own
    assert {getattr(strategies, name).__module__ for name in names} == {strategies.__name__}
    assert all((getattr(strategies, name).__doc__ or "").strip() for name in names)
