"""What an endpoint has to answer, worked out from what its log was told and who is connected."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from agent_messaging import Limits
from support.endpoint_clients import Due, Screen, Told
from support.endpoint_witness import History, Witness
from support.frames import Json

#: What the model says of a frame: a new run, the events of an old one, a refusal, or an answer.
Verdict: TypeAlias = Literal["accepted", "retried", "refused", "answered", "unknown"]

_AGENT_MESSAGES: Final = ("chat", "user_message", "start_agent")
_CONTROL: Final = ("connect", "disconnect", "ping", "stop_agent", "resume")

#: A thread that was made for a message that was refused.
UNTOLD: Final = "?"

#: What a message may be refused with, where it is not known what else is under way.
_PERHAPS: Final = (
    "rate_limited",
    "shutting_down",
    "too_many_runs",
    "thread_busy",
    "queue_full",
    "message_id_conflict",
)


@dataclass(slots=True)
class Request:
    """One frame of a client.

    Attributes:
        kind: its type.
        payload: its payload.
        envelope: the ids beside them.
        verdict: what the model said of it when it was decoded; None before.
    """

    kind: str
    payload: Json = field(default_factory=dict[str, object])
    envelope: Json = field(default_factory=dict[str, object])
    verdict: Verdict | None = None

    @property
    def message_id(self) -> str | None:
        message_id: str | None = self.envelope.get("message_id")
        return message_id

    @property
    def thread_id(self) -> str | None:
        thread_id: str | None = self.envelope.get("thread_id")
        return thread_id

    @property
    def content(self) -> tuple[str, str]:
        """What makes two messages the same."""
        return self.kind, json.dumps(self.payload, sort_keys=True)


class Seat:
    """One connection of a user, as the model knows it.

    Attributes:
        thread_id: the thread of messages that name none; `UNTOLD` for one of the endpoint's making
            that nobody was told of yet.
    """

    def __init__(self, user_id: str, screen: Screen) -> None:
        self.user_id: Final = user_id
        self.screen: Final = screen
        self.thread_id: str | None = None


class Bucket:
    """One minute's tokens, refilled continuously."""

    def __init__(self, per_minute: int | None, now: float) -> None:
        self._per_minute = per_minute
        self._tokens = float(per_minute or 0)
        self._at = now

    def has_one(self, now: float) -> bool:
        if self._per_minute is None:
            return True
        refill = (now - self._at) * (self._per_minute / 60.0)
        self._tokens = min(self._tokens + refill, float(self._per_minute))
        self._at = now
        return self._tokens >= 1.0

    def take(self, now: float) -> bool:
        has = self.has_one(now)
        self._tokens -= has
        return has


