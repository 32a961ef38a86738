"""The checker of streams: what each rule finds, where, and what it leaves alone."""

import json
import re
import tracemalloc
from collections import UserDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_messaging import MessageType
from agent_messaging._events import RUN_EVENTS
from agent_messaging.testing import BrokenRule, StreamChecker, StreamRule, check_stream
from agent_messaging.testing import _check_payloads as documented
from agent_messaging.testing.strategies import frames, json_values, near_valid_frames
from support import pages
from support.captures import PAYLOADS, a_run, control, event, greeting, resumed
from support.frames import Json
from support.garbage import without_collections
from support.strategies import any_texts, patient

STARTED, DONE = event("started", 1), event("completed", 2)
RUN: Final = a_run("started", "thinking", "tool_executing", "tool_completed", "completed")


def told(frames: list[Any], *, is_complete: bool = True) -> list[str]:
    """What is broken, as position and rule."""
    broken = check_stream(frames, is_complete=is_complete)
    return [f"{each.position} {each.rule}" for each in broken]


def without(frame: Json, name: str) -> Json:
    return {key: value for key, value in frame.items() if key != name}


@pytest.mark.parametrize("frame", [json.dumps(STARTED), json.dumps(STARTED).encode(), STARTED])
def test_one_frame_is_no_stream(frame: Any) -> None:
    with pytest.raises(TypeError, match="an iterable of frames, not one"):
        check_stream(frame)


# Sound streams.


@pytest.mark.parametrize(
    "frames",
    [
        [],
        RUN,
        [greeting(), *RUN],
        a_run("queued", "started", "failed"),
        a_run("queued", "cancelled"),
        a_run("failed"),
        a_run("started", "tool_executing c1", "tool_executing c2", "tool_completed c1")
        + a_run("tool_completed c2", "completed", first=5),
        [x for pair in zip(a_run("started", "completed"), a_run("started", "completed", run="r2"),
                           strict=True) for x in pair],
        [greeting(), control("pong"), control("heartbeat"), greeting(), *RUN, control("stopped")],
        [control("error_message", code="too_many_sessions"), greeting(), *RUN],
        [{"type": "weather", "run_id": 7}, {"type": "chat"}, greeting(), {"type": "x"}, *RUN],
        [greeting(), *RUN[:2], greeting(), *RUN[2:]],  # the client sent connect
        [*RUN, *(each | {"payload": dict(reversed(each["payload"].items()))} for each in RUN)],
        # Retried: all of it again, on the same connection and on another.
        [greeting(), *RUN, *RUN, greeting("k2"), *RUN],
        # Resumed, from where the client was, and from before.
        [greeting(), *RUN[:2], greeting("k2"), resumed(3, 4), *RUN[2:]],
        [greeting(), *RUN[:3], greeting("k2"), resumed(2, 5, "completed"), *RUN[1:]],
        [greeting(), *RUN[:3], resumed(4, 3), *RUN[3:]],
        [greeting(), *RUN, resumed(6, 5, "completed")],
        [greeting(), *RUN, greeting("k2"), resumed(6, 5, "completed")],
        [greeting(), *RUN, resumed(6, 5, "running")],  # told before the end was sent
        # Resumed by a client that knows more than the capture.
        [greeting(), resumed(4, 5, "completed"), *RUN[3:]],
        [greeting(), RUN[0], greeting("k2"), resumed(4, 5, "completed"), *RUN[3:]],
        [greeting(), resumed(6, 5, "completed"), *RUN],
        # Evicted, at once and on the way.
        [greeting(), resumed(4, 5, "completed", evicted=True), *RUN[3:]],
        [greeting(), *RUN[:2], resumed(5, 5, "completed", evicted=True), RUN[4]],
        [greeting(), *RUN[:2], resumed(6, 5, "completed", evicted=True)],
        # The log lost some that the client has, and others came in their place.
        [greeting(), *RUN[:3], greeting("k2"), resumed(1, 1, "running", evicted=True), RUN[0],
         *a_run("response_chunk", "failed", first=2)],
        [greeting(), *RUN, greeting("k2"), resumed(1, 0, "queued", evicted=True),
         *a_run("queued", "failed")],
        # Stopped: after the end, of a run that others watch, of one that is yet to be shown.
        [greeting(), *RUN, control("stopped"), *a_run("started", "cancelled", run="r2")],
        [greeting(), control("stopped"), *RUN],
        [greeting(), *RUN[:2], greeting("k2"), control("stopped"), *RUN],
        # A slow consumer comes back.
        [greeting(), RUN[0], control("error_message", code="slow_consumer"), greeting("k2"), *RUN],
        # Another user logs in.
        [greeting(), *RUN, greeting("k2"), *({**each, "user_id": "bob", "run_id": "r2"}
                                             for each in RUN)],
    ],
)  # fmt: skip
def test_a_sound_stream_breaks_nothing(frames: list[Json]) -> None:
    assert check_stream(frames) == ()
    assert check_stream(map(json.dumps, frames)) == ()
    assert check_stream(json.dumps(frame).encode() for frame in frames) == ()


