"""Captures of conversations that are changed in one place, and what has to be reported of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from agent_messaging.testing import StreamRule
from agent_messaging.testing._check_payloads import PAYLOADS
from support.captures import PAYLOADS as EXAMPLES
from support.captures import event
from support.endpoints import TERMINAL
from support.frames import Json, decoded

__all__ = ["CHANGES", "Capture", "Change"]


class Capture:
    """The frames of a conversation, and what is known of their order.

    Attributes:
        frames: as JSON has them.
        events: the places of the events.
        connections: for each place, the number of its connection.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.frames: Final = decoded(texts)
        self.events: Final = [at for at, frame in enumerate(self.frames) if "run_id" in frame]
        self.connections: Final[list[str]] = []
        connection = ""
        for frame in self.frames:
            connection = frame["payload"].get("connection_id", connection)
            self.connections.append(connection)

    def run(self, at: int) -> str:
        run_id: str = self.frames[at]["run_id"]
        return run_id

    def mentions(self, run_id: str) -> list[int]:
        """The places that tell of a run, `stopped` left out."""
        return [
            at
            for at, frame in enumerate(self.frames)
            if frame.get("run_id") == run_id
            or any(run["run_id"] == run_id for run in frame["payload"].get("runs", ()))
        ]

    def next_of(self, at: int) -> int | None:
        """The place of the event that follows one on its connection, with nothing told between."""
        rest = [other for other in self.mentions(self.run(at)) if other > at]
        if not rest or self.connections[rest[0]] != self.connections[at]:
            return None
        follows = self.frames[rest[0]].get("seq") == self.frames[at]["seq"] + 1
        return rest[0] if follows else None

    def is_end(self, at: int) -> bool:
        return self.frames[at]["type"] in TERMINAL

    def but(self, at: int, *frames: Json) -> list[Json]:
        """The frames with others in the place of one."""
        return [*self.frames[:at], *frames, *self.frames[at + 1 :]]


class Change(NamedTuple):
    """A stream that is changed in one place, and what has to be reported of it.

    Attributes:
        frames: the stream.
        position: where.
        rules: one of these.
        is_first: whether nothing else may be reported before.
    """

    frames: list[Json]
    position: int
    rules: tuple[StreamRule, ...]
    is_first: bool = True


Changes: TypeAlias = Callable[[Capture], Iterator[Change]]


def dropped(capture: Capture) -> Iterator[Change]:
    for at in capture.events:
        after = capture.next_of(at)
        if after is not None:
            yield Change(capture.but(at), after, (StreamRule.SEQ,))


def end_dropped(capture: Capture) -> Iterator[Change]:
    for at in capture.events:
        *before, last = capture.mentions(capture.run(at))
        if last == at and before and capture.is_end(at):
            position = before[-1] + 1
            yield Change(capture.but(at), position, (StreamRule.UNENDED,), is_first=False)


def resumed_dropped(capture: Capture) -> Iterator[Change]:
    for at, frame in enumerate(capture.frames):
        if frame["type"] != "resumed":
            continue
        for run in frame["payload"]["runs"]:
            mentions = capture.mentions(run["run_id"])
            after = mentions[mentions.index(at) + 1 :]
            before = [each for each in mentions if each < at]
            is_first = not before or capture.connections[before[-1]] != capture.connections[at]
            is_told = after and capture.connections[after[0]] == capture.connections[at]
            if is_first and is_told and capture.frames[after[0]].get("seq", 1) > 1:
                yield Change(capture.but(at), after[0], (StreamRule.SEQ,), is_first=False)


def doubled(capture: Capture) -> Iterator[Change]:
    for at in capture.events:
        frame = capture.frames[at]
        if not (capture.is_end(at) and frame["seq"] == 1):
            yield Change(capture.but(at, frame, frame), at + 2, (StreamRule.SEQ,))


def swapped(capture: Capture) -> Iterator[Change]:
    for at in capture.events:
        after = capture.next_of(at)
        if after is not None:
            frames = capture.but(at, capture.frames[after])
            frames[after] = capture.frames[at]
            yield Change(frames, at + 1, (StreamRule.SEQ,))


