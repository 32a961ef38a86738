"""The command line's host in virtual time: lines while runs go on, its pace, and its end."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import pytest

from agent_messaging import AgentLike, ConfigurationError, Limits, Run
from agent_messaging._cli_exit import StopError
from agent_messaging._cli_host import Host
from agent_messaging._demo import demo
from agent_messaging.testing import run_virtual
from support import Json, tasks_left
from support.commands import Console, at_console

#: Runs that may be under way before the next line waits.
UNDER_WAY = 64

#: Events that a run may be ahead of what is written: those that a reader may lag, and the one
#: that says it lags.
AHEAD = 33


def chat(text: str, thread_id: str = "t1", message_id: str | None = None) -> Json:
    message = {"type": "chat", "thread_id": thread_id, "payload": {"text": text}}
    return message if message_id is None else {**message, "message_id": message_id}


def stop(thread_id: str = "t1") -> Json:
    return {"type": "stop_agent", "payload": {"thread_id": thread_id}}


PING = {"type": "ping", "payload": {"id": "p"}}


async def echo(run: Run) -> str:
    return run.request


async def sleeper(run: Run) -> str:
    """Sleeps for as many seconds as it is told."""
    await asyncio.sleep(float(run.request))
    return run.request


async def talker(run: Run) -> None:
    """Never comes to rest, and never ends."""
    while True:
        await run.chunk("and then")


async def stubborn(run: Run) -> None:
    """Swallows its cancellation, and ends a minute later."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.sleep(60)


def shown(console: Console) -> list[str]:
    """What was written, as thread and type."""
    return [
        f"{frame['thread_id']} {frame['type']}" if "thread_id" in frame else frame["type"]
        for frame in console.frames
    ]


# Lines while runs go on.


def test_a_line_is_handled_while_a_run_goes_on() -> None:
    async def scenario() -> Console:
        async with at_console(sleeper) as (console, serving):
            console.type(chat("60", "t1"), PING, chat("0", "t2"), chat("0", "t1"))
            await asyncio.sleep(1)
            console.type(stop("t1"), end=True)
            await serving
        return console

    assert shown(run_virtual(scenario())) == [
        "t1 agent_started",
        "pong",
        "t2 agent_started",
        "t2 agent_completed",
        "t1 agent_queued",
        "t1 agent_cancelled",  # the one that was queued goes first
        "t1 agent_cancelled",
        "stopped",
    ]


def test_what_came_before_is_brought_back() -> None:
    async def scenario() -> Console:
        async with at_console(echo) as (console, serving):
            console.type(chat("a"), {"type": "resume", "payload": {"thread_id": "t1"}}, end=True)
            await serving
        return console

    started, completed, resumed, *again = run_virtual(scenario()).frames
    assert [run["to_seq"] for run in resumed["payload"]["runs"]] == [2]
    assert again == [started, completed]


def test_answers_of_agents_that_need_not_wait_come_in_the_order_of_the_lines() -> None:
    async def scenario() -> Console:
        async with at_console(demo) as (console, serving):
            console.type(chat("2 + 3", "t1"), {"type": "teleport"}, chat("4 + 5", "t2"), PING)
            console.type_text("no frame")
            console.type(end=True)
            await serving
        return console

    frames = run_virtual(scenario()).frames
    assert [*dict.fromkeys(frame.get("thread_id", frame["type"]) for frame in frames[:-1])] == [
        *("t1", "error_message", "t2", "pong"),
    ]
    assert frames[-1]["payload"]["code"] == "malformed_frame"


def test_a_stop_is_answered_before_the_next_line_though_the_agent_has_tasks_to_end() -> None:
    async def deep(run: Run) -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(asyncio.wait_for(asyncio.gather(asyncio.sleep(60)), 60))
            outer.create_task(asyncio.sleep(60))

    async def scenario() -> Console:
        async with at_console(deep) as (console, serving):
            console.type(chat("go"), stop(), PING, end=True)
            await serving
        return console

    assert run_virtual(scenario()).summary == [
        "agent_started",
        "agent_cancelled",
        "stopped",
        "pong",
    ]


def test_the_demonstration_waits_when_it_is_told_to() -> None:
    async def scenario() -> tuple[Console, float]:
        async with at_console(demo) as (console, serving):
            console.type(chat("Wait for 90 seconds, then 6 * 7."), end=True)
            await serving
        return console, asyncio.get_running_loop().time()

    console, ended = run_virtual(scenario())
    tools = [
        (frame["payload"]["tool_name"], frame["payload"]["result"])
        for frame in console.frames
        if frame["type"] == "tool_completed"
    ]
    assert tools[1:] == [("wait", 90), ("calculate", 42)]
    assert ended == pytest.approx(90)


