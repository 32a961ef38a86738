"""The control lane: what is answered at once, whatever agents do."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast, final

from agent_messaging._errors import ErrorCode, RemoteError
from agent_messaging._limits import is_id
from agent_messaging._log_access import asked
from agent_messaging._messages import Message, MessageType
from agent_messaging._services import Services
from agent_messaging._session import Session
from agent_messaging._users import Thread
from agent_messaging._watch import Watch, note_loss
from agent_messaging.eventlog.protocol import RunRecord

__all__ = ["PROTOCOL", "ControlLane"]

#: The version of the native wire protocol, as `connection_established` tells it.
PROTOCOL: Final = "1.0"

_TOLD_LIMITS: Final = (
    "frame_bytes",
    "json_depth",
    "messages_per_minute",
    "frames_per_minute",
    "runs_per_user",
    "queued_per_thread",
    "sessions_per_user",
)

_Answer: TypeAlias = Callable[[Session, Message], Coroutine[Any, Any, None]]


@final
class ControlLane:
    """Answers CONNECT, DISCONNECT, PING, STOP_AGENT and RESUME, for all sessions of an endpoint."""

    __slots__ = ("_services", "answers")

    def __init__(self, services: Services) -> None:
        self._services = services
        #: By message type; each raises `RemoteError` for a message that it refuses.
        self.answers: Final[Mapping[str, _Answer]] = {
            MessageType.CONNECT: self._connect,
            MessageType.DISCONNECT: self._disconnect,
            MessageType.PING: self._ping,
            MessageType.STOP_AGENT: self._stop,
            MessageType.RESUME: self._resume,
        }

    def greet(self, session: Session) -> None:
        """Send the first frame of a session."""
        limits = self._services.limits
        session.delivery.answer(
            MessageType.CONNECTION_ESTABLISHED,
            {
                "connection_id": session.connection_id,
                "protocol": PROTOCOL,
                "limits": {name: getattr(limits, name) for name in _TOLD_LIMITS},
            },
        )

    async def _connect(self, session: Session, _: Message) -> None:
        self.greet(session)

    async def _disconnect(self, session: Session, _: Message) -> None:
        session.finish("disconnected")

    async def _ping(self, session: Session, message: Message) -> None:
        echo = message.payload.get("id")
        if echo is not None and not is_id(echo) and type(echo) is not int:
            raise _invalid(message, "payload.id must be a string of 1 to 128 characters, or an int")
        session.delivery.answer(MessageType.PONG, {} if echo is None else {"id": echo})

    # STOP_AGENT: a barrier. STOPPED goes when the runs that it stopped have ended.

    async def _stop(self, session: Session, message: Message) -> None:
        user = session.user
        if session.expected >= self._services.limits.pending_replies:
            raise RemoteError(
                ErrorCode.RATE_LIMITED,
                "too many stops wait for their runs to end",
                message_id=message.message_id,
            )
        kind, target = _target(message)
        if kind == "thread_id":
            thread = user.threads.get(target) or Thread()
            # Those that wait first: none of them is to begin when the one before it ends.
            runs = [run for run in (*thread.waiting, *thread.running) if run.is_accepted]
        else:
            runs = [user.runs[target]] if target in user.runs else []
        barrier = _Barrier(session, [run.context.run_id for run in runs])
        for run in runs:
            run.on_end(barrier.ended)
        for run in runs:
            run.cancel("stopped")
        try:
            elsewhere = await self._stop_elsewhere(user.user_id, kind, target, barrier.run_ids)
        except BaseException:
            barrier.give_up()
            raise
        if elsewhere:
            barrier.run_ids += elsewhere
            # For as long as the session: their owner may never end them, and no drain waits for it.
            session.call(self._see_ends(session, elsewhere, barrier), _nothing, is_work=False)
        else:
            barrier.ended()

    async def _stop_elsewhere(
        self, user_id: str, kind: str, target: str, known: Sequence[str]
    ) -> list[str]:
        """Ask the other owners of the log's to stop their runs; those that have not ended."""
        if kind == "thread_id":
            records = await self._runs_of(user_id, target, unended=True)
            candidates = [record.run_id for record in records]
        else:
            candidates = [target]
        others = [run_id for run_id in candidates if run_id not in known]
        # The newest first: none that waits is to begin when the one before it ends.
        asked_to = [run_id for run_id in others[::-1] if await self._ask_to_stop(user_id, run_id)]
        return asked_to[::-1]

    async def _runs_of(
        self, user_id: str, thread_id: str, *, unended: bool = False
    ) -> Sequence[RunRecord]:
        services = self._services
        limit = services.limits.resumed_runs
        return await asked(
            lambda: services.log.runs(user_id, thread_id, limit=limit, unended=unended),
            services.log_timeout,
        )

    async def _find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        services = self._services
        return await asked(lambda: services.log.find_run(user_id, run_id), services.log_timeout)

    async def _ask_to_stop(self, user_id: str, run_id: str) -> bool:
        services = self._services
        return await asked(
            lambda: services.log.notify(user_id, run_id, "stop"), services.log_timeout
        )

    async def _see_ends(
        self, session: Session, run_ids: Sequence[str], barrier: "_Barrier"
    ) -> None:
        """Wait for the ends of runs that their owners have been asked to stop by the log."""
        try:
            for run_id in run_ids:
                run = session.user.find(run_id)
                if run is None:
                    await self._see_end(session.user_id, run_id)
                else:  # one that was being claimed here: its thread is free a little after its end
                    await run.ended()
        except RemoteError as refusal:
            barrier.give_up()
            self._services.counters.refused(refusal.code)
            session.delivery.answer(MessageType.ERROR_MESSAGE, refusal.reply)
        except BaseException:
            barrier.give_up()
            raise
        else:
            barrier.ended()

    async def _see_end(self, user_id: str, run_id: str) -> None:
        changed = asyncio.Event()
        unfollow = self._services.log.follow(user_id, run_id, lambda _: changed.set())
        try:
            while True:
                changed.clear()
                record = await self._find_run(user_id, run_id)
                if record is None or record.is_ended:
                    break
                await changed.wait()
        finally:
            unfollow()

    # RESUME: RESUMED, what was missed, what comes; none twice, none missing.

    async def _resume(self, session: Session, message: Message) -> None:
        services = self._services
        after = _cursors(message, services.limits.resumed_runs)
        thread_id = message.payload.get("thread_id")
        if thread_id is None and not after:
            thread_id = message.thread_id
        records: list[RunRecord] = []
        if thread_id is not None:
            if not is_id(thread_id):
                raise _invalid(message, "payload.thread_id must be an id")
            records.extend(await self._runs_of(session.user_id, thread_id))
            session.thread_id = session.thread_id or thread_id
        elif not after:
            raise _invalid(message, "resume needs payload.after or payload.thread_id")
        known = {record.run_id for record in records}
        for run_id in [run_id for run_id in after if run_id not in known]:
            record = await self._find_run(session.user_id, run_id)
            if record is not None:
                records.append(record)
        self._resume_runs(session, records, after)

    def _resume_runs(
        self, session: Session, records: Sequence[RunRecord], after: Mapping[str, int]
    ) -> None:
        watches: list[Watch] = []
        told: list[dict[str, object]] = []
        for record in records:
            asked_for = after.get(record.run_id, 0)
            cursor = max(asked_for, record.first_seq - 1)
            is_evicted = cursor > asked_for
            if cursor > record.last_seq:
                # By the client's word alone, which anybody may send.
                last_seq = record.last_seq
                note_loss(logging.INFO, session.user_id, record.run_id, cursor, last_seq)
                cursor = record.first_seq - 1
                is_evicted = True
            watch = session.delivery.watch(record, cursor, session.user.find(record.run_id))
            if watch is None:  # watched already: it goes on where it is
                cursor = session.delivery.cursor(record.run_id)
                is_evicted = False
            else:
                watches.append(watch)
            told.append(
                {
                    "run_id": record.run_id,
                    "thread_id": record.thread_id,
                    "status": record.status,
                    "from_seq": cursor + 1,
                    # What is watched may have moved on since the log was asked.
                    "to_seq": max(record.last_seq, cursor),
                    "evicted": is_evicted,
                }
            )

        def replay(was_sent: bool) -> None:
            if was_sent:
                for watch in watches:
                    session.delivery.replay(watch)

        session.delivery.answer(MessageType.RESUMED, {"runs": told}, sent=replay)