def renumbered(capture: Capture) -> Iterator[Change]:
    for at in capture.events:
        frame = capture.frames[at]
        for by in (7, -1):
            # The number 1 may begin all of it again, if what came before was the end.
            if frame["seq"] + by > 1 or (frame["seq"] + by == 1 and capture.next_of(at)):
                changed = frame | {"seq": frame["seq"] + by}
                yield Change(
                    capture.but(at, changed), at + 1, (StreamRule.SEQ, StreamRule.AFTER_END)
                )


def told_otherwise(capture: Capture) -> Iterator[Change]:
    """An event that is sent again with another payload, or another type."""
    seen: set[tuple[str, int]] = set()
    for at in capture.events:
        frame = capture.frames[at]
        if (capture.run(at), frame["seq"]) in seen:
            payload = frame["payload"] | {
                "agent_started": {"agent": "other"},
                "agent_completed": {"result": "other"},
                "agent_failed": {"message": "other"},
                "agent_response_chunk": {"text": "other"},
            }.get(frame["type"], {"duration_ms": 10**6, "text": "", "position": 77})
            rules = (StreamRule.REPLAY_DIFFERS,)
            yield Change(capture.but(at, frame | {"payload": payload}), at + 1, rules)
        seen.add((capture.run(at), frame["seq"]))


def unsound(capture: Capture) -> Iterator[Change]:
    """A payload that lacks a field."""
    for at, frame in enumerate(capture.frames):
        for name, field in PAYLOADS[frame["type"]].items():
            if not field.is_optional and name in frame["payload"]:
                payload = {key: each for key, each in frame["payload"].items() if key != name}
                changed = frame | {"payload": payload}
                yield Change(capture.but(at, changed), at + 1, (StreamRule.PAYLOAD,))


def undressed(capture: Capture) -> Iterator[Change]:
    """An envelope that lacks a field, or has one of another kind."""
    for at, frame in enumerate(capture.frames):
        for name in frame:
            rules = (StreamRule.TYPE if name == "type" else StreamRule.ENVELOPE,)
            less = {key: each for key, each in frame.items() if key != name}
            yield Change(capture.but(at, less), at + 1, rules)
            yield Change(capture.but(at, frame | {name: None}), at + 1, rules)


def started_again(capture: Capture) -> Iterator[Change]:
    """An event, in the middle, becomes a second start."""
    for at in capture.events:
        frame = capture.frames[at]
        if frame["seq"] > 2 and not capture.is_end(at):
            changed = frame | {"type": "agent_started", "payload": EXAMPLES["agent_started"]}
            rules = (StreamRule.LIFECYCLE, StreamRule.REPLAY_DIFFERS)
            yield Change(capture.but(at, changed), at + 1, rules)


def tool_left_open(capture: Capture) -> Iterator[Change]:
    """The end of a tool's call, which is sent once, becomes something else."""
    times = Counter((capture.run(at), capture.frames[at]["seq"]) for at in capture.events)
    for at in capture.events:
        frame = capture.frames[at]
        if frame["type"] == "tool_completed" and times[capture.run(at), frame["seq"]] == 1:
            mentions = [each for each in capture.events if capture.run(each) == capture.run(at)]
            end = next(each for each in mentions if each > at and capture.is_end(each))
            changed = frame | {"type": "agent_thinking", "payload": EXAMPLES["agent_thinking"]}
            rules = (StreamRule.OPEN_TOOLS,)
            yield Change(capture.but(at, changed), end + 1, rules)


def gone_on(capture: Capture) -> Iterator[Change]:
    """The run goes on after its end."""
    for at in capture.events:
        if capture.is_end(at):
            frame = capture.frames[at]
            more = event("thinking", frame["seq"] + 1) | {
                name: frame[name] for name in ("user_id", "thread_id", "run_id")
            }
            frames = capture.but(at, frame, more)
            yield Change(frames, at + 2, (StreamRule.AFTER_END,))


