"""A run's events on their way into a log: order, batches, retries, room, and the end of it."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, cast

import pytest

from agent_messaging import EventLogError, Limits, MessageType, OutboxFullError, TransportError
from agent_messaging._emitter import Sink
from agent_messaging._journal import Journal
from agent_messaging._outbox import ACCEPTED
from agent_messaging._tasks import Tasks
from agent_messaging.eventlog.protocol import APPENDED, Lease, LoggedEvent
from agent_messaging.testing import run_virtual
from support import tasks_left
from support.endpoints import now, settle
from support.lines import own_records
from support.logs import (
    Act,
    Gate,
    TroubledLog,
    appended,
    down,
    fails,
    hangs,
    loses,
    lost,
    takes,
    waits_for,
)

CHUNK = MessageType.AGENT_RESPONSE_CHUNK
LEASE = Lease("u1", "r1", "token")

#: Room for two events, and for two more that nobody awaited.
TIGHT = Limits(outbox_frames=2, outbox_overrun=4)


class Writing:
    """A run that writes to a log, as far as its journal knows.

    Attributes:
        journal: the journal.
        tasks: its tasks.
        lost: what it was told of the loss of its log, and when.
    """

    def __init__(
        self,
        log: TroubledLog,
        *,
        limits: Limits = TIGHT,
        timeout: float = 10.0,
        waits: bool = False,
    ) -> None:
        self.tasks = Tasks()
        self.lost: list[tuple[bool, float]] = []
        self._log = log
        self._posted = 0
        self.journal = Journal(
            log,
            LEASE,
            limits,
            self.tasks,
            timeout=timeout,
            waits=waits,
            lost=lambda is_log_down: self.lost.append((is_log_down, now())),
        )

    def post(self, count: int = 1) -> Awaitable[None]:
        """Post some chunks, numbered on; what the last post gave."""
        posted: Awaitable[None] = ACCEPTED
        for _ in range(count):
            self._posted += 1
            event = LoggedEvent(CHUNK, f'{{"text":"{self._posted}"}}', self._posted, now())
            posted = self.journal.post(event, CHUNK, counted_by_nobody)
        return posted

    async def kept(self) -> list[int]:
        """The numbers of the events that the log has."""
        page = await self._log.inner.read("u1", "r1", after=0, limit=1000)
        assert page is not None
        return [event.seq for event in page.events]


def counted_by_nobody(kind: MessageType, accepted: bool) -> None:
    raise AssertionError("what was delivered is for the sessions to say")


async def begin(log: TroubledLog, **settings: Any) -> Writing:
    await log.inner.claim(
        LEASE, thread_id="t1", message_id="m1", digest="", owner="o", lease_seconds=30.0
    )
    return Writing(log, **settings)


def blocked(writing: Writing) -> bool:
    """Whether an agent's next event is to be checked."""
    return writing.journal.is_blocked


async def is_waiting(posted: Awaitable[None]) -> asyncio.Future[None]:
    """The awaiting of a post, which waits."""
    waiting = asyncio.ensure_future(_awaited(posted))
    await settle()
    assert not waiting.done()
    return waiting


async def _awaited(posted: Awaitable[None]) -> None:
    await posted


# A log that is done at once.


def test_a_log_that_is_done_at_once_costs_no_task() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        writing = await begin(log)
        assert writing.post() is ACCEPTED
        assert writing.post(9) is ACCEPTED
        assert writing.journal.is_settled
        assert tasks_left() == []
        assert await writing.kept() == list(range(1, 11))
        await writing.journal.settle()
        assert now() == 0.0

    run_virtual(main())


def test_a_run_in_a_log_has_no_websocket() -> None:
    async def main() -> None:
        journal: Sink[LoggedEvent] = (await begin(TroubledLog())).journal
        assert journal.websocket is None

    run_virtual(main())


