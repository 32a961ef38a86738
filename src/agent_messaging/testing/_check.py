"""Whether a stream of native frames is one that this package would send to a client."""

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, NoReturn, TypeAlias, cast, final

from agent_messaging._errors import ErrorCode
from agent_messaging._events import RUN_EVENTS
from agent_messaging._limits import is_id
from agent_messaging._messages import MessageType
from agent_messaging.testing._check_payloads import (
    CONTROL_ENVELOPE,
    EVENT_ENVELOPE,
    EVENT_FIELDS,
    PAYLOADS,
    RESUMED_RUN,
    Field,
    faults_of,
)
from agent_messaging.testing._check_rules import BrokenRule, Fault, StreamRule
from agent_messaging.testing._check_runs import SeenEvent, SeenRun, ToldRun
from agent_messaging.testing._received import ReceivedFrame

__all__ = ["StreamChecker", "check_stream"]

#: Wrong fields of one frame that are named; there may be very many.
_NAMED: Final = 5

_EVENTS: Final = frozenset(RUN_EVENTS)

#: What a client gets, by its type on the wire; anything else is the host's own.
_KINDS: Final = {str(kind): kind for kind in PAYLOADS}

#: What sessions alone send; a handler that is called directly sends the others.
_OF_SESSIONS: Final = frozenset(
    {MessageType.PONG, MessageType.HEARTBEAT, MessageType.STOPPED, MessageType.RESUMED}
)

#: What is told of an event whose payload is wrong follows from that.
_OF_PAYLOADS: Final = frozenset({StreamRule.LIFECYCLE, StreamRule.TOOL, StreamRule.REPLAY_DIFFERS})

#: As it was sent, parsed, or as the kit received it.
Frame: TypeAlias = str | bytes | Mapping[str, object] | ReceivedFrame

#: A fault, and the run that it is of.
_Found: TypeAlias = tuple[str | None, Fault]


def check_stream(frames: Iterable[Frame], *, is_complete: bool = True) -> tuple[BrokenRule, ...]:
    """The rules that a stream of native frames breaks, as they are noticed; none if all is well.

    ``check_stream(client.frames)`` checks what a client of `converse` received.

    Args:
        frames: what one client got, from its first frame on: on one connection, or on several
            that follow each other. Each as JSON text, as UTF-8, parsed, or as the kit gives it.
        is_complete: whether every run has to have ended; not of a stream that was cut.

    Raises:
        TypeError: this is one frame, and not several.
    """
    if isinstance(frames, str | bytes | Mapping):
        kind = type(cast("object", frames)).__name__
        raise TypeError(f"a stream is an iterable of frames, not one {kind}")
    checker = StreamChecker()
    broken = [each for frame in frames for each in checker.feed(frame)]
    return (*broken, *checker.finish()) if is_complete else tuple(broken)