def given_away(capture: Capture) -> Iterator[Change]:
    """An event of another user, or on another thread."""
    seen: set[str] = set()
    for at in capture.events:
        if capture.run(at) in seen:
            for name in ("user_id", "thread_id"):
                changed = capture.frames[at] | {name: "other"}
                rules = (StreamRule.RUN_CHANGED, StreamRule.USER)
                yield Change(capture.but(at, changed), at + 1, rules)
        seen.add(capture.run(at))


def stopped_too_early(capture: Capture) -> Iterator[Change]:
    for at, frame in enumerate(capture.frames):
        for run_id in frame["payload"].get("run_ids", ()):
            before = [each for each in capture.mentions(run_id) if each < at]
            is_shown = len(before) > 1 and before[-2] in capture.events
            if is_shown and capture.next_of(before[-2]) == before[-1]:
                frames = [each for each in capture.frames if each is not frame]
                frames.insert(before[-1], frame)
                yield Change(frames, before[-1] + 1, (StreamRule.STOPPED,))


def resumed_elsewhere(capture: Capture) -> Iterator[Change]:
    """What is told to follow is not what follows."""
    for at, frame in enumerate(capture.frames):
        runs = frame["payload"].get("runs", ())
        for number, run in enumerate(runs):
            first = run["from_seq"]
            after = next((each for each in capture.mentions(run["run_id"]) if each > at), at)
            if capture.frames[after].get("seq") != first:
                continue
            told = [*runs]
            told[number] = run | {"from_seq": first + 1}
            frames = capture.but(at, frame | {"payload": {"runs": told}})
            if first > run["to_seq"] or _is_sent(capture, at, run):
                yield Change(frames, at + 1, (StreamRule.RESUMED,))
            elif capture.connections[after] == capture.connections[at] and first > 1:
                yield Change(frames, after + 1, (StreamRule.SEQ,))


def _is_sent(capture: Capture, at: int, run: Json) -> bool:
    """Whether a run is being sent on the connection already."""
    before = [each for each in capture.mentions(run["run_id"]) if each < at]
    return bool(before) and (
        capture.connections[before[-1]] == capture.connections[at]
        and capture.frames[before[-1]].get("type") not in TERMINAL
    )


def ended_otherwise(capture: Capture) -> Iterator[Change]:
    """What is told of the end of a run is not how it ends."""
    for at, frame in enumerate(capture.frames):
        runs = frame["payload"].get("runs", ())
        for number, run in enumerate(runs):
            rest = [each for each in capture.mentions(run["run_id"]) if each > at]
            ends = [each for each in rest if capture.frames[each].get("seq") == run["to_seq"]]
            if ends and ends[0] < rest[0] + run["to_seq"] and capture.is_end(ends[0]):
                told = list(runs)
                other = "failed" if run["status"] != "failed" else "completed"
                told[number] = run | {"status": other}
                changed = capture.but(at, frame | {"payload": {"runs": told}})
                if run["from_seq"] <= run["to_seq"]:
                    yield Change(changed, ends[0] + 1, (StreamRule.RESUMED,))


def ungreeted(capture: Capture) -> Iterator[Change]:
    """The first frame is dropped, where what follows is no handler's that is called directly."""
    for at, frame in enumerate(capture.frames):
        greets = frame["type"] == "connection_established"
        if greets and at and not any(each < at for each in capture.events):
            return  # only errors came before
        if (greets and at) or frame["type"] in ("pong", "resumed", "stopped"):
            yield Change(capture.but(0), at, (StreamRule.CONNECTION,), is_first=False)
            return


CHANGES: Final[Sequence[Changes]] = (
    dropped,
    end_dropped,
    resumed_dropped,
    doubled,
    swapped,
    renumbered,
    told_otherwise,
    unsound,
    undressed,
    started_again,
    tool_left_open,
    gone_on,
    given_away,
    stopped_too_early,
    resumed_elsewhere,
    ended_otherwise,
    ungreeted,
)