def test_a_frame_may_be_any_mapping() -> None:
    assert check_stream(UserDict(frame) for frame in RUN) == ()


def test_the_end_of_a_stream_is_looked_at_only_where_it_is_complete() -> None:
    assert told(RUN[:3]) == ["3 unended"]
    assert told(RUN[:3], is_complete=False) == []


# Each rule.

_RULES: Final[list[tuple[StreamRule, list[Any], int]]] = [
    (StreamRule.NOT_JSON, [STARTED, "{", DONE], 2),
    (StreamRule.NOT_JSON, [b"\xff"], 1),
    (StreamRule.NOT_JSON, ['{"type": NaN}'], 1),
    (StreamRule.NOT_JSON, ['{"type": "x", "y": -Infinity}'], 1),
    (StreamRule.NOT_JSON, ["[" * 100_000], 1),
    (StreamRule.NOT_JSON, ["7" * 5000], 1),
    (StreamRule.NOT_JSON, ['{"type": "\ud800"}'], 1),
    (StreamRule.NOT_JSON, [None], 1),
    (StreamRule.NOT_JSON, [{"type": object()}], 1),
    (StreamRule.NOT_JSON, [{"type": float("nan")}], 1),
    (StreamRule.NOT_AN_OBJECT, ["[]"], 1),
    (StreamRule.NOT_AN_OBJECT, ['"agent_started"'], 1),
    (StreamRule.TYPE, [{}], 1),
    (StreamRule.TYPE, [STARTED, {"type": ""}, DONE], 2),
    (StreamRule.TYPE, [{"type": 3}], 1),
    (StreamRule.TYPE, [STARTED, {"type": "MessageType.PONG"}, DONE], 2),
    (StreamRule.TYPE, [STARTED, {"type": "PONG"}, DONE], 2),
    (StreamRule.ENVELOPE, [STARTED | {"payload": []}, DONE], 1),
    (StreamRule.ENVELOPE, [without(STARTED, "payload"), DONE], 1),
    (StreamRule.ENVELOPE, [STARTED, DONE | {"timestamp": "now"}], 2),
    (StreamRule.ENVELOPE, [STARTED, DONE | {"timestamp": True}], 2),
    (StreamRule.ENVELOPE, [STARTED, DONE | {"timestamp": 10**400}], 2),
    (StreamRule.ENVELOPE, [STARTED | {"user_id": ""}, DONE], 1),
    (StreamRule.ENVELOPE, [STARTED, without(DONE, "thread_id")], 2),
    (StreamRule.ENVELOPE, [STARTED, DONE | {"seq": 0}], 2),
    (StreamRule.ENVELOPE, [STARTED | {"seq": "1"}, DONE], 1),
    (StreamRule.ENVELOPE, [STARTED, DONE | {"seq": 2.0}], 2),
    (StreamRule.ENVELOPE, [*RUN[:2], without(RUN[2], "seq"), *RUN[3:]], 3),
    (StreamRule.ENVELOPE, [STARTED, DONE | {"seq": 10**30}], 2),
    (StreamRule.ENVELOPE, [*RUN, without(event("completed", 1, "r2"), "run_id")], 6),
    (StreamRule.ENVELOPE, [greeting(), control("pong") | {"run_id": "r1"}], 2),
    (StreamRule.ENVELOPE, [greeting(), without(control("heartbeat"), "timestamp")], 2),
    (StreamRule.ENVELOPE, [*RUN[:2], without(RUN[2], "payload"), *RUN[3:]], 3),
    (StreamRule.SEQ, [DONE], 1),
    (StreamRule.SEQ, [*RUN[:2], *RUN[3:]], 3),  # dropped
    (StreamRule.SEQ, [*RUN[:2], *RUN[1:]], 3),  # doubled
    (StreamRule.SEQ, [RUN[0], *RUN], 2),
    (StreamRule.SEQ, [*RUN, RUN[4]], 6),
    (StreamRule.SEQ, [*RUN[:2], RUN[2] | {"seq": 9}, *RUN[3:]], 3),  # wrongly numbered
    (StreamRule.SEQ, [*RUN[:2], RUN[2] | {"seq": 5}, *RUN[3:]], 3),
    (StreamRule.SEQ, [*RUN[:2], RUN[2] | {"seq": 1}, *RUN[3:]], 3),
    (StreamRule.SEQ, [RUN[0] | {"seq": 7}, *RUN[1:]], 1),
    (StreamRule.SEQ, [*RUN[:4], *RUN[1:]], 5),  # sent again from some event on
    (StreamRule.SEQ, [*RUN[:4], *RUN], 5),
    (StreamRule.SEQ, [greeting(), *RUN[:3], greeting("k2"), *RUN[3:]], 6),  # without resumed
    (StreamRule.SEQ, [greeting(), *RUN[:3], greeting("k2"), *RUN[1:]], 6),
    (StreamRule.SEQ, [greeting(), *RUN, *RUN[:2], *RUN[3:]], 9),  # in what is sent again
    (StreamRule.SEQ, [greeting(), *RUN, *RUN[:2], RUN[2] | {"seq": 5}, *RUN[3:]], 9),
    (StreamRule.LIFECYCLE, a_run("thinking", "response_chunk", "completed"), 1),
    (StreamRule.LIFECYCLE, a_run("queued", "thinking", "completed"), 2),
    (StreamRule.LIFECYCLE, a_run("queued", "queued", "started", "completed"), 2),
    (StreamRule.LIFECYCLE, a_run("started", "queued", "thinking", "completed"), 2),
    (StreamRule.LIFECYCLE, a_run("started", "started", "completed"), 2),
    (StreamRule.LIFECYCLE, a_run("completed"), 1),
    (StreamRule.LIFECYCLE, a_run("tool_executing", "tool_completed", "completed"), 1),
    (StreamRule.LIFECYCLE, [greeting(), resumed(3, 2), *a_run("queued", "failed", first=3)], 3),
    (StreamRule.LIFECYCLE, [greeting(), STARTED, greeting("k2"), resumed(4, 3),
                            *a_run("started", "completed", first=4)], 5),
    (StreamRule.TOOL, a_run("started", "tool_completed", "completed"), 2),
    (StreamRule.TOOL, [*RUN[:4], event("tool_completed", 5), event("completed", 6)], 5),
    (
        StreamRule.TOOL,
        a_run("started", "tool_executing", "tool_completed", "tool_executing", "tool_completed")
        + a_run("completed", first=6),
        4,
    ),
    (StreamRule.TOOL, [*RUN[:3], event("tool_completed", 4, tool_name="book"), RUN[4]], 4),
    (
        StreamRule.TOOL,
        [greeting(), resumed(3, 2),
         *a_run("tool_completed", "tool_completed", "completed", first=3)],
        4,
    ),
    (StreamRule.OPEN_TOOLS, a_run("started", "tool_executing", "completed"), 3),
    (StreamRule.OPEN_TOOLS, a_run("started", *(f"tool_executing c{n}" for n in range(9)),
                                  "cancelled"), 11),
    (StreamRule.AFTER_END, [*RUN, event("thinking", 6)], 6),
    (StreamRule.AFTER_END, [*RUN, *a_run(*["response_chunk"] * 20, first=6)], 6),
    (StreamRule.AFTER_END, [*RUN, event("completed", 6)], 6),
    (StreamRule.AFTER_END, [*RUN, event("completed", 9)], 6),
    (StreamRule.AFTER_END, [greeting(), *RUN, greeting("k2"), event("failed", 6)], 8),
    (StreamRule.AFTER_END, [greeting(), resumed(4, 5, "completed"), *RUN[3:],
                            event("thinking", 6)], 5),
    (StreamRule.UNENDED, RUN[:4], 4),
    (StreamRule.UNENDED, [*RUN[:2], control("error_message"), event("failed", 1, "r2")], 2),
    (StreamRule.UNENDED, [greeting(), resumed(3, 2)], 2),
    (StreamRule.UNENDED, [greeting(), resumed(3, 3, "completed")], 2),
    (StreamRule.UNENDED, [greeting(), *RUN, *RUN[:2]], 8),
    (StreamRule.RUN_CHANGED, [STARTED, DONE | {"user_id": "bob"}], 2),
    (StreamRule.RUN_CHANGED, [*RUN[:2], RUN[2] | {"thread_id": "t2"}, *RUN[3:]], 3),
    (StreamRule.RUN_CHANGED, [RUN[0], *(each | {"thread_id": "t2"} for each in RUN[1:])], 2),
    (StreamRule.RUN_CHANGED, [greeting(), *RUN[:2], resumed(3, 2, thread="t2"), *RUN[2:]], 4),
    (StreamRule.REPLAY_DIFFERS, [*RUN[:4], DONE | {"seq": 5}, *RUN[:4], RUN[4] |
                                 {"payload": {"result": 0, "duration_ms": 1}}], 10),
    (StreamRule.REPLAY_DIFFERS, [*RUN, RUN[0], event("response_chunk", 2), *RUN[2:]], 7),
    (StreamRule.REPLAY_DIFFERS, [*RUN, event("failed", 1)], 6),
    (StreamRule.CONNECTION, [control("pong"), control("pong")], 1),
    (StreamRule.CONNECTION, [*RUN, control("heartbeat"), greeting()], 6),
    (StreamRule.CONNECTION, [*RUN, greeting()], 6),
    (StreamRule.USER, [greeting(), *RUN, event("failed", 1, "r2") | {"user_id": "bob"},
                       event("failed", 1, "r3"), event("failed", 1, "r4") | {"user_id": "bob"}],
     7),
    (StreamRule.USER, [greeting(), *a_run("failed", run="r2"), resumed(2, 1),
                       *({**each, "user_id": "bob"} for each in RUN[1:])], 4),
    (StreamRule.RESUMED, [greeting(), *RUN[:2], resumed(4, 4), *RUN[3:]], 4),
    (StreamRule.RESUMED, [greeting(), *RUN[:3], resumed(2, 3, evicted=True), *RUN[1:]], 5),
    (StreamRule.RESUMED, [greeting(), resumed(3, 1)], 2),
    (StreamRule.RESUMED, [greeting(), resumed(4, 5, "failed"), *RUN[3:]], 4),
    (StreamRule.RESUMED, [greeting(), resumed(4, 6, "completed"), *RUN[3:]], 4),
    (StreamRule.RESUMED, [greeting(), resumed(4, 4, "completed"), *RUN[3:]], 3),
    (StreamRule.RESUMED, [greeting(), resumed(4, 5, "running"), *RUN[3:]], 4),
    (StreamRule.RESUMED, [greeting(), *RUN, greeting("k2"), resumed(6, 5, "failed")], 8),
    (StreamRule.RESUMED, [greeting(), *RUN, greeting("k2"), resumed(6, 6, "completed")], 8),
    (StreamRule.RESUMED, [greeting(), *RUN, greeting("k2"), resumed(6, 5, "running")], 8),
    (StreamRule.STOPPED, [greeting(), *RUN[:4], control("stopped"), RUN[4]], 6),
    (StreamRule.STOPPED, [greeting(), resumed(4, 3), control("stopped"), *RUN[3:]], 3),
    (
        StreamRule.SESSION_OVER,
        [greeting(), RUN[0], control("error_message", code="slow_consumer"), *RUN[1:]],
        4,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "frames", "position"), _RULES)
