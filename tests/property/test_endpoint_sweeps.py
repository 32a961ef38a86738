"""Sweeps over an endpoint: something happens at every step, or fails at every call of the log."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import pytest

from agent_messaging import Run
from agent_messaging._users import User
from agent_messaging.eventlog.protocol import RunRecord
from agent_messaging.testing import run_virtual
from support.endpoints import TERMINAL, Connection, Site
from support.endpoints import frame as client_frame
from support.frames import Json
from support.lines import own_records
from support.logs import Act, TroubledLog, fails, hangs, loses, lost, takes
from support.loop import virtual_loop

#: How a log takes its time; whether it is one that may be done at once.
PACES: Final[dict[str, tuple[Act, bool]]] = {
    "prompt": (Act(), True),
    "coroutines": (Act(), False),
    "yielding": (Act(yields=1, yields_after=1), False),
    "slow": (takes(0.25, after=0.25), False),
}

#: Longer than everything takes, failures of the log included.
LONG: Final = 120.0
LOG_TIMEOUT: Final = 5.0


@pytest.fixture(autouse=True)
def no_task_fails(caplog: pytest.LogCaptureFixture) -> Iterable[None]:
    caplog.set_level(logging.CRITICAL, logger="agent_messaging.handler")
    caplog.set_level(logging.ERROR, logger="agent_messaging.endpoint")
    yield
    events = {record.getMessage().split(" ")[0] for record in own_records(caplog)}
    assert not events & {"task_failed", "task_left_behind", "handler_failed"}


async def agent(run: Run) -> str:
    """Emits, yields, waits and calls a tool."""
    await run.thinking("hm")
    await asyncio.sleep(0)
    async with run.tool("look"):
        await run.chunk("a")
        await asyncio.sleep(1.0)
    await run.chunk("b")
    return "done"


#: What it emits, with its start and its end.
EVENTS: Final = 7


@dataclass
class World:
    """An endpoint, a message on its way in it, and what happened.

    Attributes:
        site: the endpoint.
        log: its log.
        first: the connection of which the message comes.
        second: another one of the user's, which does nothing by itself.
        sending: the frame's way in.
        steps: how many steps of the loop it all took.
        acts: what was done at some step.
        loop_errors: what the loop was told.
        records: the runs that the log has in the end.
        calls: how often each method of the log was called.
        received: what each connection was sent before the endpoint was left.
    """

    site: Site
    log: TroubledLog
    first: Connection
    second: Connection
    sending: asyncio.Task[None]
    steps: int = 0
    acts: list[asyncio.Future[object]] = field(default_factory=list[asyncio.Future[object]])
    loop_errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    records: list[RunRecord] = field(default_factory=list[RunRecord])
    calls: Counter[str] = field(default_factory=Counter[str])
    received: dict[Connection, list[Json]] = field(default_factory=dict[Connection, list[Json]])

    def of_type(self, client: Connection, kind: str) -> list[Json]:
        """What a connection was sent of one type."""
        return [frame for frame in self.received[client] if frame["type"] == kind]

    def events(self, client: Connection) -> dict[str, list[Json]]:
        """What a connection was sent of each run."""
        runs: dict[str, list[Json]] = {}
        for frame in self.received[client]:
            if "run_id" in frame:
                runs.setdefault(frame["run_id"], []).append(frame)
        return runs

    def has_all(self, client: Connection) -> bool:
        """Whether a connection has all of every run, each from its first event to its last."""
        runs = self.events(client)
        return len(runs) == len(self.records) and all(
            runs[record.run_id][0]["seq"] == 1
            and len(runs[record.run_id]) == record.last_seq
            and runs[record.run_id][-1]["type"] in TERMINAL
            for record in self.records
        )


#: Something that is done at some step.
Doing: TypeAlias = Callable[[World], Awaitable[object] | None]


def play(
    pace: str = "coroutines",
    doing: Doing | None = None,
    after: int = 0,
    faults: dict[str, dict[int, Act]] | None = None,
    *,
    is_kept: bool = True,
    **options: Any,
) -> World:
    """One message from its frame to the end of its run, with something in between.

    Args:
        pace: how the log takes its time.
        doing: what is done meanwhile.
        after: after so many steps.
        faults: by the log's methods, which of their calls, from 0, go how.
        is_kept: whether every run that the log knows of is to have ended there.
        options: the endpoint's.
    """
    usual, is_prompt = PACES[pace]
    log = TroubledLog(usual, is_prompt=is_prompt)
    for method, acts in (faults or {}).items():
        log.plan(method, *[acts.get(call, usual) for call in range(max(acts) + 1)])

    async def main() -> World:
        loop = virtual_loop()
        site = Site(agent, log=log, log_timeout=LOG_TIMEOUT, **options)
        if is_kept:
            site.log = log.inner
        async with site:
            first, second = await site.connect(), await site.connect()
            begin = loop.turns
            text = client_frame("chat", {"text": "go"}, message_id="m1", thread_id="t1")
            sending = asyncio.create_task(first.session.receive(text))
            world = World(site, log, first, second, sending)
            loop.set_exception_handler(lambda _, context: world.loop_errors.append(context))

            def do() -> None:
                done = None if doing is None else doing(world)
                if done is not None:
                    world.acts.append(asyncio.ensure_future(done))

            loop.call_after_turns(after, do)
            await asyncio.sleep(LONG)
            world.steps = loop.turns - begin
            await asyncio.sleep(LONG)
            assert sending.done()
            for act in world.acts:
                act.result()
            world.received = {client: client.frames for client in (first, second)}
        world.calls = Counter(log.calls)
        world.records = list(await log.inner.runs("u1", "t1", limit=100))
        check(world, is_kept=is_kept)
        return world

    return run_virtual(main())


def check(world: World, *, is_kept: bool) -> None:
    """What holds beside what every `Site` sees to at its end."""
    assert world.log.faults == []
    assert world.loop_errors == []
    endpoint = cast("Any", world.site.endpoint)
    users: list[User] = [
        *endpoint._users.all(),
        *(user for user, _ in endpoint._users._idle.values()),
    ]
    for user in users:
        assert (user.places, user.threads, user.runs, user.sessions) == (0, {}, {}, {})
    if is_kept:
        assert all(record.is_ended for record in world.records)


def ways(outcomes: Iterable[str]) -> Counter[str]:
    counted = Counter(outcomes)
    print(f"\n{sum(counted.values())}: {dict(counted)}")
    return counted


def outcome(world: World) -> str:
    """How the only run ended; ``nothing`` where there is none."""
    return world.records[0].status if world.records else "nothing"


# Something happens at every step.


@pytest.mark.parametrize("pace", PACES)
def test_a_host_that_gives_the_frame_up_at_any_step(pace: str) -> None:
    def give_up(world: World) -> None:
        world.sending.cancel()

    undisturbed = play(pace)
    assert undisturbed.has_all(undisturbed.first)
    outcomes: list[str] = []
    for step in range(undisturbed.steps + 1):
        world = play(pace, give_up, step)
        # What the log knows of is accepted, and goes its way; and of the rest nothing is left.
        assert len(world.records) <= 1
        assert outcome(world) in {"nothing", "completed"}
        assert world.has_all(world.first)
        outcomes.append(outcome(world) if world.sending.cancelled() else "came too late")
    counted = ways(outcomes)
    assert counted["nothing"] >= 1
    assert counted["came too late"] >= 5
    # A log of coroutines that do not wait leaves no step in between.
    assert counted["completed"] >= (1 if pace in {"yielding", "slow"} else 0)


@pytest.mark.parametrize("policy", ["cancel", "detach"])
@pytest.mark.parametrize("pace", PACES)
def test_a_client_that_leaves_at_any_step(pace: str, policy: str) -> None:
    async def leave(world: World) -> None:
        await world.first.close()

    outcomes: list[str] = []
    for step in range(play(pace).steps + 1):
        world = play(pace, leave, step, on_disconnect=policy)
        assert len(world.records) <= 1
        outcomes.append(outcome(world))
        if policy == "detach":
            assert outcome(world) in {"nothing", "completed"}
    counted = ways(outcomes)
    assert counted["completed"] >= 1
    assert counted["cancelled"] >= 3 or policy == "detach"


@pytest.mark.parametrize("pace", PACES)
def test_a_stop_at_any_step(pace: str) -> None:
    async def stop(world: World) -> None:
        await world.second.stop(thread_id="t1")
        while world.second.frames[-1]["type"] != "stopped":  # noqa: ASYNC110 - it is virtual time
            await asyncio.sleep(1 / 1024)
        for run_id in world.second.frames[-1]["payload"]["run_ids"]:
            record = await world.log.inner.find_run("u1", run_id)
            assert record is not None
            assert record.is_ended

    outcomes: list[str] = []
    for step in range(play(pace).steps + 1):
        world = play(pace, stop, step)
        assert world.has_all(world.first)
        [stopped] = world.of_type(world.second, "stopped")
        named = bool(stopped["payload"]["run_ids"])
        # A run that is named may have completed just then.
        assert named or outcome(world) == "completed"
        outcomes.append(f"{outcome(world)} {'named' if named else 'not named'}")
    counted = ways(outcomes)
    assert counted["cancelled named"] >= 3
    assert counted["completed not named"] >= 3


@pytest.mark.parametrize("timeout", [1e-3, 60.0])
@pytest.mark.parametrize("pace", PACES)
def test_draining_at_any_step(pace: str, timeout: float) -> None:
    async def drained(world: World) -> None:
        await world.site.endpoint.drain(timeout)
        assert world.site.endpoint.users()["u1"]["runs_in_flight"] == 0

    def drain(world: World) -> Awaitable[None]:
        world.site.endpoint.start_draining()
        return drained(world)

    outcomes: list[str] = []
    for step in range(play(pace).steps + 1):
        world = play(pace, drain, step)
        assert world.has_all(world.first)
        refused = world.of_type(world.first, "error_message")
        assert len(refused) == (outcome(world) == "nothing")
        outcomes.append(outcome(world))
    counted = ways(outcomes)
    assert counted["nothing"] >= 1
    assert counted["completed"] >= 3
    assert counted["cancelled"] >= 2 or timeout == 60.0


@pytest.mark.parametrize("policy", ["queue", "replace", "parallel"])
@pytest.mark.parametrize("pace", PACES)
def test_the_same_message_from_another_session_at_any_step(pace: str, policy: str) -> None:
    async def send_again(world: World) -> None:
        await world.second.chat("go", "m1", "t1")

    for step in range(play(pace).steps + 1):
        world = play(pace, send_again, step, thread_policy=policy)
        assert [record.status for record in world.records] == ["completed"]
        assert world.has_all(world.first)
        assert world.has_all(world.second)
        assert world.site.endpoint.stats()["retries"] == 1


@pytest.mark.parametrize("policy", ["queue", "replace", "parallel"])
@pytest.mark.parametrize("pace", PACES)
def test_another_message_on_the_thread_at_any_step(pace: str, policy: str) -> None:
    async def send_another(world: World) -> None:
        await world.second.chat("go", "m2", "t1")

    outcomes: list[str] = []
    for step in range(play(pace).steps + 1):
        world = play(pace, send_another, step, thread_policy=policy)
        ends = {record.message_id: record.status for record in world.records}
        assert len(ends) == 2
        assert ends["m2" if step else "m1"] == "completed" or policy != "queue"
        outcomes.append(f"{ends['m1']}, {ends['m2']}")
        for client in (world.first, world.second):
            [events] = world.events(client).values()
            assert events[-1]["type"] in TERMINAL
    counted = ways(outcomes)
    assert counted["completed, completed"] >= 3
    assert policy == "replace" or len(counted) == 1


@pytest.mark.parametrize("pace", PACES)
def test_a_resume_at_any_step(pace: str) -> None:
    async def resume(world: World) -> None:
        await world.second.resume(thread_id="t1")

    found = 0
    for step in range(play(pace).steps + 1):
        world = play(pace, resume, step)
        [resumed] = world.of_type(world.second, "resumed")
        assert world.has_all(world.first)
        if resumed["payload"]["runs"]:
            found += 1
            assert world.has_all(world.second)
    assert found >= 5


@pytest.mark.parametrize("pace", PACES)
def test_a_user_who_is_forgotten_at_any_step(pace: str) -> None:
    async def forget(world: World) -> None:
        await world.site.endpoint.forget("u1")

    for step in range(play(pace).steps + 1):
        world = play(pace, forget, step)
        assert world.first.ended() == world.second.ended() == "forgotten"
        assert len(world.records) <= 1


# The log fails at every one of its calls.


METHODS: Final = ("find_claim", "claim", "append", "read")


@pytest.mark.parametrize("act", [fails(), loses(), fails(seconds=1.0), loses(seconds=1.0)])
@pytest.mark.parametrize("pace", PACES)
def test_any_call_of_the_log_may_fail_and_nobody_sees_it(pace: str, act: Act) -> None:
    calls = play(pace).calls
    tried = 0
    for method in METHODS:
        assert calls[method] >= 1
        for call in range(calls[method]):
            world = play(pace, faults={method: {call: act}})
            assert outcome(world) == "completed"
            assert world.records[0].last_seq == EVENTS
            assert world.has_all(world.first)
            assert world.calls[method] > call + 1 or method in {"append", "read"}
            tried += 1
    assert tried >= 5


@pytest.mark.parametrize("act", [fails(), loses(), fails(seconds=1.0)])
@pytest.mark.parametrize("pace", PACES)
def test_any_two_calls_in_a_row_may_fail_and_nobody_sees_it(pace: str, act: Act) -> None:
    calls = play(pace).calls
    for method in METHODS:
        for call in range(calls[method]):
            world = play(pace, faults={method: {call: act, call + 1: act}})
            assert outcome(world) == "completed"
            assert world.has_all(world.first)


@pytest.mark.parametrize("act", [hangs(), takes(LONG / 2)])
@pytest.mark.parametrize("pace", PACES)
def test_any_call_of_the_log_may_hang_and_everything_has_an_end(pace: str, act: Act) -> None:
    calls = play(pace).calls
    outcomes: list[str] = []
    for method in METHODS:
        for call in range(calls[method]):
            world = play(pace, faults={method: {call: act}}, is_kept=method == "read")
            if method in {"find_claim", "claim"}:
                assert world.records == []
                [refusal] = world.of_type(world.first, "error_message")
                assert refusal["payload"]["code"] == "log_unavailable"
                assert refusal["payload"]["message_id"] == "m1"
            else:
                assert world.first.ended() == "log_unavailable"
                [record] = world.records
                assert record.is_ended is (method == "read")
            outcomes.append(f"{method}: {outcome(world)}")
    ways(outcomes)


@pytest.mark.parametrize("pace", PACES)
def test_a_lease_may_be_lost_with_any_append(pace: str) -> None:
    calls = play(pace).calls
    for call in range(calls["append"]):
        world = play(pace, faults={"append": {call: fails(lost)}}, is_kept=False)
        [record] = world.records
        assert not record.is_ended
        # Nothing follows what was lost, and the session goes on.
        assert record.last_seq < EVENTS
        assert len(world.received[world.first]) - 1 == record.last_seq
        assert world.site.endpoint.stats()["runs_accepted"] == 1


@pytest.mark.parametrize("pace", ["coroutines", "yielding"])
def test_a_host_that_gives_up_while_any_call_fails(pace: str) -> None:
    def give_up(world: World) -> None:
        world.sending.cancel()

    for method in ("find_claim", "claim"):
        for act in (fails(), loses(), fails(seconds=1.0)):
            faults = {method: {0: act, 1: act}}
            for step in range(play(pace, faults=faults).steps + 1):
                world = play(pace, give_up, step, faults)
                assert len(world.records) <= 1
                assert world.has_all(world.first)
                assert world.records or world.sending.cancelled()