@pytest.mark.parametrize("events_before", [0, 1, 5])
def test_a_log_that_fails_once_as_it_is_called_is_tried_again(events_before: int) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        writing = await begin(log)
        writing.post(events_before)
        log.plan("append", fails())
        # What failed may have been done: it is tried again as it was, without what came behind it.
        writing.post(3)
        assert not writing.journal.is_settled
        await writing.journal.settle()
        first = events_before + 1
        assert appended(log, "r1")[events_before:] == [
            (first,),
            (first,),
            (first + 1, first + 2),
        ]
        assert await writing.kept() == list(range(1, events_before + 4))

    run_virtual(main())


def test_an_append_whose_answer_was_lost_as_it_was_called_is_no_trouble() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        writing = await begin(log)
        log.plan("append", loses())
        writing.post(2)
        await writing.journal.settle()
        assert await writing.kept() == [1, 2]
        assert writing.lost == []

    run_virtual(main())


# A log that takes its time.


def test_events_keep_their_order_and_those_that_wait_go_together() -> None:
    async def main() -> None:
        log = TroubledLog(takes(1.0))
        writing = await begin(log, limits=Limits())
        writing.post(3)
        await asyncio.sleep(0.5)
        writing.post(2)
        await asyncio.sleep(1.0)
        writing.post()
        await writing.journal.settle()
        assert appended(log, "r1") == [(1,), (2, 3, 4, 5), (6,)]
        assert await writing.kept() == [1, 2, 3, 4, 5, 6]
        assert now() == 3.0
        assert log.faults == []
        assert len(writing.tasks) == 0

    run_virtual(main())


@pytest.mark.parametrize("act", [Act(), Act(yields=1), Act(yields=3), takes(0.25)])
@pytest.mark.parametrize("pause", [0.0, 0.25, 0.3])
def test_each_event_is_appended_once_whenever_it_comes(act: Act, pause: float) -> None:
    async def main() -> None:
        log = TroubledLog(act)
        writing = await begin(log, limits=Limits())
        for _ in range(10):
            writing.post(2)
            await asyncio.sleep(pause)
        await writing.journal.settle()
        assert await writing.kept() == list(range(1, 21))
        assert [seq for batch in appended(log, "r1") for seq in batch] == list(range(1, 21))
        assert log.faults == []

    run_virtual(main())


def test_a_log_may_be_done_at_once_at_first_and_take_its_time_later() -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=True)
        writing = await begin(log)
        writing.post(2)
        log.plan("append", takes(1.0))
        writing.post(2)
        await writing.journal.settle()
        # Where one append took its time, the next ones are not expected to be done at once.
        writing.post()
        assert not writing.journal.is_settled
        await writing.journal.settle()
        assert await writing.kept() == [1, 2, 3, 4, 5]
        assert appended(log, "r1") == [(1,), (2,), (3,), (4,), (5,)]

    run_virtual(main())


# A log that fails.


@pytest.mark.parametrize("error", [down, TimeoutError, lambda: TypeError("a fault of the log")])
def test_the_same_batch_is_tried_again_whatever_comes_meanwhile(error: Any) -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log, limits=Limits())
        log.plan("append", takes(1.0), fails(error, 1.0), fails(error, 1.0))
        writing.post()
        writing.post(2)
        await asyncio.sleep(1.5)
        writing.post(3)
        await writing.journal.settle()
        assert appended(log, "r1") == [(1,), (2, 3), (2, 3), (2, 3), (4, 5, 6)]
        assert await writing.kept() == [1, 2, 3, 4, 5, 6]

    run_virtual(main())


def test_what_was_appended_and_not_answered_is_not_appended_twice() -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log, limits=Limits())
        log.plan("append", loses(seconds=1.0), loses(seconds=1.0), takes(0.0), loses())
        writing.post(1)
        await settle()
        writing.post(3)
        await writing.journal.settle()
        assert await writing.kept() == [1, 2, 3, 4]
        assert appended(log, "r1") == [(1,), (1,), (1,), (2, 3, 4), (2, 3, 4)]
        assert writing.lost == []

    run_virtual(main())