def test_one_fault_is_reported_once_where_it_is(
    rule: StreamRule, frames: list[Any], position: int
) -> None:
    assert told(frames) == [f"{position} {rule}"]


def test_every_rule_is_in_the_table_or_is_about_payloads() -> None:
    assert {rule for rule, _, _ in _RULES} | {StreamRule.PAYLOAD} == set(StreamRule)


_SEVERAL: Final[list[tuple[list[Any], list[str]]]] = [
    # Where two events changed places each of them came out of order.
    ([*RUN[:2], RUN[3], RUN[2], RUN[4]], ["3 seq", "4 seq"]),
    # A run with two ends has two faults, whatever lies between.
    ([*RUN, event("thinking", 6), event("failed", 7)], ["6 after_end", "7 after_end"]),
    # One that lost its end and one that lost its beginning.
    ([*RUN[:3], *a_run("thinking", "failed", run="r2")[1:]], ["4 seq", "3 unended"]),
    # Faults of several kinds in one frame.
    ([STARTED, DONE | {"seq": 3, "payload": {}, "timestamp": None}],
     ["2 envelope", "2 payload", "2 seq"]),
    ([greeting(), *RUN[:3], resumed(6, 4)], ["5 resumed", "4 unended"]),
    ([greeting(), *RUN, event("thinking", 6), greeting("k2"), resumed(7, 6, "failed")],
     ["7 after_end"]),
    # Runs without an end, in the order of what was told of them last.
    ([STARTED, event("started", 1, "r2"), event("thinking", 2)], ["2 unended", "3 unended"]),
    # What was wrong before the log lost it does not count any more.
    ([greeting(), *RUN, event("thinking", 6), greeting("k2"),
      resumed(1, 0, "queued", evicted=True), *RUN[:2]], ["7 after_end", "11 unended"]),
]  # fmt: skip


