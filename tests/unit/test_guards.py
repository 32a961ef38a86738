"""Guards of the public surface: names, modules, finality, hints, docstrings, pickles."""

import copy
import enum
import importlib
import inspect
import pickle
import pkgutil
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeGuard

import pytest

import agent_messaging
from agent_messaging import (
    ActiveRunInfo,
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentFailed,
    AgentProgress,
    AgentQueued,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    ConfigurationError,
    ErrorCode,
    EventLogError,
    EventPage,
    Grace,
    Lease,
    LeaseLost,
    LifecycleError,
    Limits,
    LoggedEvent,
    Message,
    MessageType,
    RemoteError,
    RunRecord,
    RunState,
    SessionEnd,
    TakenRun,
    ToolCompleted,
    ToolExecuting,
    TransportError,
    compat,
    testing,
)

PACKAGE = Path(agent_messaging.__file__).parent

#: Where public names stand.
ROOTS: tuple[ModuleType, ...] = (agent_messaging, testing)

PUBLIC: dict[str, object] = {name: getattr(root, name) for root in ROOTS for name in root.__all__}
#: The public module of each.
HOMES: dict[str, str] = {name: root.__name__ for root in ROOTS for name in root.__all__}
CLASSES: dict[str, type[object]] = {
    name: value for name, value in PUBLIC.items() if inspect.isclass(value)
}
FUNCTIONS: dict[str, FunctionType] = {
    name: value for name, value in PUBLIC.items() if isinstance(value, FunctionType)
}

#: The classes that hosts may derive from, or catch as a group.
MADE_TO_BE_SUBCLASSED = {"AgentMessagingError", "EventLogError", "LocalError"}

#: Of those, what only hosts derive from: the errors of a log of their own.
FOR_HOSTS_ALONE = {"EventLogError"}