def test_the_tries_become_ever_slower() -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        log.plan("append", *[fails()] * 7)
        writing.post()
        await writing.journal.settle()
        assert now() == pytest.approx(0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 1 + 1)
        log.plan("append", fails())
        writing.post()
        await writing.journal.settle()
        assert now() == pytest.approx(3.6)

    run_virtual(main())


def test_trouble_is_logged_without_what_it_was_about(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        log.plan("append", fails(), fails(lambda: TypeError("private")))
        writing.post()
        await writing.journal.settle()

    run_virtual(main())
    lines = [(record.levelname, record.getMessage()) for record in own_records(caplog)]
    assert [(level, line.split(" raised_at")[0]) for level, line in lines] == [
        ("WARNING", "log_failed error=EventLogError"),
        ("ERROR", "log_failed error=TypeError"),
    ]


@pytest.mark.parametrize("is_prompt", [True, False])
@pytest.mark.parametrize("act", [fails(), fails(seconds=0.5), hangs(), loses(seconds=0.5)])
def test_a_log_that_cannot_keep_an_event_in_time_is_given_up(act: Act, is_prompt: bool) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=is_prompt)
        writing = await begin(log, timeout=7.0)
        writing.post()
        await writing.journal.settle()
        log.always("append", act)
        writing.post(2)
        await writing.journal.settle()
        assert now() == pytest.approx(7.0)
        assert writing.lost == [(True, now())]
        assert writing.journal.failed
        assert tasks_left() == []

    run_virtual(main())


def test_each_batch_has_its_own_time() -> None:
    async def main() -> None:
        log = TroubledLog(takes(6.0))
        writing = await begin(log, timeout=7.0)
        writing.post()
        await asyncio.sleep(1.0)
        writing.post()
        await writing.journal.settle()
        assert now() == 12.0
        assert await writing.kept() == [1, 2]

    run_virtual(main())


class Contrary:
    """Answers the cancellation of an append by an error of its own."""

    def __init__(self) -> None:
        self.tries = 0

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        return self._append()

    async def _append(self) -> None:
        self.tries += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise EventLogError("interrupted") from None


def test_a_log_that_makes_an_error_of_the_cancellation_is_given_up_all_the_same() -> None:
    async def main() -> None:
        log = Contrary()
        writing = Writing(cast("TroubledLog", log), timeout=7.0)
        writing.post()
        await writing.journal.settle()
        assert writing.lost == [(True, 7.0)]
        assert log.tries == 1

    run_virtual(main())


def test_a_log_that_is_given_up_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("append", hangs())
        writing = await begin(log)
        writing.post()
        await writing.journal.settle()

    run_virtual(main())
    [record] = own_records(caplog)
    assert record.levelname == "ERROR"
    assert record.getMessage() == "log_unavailable user_id=u1 run_id=r1"


# A lease that is lost.