@pytest.mark.parametrize(("frames", "faults"), _SEVERAL)
def test_several_faults_are_reported_each(frames: list[Any], faults: list[str]) -> None:
    assert told(frames) == faults


def test_what_is_reported_names_the_run_and_says_what_was_due() -> None:
    assert check_stream([*RUN[:2], *RUN[3:]]) == (
        BrokenRule(
            position=3, rule=StreamRule.SEQ, meaning="event 3 was due, and not 4", run_id="r1"
        ),
    )
    (broken,) = check_stream([greeting(), control("stopped", run_ids="r1")])
    assert broken == BrokenRule(
        position=2,
        rule=StreamRule.PAYLOAD,
        meaning="payload.run_ids must be an array of ids, not a string",
    )


# Payloads.


def _wrongs(field: documented.Field) -> Iterator[object]:
    """Values that this field does not take."""
    if field.kind == "any JSON":
        return
    yield -1.5
    if field.kind != "array":
        yield [""]
    if field.kind != "object":
        yield {"": None}
    if "null" not in field.kind:
        yield None
    if field.kind == "id":
        yield from ("", "x" * 129, "a\nb")
    if "integer" in field.kind:
        yield from (True, 1.0)
    if field.least is not None:
        yield field.least - 1
    if field.among:
        yield "strange"
    if "string" not in field.kind and "id" not in field.kind:
        yield "1"


