"""What holds after every trial, whatever the agent, the transport and the caller did."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import cast

from agent_messaging import AgentError, LifecycleError, TransportError
from agent_messaging.testing import check_stream
from support import recount
from support.frames import Json, decoded
from support.loop import BEGINNING
from support.recount import EPOCH, Counted, Decided
from support.trial import AgentEnd, Trial

_ENVELOPE = {"type", "payload", "user_id", "thread_id", "run_id", "seq", "timestamp"}
_REPORT = (
    "outcome",
    "decided",
    "delivered",
    "first_at_ms",
    "duration_ms",
    "undelivered",
    "order",
    "missing",
    "undelivered_kinds",
    "is_complete",
)


def see(holds: object, what: str) -> None:
    """An assertion whose message pytest need not work out."""
    if not holds:
        raise AssertionError(what)


def check(trial: Trial) -> None:
    """All of the invariants of one trial."""
    frames = decoded(trial.wire.frames)
    check_transport(trial)
    check_frames(trial.wire.frames, frames)
    check_decided(trial.watch.decided)
    check_prefix(frames, trial.watch.decided)
    if trial.wire.failed_step is None:
        see(len(frames) == len(trial.watch.decided), "a sound transport lacks frames")
    check_emits(trial)
    check_counts(trial, frames)
    check_answer(trial)
    if trial.watch.end is not None:
        check_ending(trial)
    broken = check_stream(trial.wire.frames, is_complete=trial.wire.failed_step is None)
    see(not broken, f"the checker of streams says: {broken}")
    see(trial.tasks == 0, f"{trial.tasks} tasks of the library are left")
    # What is no Exception goes on to the loop from wherever it is raised, as asyncio has it.
    if issubclass(trial.wire.error, Exception):
        see(not trial.loop_errors, f"the loop was told: {trial.loop_errors}")


def check_transport(trial: Trial) -> None:
    """Nothing was sent twice, nothing at once, nothing cut, unless the close gave it up."""
    see(not trial.wire.faults, f"the transport was misused: {trial.wire.faults}")
    see(not trial.watch.faults, f"the agent saw: {trial.watch.faults}")
    see(trial.wire.cut <= trial.wire.hangs, "a cancellation cut a send")


def check_frames(texts: Sequence[str], frames: Sequence[Json]) -> None:
    """The frames of one run, as the transport accepted them."""
    see([frame["seq"] for frame in frames] == list(range(1, len(frames) + 1)), "seq is not 1..n")
    see(all(text.isascii() for text in texts), "a frame is not ASCII")
    for frame in frames:
        see(frame.keys() == _ENVELOPE, f"not a run event's envelope: {frame}")
    for name in ("user_id", "thread_id", "run_id"):
        see(len({frame[name] for frame in frames}) <= 1, f"the frames differ in {name}")


def check_decided(decided: Sequence[Decided]) -> None:
    """One start, first; one end, last; each tool completed once, after it began."""
    if not decided:
        return
    kinds = recount.kinds(decided)
    see(kinds[0] == "agent_started", f"the run began with {kinds[0]}")
    see(kinds.count("agent_started") == 1, "the run started more than once")
    ends = [kind for kind in kinds if kind in recount.TERMINAL]
    see(ends == kinds[-1:], f"the run has these ends, and ended with {kinds[-1]}: {ends}")
    began: dict[str, Decided] = {}
    completed: set[str] = set()
    for event, kind in zip(decided, kinds, strict=True):
        payload = event.payload
        if kind == "tool_executing":
            see(payload["tool_call_id"] not in began, "a call's id was opened twice")
            began[payload["tool_call_id"]] = event
        elif kind == "tool_completed":
            call = payload["tool_call_id"]
            see(call in began and call not in completed, "a call that is not open was completed")
            completed.add(call)
            see(payload["tool_name"] == began[call].payload["tool_name"], "another tool's name")
            took = recount.milliseconds(began[call].at, event.at)
            see(payload["duration_ms"] == took, f"a tool took {took} ms: {payload}")
    see(began.keys() == completed, f"never completed: {began.keys() - completed}")
    took = recount.milliseconds(decided[0].at, decided[-1].at)
    see(decided[-1].payload["duration_ms"] == took, f"the run took {took} ms")


def check_prefix(frames: Sequence[Json], decided: Sequence[Decided]) -> None:
    """What was accepted is a prefix of what was decided, event by event."""
    see(len(frames) <= len(decided), "more was accepted than was decided")
    for frame, event in zip(frames, decided, strict=False):
        see(frame["payload"] == event.payload, f"{frame} was sent for {event}")
        see(frame["type"] == event.kind, f"{frame} was sent for {event}")
        see(frame["timestamp"] == EPOCH + event.at, f"{frame} was sent for {event}")


def check_emits(trial: Trial) -> None:
    """Once the transport has failed, no emit succeeds."""
    failed = trial.wire.failed_step
    if failed is None:
        return
    for emit in trial.watch.emits:
        # The iteration after the failing one is when it becomes known.
        if emit.step > failed + 1:
            see(
                emit.refusal in (TransportError, LifecycleError),
                f"an emit after the transport failed raised {emit.refusal}",
            )


def check_counts(trial: Trial, frames: Sequence[Json]) -> None:
    """The handler's counters and both reports are what a recount gives."""
    watch = trial.watch
    run = Counted(
        message_type=str(trial.setting.message.type),
        decided=watch.decided,
        frames=frames,
        lost=trial.wire.failed_step is not None,
    )
    same(trial.stats, recount.statistics([run]))
    see(len(trial.finishes) == bool(watch.decided), "the finish hook is called once for a run")
    for finish in trial.finishes:
        same_report(finish.finished.report, recount.report(watch.decided, finish.accepted))
        see(not frames or finish.finished.context.run_id == frames[0]["run_id"], "another run's")
        see(finish.finished.message is trial.setting.message, "another message's")
    if watch.run is not None:
        same_report(watch.run.report, recount.report(watch.decided, len(frames)))