class Model:
    """Judges each frame at the moment in which the endpoint does.

    Exact where the log is done at once, since nothing then happens between the endpoint's look
    and its act. For a log that takes its time it knows what may come and what may not.

    Attributes:
        is_draining: whether new messages are refused.
        refusals: how many frames it says are refused.
        retries: how many are answered by a run that was there already.
        stopped: the runs that a STOP_AGENT named.
        situations: how often each of them occurred.
    """

    def __init__(self, witness: Witness, limits: Limits, policy: str) -> None:
        self.is_draining = False
        self.refusals = 0
        self.retries = 0
        self.stopped: set[str] = set()
        self.situations: Counter[str] = Counter()
        self._witness = witness
        self._limits = limits
        self._policy = policy
        self._frames: dict[str, Bucket] = {}
        self._messages: dict[str, Bucket] = {}
        #: Of the messages that were accepted, by their users and ids.
        self._contents: dict[tuple[str, str], tuple[str, str]] = {}

    def judge(self, seat: Seat, request: Request, now: float) -> None:
        """Work out what is to be answered, and have the screen wait for it."""
        bound = self._limits.frames_per_minute
        frames = self._frames.setdefault(seat.user_id, Bucket(bound, now))
        is_hasty = not frames.take(now)
        wrong = _mistake(seat, request)
        if request.kind in _AGENT_MESSAGES and wrong is None:
            self._judge_message(seat, request, now, is_hasty=is_hasty)
            return
        request.verdict = "answered"
        if request.kind == "disconnect" and wrong is None:
            return
        codes = set[str]() if wrong is None else {wrong}
        if is_hasty and wrong in (None, "invalid_message") and request.kind in _CONTROL:
            codes.add("rate_limited")
        if codes and request.kind == "stop_agent" and self._has_many_stops(seat):
            codes.add("rate_limited")
        if codes:
            self._refuse(seat.screen, request, codes)
        elif request.kind == "connect":
            seat.screen.dues.append(Due("connection_established"))
        elif request.kind == "ping":
            seat.screen.dues.append(Due("pong", request.payload))
        elif request.kind == "stop_agent":
            self._judge_stop(seat, request)
        else:
            self._judge_resume(seat, request)

    def _refuse(self, screen: Screen, request: Request, codes: Iterable[str]) -> None:
        about: Json = {} if request.message_id is None else {"message_id": request.message_id}
        screen.dues.append(Due("error_message", about, frozenset(codes)))
        request.verdict = "refused"
        self.refusals += 1
        self.situations["refused: " + " or ".join(sorted(codes))] += 1

    # Messages.

    def _judge_message(self, seat: Seat, request: Request, now: float, *, is_hasty: bool) -> None:
        message_id = request.message_id
        if not self._witness.is_prompt:
            about: Json = {} if message_id is None else {"message_id": message_id}
            due = Due("error_message", about, frozenset(_PERHAPS), is_optional=True)
            seat.screen.dues.append(due)
            seat.screen.may_show(message_id)
            request.verdict = "unknown"
            return
        run = self._witness.claims.get((seat.user_id, message_id or ""))
        if run is not None:
            self._judge_retry(seat, request, run)
            return
        bound = self._limits.messages_per_minute
        messages = self._messages.setdefault(seat.user_id, Bucket(bound, now))
        thread_id = request.thread_id or seat.thread_id or UNTOLD
        codes = self._limits_on(seat.user_id, thread_id)
        if is_hasty or not messages.has_one(now):
            codes.add("rate_limited")
        if self.is_draining:
            codes.add("shutting_down")
        if not (is_hasty or self.is_draining):
            seat.thread_id = seat.thread_id or thread_id
        if codes:
            self._refuse(seat.screen, request, codes)
        else:
            messages.take(now)
            seat.screen.may_show(message_id)
            if message_id is not None:
                self._contents[seat.user_id, message_id] = request.content
            request.verdict = "accepted"
            self.situations["accepted"] += 1

    def accepted(self, seat: Seat, request: Request, run: History) -> None:
        """The endpoint did accept the message."""
        if seat.thread_id == UNTOLD:
            seat.thread_id = run.thread_id
        if request.thread_id not in (None, run.thread_id):
            seat.screen.faults.append(f"{request} became a run of the thread {run.thread_id}")

    def _judge_retry(self, seat: Seat, request: Request, run: History) -> None:
        is_same = self._contents[run.user_id, run.message_id] == request.content
        if not is_same or request.thread_id not in (None, run.thread_id):
            self._refuse(seat.screen, request, {"message_id_conflict"})
            return
        request.verdict = "retried"
        self.retries += 1
        self.situations[f"retried: {run.status}"] += 1
        seat.thread_id = seat.thread_id or run.thread_id
        if run.run_id not in seat.screen.cursors:
            seat.screen.may_show(run.message_id)
            seat.screen.cursors[run.run_id] = 0

    def _limits_on(self, user_id: str, thread_id: str) -> set[str]:
        """The codes by which a message on a thread may be refused; empty for a new thread."""
        limits, codes = self._limits, set[str]()
        threads = Counter(run.thread_id for run in self._witness.active.get(user_id, {}).values())
        is_parallel = self._policy == "parallel"
        here = threads[thread_id]
        places = threads.total() if is_parallel else len(threads)
        if is_parallel or not here:
            if places >= limits.runs_per_user:
                codes.add("too_many_runs")
        elif self._policy == "reject":
            codes.add("thread_busy")
        elif self._policy == "queue" and here > limits.queued_per_thread:
            codes.add("queue_full")
        return codes

    # STOP_AGENT and RESUME.

    def _has_many_stops(self, seat: Seat) -> bool:
        """Whether as many stops wait for their runs as may; others are on their way already."""
        active = self._witness.active.get(seat.user_id, {}).keys()
        stops = seat.screen.stops
        waiting = sum(stop is None or bool(stop & active) for stop in stops)
        return waiting + seat.screen.spare_stops >= self._limits.pending_replies

    def _judge_stop(self, seat: Seat, request: Request) -> None:
        active = self._witness.active.get(seat.user_id, {})
        screen = seat.screen
        if self._has_many_stops(seat):
            if self._witness.is_prompt:
                self._refuse(screen, request, {"rate_limited"})
                return
            screen.dues.append(Due("error_message", {}, frozenset({"rate_limited"}), None, True))
            screen.spare_stops += 1
            return
        run_id, thread_id = _target(request)
        runs = {
            run
            for run in active.values()
            if run.run_id == run_id or (run_id is None and run.thread_id == thread_id)
        }
        for run in runs:
            self.stopped.add(run.run_id)
            self.situations[f"stopped: {run.status}"] += 1
        if not runs:
            is_known = (seat.user_id, run_id) in self._witness.histories
            self.situations["stopped: " + ("ended" if is_known else "nothing")] += 1
        run_ids = frozenset(run.run_id for run in runs)
        screen.stops.append(run_ids if self._witness.is_prompt else None)

    def _judge_resume(self, seat: Seat, request: Request) -> None:
        after: Mapping[str, int] = request.payload.get("after") or {}
        thread_id = request.payload.get("thread_id")
        if thread_id is None and not after:
            thread_id = request.thread_id
        if thread_id is not None:
            seat.thread_id = seat.thread_id or thread_id
        if not self._witness.is_prompt:
            seat.screen.resumes += 1
            return
        of_user = [
            run for (user_id, _), run in self._witness.histories.items() if user_id == seat.user_id
        ]
        of_thread = [run for run in of_user if run.thread_id == thread_id]
        named = [run for run in of_user if run.run_id in after]
        told: Told = {}
        for run in {*of_thread[-self._limits.resumed_runs :], *named}:
            told[run.run_id] = self._resumed(seat.screen, run, after.get(run.run_id, 0))
        seat.screen.dues.append(Due("resumed", told=told))

    def _resumed(
        self, screen: Screen, run: History, asked_for: int
    ) -> set[tuple[int, int, str, bool]]:
        """What may be told of one run; several things where it is over but for its last page."""
        last = len(run.events)
        held_before = self._witness.first_seq(run) - 1
        cursor = max(asked_for, held_before)
        is_evicted = cursor > asked_for
        self.situations[f"resumed: {run.status}"] += 1
        self.situations["resumed: evicted"] += is_evicted
        if cursor > last:  # the client has what the log has not: it gets all that there is
            cursor, is_evicted = held_before, True
            self.situations["resumed: beyond"] += 1
        new = (cursor + 1, last, run.status, is_evicted)
        watched = screen.cursors.get(run.run_id)
        if watched is None:
            screen.cursors[run.run_id] = cursor
            # Whether its watch is over is not known to who has just been shown its end, or was
            # told that there is no more: what comes before that may hold it up.
            at_the_end = (last + 1, last, run.status, False)
            may_watch = screen.newest_end == run.run_id or run.run_id in screen.told_ends
            return {new, at_the_end} if may_watch else {new}
        self.situations["resumed: watched"] += 1
        # One more may be on its way; or words of what is evicted, and more was since.
        places = {watched, min(watched + 1, last), *range(watched, held_before + 1)}
        told = {(at + 1, last, run.status, False) for at in places}
        # Seen to its end, or about to be told that all of it is gone: it is watched no more.
        return {new, *told} if run.is_ended and last in (watched, held_before) else told


def _mistake(seat: Seat, request: Request) -> str | None:
    """The code by which a frame is refused whatever else there is."""
    if request.envelope.get("user_id", seat.user_id) != seat.user_id:
        return "identity_mismatch"
    payload = request.payload
    if request.kind in _AGENT_MESSAGES:
        text = payload.get("user_request" if request.kind == "start_agent" else "text", "")
        return None if text.strip() else "missing_content"
    if request.kind == "stop_agent":
        return "invalid_message" if _target(request) == (None, None) else None
    if request.kind == "resume":
        has_target = payload.get("after") or payload.get("thread_id") or request.thread_id
        return None if has_target else "invalid_message"
    return None if request.kind in _CONTROL else "unsupported_type"


def _target(request: Request) -> tuple[str | None, str | None]:
    """The run or the thread that is to be stopped."""
    source = request.payload or request.envelope
    run_id: str | None = source.get("run_id")
    thread_id: str | None = source.get("thread_id")
    return run_id, None if run_id is not None else thread_id