def _wrong_payloads() -> Iterator[tuple[str, str, Json]]:
    """Types with each of their fields left out or wrong, and the field's name."""
    for kind, fields in documented.PAYLOADS.items():
        sound = PAYLOADS[kind]
        for name, field in fields.items():
            where = f"payload.{name}"
            if field.statuses:
                continue
            if not field.is_optional:
                yield kind, f"{where} is missing", without(sound, name)
            for wrong in _wrongs(field):
                yield kind, f"{where} must be ", sound | {name: wrong}
    failed = without(PAYLOADS["tool_completed"], "result") | {"status": "error"}
    yield "tool_completed", "payload.error is missing", failed
    yield "tool_completed", "payload.error must be ", failed | {"error": 1}
    only = "payload.result is there only if the status is ok"
    yield "tool_completed", only, failed | {"error": None, "result": None}
    yield (
        "tool_completed",
        "payload.error is there only if ",
        PAYLOADS["tool_completed"] | {"error": "x"},
    )
    yield "heartbeat", "the payload of a heartbeat is empty", {"id": 1}
    greets = PAYLOADS["connection_established"]
    for name in documented.LIMITS:
        where = f"payload.limits.{name}"
        limits: Json = greets["limits"]
        yield (
            "connection_established",
            f"{where} is missing",
            greets | {"limits": without(limits, name)},
        )
        yield "connection_established", f"{where} must be ", greets | {"limits": limits | {name: 0}}
    run: Json = resumed(1, 1)["payload"]["runs"][0]
    for name, field in documented.RESUMED_RUN.items():
        where = f"payload.runs[0].{name}"
        yield "resumed", f"{where} is missing", {"runs": [without(run, name)]}
        for wrong in _wrongs(field):
            yield "resumed", f"{where} must be ", {"runs": [run | {name: wrong}]}
    yield "resumed", "payload.runs[1] must be an object, not null", {"runs": [run, None]}


