"""What the pages say of sessions is what an endpoint does: frames, fields, words and defaults."""

import asyncio
import dataclasses
import inspect
import json
from typing import Any, Final, get_args

import pytest

from agent_messaging import (
    ActiveRunInfo,
    ActiveRunState,
    AgentMessageHandler,
    DurationHistogram,
    Endpoint,
    EndpointStats,
    ErrorCode,
    EventLog,
    Limits,
    MemoryEventLog,
    MessageType,
    OnDisconnect,
    Run,
    RunStatus,
    SessionEndReason,
    ThreadPolicy,
    UserStats,
)
from agent_messaging.testing import RecordingTransport, run_virtual
from support import Json, decoded, pages

_WIRE: Final = pages.page("reference/wire-protocol.md")
_SERVE: Final = pages.page("how-to/serve-sessions.md")
_RELOAD: Final = pages.page("how-to/survive-a-reload.md")
_STATISTICS: Final = pages.page("how-to/statistics-and-logs.md")
_CONTROL_IN: Final = pages.section(_WIRE, "## What a client sends: control messages")
_CONTROL_OUT: Final = pages.section(_WIRE, "## What a client gets: control frames")

#: Every control frame out, but for what a refusal writes.
_ANSWERS: Final = ("connection_established", "pong", "heartbeat", "stopped", "resumed")


async def _talk(*frames: Json, seconds: float = 1.0, **options: Any) -> list[Json]:
    """What a session gets that sends these frames and then is silent for some seconds."""

    async def agent(run: Run) -> None:
        if run.request == "stay":
            await asyncio.Event().wait()

    client = RecordingTransport()
    async with Endpoint(AgentMessageHandler(agent), **options) as endpoint:
        session = await endpoint.open("user-1", client)
        for frame in frames:
            await session.receive(json.dumps(frame))
            await asyncio.sleep(seconds)
        heard = decoded(client.frames)
        await session.close()
    return heard


def _chat(text: str, **envelope: str) -> Json:
    return {"type": "chat", "payload": {"text": text}, "thread_id": "t-1", **envelope}


def _everything() -> list[Json]:
    """Each answer that there is, from a session that asks for it."""
    return run_virtual(
        _talk(
            {"type": "ping"},
            {"type": "ping", "payload": {"id": 7}},
            _chat("hello"),
            {"type": "resume", "payload": {"thread_id": "t-1"}},
            _chat("stay"),
            {"type": "stop_agent", "payload": {"thread_id": "t-1"}},
            {"type": "connect"},
            seconds=30.0,
        )
    )


