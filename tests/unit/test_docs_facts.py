"""What the reference pages list is what the source has: no field, code or name missing or extra."""

import ast
import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Final, cast, get_args

import pytest

import agent_messaging
from agent_messaging import (
    AgentCancelled,
    AgentLike,
    AgentMessageHandler,
    AgentMessagingError,
    AgentRegistry,
    CancelReason,
    ErrorCode,
    HandlerStats,
    Message,
    MessageRouter,
    MessageType,
    ProcessingStats,
    RemoteError,
    Run,
    RunEvent,
    RunFinished,
    ToolStatus,
    compat,
)
from agent_messaging.dialects.native import NativeDialect, NativeRunEncoder
from support import Json, Recorder, chat, decoded, run

_ROOT: Final = Path(__file__).parents[2]
_DOCS: Final = _ROOT / "docs"
_WIRE: Final = (_DOCS / "reference" / "wire-protocol.md").read_text(encoding="utf-8")
_STATISTICS: Final = (_DOCS / "how-to" / "statistics-and-logs.md").read_text(encoding="utf-8")


#: The members of the closed union of events, by their type on the wire.
_EVENTS: Final = {
    str(member.type): member for member in cast("tuple[type[RunEvent], ...]", get_args(RunEvent))
}


def _section(page: str, heading: str) -> str:
    """A page's text under a heading, up to the next of its level or above."""
    level = heading.split(" ", maxsplit=1)[0]
    _, found, rest = page.partition(f"\n{heading}\n")
    assert found, f"the page has no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def _names(section: str) -> list[str]:
    """What the first column of a section's tables names."""
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def _frames(section: str) -> list[Json]:
    return [json.loads(frame) for frame in re.findall(r"```json\n(.*)\n```", section)]


def test_every_event_has_its_section_and_no_other() -> None:
    events = _section(_WIRE, "## What a client gets: the events of a run")
    assert sorted(re.findall(r"^### (\w+)$", events, flags=re.MULTILINE)) == sorted(_EVENTS)


@pytest.mark.parametrize("kind", _EVENTS)
def test_the_frames_of_an_event_are_what_the_dialect_writes(kind: str) -> None:
    section = _section(_WIRE, f"### {kind}")
    frames = _frames(section)
    assert frames
    for frame in frames:
        event = _EVENTS[kind](**frame["payload"])
        assert frame["type"] == event.type
        encoder = NativeRunEncoder(frame["user_id"], frame["thread_id"], frame["run_id"])
        payload = NativeDialect().encode_payload(event.payload())
        written = encoder.encode(event.type, payload, frame["seq"], frame["timestamp"])
        assert list(json.loads(written).items()) == list(frame.items())
        assert list(json.loads(written)["payload"]) == list(frame["payload"])


@pytest.mark.parametrize("kind", _EVENTS)
def test_the_fields_of_an_event_are_those_of_its_class(kind: str) -> None:
    assert _names(_section(_WIRE, f"### {kind}")) == [
        field.name for field in dataclasses.fields(_EVENTS[kind])
    ]


def test_the_words_of_an_event_are_those_of_its_type() -> None:
    tools = _section(_WIRE, "### tool_completed")
    assert {frame["payload"]["status"] for frame in _frames(tools)} == set(get_args(ToolStatus))
    reasons = re.findall(r"^\| `reason` .*$", _WIRE, flags=re.MULTILINE)[0]
    assert re.findall(r"`(\w+)`", reasons)[1:] == list(get_args(CancelReason))
    assert AgentCancelled(reason="cancelled").payload().keys() == {"reason", "duration_ms"}


def test_the_envelope_of_an_event_is_the_one_on_the_wire() -> None:
    events = _section(_WIRE, "## What a client gets: the events of a run").split("###")[0]
    assert _names(events) == list(_frames(_section(_WIRE, "### agent_started"))[0])


def test_the_fields_of_a_message_are_those_of_its_class() -> None:
    inbound = _section(_WIRE, "## What a client sends").split("###")[0]
    assert _names(inbound) == [field.name for field in dataclasses.fields(Message)]


def test_the_messages_are_accepted_as_they_stand() -> None:
    agents = AgentRegistry()

    async def travel(run: Run) -> str:
        return run.request

    agents.register("travel", travel)
    inbound = _section(_WIRE, "## What a client sends")
    frames = _frames(inbound)
    handler = AgentMessageHandler(agents)
    assert {frame["type"] for frame in frames} == handler.supported_types
    assert set(re.findall(r"^### (\w+)$", inbound, flags=re.MULTILINE)) == handler.supported_types
    for frame in frames:
        assert Message.from_dict(frame).to_dict() == frame
        router = MessageRouter(handler)
        assert run(router.handle_frame("user-1", Recorder(), json.dumps(frame)))


def test_the_error_messages_are_what_a_refusal_writes() -> None:
    section = _section(_WIRE, "### error_message")
    refusals = [
        RemoteError(
            ErrorCode(frame["payload"]["code"]),
            frame["payload"]["message"],
            message_id=frame["payload"].get("message_id"),
        )
        for frame in _frames(section)
    ]
    written = [
        json.loads(NativeDialect().encode_control(MessageType.ERROR_MESSAGE, error.reply, 0.5))
        for error in refusals
    ]
    assert [frame | {"timestamp": 0.5} for frame in _frames(section)] == written
    assert _names(section) == list(refusals[0].reply)