def _stream_with(kind: str) -> list[Json]:
    """A sound stream in which there is one frame of this type."""
    if kind == "connection_established":
        return [greeting()]
    if kind in _CONTROLS:
        return [greeting(), control(kind)]
    if kind == "agent_queued":
        return a_run("queued", "failed")
    if kind in ("agent_failed", "agent_cancelled"):
        return [STARTED, event(kind, 2)]
    if kind in {each["type"] for each in RUN}:
        return RUN
    return a_run("started", kind, "completed")


_CONTROLS: Final = {kind for kind in documented.PAYLOADS if kind not in RUN_EVENTS}


@pytest.mark.parametrize(("kind", "meaning", "payload"), list(_wrong_payloads()))
def test_a_payload_that_is_not_as_documented_is_reported_once(
    kind: str, meaning: str, payload: Json
) -> None:
    sound = _stream_with(kind)
    frames = [each | {"payload": payload} if each["type"] == kind else each for each in sound]
    (broken,) = check_stream(frames, is_complete=False)
    assert broken.rule == StreamRule.PAYLOAD
    assert frames[broken.position - 1]["type"] == kind
    assert broken.meaning.startswith(meaning)


def test_what_else_is_documented_is_sound() -> None:
    interrupted = event("tool_completed", 4, status="interrupted", error=None)
    del interrupted["payload"]["result"]
    assert told([*RUN[:3], interrupted, RUN[4]]) == []
    rest = [control("pong", id=-(10**40)), control("error_message", message_id="m")]
    del rest[1]["payload"]["retry_after"]
    assert told([greeting(), *rest, {**control("pong"), "payload": {}}]) == []


def test_what_a_payload_has_beside_is_not_looked_at() -> None:
    assert told([event("started", 1, extra=1), event("completed", 2, extra=[])]) == []


