"""The program that is killed: it hosts conversations over its standard input and output.

Its input has JSON lines, each a command: ``open`` a line (a connection) of a user, a ``frame`` of
a line, ``close`` one, ``hold`` whoever comes to a point, ``go_on``. Its output has JSON lines too:
that it is ``ready``, a ``frame`` for a line, and what `kill.gate` and the log tell. When its input
ends it drains and ends, so that it never outlives who started it.
"""

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any, Final, TypeVar, final

from agent_messaging import AgentMessageHandler, Endpoint, EventLog, Limits, grace
from agent_messaging.eventlog.sqlite import SqliteEventLog
from kill.agents import Agents
from kill.broken import VARIANTS
from kill.gate import Gate, say
from kill.logs import AnnouncingLog
from kill.points import Point
from support import Json

T = TypeVar("T")

#: More than the clients ask for: what a single user may do is other tests' business.
LIMITS: Final = Limits(
    messages_per_minute=None,
    frames_per_minute=None,
    runs_per_user=1000,
    queued_per_thread=1000,
    resumed_runs=10_000,
)
#: What a log in a file asks the time for within a transaction, by the name of the function that
#: does: to give a claim its lease, and to say when a run has ended whose events it just wrote.
_IN_TRANSACTION: Final[dict[str, Point]] = {"claim": "claiming", "flush": "committing"}


@final
class Records(logging.Handler):
    """Tells the library's log records from WARNING on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        say(record=str(getattr(record, "event", record.msg)), text=record.getMessage()[:500])


@final
class Host:
    """The endpoint, and the lines that it serves."""

    def __init__(self, endpoint: Endpoint, log: AnnouncingLog, gate: Gate) -> None:
        self._endpoint = endpoint
        self._log = log
        self._gate = gate
        self._lines: dict[int, asyncio.Queue[str | None]] = {}
        self._serving: set[asyncio.Task[object]] = set()

    def do(self, command: Json) -> None:
        """One line of the input."""
        match command:
            case {"line": number, "open": user_id}:
                frames = self._lines[number] = asyncio.Queue()
                serving: asyncio.Task[object] = asyncio.create_task(
                    self._serve(number, user_id, frames)
                )
                self._serving.add(serving)
                serving.add_done_callback(self._serving.discard)
            case {"line": number, "frame": frame}:
                self._lines[number].put_nowait(frame)
            case {"close": number}:
                self._lines.pop(number).put_nowait(None)
            case {"hold": point, "message_id": message_id, "passes": passes}:
                self._gate.hold(point, message_id, passes)
            case {"go_on": _}:
                self._gate.go_on()
            case _:
                raise ValueError(command)

    async def close(self) -> None:
        """All clients leave."""
        for frames in self._lines.values():
            frames.put_nowait(None)
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, number: int, user_id: str, frames: asyncio.Queue[str | None]) -> None:
        async def send(text: str) -> None:
            run_id = json.loads(text).get("run_id")
            message_id = None if run_id is None else self._log.message_of(run_id)
            if message_id is not None:
                await self._gate.at("sending", message_id)
            say(line=number, frame=text)

        until_closed = _until_none(frames)
        end = await self._endpoint.serve(user_id, until_closed, send)
        if end.reason != "disconnected":
            say(session_end=end.reason, error=repr(end.error)[:500])


async def _until_none(queue: asyncio.Queue[T | None]) -> AsyncGenerator[T]:
    while (item := await queue.get()) is not None:
        yield item


async def _watch_for_stalls(log: EventLog, lease_seconds: float) -> None:
    """Tell when the machine leaves the process, or the log, so little that leases may be lost."""
    loop = asyncio.get_running_loop()
    pause = lease_seconds / 10
    while True:
        begun = loop.time()
        await asyncio.sleep(pause)
        await log.find_run("nobody", "nothing")
        if loop.time() - begun - pause > lease_seconds / 3:
            say(stalled=loop.time() - begun)


async def _take_input(commands: asyncio.Queue[Json | None], gate: Gate) -> None:
    """Read commands until the input ends; then nobody is held any more."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with contextlib.closing(transport):
        while line := await reader.readline():
            commands.put_nowait(json.loads(line))
    gate.go_on()
    commands.put_nowait(None)


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until the input ends."""
    gate = Gate()
    if arguments.hold is not None:
        gate.hold(arguments.hold, None, arguments.passes)

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        say(loop_error=f"{context.get('message')}: {context.get('exception')!r}"[:500])

    asyncio.get_running_loop().set_exception_handler(note)

    def clock() -> float:
        frame = inspect.currentframe()
        asking = None if frame is None else frame.f_back
        point = None if asking is None else _IN_TRANSACTION.get(asking.f_code.co_name)
        if point is not None:
            gate.at_in_thread(point)
        return time.time()

    commands: asyncio.Queue[Json | None] = asyncio.Queue()
    taking_input = asyncio.create_task(_take_input(commands, gate))
    agents = Agents(gate, arguments.executions)
    await gate.at("starting")
    async with SqliteEventLog(
        arguments.log, durability=arguments.durability, poll_seconds=0.02, clock=clock
    ) as sqlite:
        await gate.at("starting")
        log = AnnouncingLog(VARIANTS[arguments.variant](sqlite, arguments.log), gate)
        stalls = asyncio.create_task(_watch_for_stalls(sqlite, arguments.lease))
        async with Endpoint(
            AgentMessageHandler(agents.work),
            log=log,
            limits=LIMITS,
            on_disconnect=grace(10.0),
            drain_timeout=1.0,
            lease_seconds=arguments.lease,
        ) as endpoint:
            host = Host(endpoint, log, gate)
            say(ready=True)
            async for command in _until_none(commands):
                host.do(command)
            await host.close()
        stalls.cancel()
    await taking_input


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--executions", required=True)
    parser.add_argument("--lease", type=float, required=True)
    parser.add_argument("--durability", required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--hold")
    parser.add_argument("--passes", type=int, default=0)
    logging.getLogger("agent_messaging").addHandler(Records())
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