@final
class StreamChecker:
    """Checks a stream frame by frame, as `check_stream` does a whole one.

    One fault is reported once, as far as that can be known: the checker goes on from what came.

    It holds nothing of a frame but 8 bytes for each event of a run, to compare it by when it is
    sent again; of each run some hundred bytes, and while it is under way the ids of its tool
    calls. The time that a frame takes does not grow with what came before.

    Attributes:
        frames: how many frames were fed.
    """

    def __init__(self) -> None:
        self.frames: int = 0
        self._runs: dict[str, SeenRun] = {}
        #: They are counted; those of no session are of connection 0.
        self._connection = 0
        self._connection_id: str | None = None
        #: Whether there was an event before any session.
        self._has_event_of_none = False
        self._is_told_of_none = False
        self._is_session_over = False
        #: The user of the connection, and the last other one.
        self._users: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """How many runs the frames told of."""
        return len(self._runs)

    def feed(self, frame: Frame, position: int | None = None) -> tuple[BrokenRule, ...]:
        """What the next frame breaks. Raises nothing, whatever it is.

        Args:
            frame: as `check_stream`'s.
            position: its number, where frames are not counted from 1: the line of a file, say.
        """
        self.frames += 1
        at = self.frames if position is None else position
        return tuple(
            BrokenRule(position=at, rule=fault.rule, meaning=fault.meaning, run_id=run_id)
            for run_id, fault in self._check(frame, at)
        )

    def finish(self) -> tuple[BrokenRule, ...]:
        """What the stream breaks if nothing follows: the runs that have not ended.

        Changes nothing: the stream may go on.
        """
        meaning = "the run has no terminal event, and nothing follows"
        broken = [
            BrokenRule(
                position=run.position, rule=StreamRule.UNENDED, meaning=meaning, run_id=run_id
            )
            for run_id, run in self._runs.items()
            if run.is_open
        ]
        return tuple(sorted(broken, key=lambda each: each.position))

    def _check(self, frame: object, position: int) -> Iterator[_Found]:
        fields = _read(frame)
        if isinstance(fields, Fault):
            yield None, fields
            return
        name = fields.get("type")
        if not isinstance(name, str) or not name:
            yield None, Fault(StreamRule.TYPE, "a frame has a type, which is a string")
            return
        if name.removeprefix("MessageType.") in MessageType.__members__:
            yield None, Fault(StreamRule.TYPE, f"{name} is the name of a type in code, not a type")
        kind = _KINDS.get(name)
        if self._is_session_over:
            self._is_session_over = False
            if kind is not MessageType.CONNECTION_ESTABLISHED:
                yield (
                    None,
                    Fault(
                        StreamRule.SESSION_OVER,
                        "a frame came after slow_consumer, which is the last",
                    ),
                )
        if kind is not None:
            check = self._check_event if kind in _EVENTS else self._check_control
            yield from check(kind, fields, position)

    # The events of a run.

    def _check_event(
        self, kind: MessageType, fields: Mapping[str, object], position: int
    ) -> Iterator[_Found]:
        self._has_event_of_none |= self._connection_id is None
        ids = [fields.get(name) for name in ("user_id", "thread_id", "run_id")]
        user_id, thread_id, run_id = (value if is_id(value) else None for value in ids)
        payload, wrong = _checked(kind, EVENT_ENVELOPE, fields)
        for fault in wrong:
            yield run_id, fault
        if run_id is None:
            return  # nobody knows where it belongs
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = SeenRun()
        yield from ((run_id, fault) for fault in run.belongs(user_id, thread_id))
        if run.user_id is not None:
            yield from ((run_id, fault) for fault in self._check_user(run.user_id))
        has_seq = not any(faults_of({"seq": EVENT_FIELDS["seq"]}, fields))
        event = SeenEvent(
            kind=kind,
            payload=payload,
            seq=cast("int", fields["seq"]) if has_seq else None,
            digest=_digest(kind, payload),
            connection=self._connection,
            position=position,
        )
        is_sound = payload is fields.get("payload") and not any(
            fault.rule is StreamRule.PAYLOAD for fault in wrong
        )
        for fault in run.event(event):
            if is_sound or fault.rule not in _OF_PAYLOADS:
                yield run_id, fault

    def _check_user(self, user_id: str) -> Iterator[Fault]:
        """See that a run is of the connection's user."""
        users = self._users
        if user_id not in users:
            # Reported once, and not for each of the frames that follow.
            self._users = (*users[:1], user_id)
            if users:
                yield Fault(
                    StreamRule.USER,
                    f"the connection is of user {users[0]}, and this run is of user {user_id}",
                )

    # Control frames.

    def _check_control(
        self, kind: MessageType, fields: Mapping[str, object], position: int
    ) -> Iterator[_Found]:
        payload, wrong = _checked(kind, CONTROL_ENVELOPE, fields)
        if any(name in fields for name in EVENT_FIELDS):
            yield None, Fault(StreamRule.ENVELOPE, f"{kind} has fields of a run's event")
        for fault in wrong:
            yield None, fault
        if kind is MessageType.CONNECTION_ESTABLISHED:
            yield from self._connect(payload)
        elif kind in _OF_SESSIONS and self._connection_id is None:
            yield from self._tell_of_none(f"{kind} came before connection_established")
        if kind is MessageType.STOPPED:
            yield from self._check_stopped(payload)
        elif kind is MessageType.RESUMED:
            yield from self._check_resumed(payload, position)
        elif kind is MessageType.ERROR_MESSAGE:
            self._is_session_over = payload.get("code") == ErrorCode.SLOW_CONSUMER

    def _connect(self, payload: Mapping[str, object]) -> Iterator[_Found]:
        """The first frame of a connection, or the answer to a `connect` of the same."""
        if self._connection_id is None and self._has_event_of_none:
            yield from self._tell_of_none("events came before connection_established")
        connection_id = payload.get("connection_id")
        if is_id(connection_id) and connection_id != self._connection_id:
            self._connection_id = connection_id
            self._connection += 1
            self._users = ()

    def _tell_of_none(self, meaning: str) -> Iterator[_Found]:
        if not self._is_told_of_none:
            self._is_told_of_none = True
            yield None, Fault(StreamRule.CONNECTION, meaning)

    def _check_stopped(self, payload: Mapping[str, object]) -> Iterator[_Found]:
        run_ids = payload.get("run_ids")
        for run_id in cast("list[object]", run_ids) if isinstance(run_ids, list) else ():
            run = self._runs.get(run_id) if is_id(run_id) else None
            if is_id(run_id) and run is not None and run.is_sent(self._connection):
                yield run_id, Fault(StreamRule.STOPPED, "stopped came before the run's end")

    def _check_resumed(self, payload: Mapping[str, object], position: int) -> Iterator[_Found]:
        runs = payload.get("runs")
        for item in cast("list[object]", runs) if isinstance(runs, list) else ():
            if not isinstance(item, dict):
                continue
            told = cast("dict[str, Any]", item)
            if any(faults_of(RESUMED_RUN, told)):
                continue
            run_id: str = told["run_id"]
            first, last = told["from_seq"], told["to_seq"]
            if first > last + 1:
                yield (
                    run_id,
                    Fault(
                        StreamRule.RESUMED, f"from_seq {first} is beyond to_seq {last} and the next"
                    ),
                )
                continue
            run = self._runs.get(run_id)
            if run is None:
                run = self._runs[run_id] = SeenRun()
            yield from ((run_id, fault) for fault in run.belongs(None, told["thread_id"]))
            announced = ToldRun(told["status"], first, last, told["evicted"])
            for fault in run.resumed(announced, self._connection, position):
                yield run_id, fault