def test_of_very_many_wrong_fields_some_are_named() -> None:
    (broken,) = check_stream([greeting(), control("resumed", runs=[None] * 100_000)])
    assert broken.meaning.count("must be an object") == 5
    assert broken.meaning.endswith("; ...")


def test_nothing_of_what_was_said_is_in_a_report() -> None:
    secret = "secret"
    frames = [
        STARTED | {"payload": secret},
        event("thinking", 2, text=[secret]),
        event("tool_completed", 3, status=secret),
        event(secret, 4) if secret in PAYLOADS else {"type": [secret]},
        control("pong", id=secret + "\n"),
        DONE | {"seq": secret, "timestamp": secret},
        secret,
        {"type": secret, "payload": secret},
    ]
    broken = check_stream(frames)
    assert len(broken) >= 6
    assert secret not in str(broken)


# The documentation.

_WIRE: Final = pages.page("reference/wire-protocol.md")
_ROW: Final = re.compile(r"^\| `([\w.\[\]]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def rows(text: str) -> dict[str, str]:
    """The fields of a section's tables, and their types."""
    return {name: kind.strip() for name, kind, _ in _ROW.findall(text)}


@pytest.mark.parametrize("kind", documented.PAYLOADS)
def test_the_fields_are_those_of_the_reference(kind: MessageType) -> None:
    expected = {name: field.kind for name, field in documented.PAYLOADS[kind].items()}
    if kind == "connection_established":
        expected |= {f"limits.{name}": field.kind for name, field in documented.LIMITS.items()}
    elif kind == "resumed":
        inner = documented.RESUMED_RUN.items()
        expected |= {f"runs[].{name}": field.kind for name, field in inner}
    section = pages.section(_WIRE, f"### {kind}")
    assert {name: kind for name, kind in rows(section).items() if name in expected} == expected
    assert {frame["type"] for frame in pages.examples(section)} == {kind}


def test_the_envelope_is_that_of_the_reference() -> None:
    events = pages.section(_WIRE, "## What a client gets: the events of a run").split("###")[0]
    expected = {name: field.kind for name, field in documented.EVENT_ENVELOPE.items()}
    assert without(rows(events), "type") == expected


def test_the_how_to_has_every_rule_in_its_order() -> None:
    page = pages.page("how-to/check-a-capture.md")
    assert pages.names(pages.section(page, "## The rules")) == list(StreamRule)


def test_every_frame_that_a_client_gets_is_known() -> None:
    gets = _WIRE[_WIRE.index("## What a client gets: the events") :]
    assert set(pages.headings(gets)) == set(documented.PAYLOADS)
    for frame in pages.examples(gets):
        kinds = {each.rule for each in check_stream([frame], is_complete=False)}
        assert not kinds & {StreamRule.PAYLOAD, StreamRule.ENVELOPE, StreamRule.TYPE}


# Any input.


class Foreign(Mapping[str, object]):
    """A mapping that does not work."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        return iter(["type"])

    def __len__(self) -> int:
        return 1


def deep(levels: int) -> str:
    return json.dumps(DONE | {"payload": {"result": "@", "duration_ms": 1}}).replace(
        '"@"', "[" * levels + "]" * levels
    )


def fed_above(checker: StreamChecker, frame: Any, calls: int) -> tuple[BrokenRule, ...]:
    """What the frame breaks, so many calls further up the stack."""
    return fed_above(checker, frame, calls - 1) if calls > 0 else checker.feed(frame)


def test_a_frame_of_any_depth_is_read_or_reported() -> None:
    def is_read(levels: int) -> bool:
        found = told([STARTED, deep(levels), STARTED, deep(levels)])
        assert found in ([], ["2 not_json", "3 seq", "4 not_json", "3 unended"])
        return not found

    assert is_read(100)
    # How deep that is depends on the version of Python; just below, all else has to work as well.
    low, high = 100, 200_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_read(middle) else (low, middle)
    for levels in range(low - 20, low + 20):
        assert is_read(levels) == (levels <= low)
    # Read where the stack is higher it is the same frame.
    for levels in range(low - 20, low + 1):
        checker = StreamChecker()
        frames = [STARTED, deep(levels)]
        for frame in (*frames, *frames, *frames):
            rules = [each.rule for each in fed_above(checker, frame, checker.frames)]
            assert StreamRule.REPLAY_DIFFERS not in rules


def test_a_mapping_that_does_not_work_is_reported() -> None:
    assert told([Foreign()]) == ["1 not_json"]


_names = st.sampled_from([*PAYLOADS, "payload", "run_id", "seq", "thread_id", "user_id", "runs"])


def _near(draw: st.DrawFn) -> object:
    """A frame that is sound but for some fields."""
    kind = draw(st.sampled_from(sorted(PAYLOADS)))
    frame = event(kind, draw(st.integers(-1, 4)), draw(st.sampled_from(["r1", "r2"])))
    if draw(st.booleans()):
        frame["payload"] = frame["payload"] | {draw(_names): draw(json_values())}
    if draw(st.booleans()):
        names = st.sampled_from(sorted(frame["payload"] or {"id": 0}))
        frame["payload"] = frame["payload"] | {draw(names): draw(json_values())}
    for name in draw(st.lists(st.sampled_from(sorted(frame)), max_size=2)):
        frame[name] = draw(json_values())
    return draw(st.sampled_from([frame, json.dumps(frame)]))


@patient
@given(
    st.lists(
        st.one_of(
            st.composite(_near)(),
            json_values(),
            any_texts,
            st.binary(),
            frames(),
            near_valid_frames(),
        )
    )
)
def test_nothing_is_raised_whatever_comes(frames: list[Any]) -> None:
    checker = StreamChecker()
    for number, frame in enumerate(frames, 1):
        for broken in checker.feed(frame):
            assert broken.position == number
            assert broken.meaning.isprintable()
    assert checker.frames == len(frames)
    for broken in checker.finish():
        assert broken.rule == StreamRule.UNENDED


# What it costs.


def test_frames_may_be_numbered_as_the_caller_likes() -> None:
    checker = StreamChecker()
    assert checker.feed(STARTED, 10) == ()
    (broken,) = checker.feed(event("thinking", 3), 30)
    assert broken.position == 30
    (broken,) = checker.finish()
    assert (broken.position, checker.frames, checker.runs) == (30, 2, 1)
    assert checker.feed(event("completed", 4), 40) == ()
    assert checker.finish() == ()


def test_of_an_event_little_more_is_kept_than_eight_bytes() -> None:
    def feed(checker: StreamChecker) -> None:
        for seq in range(2, 5000):
            checker.feed(event("response_chunk", seq, text="x" * 500))

    checker = StreamChecker()
    checker.feed(STARTED)
    with without_collections():
        feed(StreamChecker())  # Python has all the room then that it keeps to use again
        tracemalloc.start()
        try:
            feed(checker)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 5000 * 10


def test_of_a_run_that_has_ended_its_tool_calls_are_not_kept() -> None:
    checker = StreamChecker()
    calls = [f"c{number}" * 20 for number in range(500)]
    frames = [
        frame
        for call in calls
        for frame in (
            event("tool_executing", 0, tool_call_id=call),
            event("tool_completed", 0, tool_call_id=call),
        )
    ]

    def feed(checker: StreamChecker) -> None:
        checker.feed(STARTED)
        for seq, frame in enumerate(frames, 2):
            checker.feed(json.dumps(frame | {"seq": seq}))

    with without_collections():
        feed(StreamChecker())
        tracemalloc.start()
        try:
            feed(checker)
            during, _ = tracemalloc.get_traced_memory()
            checker.feed(event("completed", 1002))
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after < 1002 * 10 + 2000 < during