@final
class _Barrier:
    """STOPPED, which waits for the ends of the runs that were stopped here and elsewhere."""

    def __init__(self, session: Session, run_ids: list[str]) -> None:
        self.run_ids = run_ids
        self._session = session
        #: The runs here, and all that are elsewhere.
        self._waits_for = len(run_ids) + 1
        session.expected += 1

    def ended(self) -> None:
        """One of those has ended."""
        self._waits_for -= 1
        if self._waits_for == 0:
            self._session.expected -= 1
            run_ids = tuple(self.run_ids)
            self._session.delivery.answer(
                MessageType.STOPPED, {"run_ids": self.run_ids}, after=run_ids
            )

    def give_up(self) -> None:
        """Whether all have ended cannot be known: STOPPED would be a guess."""
        self._waits_for = -1
        self._session.expected -= 1


def _nothing() -> None:
    """What a wait for runs elsewhere leaves behind."""


def _target(message: Message) -> tuple[Literal["run_id", "thread_id"], str]:
    """The run or the thread that a STOP_AGENT names: in its payload, or in its envelope."""
    payload = message.payload
    run_id, thread_id = payload.get("run_id"), payload.get("thread_id")
    if run_id is None and thread_id is None:
        run_id = message.run_id
        thread_id = message.thread_id if run_id is None else None
    if is_id(run_id) and thread_id is None:
        return "run_id", run_id
    if is_id(thread_id) and run_id is None:
        return "thread_id", thread_id
    raise _invalid(message, "stop_agent needs either payload.run_id or payload.thread_id, an id")


def _cursors(message: Message, bound: int) -> Mapping[str, int]:
    """The last ``seq`` that the client has of each run that it names."""
    after = message.payload.get("after")
    if after is None:
        return {}
    if not isinstance(after, dict):
        raise _invalid(message, "payload.after must be an object of run ids and their last seq")
    cursors = cast("dict[str, object]", after)
    if len(cursors) > bound:
        raise _invalid(message, f"payload.after names at most {bound} runs")
    for run_id, seq in cursors.items():
        if not is_id(run_id) or type(seq) is not int or seq < 0:
            raise _invalid(message, "payload.after must be an object of run ids and their last seq")
    return cast("dict[str, int]", cursors)


def _invalid(message: Message, why: str) -> RemoteError:
    return RemoteError(ErrorCode.INVALID_MESSAGE, why, message_id=message.message_id)