# Its pace.


def test_a_reader_that_is_slow_sets_the_pace_of_an_agent_and_misses_nothing() -> None:
    async def scenario() -> tuple[Console, list[int]]:
        lead: list[int] = []

        async def watched(run: Run) -> None:
            for number in range(30_000):  # more than the log holds
                await run.chunk("and then")
                lead.append(number + 2 - len(console.frames))
            await run.progress("done")

        async with at_console(watched) as (console, serving):
            console.type(chat("go"), end=True)
            for _ in range(50):
                console.stall()
                await asyncio.sleep(1)
                console.move()
                await asyncio.sleep(0)
            await serving
        return console, lead

    console, lead = run_virtual(scenario())
    assert [frame["seq"] for frame in console.frames] == list(range(1, 30_004))
    assert max(lead) <= AHEAD


def test_the_largest_events_are_kept_until_they_are_written() -> None:
    text = "x" * (Limits().payload_bytes - 20)

    async def large(run: Run) -> None:
        for _ in range(2 * AHEAD):
            await run.chunk(text)

    async def scenario() -> list[int]:
        async with at_console(large) as (console, serving):
            console.stall()
            console.type(chat("go"), end=True)
            await asyncio.sleep(1)
            console.move()
            await serving
        return [frame["seq"] for frame in console.frames]

    assert run_virtual(scenario()) == list(range(1, 2 * AHEAD + 3))


def test_a_stop_is_heard_though_the_agent_never_comes_to_rest() -> None:
    async def scenario() -> Console:
        async with at_console(talker) as (console, serving):
            console.type(chat("go"), PING, stop(), end=True)
            await serving
        return console

    kinds = shown(run_virtual(scenario()))
    assert kinds[-2:] == ["t1 agent_cancelled", "stopped"]
    assert kinds.index("pong") < 100
    assert len(kinds) < 250


def test_lines_leave_no_tasks_behind_while_an_agent_talks() -> None:
    async def scenario() -> int:
        async with at_console(talker) as (console, serving):
            console.type(chat("go"), *[PING] * 50)
            for _ in range(10_000):
                await asyncio.sleep(0)
            assert console.summary.count("pong") == 50
            left = len(tasks_left())
            console.type(stop(), end=True)
            await serving
        return left

    assert run_virtual(scenario()) < 10


@pytest.mark.parametrize(("threads", "queued"), [(1, UNDER_WAY - 1), (5, 12), (1000, 0)])
def test_of_an_input_of_any_length_nothing_is_refused_and_little_is_under_way(
    threads: int, queued: int
) -> None:
    async def scenario() -> tuple[Console, int]:
        at_once = most = 0

        async def counts(run: Run) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(1)
            at_once -= 1

        async with at_console(counts) as (console, serving):
            lines = [chat("go", f"t{number % threads}") for number in range(1000)]
            console.type(*lines, end=True)
            await serving
        return console, most

    console, most = run_virtual(scenario())
    ends = [frame for frame in console.frames if frame["type"] == "agent_completed"]
    positions = [
        frame["payload"]["position"] for frame in console.frames if frame["type"] == "agent_queued"
    ]
    assert len(ends) == 1000
    assert not [frame for frame in console.frames if frame["type"] == "error_message"]
    assert most == min(threads, UNDER_WAY)
    assert max(positions, default=0) == queued


def test_input_waits_while_nobody_takes_the_output() -> None:
    async def scenario() -> tuple[int, Console]:
        started = 0

        async def counts(run: Run) -> None:
            nonlocal started
            started += 1

        async with at_console(counts) as (console, serving):
            console.stall()
            console.type(*[chat("go", f"t{number}") for number in range(100)], end=True)
            await asyncio.sleep(1000)
            early = started
            console.move()
            await serving
        return early, console

    early, console = run_virtual(scenario())
    assert early == 1
    assert console.summary == ["agent_started", "agent_completed"] * 100


# Its end.


def test_at_the_end_of_the_input_what_was_accepted_is_finished() -> None:
    async def scenario() -> tuple[Console, float]:
        async with at_console(sleeper) as (console, serving):
            console.type(chat("3600"), chat("3600"), chat("5", "t2"), end=True)
            await serving
        return console, asyncio.get_running_loop().time()

    console, ended = run_virtual(scenario())
    assert ended == pytest.approx(7200)
    assert console.summary.count("agent_completed") == 3
    assert console.summary[-1] == "agent_completed"
    assert "heartbeat" not in console.summary