#: Methods of public classes for the rooms above them; neither they nor their types are for hosts.
BETWEEN_ROOMS = {
    "AgentMessageHandler.conduct",
    "AgentMessageHandler.count_end",
    "AgentMessageHandler.handle_on",
    "AgentMessageHandler.prepare",
    "AgentMessageHandler.report",
    "AgentMessageHandler.route",
    "AgentRegistry.resolve",
    "MessageRouter.handle_on",
    "MessageRouter.handler_for",
    "MessageRouter.reaches",
    "Session.call",
    "Session.end_calls",
    "Session.end_when_quiet",
    "Session.finish",
    "Session.serve",
    "Session.wait_sent",
}


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages([str(PACKAGE)], "agent_messaging."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def function_of(member: object) -> object:
    """The function behind a method of any kind, or behind a property."""
    return getattr(member, "fget", None) or getattr(member, "__func__", member)


def members(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """The public functions of a class that are its own, properties and class methods too."""
    for name, member in vars(cls).items():
        function = function_of(member)
        if not name.startswith("_") and isinstance(function, FunctionType):
            yield f"{cls.__name__}.{name}", function


MEMBERS: dict[str, object] = {
    name: value for cls in CLASSES.values() for name, value in members(cls)
}


# Exports.


@pytest.mark.parametrize("root", ROOTS)
def test_all_is_sorted_and_names_nothing_twice(root: ModuleType) -> None:
    def order(name: str) -> tuple[bool, bool, str]:
        return not name.isupper(), not name[0].isupper(), name

    assert list(root.__all__) == sorted(set(root.__all__), key=order)


@pytest.mark.parametrize("root", ROOTS)
def test_nothing_public_is_missing_from_all_or_extra_in_it(root: ModuleType) -> None:
    in_the_root = {
        name
        for name, value in vars(root).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert in_the_root == set(root.__all__)


def test_no_name_is_public_in_two_places() -> None:
    assert len(PUBLIC) == sum(len(root.__all__) for root in ROOTS)


def test_every_type_in_a_public_signature_is_public_too() -> None:
    named: set[str] = set()
    for name, value in (PUBLIC | MEMBERS).items():
        if name not in BETWEEN_ROOMS and (inspect.isclass(value) or inspect.isfunction(value)):
            for hint in typing.get_type_hints(value).values():
                named |= {part.__name__ for part in parts(hint) if is_ours(part)}
    assert {"Message", "Run", "RunContext"} <= named
    assert named <= set(PUBLIC)


def is_ours(part: object) -> TypeGuard[type]:
    return inspect.isclass(part) and part.__module__.split(".")[0] == "agent_messaging"


def parts(hint: object) -> Iterator[object]:
    """A type hint and all that it is made of."""
    yield hint
    inner: tuple[object, ...] = tuple(hint) if isinstance(hint, list) else typing.get_args(hint)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    for part in inner:
        yield from parts(part)


def test_what_is_public_in_a_method_for_other_rooms_alone_is_listed() -> None:
    assert set(MEMBERS) >= BETWEEN_ROOMS


def test_the_reference_shows_no_method_that_is_for_other_rooms_alone() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "python-api.md"
    found = re.findall(
        r"^\.\. autoclass:: agent_messaging\.(\w+)$((?:\n   :.*)*)",
        page.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    options: dict[str, str] = dict(found)
    assert {name for name in BETWEEN_ROOMS if is_shown(name, options)} == set()
    assert is_shown("AgentRegistry.register", options)


def is_shown(name: str, options: dict[str, str]) -> bool:
    """Whether a class's options in the reference have a method shown."""
    cls, _, method = name.partition(".")
    shown = re.search(r":members:(.*)", options[cls])
    hidden = re.search(r":exclude-members:(.*)", options[cls])
    if shown is None or (hidden is not None and method in re.findall(r"\w+", hidden[1])):
        return False
    named = re.findall(r"\w+", shown[1])
    return not named or method in named


def test_no_module_imports_everything_of_another() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "import *" not in path.read_text(), path


def test_each_module_says_what_it_is_for_others_to_import() -> None:
    for module in modules():
        names: list[str] = getattr(module, "__all__", [])
        assert all(hasattr(module, name) for name in names), module.__name__
        assert len(names) == len(set(names)), module.__name__


# Where public objects say that they come from.


@pytest.mark.parametrize("name", sorted(CLASSES | FUNCTIONS))
def test_a_public_object_reports_the_public_module(name: str) -> None:
    public = PUBLIC[name]
    assert getattr(public, "__module__", None) == HOMES[name]
    assert getattr(public, "__qualname__", None) == name


@pytest.mark.parametrize("name", sorted(compat.__all__))
def test_a_former_name_stands_in_compat_or_is_the_public_object_itself(name: str) -> None:
    value: object = getattr(compat, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ in {"agent_messaging", "agent_messaging.compat"}
        assert value.__module__ == "agent_messaging.compat" or value in PUBLIC.values()


# Finality.


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_concrete_public_class_is_final_unless_made_to_be_subclassed(name: str) -> None:
    cls = CLASSES[name]
    shape = getattr(cls, "_is_protocol", False) or typing.is_typeddict(cls)
    members_close_it = issubclass(cls, enum.Enum)
    if name in MADE_TO_BE_SUBCLASSED or shape or members_close_it:
        assert not hasattr(cls, "__final__")
    else:
        assert getattr(cls, "__final__", False) is True


def test_what_is_made_to_be_subclassed_has_subclasses() -> None:
    for name in MADE_TO_BE_SUBCLASSED - FOR_HOSTS_ALONE:
        assert CLASSES[name].__subclasses__()


# Hints and docstrings.


@pytest.mark.parametrize("name", sorted(CLASSES | FUNCTIONS | MEMBERS))
def test_type_hints_can_be_read_at_run_time(name: str) -> None:
    value = (PUBLIC | MEMBERS)[name]
    assert isinstance(typing.get_type_hints(value), dict)


@pytest.mark.parametrize("name", sorted(FUNCTIONS | MEMBERS))
def test_every_parameter_and_every_return_has_a_hint_and_none_is_any(name: str) -> None:
    function = (PUBLIC | MEMBERS)[name]
    assert callable(function)
    hints = typing.get_type_hints(function)
    parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
    assert parameters | {"return"} == set(hints)
    has_any = typing.Any in [part for hint in hints.values() for part in parts(hint)]
    assert name in BETWEEN_ROOMS or not has_any


@pytest.mark.parametrize("name", sorted(CLASSES | FUNCTIONS | MEMBERS))
def test_every_public_object_has_a_docstring(name: str) -> None:
    words = getattr((PUBLIC | MEMBERS)[name], "__doc__", None)
    assert isinstance(words, str)
    assert words.strip()
    # What a dataclass writes by itself is its signature, and says nothing.
    assert not words.startswith(f"{name}(")


def test_every_module_has_a_docstring() -> None:
    for module in (agent_messaging, *modules()):
        assert (module.__doc__ or "").strip(), module.__name__


def test_every_module_is_under_450_lines() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert len(lengths) > 10
    assert {name for name, length in lengths.items() if length >= 450} == set()


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


# Pickles and copies.

VALUES: list[object] = [
    Message(type="chat", payload={"text": "x", "more": [1, None]}, thread_id="t", timestamp=1.5),
    AgentQueued(message_id="m", position=1),
    AgentStarted(message_id="m", agent="a"),
    AgentThinking(text="x"),
    AgentResponseChunk(text="x"),
    AgentProgress(name="n", data={"a": 1}),
    ToolExecuting(tool_call_id="c", tool_name="t", arguments=[1]),
    ToolCompleted(tool_call_id="c", tool_name="t", status="error", error="e", duration_ms=1),
    AgentCompleted(result={"a": [1]}, duration_ms=2),
    AgentFailed(code="c", message="m", retryable=True),
    AgentCancelled(reason="stopped"),
    MessageType.CHAT,
    ErrorCode.TIMEOUT,
    RunState.DONE,
    Limits(frame_bytes=7),
    SessionEnd(reason="idle"),
    Grace(seconds=20.0),
    ActiveRunInfo(
        run_id="r",
        thread_id="t",
        message_id="m",
        agent="a",
        state="running",
        watchers=1,
        elapsed_ms=3,
    ),
    (event := LoggedEvent(MessageType.AGENT_THINKING, '{"text":"x"}', 1, 1.5)),
    EventPage((event,), 1, 1, "running"),
    (lease := Lease("u", "r", "token")),
    (
        run_record := RunRecord(
            run_id="r",
            thread_id="t",
            message_id="m",
            digest="d",
            status="queued",
            first_seq=1,
            last_seq=0,
        )
    ),
    TakenRun(lease, run_record),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_values_can_be_pickled_and_copied(value: object, protocol: int) -> None:
    pickled = pickle.dumps(value, protocol)
    assert b"agent_messaging._" not in pickled
    assert pickle.loads(pickled) == value  # noqa: S301 - our own
    assert copy.deepcopy(value) == copy.copy(value) == value


@pytest.mark.parametrize(
    "error",
    [
        RemoteError(ErrorCode.MISSING_CONTENT, "words", message_id="m1"),
        RemoteError(ErrorCode.RATE_LIMITED, "words", retry_after=0.25),
        EventLogError("words"),
        LeaseLost("words"),
        AgentError("words", code="own", retryable=True),
        TransportError("words"),
        LifecycleError("words"),
        ConfigurationError("words"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled_with_all_that_they_say(error: Exception) -> None:
    copied: object = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)


def test_values_cannot_be_given_fields_that_they_do_not_have() -> None:
    for value in VALUES:
        if not isinstance(value, enum.Enum):
            assert not hasattr(value, "__dict__"), type(value).__name__