def test_the_codes_are_those_of_the_source() -> None:
    assert _names(_section(_WIRE, "## Codes")) == [str(code) for code in ErrorCode]
    errors = (_DOCS / "how-to" / "handle-errors.md").read_text(encoding="utf-8")
    assert _names(_section(errors, "## What the client reads")) == [str(code) for code in ErrorCode]


def test_every_type_is_either_described_or_reserved() -> None:
    described = re.findall(r"^### (\w+)$", _WIRE, flags=re.MULTILINE)
    reserved = re.findall(r"`(\w+)`[,.]", _section(_WIRE, "## Reserved types").split("- ", 1)[1])
    assert sorted(described + reserved) == sorted(MessageType)


def test_a_reserved_type_is_answered_as_unsupported() -> None:
    async def agent(run: Run) -> None: ...

    client = Recorder()
    router = MessageRouter(AgentMessageHandler(agent))
    inbound = re.search(r"To the server: (.*)\.", _WIRE)
    assert inbound is not None
    kinds = re.findall(r"`(\w+)`", inbound[1])
    for kind in kinds:
        assert not run(router.handle_frame("user-1", client, json.dumps({"type": kind})))
    codes = [frame["payload"]["code"] for frame in decoded(client.frames)]
    assert codes == ["unsupported_type"] * len(kinds)
    assert kinds


def test_the_counters_are_those_of_the_source() -> None:
    section = _section(_STATISTICS, "## Statistics")
    assert _names(section) == list(ProcessingStats.__annotations__)
    beside = HandlerStats.__annotations__.keys() - ProcessingStats.__annotations__.keys()
    assert {name for name in beside if f"`{name}`" in section} == beside


def test_the_log_events_are_those_of_the_source() -> None:
    documented = re.findall(
        r"^\| `(agent_messaging[\w.]*)` \| `(\w+)` \| (.*?) \|", _STATISTICS, flags=re.MULTILINE
    )
    logged = _logged()
    assert {(logger, event) for logger, event, _ in documented} == logged.keys()
    for logger, event, levels in documented:
        assert logged[logger, event] in levels


class _Former:
    """A service of the former handlers that sends what is no frame."""

    async def handle_start_agent(
        self, *, user_id: str, payload: object, db_session: object, websocket: object
    ) -> None: ...

    async def handle_user_message(
        self, *, user_id: str, payload: object, db_session: object, websocket: object
    ) -> None:
        assert isinstance(websocket, compat.FormerWebSocket)
        await websocket.send_text("no frame")


async def _everything_that_is_logged() -> None:
    async def failing(run: Run) -> None:
        raise ValueError

    def raising(finished: RunFinished) -> None:
        raise ValueError

    cases: list[tuple[AgentLike, Message, Recorder]] = [
        (failing, Message(type="dance"), Recorder()),
        (failing, chat(), Recorder(hangs_at=1)),
        (failing, chat(), Recorder(fails_at=1)),
        (compat.adapt_service(_Former()), chat(), Recorder()),
    ]
    for agent, message, client in cases:
        handler = AgentMessageHandler(agent, on_run_finished=raising, final_send_timeout=1.0)
        await handler.handle_message("user-1", client, message)
        await handler.aclose()


def test_the_fields_of_the_log_events_are_those_of_the_source(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = re.findall(
        r"^\| `agent_messaging[\w.]*` \| `(\w+)` \| .*? \| (.*) \|$", _STATISTICS, re.MULTILINE
    )
    documented = {event: set(re.findall(r"`(\w+)`", fields)) for event, fields in rows}
    documented["run_error"] = documented["run_finished"]
    plain = logging.makeLogRecord({}).__dict__.keys() | {"event", "message", "asctime"}

    with caplog.at_level(logging.DEBUG, logger="agent_messaging"):
        run(_everything_that_is_logged())

    logged: dict[str, set[str]] = {}
    for record in caplog.records:
        event = record.__dict__["event"]
        logged.setdefault(event, set()).update(record.__dict__.keys() - plain)
    assert logged == documented


def _logged() -> dict[tuple[str, str], str]:
    """Logger and event of each call of the package's `log`, with the level if it is literal."""
    found: dict[tuple[str, str], str] = {}
    for path in (_ROOT / "src" / "agent_messaging").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        name = re.search(r'getLogger\("([\w.]+)"\)', source)
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(
                    func=ast.Name("log"), args=[_, level, ast.Constant(str() as event), *_]
                ):
                    assert name is not None
                    literal = level.attr if isinstance(level, ast.Attribute) else ""
                    found[name[1], event] = literal
                case _:
                    pass
    return found


def test_the_python_reference_names_everything_public_once() -> None:
    page = (_DOCS / "reference" / "python-api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto\w+:: agent_messaging\.([\w.]+)$", page, flags=re.MULTILINE)
    former = {name: getattr(compat, name) for name in compat.__all__}
    public = {name: getattr(agent_messaging, name) for name in agent_messaging.__all__}
    aliases = [name for name, item in former.items() if any(item is one for one in public.values())]
    assert sorted(named) == sorted(
        [*public, *(f"compat.{name}" for name in former if name not in aliases)]
    )
    assert [name for name in aliases if f"`{name}`" not in page] == []


def test_the_tree_of_errors_is_in_the_how_to() -> None:
    errors = (_DOCS / "how-to" / "handle-errors.md").read_text(encoding="utf-8")
    public = [getattr(agent_messaging, name) for name in agent_messaging.__all__]
    classes = [
        item.__name__
        for item in public
        if isinstance(item, type) and issubclass(item, AgentMessagingError)
    ]
    assert [name for name in classes if f"`{name}`" not in errors] == []