def _checked(
    kind: MessageType, envelope: Mapping[str, Field], fields: Mapping[str, object]
) -> tuple[Mapping[str, object], list[Fault]]:
    """The payload, empty if there is none; and what is wrong with the envelope and with that."""
    payload = fields.get("payload")
    wrong = list(_summed(StreamRule.ENVELOPE, faults_of(envelope, fields)))
    if not isinstance(payload, dict):
        return {}, wrong
    members = cast("dict[str, object]", payload)
    if kind is MessageType.HEARTBEAT and members:
        wrong.append(Fault(StreamRule.PAYLOAD, "the payload of a heartbeat is empty"))
    wrong += _summed(StreamRule.PAYLOAD, faults_of(PAYLOADS[kind], members, "payload."))
    return members, wrong


def _summed(rule: StreamRule, faults: Iterator[str]) -> Iterator[Fault]:
    """All of them as one, if there are any."""
    named = list(islice(faults, _NAMED))
    if named:
        more = ["..."] if next(faults, None) is not None else []
        yield Fault(rule, "; ".join(named + more))


def _read(frame: object) -> Mapping[str, object] | Fault:
    """A frame as JSON has it."""
    if isinstance(frame, ReceivedFrame):
        frame = frame.text
    if isinstance(frame, Mapping):
        # What JSON cannot hold is no frame; and what it can is then looked at in one form alone.
        try:
            frame = json.dumps(dict(cast("Mapping[object, object]", frame)))
        except Exception:  # noqa: BLE001 - whatever a foreign mapping raises
            return Fault(StreamRule.NOT_JSON, "the mapping holds what JSON cannot")
    if not isinstance(frame, str | bytes | bytearray):
        return Fault(StreamRule.NOT_JSON, "a frame is text, UTF-8 or a mapping, and not this")
    try:
        octets = frame.encode() if isinstance(frame, str) else frame
        fields: object = _decode(octets.decode())
    except RecursionError:
        return Fault(StreamRule.NOT_JSON, "the frame nests too deep to be read")
    except ValueError:
        return Fault(StreamRule.NOT_JSON, "the frame is not JSON in UTF-8")
    if not isinstance(fields, dict):
        return Fault(StreamRule.NOT_AN_OBJECT, "a frame is a JSON object, and not another value")
    return cast("dict[str, object]", fields)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


#: NaN and Infinity are no JSON.
_decode: Final = json.JSONDecoder(parse_constant=_no_number).decode

_canonical: Final = json.JSONEncoder(sort_keys=True).encode


def _digest(kind: MessageType, payload: Mapping[str, object]) -> int:
    """Stands for an event's content, whatever the order of its fields."""
    try:
        content = _canonical([kind, payload])
    except RecursionError:  # it nests just less deep than can be read
        return 0
    return int.from_bytes(blake2b(content.encode(), digest_size=8).digest())
