"""A stateful machine drives an endpoint with everything that clients, agents and hosts do.

It tries the same examples each time. For a longer search, among others each time::

    python -m pytest tests/property/test_endpoint_machine.py --examples 5000
"""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent_messaging import Limits, OnDisconnect, SlowConsumers, ThreadPolicy, grace
from agent_messaging.testing import check_stream
from support.endpoint_agents import Order
from support.endpoint_clients import Memory, Pace
from support.endpoint_model import Request
from support.endpoint_witness import History
from support.endpoint_world import Connection, Face, Leaving, LogKind, Setting, World
from support.loop import TICK
from support.scheduling import seeded_loop

T = TypeVar("T")

USERS: Final = ("ann", "bob")
STRANGE_IDS: Final = ("nobody's", "id-1")

GRACE: Final = 3.0

users = st.sampled_from(USERS)
small = st.integers(0, 7)
#: How many turns of the loop pass after a step; none, for things that come at once.
turns = st.sampled_from([0, 0, 0, 1, 1, 2, 4, 30])
#: The same names for every user, so that what is looked up without the user is found out.
threads: st.SearchStrategy[str | None] = st.sampled_from(["t1", "t1", "t1", "t2", None])
orders: st.SearchStrategy[Order] = st.one_of(
    st.builds(Order, st.just("say"), st.sampled_from([1, 3, 12, 40])),
    st.builds(Order, st.just("blurt"), st.sampled_from([1, 9])),
    st.builds(Order, st.sampled_from(["open", "close"])),
    st.builds(Order, st.sampled_from(["return", "fail", "fail in words", "cancel itself"])),
    st.builds(Order, st.just("return")),
    st.builds(Order, st.just("swallow"), st.sampled_from([1, 2, 9])),
    st.builds(Order, st.sampled_from(["shield", "stray"]), st.sampled_from([1, 20, 90])),
)

#: What each new agent does at once, before it waits to be told more.
BEGINNINGS: Final[tuple[tuple[Order, ...], ...]] = (
    (),
    (Order("say", 2),),
    (Order("say", 30),),
    (Order("open"), Order("say", 1)),
    (Order("swallow", 1),),
    (Order("swallow", 9), Order("blurt", 2)),
)