def test_at_the_end_of_the_input_the_reader_has_all_the_time_it_needs() -> None:
    async def scenario() -> Console:
        async with at_console(sleeper) as (console, serving):
            console.type(chat("60"), end=True)
            await asyncio.sleep(1)
            console.stall()
            await asyncio.sleep(3600)
            assert not serving.done()
            console.move()
            await serving
        return console

    assert run_virtual(scenario()).summary == ["agent_started", "agent_completed"]


def cancelled(frames: Iterable[Json]) -> list[str]:
    return [frame["payload"]["reason"] for frame in frames if frame["type"] == "agent_cancelled"]


async def is_cancelled(serving: "asyncio.Task[None]") -> float:
    """Cancel the host; how long it took to end."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    return loop.time() - before


@pytest.mark.parametrize("end", [False, True])
def test_a_host_that_is_cancelled_ends_its_runs_at_once(end: bool) -> None:
    async def scenario() -> tuple[Console, float]:
        async with at_console(sleeper) as (console, serving):
            console.type(chat("60"), chat("60"), chat("60", "t2"), end=end)
            await asyncio.sleep(1)
            took = await is_cancelled(serving)
            await asyncio.sleep(0)
            assert tasks_left() == []
        return console, took

    console, took = run_virtual(scenario())
    assert took == 0
    assert cancelled(console.frames) == ["shutdown"] * 3
    assert console.summary[-1] == "agent_cancelled"


def test_an_agent_that_ignores_its_cancellation_is_left_behind() -> None:
    async def scenario() -> tuple[Console, float]:
        async with at_console(stubborn) as (console, serving):
            console.type(chat("go"))
            await asyncio.sleep(1)
            took = await is_cancelled(serving)
        return console, took

    console, took = run_virtual(scenario())
    assert took == 4
    assert cancelled(console.frames) == ["shutdown"]


@pytest.mark.parametrize("agent", [talker, stubborn])
def test_a_host_that_is_cancelled_does_not_wait_long_for_a_reader(agent: AgentLike) -> None:
    async def scenario() -> tuple[Console, float]:
        async with at_console(agent) as (console, serving):
            console.type(chat("go"))
            await asyncio.sleep(0)
            console.stall()
            await asyncio.sleep(1)
            took = await is_cancelled(serving)
        return console, took

    console, took = run_virtual(scenario())
    assert took == 5
    assert cancelled(console.frames) == []


@pytest.mark.parametrize("waits_for", ["output", "input", "room", "end"])
def test_an_output_that_breaks_ends_the_runs_whatever_the_host_waits_for(waits_for: str) -> None:
    outcomes: list[str | None] = []

    async def notes(run: Run) -> None:
        try:
            while True:
                await asyncio.sleep(10)
                await run.chunk("on")
        finally:
            outcomes.append(run.request)

    async def scenario() -> float:
        async with at_console(notes) as (console, serving):
            count = UNDER_WAY if waits_for == "room" else 1
            lines = [chat("go", f"t{number}") for number in range(count)]
            if waits_for == "output":
                console.stall()
            console.type(*lines, end=waits_for == "end")
            await asyncio.sleep(1)
            console.fail()
            with pytest.raises(StopError):
                await serving
        return asyncio.get_running_loop().time()

    ended = run_virtual(scenario())
    assert ended == (1 if waits_for == "output" else 10)
    assert outcomes == ["go"] * (UNDER_WAY if waits_for == "room" else 1)


def test_a_goodbye_ends_the_session_as_if_the_output_had_been_closed() -> None:
    ended: list[str] = []

    async def notes(run: Run) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(run.request)

    async def scenario() -> Console:
        async with at_console(notes) as (console, serving):
            console.type(chat("go"), {"type": "disconnect"}, chat("too late", "t2"))
            await serving
        return console

    assert run_virtual(scenario()).summary == ["agent_started"]
    assert ended == ["go"]


def test_what_cannot_be_read_is_raised_once_the_runs_have_ended() -> None:
    async def scenario() -> Console:
        console = Console()
        typed = console.read

        async def read() -> bytes:
            text = await typed()
            if text == b"fail":
                raise StopError(1, "unreadable")
            return text

        console.type(chat("60"))
        console.type_text("fail")
        with pytest.raises(StopError, match="unreadable"):
            await Host(sleeper, "u1").serve(read, console.output)
        return console

    assert cancelled(run_virtual(scenario()).frames) == ["shutdown"]


def test_what_is_no_agent_makes_no_host() -> None:
    def plain(run: Run) -> None:
        """Not a coroutine function."""

    with pytest.raises(ConfigurationError):
        Host(plain, "u1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
