"""The checker of streams over real conversations: silent about each, and not about a changed one.

The streams of random agent programs and of the endpoint machine's clients are checked where those
are run. Here a client of a few connections talks to an endpoint, and what it got is changed in one
place. What no stream can show is listed at the end.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent_messaging import AgentError, Run
from agent_messaging.testing import check_stream, run_virtual
from support.captures import a_run, control, event, greeting, resumed
from support.changed_captures import CHANGES, Capture, Change
from support.endpoints import TERMINAL, Connection, Site
from support.frames import Json, decoded, runs_of

#: How many conversations are held, and how often each change has to be tried.
CONVERSATIONS: Final = 250
TIMES: Final = 12
#: How many places are tried for each kind of change in one conversation.
PLACES: Final = 3


# Conversations.


async def agent(run: Run) -> str:
    """Does what the words of the message say, one after the other."""
    for number, word in enumerate(run.request.split()):
        match word:
            case "think":
                await run.thinking(f"{number}")
            case "say":
                await run.chunk(f"{number}")
            case "step":
                await run.progress("step", {"number": number})
            case "tool":
                async with run.tool("look", [number]) as call:
                    await run.chunk("within")
                    call.result = {"number": number}
            case "broken":
                async with run.tool("look"):
                    await asyncio.sleep(1)
                    raise AgentError("It is broken.", code="own", retryable=True)
            case "open":
                await run.tool_executing(f"open-{number}", "look", None)
            case _:
                await asyncio.sleep(5)
    return "done"


WORDS: Final = ("think", "say", "step", "tool", "tool", "open", "wait", "wait", "broken")
messages = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)

#: What the client does, and with what.
Step: TypeAlias = tuple[str, Any]

steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("chat"), st.tuples(messages, st.sampled_from(["t1", "t2"]))),
    st.tuples(st.just("chat"), st.tuples(messages, st.sampled_from(["t1", "t2"]))),
    st.tuples(st.sampled_from(["again", "stop", "stop"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["come back", "come back", "resume", "ping"]), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 20.0])),
)

#: Conversations in which one frame is what many runs go on from.
MANY_RUNS: Final[Sequence[list[Step]]] = (
    [*[("chat", ("think", "t1"))] * 6, ("come back", 1)],
    [("chat", ("wait", "t1")), *[("chat", ("think", "t1"))] * 4, ("ping", 0)],
)


class Client:
    """One client, who comes back when its connection is gone, and resumes honestly."""

    def __init__(self, site: Site, connection: Connection) -> None:
        self.frames: list[str] = []
        self._site = site
        self._connection = connection
        self._sent: list[tuple[str, str]] = []

    async def do(self, step: Step) -> None:
        match step:
            case ("chat", (text, thread)):
                self._sent.append((text, thread))
                await self._send(len(self._sent) - 1)
            case ("again", number) if self._sent:
                await self._send(self._nth(number))
            case ("stop", number) if self._sent:
                await self._connection.stop(f"m{self._nth(number)}")
            case ("come back", lag):
                await self.come_back(lag)
            case ("resume", _):
                await self._connection.send("resume", {"after": self._cursors(0)})
            case ("ping", number):
                await self._connection.send("ping", {"id": number})
                await self._connection.send("connect")
            case ("wait", seconds):
                await asyncio.sleep(seconds)
            case _:
                pass

    def _nth(self, number: int) -> int:
        """The number of a message, of the newest ones more often."""
        return len(self._sent) - 1 - number % len(self._sent)

    async def _send(self, number: int) -> None:
        text, thread = self._sent[number]
        await self._connection.chat(text, f"m{number}", thread)

    async def come_back(self, lag: int = 0) -> None:
        """Over a new connection, where it goes on from; it may have kept less than it got."""
        await self.leave()
        self._connection = await self._site.connect()
        await self._connection.send("resume", {"after": self._cursors(lag), "thread_id": "t1"})

    async def leave(self) -> None:
        await self._connection.close()
        self.frames += self._connection.transport.frames

    @property
    def has_all(self) -> bool:
        """Whether it was shown the end of every run that it was shown."""
        runs = runs_of([*self.frames, *self._connection.transport.frames]).values()
        return all(events[-1]["type"] in TERMINAL for events in runs)

    def _cursors(self, lag: int) -> dict[str, int]:
        frames = decoded([*self.frames, *self._connection.transport.frames])
        seen = {frame["run_id"]: frame["seq"] for frame in frames if "run_id" in frame}
        return {run_id: max(seq - lag, 0) for run_id, seq in seen.items()}


async def conversation(script: Sequence[Step]) -> list[str]:
    """All that a client got, from its first frame to the ends of all of its runs."""
    site = Site(agent, on_disconnect="detach")
    site.may_have_gaps = True  # it is the checker that is to see to that
    async with site:
        client = Client(site, await site.connect())
        for step in script:
            await client.do(step)
        await asyncio.sleep(600)
        if not client.has_all:
            await client.come_back()
            await asyncio.sleep(1)
        await client.leave()
    return client.frames


# What is changed in them.


def see_reported(name: str, change: Change) -> None:
    broken = check_stream(change.frames)
    found = [(each.position, each.rule) for each in (broken[:1] if change.is_first else broken)]
    expected = [(change.position, rule) for rule in change.rules]
    assert set(expected) & set(found), f"{name}: {expected} was to be reported, and not {broken}"
    # One fault is no avalanche: one rule for each run that it touches, and a few more, whatever the
    # length of the stream.
    runs = {each.run_id for each in broken}
    assert len(broken) <= 4 + len(runs), f"{name}: {broken}"


def test_a_conversation_breaks_no_rule_and_one_that_is_changed_does() -> None:
    tried: Counter[str] = Counter()
    sent: Counter[str] = Counter()

    def explore(script: list[Step], seed: int) -> None:
        texts = run_virtual(conversation(script), seed=seed)
        assert check_stream(texts) == ()
        capture = Capture(texts)
        sent.update(frame["type"] for frame in capture.frames)
        randomness = random.Random(seed)
        for changes in CHANGES:
            found = list(changes(capture))
            for change in randomness.sample(found, min(PLACES, len(found))):
                tried[changes.__name__] += 1
                see_reported(changes.__name__, change)

    settings(
        max_examples=CONVERSATIONS,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )(given(st.lists(steps, min_size=2, max_size=12), st.integers(0, 2**16))(explore))()
    print(f"\n{dict(tried)}\nin {sent.total()} frames: {dict(sent)}")
    assert {changes.__name__: tried[changes.__name__] for changes in CHANGES
            if tried[changes.__name__] < TIMES} == {}  # fmt: skip
    for script in MANY_RUNS:
        explore(script, 0)


# What no stream can show.

RUN: Final = a_run("started", "thinking", "response_chunk", "completed")

UNSEEN: Final[dict[str, list[Json]]] = {
    "an answer that is missing: nobody knows what the client asked": [greeting(), *RUN],
    "a run that is missing wholly": [greeting(), *a_run("started", "completed", run="r2")],
    "a run that is there twice wholly: the message may have been sent again": [
        greeting(), *RUN, *RUN,
    ],
    "a greeting that comes twice: the client may have sent connect": [greeting(), *RUN, greeting()],
    "events missing where a client comes back: it may have asked for those behind them": [
        greeting(), *RUN[:1], greeting("k2"), resumed(3, 4, "completed"), *RUN[2:],
    ],
    "other events where the server says that some are gone": [
        greeting(), *RUN[:1], resumed(3, 4, "completed", evicted=True), *RUN[2:],
    ],
    "answers in another order": [
        greeting(), *RUN, control("stopped", run_ids=[]), control("pong", id=1),
    ],
    "other runs first": [greeting(), *a_run("started", "completed", run="r2"), *RUN],
    "another text, if it comes once": [
        greeting(), RUN[0], event("thinking", 2, text="other"), *RUN[2:],
    ],
    "another type that may come there too": [
        greeting(), RUN[0], event("response_chunk", 2), event("progress", 3), event("failed", 4),
    ],
    "another time": [greeting(), *(each | {"timestamp": 0} for each in RUN)],
    "another user or thread, from the first event on": [
        greeting(), *(each | {"user_id": "bob", "thread_id": "t9"} for each in RUN),
    ],
    "stopped before the first event of the run": [greeting(), control("stopped"), *RUN],
    "a greeting that is missing, if only events and errors follow: so it is without sessions": [
        control("error_message"), *RUN,
    ],
    "a type that nobody knows: it is the host's": [greeting(), *RUN, {"type": "agent_starter"}],
}  # fmt: skip


@pytest.mark.parametrize("frames", UNSEEN.values(), ids=UNSEEN)
def test_what_no_stream_can_show_is_not_reported(frames: list[Json]) -> None:
    assert check_stream(map(json.dumps, frames)) == ()


def test_the_last_frames_of_a_stream_that_was_cut_are_not_missed() -> None:
    for length in range(len(RUN)):
        assert check_stream([greeting(), *RUN[:length]], is_complete=False) == ()