class EndpointMachine(RuleBasedStateMachine):
    """Any step at any moment, in any number of turns of the loop."""

    log: ClassVar[LogKind] = "prompt"
    situations: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.memories: dict[str, list[Memory]] = {user: [Memory(), Memory()] for user in USERS}
        self.sent: list[tuple[str, Request]] = []
        self.messages = 0
        self.has_failed = False

    @initialize(
        seed=st.integers(0, 2**16),
        policy=st.sampled_from(["queue", "queue", "queue", "reject", "replace", "parallel"]),
        on_disconnect=st.sampled_from(["cancel", "detach", grace(GRACE)]),
        slow_consumers=st.sampled_from(["end", "end", "wait"]),
        is_tight=st.booleans(),
        events=st.sampled_from([20_000, 20_000, 40]),
        heartbeat=st.sampled_from([None, 5.0]),
        idle_timeout=st.sampled_from([None, None, 20.0]),
        first_orders=st.sampled_from(BEGINNINGS),
        is_shuffled=st.booleans(),
        is_eager=st.booleans(),
    )
    def begin(
        self,
        *,
        seed: int,
        policy: ThreadPolicy,
        on_disconnect: OnDisconnect,
        slow_consumers: SlowConsumers,
        is_tight: bool,
        events: int,
        heartbeat: float | None,
        idle_timeout: float | None,
        first_orders: tuple[Order, ...],
        is_shuffled: bool,
        is_eager: bool,
    ) -> None:
        limits = Limits(
            messages_per_minute=6 if is_tight else None,
            frames_per_minute=12 if is_tight else None,
            runs_per_user=2 if is_tight else 4,
            queued_per_thread=2,
            sessions_per_user=3,
            lag_events=8,
            resumed_runs=4,
            pending_replies=3,
        )
        setting = Setting(
            log=self.log,
            seed=seed,
            policy=policy,
            on_disconnect=on_disconnect,
            slow_consumers=slow_consumers,
            limits=limits,
            events_per_user=events,
            heartbeat=heartbeat,
            idle_timeout=idle_timeout,
        )
        order = seed if is_shuffled else None
        self.runner = asyncio.Runner(loop_factory=lambda: seeded_loop(order, eager=is_eager))
        self.run(self._begin(setting, first_orders))

    async def _begin(self, setting: Setting, first_orders: tuple[Order, ...]) -> None:
        self.world = World(setting)
        self.world.stage.first_orders = first_orders
        await self.world.enter()
        for user in USERS:
            await self.world.connect(user, self.memories[user][0])

    def run(self, coroutine: Coroutine[Any, Any, T], turns: int = 0) -> T:
        """Do it, let some turns of the loop pass, and see that all holds."""

        async def done() -> T:
            result = await coroutine
            for _ in range(turns):
                await asyncio.sleep(0)
            self.world.check()
            return result

        try:
            return self.runner.get_loop().run_until_complete(done())
        except BaseException:
            self.has_failed = True
            raise

    def do(self, turns: int) -> None:
        """Let some turns of the loop pass."""
        self.run(asyncio.sleep(0), turns)

    # What there is.

    @property
    def open(self) -> list[Connection]:
        """The connections that clients can send by."""
        return [each for each in self.world.connections if each.is_open and each.face != "stream"]

    def some(self, nth: int) -> Connection:
        """An open connection, the newer ones more often."""
        return self.open[-1 - nth % len(self.open)]

    def some_run(self, nth: int, user_id: str | None = None) -> History | None:
        """A run, or one of a user, the newer ones more often."""
        histories = [
            run
            for (owner, _), run in self.world.witness.histories.items()
            if user_id in (None, owner)
        ]
        return histories[-1 - nth % len(histories)] if histories else None

    def new_message(self, kind: str, thread: str | None, *, has_id: bool) -> Request:
        self.messages += 1
        payload = {"user_request" if kind == "start_agent" else "text": f"{self.messages}"}
        # Two users have the same ids, for messages of their own. An error that names no message
        # could be any one's, where it is not known which of them are refused.
        message_id = f"m{self.messages // 2}" if has_id or self.log != "prompt" else None
        ids = {"thread_id": thread, "message_id": message_id}
        return Request(kind, payload, {name: each for name, each in ids.items() if each})

    has_open = precondition(lambda self: bool(self.open))
    has_puppets = precondition(lambda self: bool(self.world.stage.puppets))
    has_sent = precondition(lambda self: bool(self.sent) and bool(self.open))
    is_late = precondition(lambda self: self.messages >= 8 and not self.world.model.is_draining)

    # Clients.

    @rule(
        user=users,
        memory=st.integers(0, 1),
        face=st.sampled_from(["open", "open", "serve"]),
        pace=st.sampled_from(["prompt", "prompt", "turns", "slow"]),
        resumes=st.booleans(),
        insists=st.sampled_from([False, False, False, True]),
        turns=turns,
    )
    def connect(
        self,
        *,
        user: str,
        memory: int,
        face: Face,
        pace: Pace,
        resumes: bool,
        insists: bool,
        turns: int,
    ) -> None:
        if user in self.world.absent or (self.world.is_full(user) and not insists):
            return
        connection = self.run(self.world.connect(user, self.memories[user][memory], face, pace))
        if connection is not None and resumes:
            connection.resume_all()
        self.do(turns)

    @rule(
        user=users,
        pace=st.sampled_from(["prompt", "turns", "slow", "stalled"]),
        what=st.sampled_from(["chat", "chat", "chat", "resume", "resume", "ping", "blank"]),
        thread=threads,
        turns=turns,
    )
    def post(self, *, user: str, pace: Pace, what: str, thread: str | None, turns: int) -> None:
        if user in self.world.absent or self.world.is_full(user):
            return
        request = Request("ping", {"id": 1})
        if what == "chat":
            request = self.new_message("chat", thread, has_id=True)
        elif what == "resume":
            request = Request("resume", {"thread_id": thread or "t1"})
        elif what == "blank":
            request = Request("chat", {"text": " "})
        self.run(self.world.stream(user, self.memories[user][0], pace, request), turns)

    @has_open
    @rule(
        nth=small,
        count=st.sampled_from([1, 2, 2, 4]),
        thread=threads,
        kind=st.sampled_from(["chat", "user_message", "start_agent"]),
        has_id=st.sampled_from([True, True, True, False]),
        turns=turns,
    )
    def send(
        self, *, nth: int, count: int, thread: str | None, kind: str, has_id: bool, turns: int
    ) -> None:
        connection = self.some(nth)
        for _ in range(count):
            message = self.new_message(kind, thread, has_id=has_id)
            request = connection.ask(kind, message.payload, **message.envelope)
            self.sent.append((connection.user_id, request))
        self.do(turns)

    @has_sent
    @rule(
        nth=small,
        of=small,
        what=st.sampled_from(["same", "same", "same", "other text", "other thread", "no thread"]),
        turns=turns,
    )
    def send_again(self, *, nth: int, of: int, what: str, turns: int) -> None:
        connection = self.some(nth)
        mine = [
            request
            for sender, request in self.sent
            if sender == connection.user_id and request.message_id is not None
        ]
        if mine:
            request = mine[-1 - of % len(mine)]
            is_other = what == "other text"
            payload = dict.fromkeys(request.payload, "other") if is_other else request.payload
            ids = dict(request.envelope)
            if what.endswith("thread"):
                ids["thread_id"] = "t9" if what == "other thread" else None
            connection.ask(request.kind, payload, **ids)
        self.do(turns)

    @has_open
    @rule(
        nth=small,
        of=small,
        by=st.sampled_from(
            ["run", "run", "run", "thread", "thread", "thread", "any run", "strange", "nothing"]
        ),
        is_in_envelope=st.booleans(),
        turns=turns,
    )
    def stop(self, *, nth: int, of: int, by: str, is_in_envelope: bool, turns: int) -> None:
        connection = self.some(nth)
        run = self.some_run(of, None if by == "any run" else connection.user_id)
        target: dict[str, Any] = {}
        if by == "strange" or run is None:
            target = {"run_id": STRANGE_IDS[of % 2]}
        elif by == "thread":
            target = {"thread_id": run.thread_id}
        elif by != "nothing":
            target = {"run_id": run.run_id}
        if is_in_envelope:
            connection.ask("stop_agent", {}, **target)
        else:
            connection.ask("stop_agent", target)
        self.do(turns)

    @has_open
    @rule(
        nth=small,
        runs=st.lists(st.tuples(small, st.integers(0, 12), st.booleans()), max_size=3),
        thread=threads,
        turns=turns,
    )
    def resume(
        self,
        *,
        nth: int,
        runs: list[tuple[int, int, bool]],
        thread: str | None,
        turns: int,
    ) -> None:
        connection = self.some(nth)
        after: dict[str, int] = {}
        for of, cursor, is_anybodys in runs:
            run = self.some_run(of, None if is_anybodys else connection.user_id)
            if run is not None:
                after[run.run_id] = cursor
        payload: dict[str, Any] = {}
        if after:
            payload["after"] = after
        if thread is not None:
            payload["thread_id"] = thread
        connection.ask("resume", payload)
        self.do(turns)

    @has_open
    @rule(
        nth=small,
        what=st.sampled_from(["ping", "pings", "connect", "blank", "stranger", "unknown"]),
        turns=turns,
    )
    def say_something_else(self, *, nth: int, what: str, turns: int) -> None:
        connection = self.some(nth)
        match what:
            case "ping" | "pings":
                for number in range(1 if what == "ping" else 6):
                    connection.ask("ping", {"id": number})
            case "connect":
                connection.ask("connect")
            case "blank":
                connection.ask("chat", {"text": " "}, message_id="blank")
            case "stranger":
                connection.ask("chat", {"text": "x"}, user_id="somebody else")
            case _:
                connection.ask("teleport")
        self.do(turns)

    @has_open
    @rule(
        nth=small,
        pace=st.sampled_from(
            ["prompt", "prompt", "turns", "turns", "slow", "slow", "stalled", "stalled", "broken"]
        ),
        turns=turns,
    )
    def read_at(self, *, nth: int, pace: Pace, turns: int) -> None:
        connections = [each for each in self.world.connections if each.is_open]
        connections[-1 - nth % len(connections)].socket.read_at(pace)
        self.do(turns)

    @has_open
    @rule(nth=small, how=st.sampled_from(["goodbye", "close", "cut"]), turns=turns)
    def leave(self, *, nth: int, how: Leaving, turns: int) -> None:
        connections = [each for each in self.world.connections if each.is_open]
        connections[-1 - nth % len(connections)].leave(how)
        self.do(turns)

    # Agents.

    @has_puppets
    @rule(nth=small, orders=st.lists(orders, min_size=1, max_size=3), turns=turns)
    def order(self, *, nth: int, orders: list[Order], turns: int) -> None:
        puppets = list(self.world.stage.puppets.values())
        puppets[-1 - nth % len(puppets)].order(*orders)
        self.do(turns)

    # The host, and time.

    @rule(seconds=st.sampled_from([TICK, TICK, 0.5, 1.0, 3.0, 7.0, 12.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @is_late
    @rule(how=st.sampled_from(["says so", "drains", "forgets", "forgets"]), user=users, turns=turns)
    def ends_something(self, *, how: str, user: str, turns: int) -> None:
        self.run(self._end_something(how, user), turns)

    async def _end_something(self, how: str, user: str) -> None:
        if how == "says so":
            self.world.start_draining()
        elif how == "drains":
            self.world.drain(2.0)
        elif user not in self.world.absent:
            self.world.forget(user)

    @rule(count=st.integers(1, 40))
    def turns_pass(self, count: int) -> None:
        self.do(count)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return  # it never began
        try:
            if not self.has_failed:
                self._end()
        finally:
            if self.has_failed:
                # Let it all come to its end, so that nothing else is said of what is left.
                self.world.stage.is_over = True
                self.world.stage.release()
                self.runner.get_loop().run_until_complete(asyncio.sleep(600))
            self.runner.close()

    def _end(self) -> None:
        world = self.world
        if world.setting.seed % 3:
            self.run(world.come_to_rest())
            for user, memories in self.memories.items():
                for memory in memories:
                    self.run(world.see_all(user, memory))
        self.run(world.leave())
        for memory in itertools.chain(*self.memories.values()):
            # All that one client got, connection after connection.
            broken = check_stream(itertools.chain(*memory.frames), is_complete=False)
            assert broken == (), broken
        for situations in (world.situations, world.model.situations):
            self.situations.update(situations)
        stats = world.endpoint.stats()
        self.situations["abandoned"] += stats["agents_abandoned"]
        self.situations["slow consumers"] += stats["slow_consumers"]
        evictions = [connection.screen.evictions for connection in world.connections]
        self.situations["told of an eviction on the way"] += sum(evictions)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Much goes wrong here on purpose."""
    caplog.set_level(logging.CRITICAL, logger="agent_messaging")


def explore(log: LogKind, examples: int, asked_for: int | None) -> Counter[str]:
    """What occurred while the machine ran."""
    EndpointMachine.log = log
    EndpointMachine.situations = Counter()
    run_state_machine_as_test(
        EndpointMachine,
        settings=settings(
            max_examples=asked_for or examples,
            stateful_step_count=50,
            deadline=None,
            derandomize=asked_for is None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    situations = EndpointMachine.situations
    print(f"\nover a {log} log: {dict(sorted(situations.items()))}")
    return situations


#: What has to occur a few times at least, for the machine to be worth its time.
ENDS: Final = (
    "completed",
    "failed",
    "cancelled: stopped",
    "cancelled: disconnected",
    "cancelled: shutdown",
    "cancelled: cancelled",
    "a grace has run out",
    "abandoned",
    "slow consumers",
    "forgotten",
    "sessions refused",
    "streams completed",
    "streams refused",
    "stopped: running",
    "stopped: queued",
    "stopped: ended",
    "stopped: nothing",
)
EXACTLY: Final = (
    "accepted",
    "cancelled: replaced",
    "retried: queued",
    "retried: running",
    "retried: cancelled",
    "retried: completed",
    "resumed: queued",
    "resumed: running",
    "resumed: completed",
    "resumed: watched",
    "resumed: evicted",
    "resumed: beyond",
    "refused: rate_limited",
    "refused: shutting_down",
    "refused: too_many_runs",
    "refused: thread_busy",
    "refused: queue_full",
    "refused: message_id_conflict",
    "refused: identity_mismatch",
    "refused: invalid_message",
    "refused: missing_content",
    "refused: unsupported_type",
)
TIMES: Final = 3


def see_enough(situations: Counter[str], names: tuple[str, ...]) -> None:
    """Nine in ten of these occurred; which ones is different on each version of Python."""
    seldom = {name: situations[name] for name in names if situations[name] < TIMES}
    assert len(seldom) <= len(names) // 10, seldom


def test_an_endpoint_agrees_with_its_model_whatever_comes(examples: int | None) -> None:
    see_enough(explore("prompt", 400, examples), (*ENDS, *EXACTLY))


def test_an_endpoint_holds_its_promises_over_a_log_that_takes_its_time(
    examples: int | None,
) -> None:
    see_enough(explore("slow", 500, examples), ENDS)


def test_an_endpoint_holds_its_promises_over_a_log_that_raises_now_and_then(
    examples: int | None,
) -> None:
    see_enough(explore("troubled", 500, examples), ENDS)