@pytest.mark.parametrize("is_prompt", [True, False])
def test_a_lost_lease_is_told_once_and_not_tried_again(
    is_prompt: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        log = TroubledLog(is_prompt=is_prompt)
        writing = await begin(log)
        writing.post(2)
        await writing.journal.settle()
        log.plan("append", fails(lost))
        assert writing.post() is ACCEPTED
        await writing.journal.settle()
        assert writing.lost == [(False, now())]
        assert writing.journal.failed
        tries = len(log.appends)
        assert writing.post() is ACCEPTED
        await writing.journal.settle()
        assert len(log.appends) == tries
        assert await writing.kept() == [1, 2]
        assert now() == 0.0

    run_virtual(main())
    [record] = own_records(caplog)
    assert record.levelname == "WARNING"
    assert record.getMessage() == "lease_lost user_id=u1 run_id=r1"


def test_a_lease_may_be_lost_while_an_append_is_tried_again() -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        log.plan("append", fails(), fails(), fails(lost, 1.0))
        writing.post(3)
        await writing.journal.settle()
        [(is_log_down, at)] = writing.lost
        assert not is_log_down
        assert at == pytest.approx(1.15)

    run_virtual(main())


def test_what_waits_behind_a_lost_append_goes_nowhere() -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        log.plan("append", fails(lost, 1.0))
        writing.post(4)
        await writing.journal.settle()
        assert appended(log, "r1") == [(1,)]
        assert await writing.kept() == []

    run_virtual(main())


def test_an_agent_is_told_that_its_events_go_nowhere() -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        assert blocked(writing) is False
        log.plan("append", fails(lost))
        writing.post()
        await writing.journal.settle()
        assert blocked(writing) is True
        for _ in range(2):
            with pytest.raises(TransportError, match="no longer be kept"):
                writing.journal.check()

    run_virtual(main())


def test_a_run_that_has_ended_is_told_of_nothing() -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        log.plan("append", fails(lost, 1.0))
        writing.post()
        writing.journal.close()
        await writing.journal.settle()
        assert writing.lost == []

    run_virtual(main())


# Room.


def test_awaiting_an_event_waits_while_more_wait_than_there_is_room_for() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        writing = await begin(log)
        log.plan("append", waits_for(gate))
        for _ in range(2):
            assert writing.post() is ACCEPTED
        waiting = await is_waiting(writing.post())
        gate.open()
        await settle()
        assert waiting.done()
        assert writing.post() is ACCEPTED
        await writing.journal.settle()

    run_virtual(main())


def test_all_who_wait_go_on_when_there_is_room() -> None:
    async def main() -> None:
        log, first, second = TroubledLog(), Gate(), Gate()
        writing = await begin(log)
        log.plan("append", waits_for(first), waits_for(second))
        writing.post(2)
        waiting = [await is_waiting(writing.post()) for _ in range(2)]
        first.open()
        await settle()
        # Three wait still, which is one too many.
        assert not any(each.done() for each in waiting)
        second.open()
        await settle()
        assert all(each.done() for each in waiting)

    run_virtual(main())


@pytest.mark.parametrize("act", [fails(lost, 1.0), hangs()])
def test_a_log_that_is_lost_keeps_nobody_waiting(act: Act) -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        log.plan("append", act)
        writing.post(2)
        waiting = await is_waiting(writing.post())
        await writing.journal.settle()
        await settle()
        assert waiting.done()

    run_virtual(main())


def test_events_that_nobody_awaits_are_refused_at_last() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        writing = await begin(log)
        log.plan("append", waits_for(gate))
        writing.post(3)
        assert blocked(writing) is False
        writing.post()
        assert blocked(writing) is True
        for _ in range(2):
            with pytest.raises(OutboxFullError, match=r"^4 events "):
                writing.journal.check()
        gate.open()
        await writing.journal.settle()
        writing.journal.check()
        assert blocked(writing) is False
        assert await writing.kept() == [1, 2, 3, 4]

    run_virtual(main())


def test_what_the_run_itself_decides_is_taken_beyond_every_bound() -> None:
    async def main() -> None:
        log = TroubledLog(takes(1.0))
        writing = await begin(log)
        writing.post(50)
        await writing.journal.settle()
        assert await writing.kept() == list(range(1, 51))

    run_virtual(main())


# Sessions that fall behind.


def test_awaiting_an_event_leaves_turns_to_a_session_that_falls_behind() -> None:
    async def main() -> None:
        turns: list[int] = []
        writing = await begin(TroubledLog(is_prompt=True))
        writing.post()
        writing.journal.is_crowded = True
        ticking = asyncio.ensure_future(tick(turns))
        await writing.post()
        # More than the few that a send takes, and not for ever.
        assert 4 <= len(turns) <= 100
        ticking.cancel()
        assert now() == 0.0

    run_virtual(main())


@pytest.mark.parametrize("is_prompt", [True, False])
def test_a_session_that_has_caught_up_needs_no_more_turns(is_prompt: bool) -> None:
    async def main() -> None:
        turns: list[int] = []
        writing = await begin(TroubledLog(is_prompt=is_prompt))
        writing.post()
        await settle()
        writing.journal.is_crowded = True
        ticking = asyncio.ensure_future(tick(turns, writing.journal, 3))
        await writing.post()
        assert len(turns) == 3
        assert not writing.journal.is_crowded
        assert writing.post() is ACCEPTED
        ticking.cancel()

    run_virtual(main())


async def tick(turns: list[int], journal: Journal | None = None, relieved: int = 0) -> None:
    """Count turns of the loop; at one of them the session has caught up."""
    while True:
        await asyncio.sleep(0)
        turns.append(len(turns))
        if journal is not None and len(turns) == relieved:
            journal.relieve()


@pytest.mark.parametrize("is_relieved", [True, False])
@pytest.mark.parametrize("is_prompt", [True, False])
def test_events_that_nobody_awaits_are_refused_while_a_session_lags(
    is_prompt: bool, is_relieved: bool
) -> None:
    async def main() -> None:
        writing = await begin(TroubledLog(is_prompt=is_prompt))
        writing.post()
        await settle()
        writing.journal.is_crowded = True
        for _ in range(3):
            writing.post()
            await settle()
        assert blocked(writing) is False
        posted = writing.post()
        await settle()
        assert blocked(writing) is True
        with pytest.raises(OutboxFullError, match=r"^4 events "):
            writing.journal.check()
        if is_relieved:
            writing.journal.relieve()
        else:
            await posted
        writing.journal.check()
        assert blocked(writing) is False

    run_virtual(main())


@pytest.mark.parametrize("is_prompt", [True, False])
def test_where_the_agent_is_to_wait_it_waits_until_the_session_has_caught_up(
    is_prompt: bool,
) -> None:
    async def main() -> None:
        writing = await begin(TroubledLog(is_prompt=is_prompt), waits=True)
        writing.post()
        await settle()
        writing.journal.is_crowded = True
        first, second = await is_waiting(writing.post()), await is_waiting(writing.post())
        await asyncio.sleep(1000.0)
        assert not first.done()
        writing.journal.relieve()
        await settle()
        assert first.done()
        assert second.done()

    run_virtual(main())


# Loops and tasks of other kinds.

#: Loops whose tasks start at once have these from Python 3.12 on.
EAGER: object = getattr(asyncio, "eager_task_factory", None)


@pytest.mark.parametrize("act", [Act(), Act(yields=1), takes(1.0), fails(lost)])
def test_a_loop_that_starts_tasks_at_once_changes_nothing(act: Act) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(cast("Any", EAGER))
        log = TroubledLog(act)
        writing = await begin(log)
        for _ in range(3):
            writing.post(2)
            await asyncio.sleep(0.5)
        await writing.journal.settle()
        assert await writing.kept() == ([] if act.error else [1, 2, 3, 4, 5, 6])

    run_virtual(main())


class Spawning:
    """A way to begin tasks of which each has come to its end when it is returned."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "Spawning":
        with pytest.raises(StopIteration):
            work.send(None)
        return self

    def done(self) -> bool:
        return True


def test_an_append_that_is_done_when_its_task_begins_is_none_to_wait_for() -> None:
    async def main() -> None:
        log = TroubledLog()
        writing = await begin(log)
        writing.journal = Journal(
            log,
            LEASE,
            TIGHT,
            cast("Tasks", Spawning()),
            timeout=10.0,
            waits=False,
            lost=lambda _: None,
        )
        for _ in range(3):
            writing.post()
            assert writing.journal.is_settled
        assert await writing.kept() == [1, 2, 3]
        await writing.journal.settle()

    run_virtual(main())


def test_an_append_that_somebody_cancels_is_tried_again_with_the_next_event() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("append", hangs())
        writing = await begin(log)
        writing.post()
        await settle()
        [appender] = tasks_left()
        appender.cancel()
        await writing.journal.settle()
        writing.post()
        await writing.journal.settle()
        assert await writing.kept() == [1, 2]

    run_virtual(main())


def test_a_log_may_be_done_at_once_in_words() -> None:
    async def main() -> None:
        await APPENDED
        assert now() == 0.0

    run_virtual(main())