def _shape(value: object) -> object:
    """A value with its leaves left out."""
    if isinstance(value, dict):
        return {str(key): _shape(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_shape(value[0])]  # pyright: ignore[reportUnknownArgumentType]
    return type(value).__name__  # pyright: ignore[reportUnknownArgumentType]


def _written(value: object) -> str:
    """As text, so that the order of the fields counts."""
    return json.dumps(_shape(value))


# The wire protocol.


@pytest.mark.parametrize("kind", _ANSWERS)
def test_the_control_frames_are_what_an_endpoint_sends(kind: str) -> None:
    section = pages.section(_CONTROL_OUT, f"### {kind}")
    shown = {_written(frame) for frame in pages.examples(section)}
    sent = [frame for frame in _everything() if frame["type"] == kind]
    assert shown
    assert shown <= {_written(frame) for frame in sent}
    fields = [name for frame in sent for name in frame["payload"]]
    assert pages.names(section, of="field") == list(dict.fromkeys(fields))


def test_every_control_frame_has_its_section_and_no_other() -> None:
    assert sorted(pages.headings(_CONTROL_OUT)) == sorted([*_ANSWERS, "error_message"])


def test_the_fields_within_the_fields_are_those_that_an_endpoint_sends() -> None:
    frames = {frame["type"]: frame["payload"] for frame in _everything()}
    limits = frames["connection_established"]["limits"]
    assert pages.names(_CONTROL_OUT, of="field of `limits`") == [
        f"limits.{name}" for name in limits
    ]
    (example,) = pages.examples(pages.section(_CONTROL_OUT, "### connection_established"))
    assert example["payload"]["limits"] == limits
    assert example["payload"]["protocol"] == frames["connection_established"]["protocol"]
    (resumed,) = frames["resumed"]["runs"]
    rows = pages.table(_CONTROL_OUT, of="field of a run")
    assert list(rows) == [f"runs[].{name}" for name in resumed]
    assert pages.words(rows["runs[].status"][1]) == list(get_args(RunStatus))


def test_the_control_messages_are_accepted_as_they_stand_and_have_the_fields_that_are_listed() -> (
    None
):
    messages = pages.examples(_CONTROL_IN)
    assert {frame["type"] for frame in messages} == set(pages.headings(_CONTROL_IN))
    answers = run_virtual(_talk(*messages, seconds=0.0, heartbeat=None))
    kinds = [frame["type"] for frame in answers]
    assert kinds == [
        "connection_established",
        *("connection_established", "pong", "stopped", "stopped", "resumed", "resumed"),
    ]
    for kind in pages.headings(_CONTROL_IN):
        section = pages.section(_CONTROL_IN, f"### {kind}")
        used = {name for frame in pages.examples(section) for name in frame.get("payload", {})}
        assert set(pages.names(section)) == used, kind


def test_every_control_message_is_an_endpoints_own() -> None:
    described = set(pages.headings(_CONTROL_IN))
    for kind in MessageType:
        answers = run_virtual(_talk({"type": kind}, heartbeat=None))[1:]
        refusals = [frame["payload"].get("code") for frame in answers]
        assert ("unsupported_type" not in refusals) == (
            kind in described | {"start_agent", "user_message", "chat"}
        ), kind


def test_a_code_is_retried_after_its_seconds_only_if_the_rate_was_passed() -> None:
    answers = run_virtual(
        _talk(_chat("one"), _chat("two"), seconds=0.0, limits=Limits(messages_per_minute=1))
    )
    (refusal,) = [frame["payload"] for frame in answers if frame["type"] == "error_message"]
    assert refusal["code"] == "rate_limited"
    section = pages.section(_WIRE, "### error_message")
    assert list(refusal) == [
        name for name in pages.names(section) if name == "retry_after" or name in refusal
    ]


# The how-to pages.


def test_the_words_of_the_policies_are_those_of_the_source() -> None:
    disconnects = list(pages.table(_SERVE, of="`on_disconnect`"))
    assert disconnects == [*get_args(get_args(OnDisconnect)[0]), "grace(20)"]
    assert list(pages.table(_SERVE, of="`thread_policy`")) == list(get_args(ThreadPolicy))


def test_the_ends_of_a_session_are_those_of_the_source() -> None:
    assert list(pages.table(_SERVE, of="`SessionEnd.reason`")) == list(get_args(SessionEndReason))


def test_the_limits_of_sessions_have_the_defaults_of_the_source() -> None:
    rows = pages.table(_SERVE, of="`Limits`")
    names = [field.name for field in dataclasses.fields(Limits)]
    assert list(rows) == names[names.index("messages_per_minute") :]
    assert {name: row[0] for name, row in rows.items()} == {
        name: str(getattr(Limits(), name)) for name in rows
    }


def test_the_times_of_an_endpoint_have_the_defaults_of_the_source() -> None:
    rows = pages.table(_SERVE, of="`Endpoint`")
    parameters = inspect.signature(Endpoint).parameters
    times = {
        name: str(parameter.default)
        for name, parameter in parameters.items()
        if "float" in str(parameter.annotation)
    }
    assert {name: row[0] for name, row in rows.items()} == times


def test_the_arguments_of_the_endpoint_that_are_no_times_are_named_too() -> None:
    for name in inspect.signature(Endpoint).parameters:
        if name not in {"handler", "dialect", "clock", "new_id", "log"}:
            assert f"`{name}" in _SERVE or f"{name}=" in _SERVE, name


def test_the_codes_to_send_again_later_are_codes() -> None:
    codes = [
        code
        for row in pages.section(_RELOAD, "## When the connection is new").splitlines()
        if row.startswith("| `")
        for code in pages.words(row.split(" | ")[0])
    ]
    assert set(codes) < {str(code) for code in ErrorCode}
    assert "message_id_conflict" not in codes
    in_the_client = pages.section(_RELOAD, "## A client").split("LATER = ")[1].split("\n)")[0]
    assert [code for code in codes if f'"{code}"' not in in_the_client] == []
    assert in_the_client.count('"') == 2 * len(codes)


def test_the_counters_of_an_endpoint_are_those_of_the_source() -> None:
    section = pages.section(_STATISTICS, "## Statistics of an endpoint")
    before, after = section.split("`endpoint.users()`")
    rows = pages.table(before)
    assert list(rows) == list(EndpointStats.__annotations__)
    assert pages.words(rows["durations"][0]) == list(DurationHistogram.__annotations__)
    assert pages.names(after, of="key") == list(UserStats.__annotations__)
    infos = pages.table(after, of="attribute")
    assert list(infos) == [field.name for field in dataclasses.fields(ActiveRunInfo)]
    assert pages.words(infos["state"][0]) == list(get_args(ActiveRunState))


def test_the_counters_that_are_of_the_moment_say_so() -> None:
    section = pages.section(_STATISTICS, "## Statistics of an endpoint")
    rows = pages.table(section.split("`endpoint.users()`")[0])
    now = {name for name, row in rows.items() if row[0].startswith("now: ")}
    words = (EndpointStats.__doc__ or "").split("of this moment")[0]
    assert now == {name for name in rows if f"``{name}``" in words}


def test_the_methods_of_a_log_are_those_of_the_contract() -> None:
    page = pages.page("how-to/write-an-event-log.md")
    methods = [name for name, _ in inspect.getmembers(EventLog, inspect.isfunction)]
    rows = pages.names(pages.section(page, "## The methods"))
    assert sorted(rows) == sorted(name for name in methods if not name.startswith("_"))


def test_the_bounds_of_the_memory_log_have_the_defaults_of_the_source() -> None:
    rows = pages.table(pages.page("explanation/sessions.md"), of="argument")
    parameters = inspect.signature(MemoryEventLog).parameters
    bounds = [name for name in parameters if name != "clock"]
    assert list(rows) == bounds
    units = {"MiB": 1024 * 1024, "hours": 3600}
    for name in bounds:
        number, _, unit = rows[name][0].partition(" ")
        said = int(number.replace(",", "")) * units.get(unit, 1)
        assert said == parameters[name].default, name
