"""The conversation that every host has."""

import json
import re
from typing import Final, NamedTuple, cast

from integration.clients import LAST, Client
from support import Json

__all__ = ["CONVERSATION", "ENDINGS", "REPORT", "REPORT_BEGINS", "converse", "normalised", "start"]

#: The message that the agent `report` works on, and the last that it sends before it waits.
REPORT: Final = "m16"
REPORT_BEGINS: Final = frozenset({"agent_response_chunk"})

#: Stands for the run of the first message, which a later one names.
_FIRST_RUN: Final = "<the first run>"

_MADE_ID: Final = re.compile(r"[0-9a-f]{32}")


class Step(NamedTuple):
    """One frame of the client, and the type that the last frame of its answer has."""

    name: str
    frame: str | bytes
    last: frozenset[str] = LAST


def _step(name: str, kind: str, payload: Json | None = None, last: str = "", **fields: str) -> Step:
    frame = {"type": kind, **fields} | ({} if payload is None else {"payload": payload})
    return Step(name, json.dumps(frame), frozenset({last}) if last else LAST)


def start(agent: str, **fields: str) -> str:
    """A START_AGENT for this agent, as a frame."""
    payload = {"user_request": "please", "agent": agent}
    return json.dumps({"type": "start_agent", "payload": payload, **fields})


_COUNT: Final = {"user_request": "count these four words"}

# Each message names its thread: where each frame has a connection of its own, none remembers it.
CONVERSATION: Final = (
    _step("CONNECT", "connect", last="connection_established"),
    _step("start_agent", "start_agent", _COUNT, message_id="m1", thread_id="t1"),
    _step("user_message", "user_message", {"message": "and these"}, thread_id="t1"),
    _step("chat", "chat", {"content": "gr\u00fc\u00dfe \u4e16\u754c"}, thread_id="t1"),
    Step(
        "a binary frame",
        '{"type":"chat","payload":{"text":"gr\u00fc\u00dfe"},"thread_id":"t1"}'.encode(),
    ),
    Step("a malformed frame", '{"type":"chat","payload":{"text":'),
    Step("a binary frame that is not UTF-8", b'{"type":"\xff"}'),
    _step("an unknown type", "sing", {"song": "of the sea"}, message_id="m7"),
    _step("another's user_id", "chat", {"text": "hello"}, user_id="grace", message_id="m8"),
    _step("ping", "ping", {"id": "p1"}, last="pong"),
    _step("a retry", "start_agent", _COUNT, message_id="m1", thread_id="t1"),
    _step("a used message_id", "start_agent", {"user_request": "no"}, message_id="m1"),
    Step("an agent that refuses", start("refusing", thread_id="t2")),
    Step("an agent that breaks", start("breaking", thread_id="t3")),
    _step("resume after an event", "resume", {"after": {_FIRST_RUN: 7}}),
    _step("resume a thread", "resume", {"thread_id": "t2"}),
    _step("resume an unknown run", "resume", {"after": {"r-unknown": 7}}, last="resumed"),
    _step("stop an unknown run", "stop_agent", {"run_id": "r-unknown"}, last="stopped"),
    Step("a report to be stopped", start("report", thread_id="t4"), REPORT_BEGINS),
    _step("stop", "stop_agent", {"thread_id": "t4"}, last="stopped"),
    Step("a report that waits", start("report", message_id=REPORT, thread_id="t5"), REPORT_BEGINS),
)

#: How the runs of the conversation end, up to the one that waits: outcome, code, reason, error.
ENDINGS: Final = (
    ("agent_completed", None, None, None),
    ("agent_completed", None, None, None),
    ("agent_completed", None, None, None),
    ("agent_completed", None, None, None),
    ("agent_failed", "closed", None, "AgentError"),
    ("agent_failed", "agent_error", None, "KeyError"),
    ("agent_cancelled", None, "stopped", "CancelledError"),
)


async def converse(client: Client) -> list[tuple[str, Json]]:
    """Have the `CONVERSATION`: the frames that came, each with the name of its step."""
    frames: list[tuple[str, Json]] = []
    first_run = ""
    for step in CONVERSATION:
        frame = step.frame
        if isinstance(frame, str):
            frame = frame.replace(_FIRST_RUN, first_run)
        answer = await client.ask(frame, step.last)
        frames.extend((step.name, each) for each in answer)
        first_run = first_run or answer[-1].get("run_id", "")
    return frames


def normalised(frames: list[tuple[str, Json]]) -> list[Json]:
    """The frames without what is different each time, which is checked for its form instead.

    Made ids are numbered by their first appearance, so that which are the same is still seen.
    """
    names: dict[str, str] = {}

    def name(value: object) -> object:
        if isinstance(value, str) and _MADE_ID.fullmatch(value):
            return names.setdefault(value, f"<id {len(names) + 1}>")
        if isinstance(value, list):
            return [name(each) for each in cast("list[object]", value)]
        if isinstance(value, dict):
            return {key: name(each) for key, each in cast("Json", value).items()}
        return value

    lines: list[Json] = []
    for step, frame in frames:
        assert isinstance(frame["timestamp"], float)
        payload = dict(frame["payload"])
        if "duration_ms" in payload:
            assert type(payload["duration_ms"]) is int
            assert payload["duration_ms"] >= 0
            payload["duration_ms"] = "<ms>"
        line = {**frame, "payload": payload, "timestamp": "<time>"}
        lines.append({"after": step, **{key: name(value) for key, value in line.items()}})
    return lines