def same(counted: Mapping[str, object], recounted: Json) -> None:
    """The statistics are these, with plain strings for keys."""
    for name in {**counted, **recounted}:
        see(type(name) is str, f"{name!r} is no plain string")
        ours, theirs = recounted.get(name), counted.get(name)
        see(theirs == ours, f"{name} is {theirs!r}, and recounted {ours!r}")


def same_report(report: object, recounted: Json) -> None:
    """The report's attributes are these."""
    for name in _REPORT:
        ours, theirs = recounted[name], getattr(report, name)
        see(theirs == ours, f"report.{name} is {theirs!r}, and recounted {ours!r}")


def check_answer(trial: Trial) -> None:
    """The call returned a bool, or raised what it had to."""
    if not trial.called:
        see(isinstance(trial.raised, asyncio.CancelledError), "a call that never began")
        see(not trial.watch.decided, "a run was decided in a call that never began")
        return
    end = trial.watch.end
    escaped = end.escaped if end is not None else None
    if escaped is not None and not isinstance(escaped, Exception | asyncio.CancelledError):
        see(trial.raised is escaped, f"{escaped!r} came out as {trial.raised!r}")
    elif _is_untold(trial) and isinstance(trial.raised, asyncio.CancelledError):
        pass
    elif trial.cancels and not _is_untold(trial):
        see(type(trial.raised) is asyncio.CancelledError, f"cancelled, it raised {trial.raised!r}")
    else:
        see(trial.raised is None, f"it raised {trial.raised!r}")
        complete = recount.kinds(trial.watch.decided[-1:]) == ["agent_completed"]
        expected = complete and trial.accepted == len(trial.watch.decided)
        see(trial.returned is expected, f"it returned {trial.returned!r}, and not {expected}")


def _is_untold(trial: Trial) -> bool:
    """Whether nobody can tell if it was cancelled.

    A task tells how often it was cancelled, and not whether the exception is still to come. So
    one that swallowed a cancellation before the call looks as one that swallows it within; a
    CancelledError of the agent's own making then looks as one of the caller's, and a task group
    that fails cancels its task anew. An anyio scope waits with the cancelling for a task that is
    about to go on.
    """
    setting, end = trial.setting, trial.watch.end
    if setting.cancelled_before:
        return end is None or not isinstance(end.escaped, asyncio.CancelledError)
    if setting.in_scope and end is not None:
        return any(end.step <= step + 1 for step in trial.cancels)
    return setting.swallowed_before


def check_ending(trial: Trial) -> None:
    """The terminal event is the one that what happened calls for."""
    payload = trial.watch.decided[-1].payload
    payload.pop("duration_ms")
    expected = _endings(trial)
    see(payload in expected, f"the run ended with {payload}, and not with one of {expected}")


_FAILED: Json = {"code": "agent_error", "message": "The agent failed.", "retryable": False}
_TIMED_OUT: Json = {"code": "timeout", "message": "The agent took too long.", "retryable": False}


def _endings(trial: Trial) -> list[Json]:
    """The payloads that the end may have; several only where two things come at once."""
    end, failed = trial.watch.end, trial.wire.failed_step
    assert end is not None
    disconnected: Json = {"reason": "disconnected"}
    if failed is None or failed > end.step:
        return _connected_endings(trial, end)
    if TransportError in end.refusals or failed + 1 < end.step:
        return [disconnected]
    return [disconnected, *_connected_endings(trial, end)]


def _connected_endings(trial: Trial, end: AgentEnd) -> list[Json]:
    own = _own_endings(end.escaped, end.result)
    cancelled: Json = {"reason": "cancelled"}
    timeout = trial.setting.run_timeout
    took = end.at - BEGINNING
    if timeout is not None and took >= timeout:
        # What the agent did in the very moment may have come first.
        own = [_TIMED_OUT] if took > timeout else [_TIMED_OUT, *own]
    if _is_untold(trial):
        return [cancelled, *own]
    before = trial.setting.cancelled_before or any(step < end.step for step in trial.cancels)
    return [cancelled] if before else own


def _own_endings(escaped: BaseException | None, result: object) -> list[Json]:
    """What the agent itself made of it."""
    if escaped is None:
        try:
            return [{"result": json.loads(json.dumps(result, allow_nan=False))}]
        except (TypeError, ValueError):
            return [_FAILED]
    while isinstance(escaped, BaseExceptionGroup):
        failures = list(cast("BaseExceptionGroup[BaseException]", escaped).exceptions)
        if len(failures) > 1:
            break
        escaped = failures[0]
    if not isinstance(escaped, AgentError):
        return [_FAILED]
    names = ("code", "message", "retryable")
    return [{name: getattr(escaped, name) for name in names}]
