"""The soak's server: Starlette under Uvicorn, and what its process looks like afterwards.

A process of its own. It says JSON lines on its standard output: first where it listens, then an
answer to each line of its standard input, which is one of `COMMANDS`. When the input ends it
stops, so that it never outlives who started it, and says what is left then.
"""

import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from agent_messaging import (
    Endpoint,
    EventLog,
    EventPage,
    Limits,
    LoggedEvent,
    MemoryEventLog,
    RunFinished,
    grace,
)
from soak import census
from soak.agents import GRACE, make_handler
from soak.ledger import fingerprint
from support import Json
from support.loop import UPKEEP

#: Narrow enough that a client which reads nothing is felt soon, wide enough for all others.
SEND_BUFFER: Final = 16 * 1024
#: More than any client's acts come to; what a single user may ask for is the unit tests' business.
FRAMES_PER_MINUTE: Final = 6000
#: A minute's worth is not used up by pace, but by bursts.
MESSAGES_PER_MINUTE: Final = 100
#: All events are kept, so that at the end each client's can be compared with them.
EVERYTHING: Final = 2**40


@final
class LogRecords(logging.Handler):
    """Counts the library's log records from WARNING on by their names, and keeps some of them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[str(getattr(record, "event", record.msg))] += 1
        if len(self.examples) < 50:
            self.examples.append(record.getMessage())


@final
class Soaked:
    """The endpoint under test, and what its hooks and its loop said."""

    def __init__(self) -> None:
        self.finished: dict[str, tuple[str, str]] = {}
        self.hooks: Counter[str] = Counter()
        self.users: set[str] = set()
        self.ends: Counter[str] = Counter()
        self.close_errors: Counter[str] = Counter()
        self.loop_errors: list[str] = []
        self.log: EventLog = MemoryEventLog(
            runs_per_user=EVERYTHING,
            events_per_user=EVERYTHING,
            bytes_per_user=EVERYTHING,
            runs=EVERYTHING,
            events=EVERYTHING,
            bytes=EVERYTHING,
            claims_per_user=EVERYTHING,
            claims=EVERYTHING,
        )
        self.endpoint = Endpoint(
            make_handler(self.note),
            log=self.log,
            limits=Limits(
                frames_per_minute=FRAMES_PER_MINUTE, messages_per_minute=MESSAGES_PER_MINUTE
            ),
            on_disconnect=grace(GRACE),
            cancel_grace=1.0,
            slow_consumer_grace=5.0,
            send_timeout=3.0,
            final_send_timeout=2.0,
            heartbeat=2.0,
            drain_timeout=5.0,
        )

    def note(self, finished: RunFinished) -> None:
        """The hook of a run that was reported."""
        context = finished.context
        self.hooks[context.run_id] += 1
        self.finished[context.run_id] = (context.user_id, context.thread_id)

    def note_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody else heard of."""
        self.loop_errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def chat(self, websocket: WebSocket) -> None:
        """Serve one connection."""
        user_id = websocket.headers["x-user"]
        self.users.add(user_id)
        await websocket.accept()
        end = await self.endpoint.serve(user_id, frames_of(websocket), websocket.send_text)
        self.ends[end.reason] += 1
        try:
            async with asyncio.timeout(5.0):
                await websocket.close()
        except Exception as error:  # noqa: BLE001 - the client is gone already
            self.close_errors[type(error).__name__] += 1

    # What is asked for.

    async def rest(self) -> Json:
        """What there is at the moment."""
        await asyncio.sleep(0)
        return {
            "stats": self.endpoint.stats(),
            "users": self.endpoint.users(),
            "tasks": census.tasks(beside=UPKEEP),
            "objects": census.objects(),
            "memory": census.memory(),
            "peak_bytes": census.peak_bytes(),
            "ends": self.ends,
            "close_errors": self.close_errors,
            "loop_errors": self.loop_errors[:50],
        }

    async def runs(self) -> Json:
        """Every run, as the log has it."""
        runs: list[Json] = []
        for user_id, thread_id in sorted(set(self.finished.values())):
            for record in await self.log.runs(user_id, thread_id, limit=EVERYTHING):
                page = await self.log.read(user_id, record.run_id, after=0, limit=EVERYTHING)
                runs.append(
                    {
                        "user_id": user_id,
                        "thread_id": record.thread_id,
                        "message_id": record.message_id,
                        "run_id": record.run_id,
                        "hooks": self.hooks[record.run_id],
                        **_told(page),
                    }
                )
        return {"runs": runs, "reported": len(self.finished)}

    async def forget(self) -> Json:
        """Forget all users: what is there afterwards."""
        for user_id in sorted(self.users):
            await self.endpoint.forget(user_id)
        self.finished.clear()
        self.hooks.clear()
        return {"objects": census.objects(), "memory": census.memory()}


def _told(page: EventPage | None) -> Json:
    events: tuple[LoggedEvent, ...] = () if page is None else tuple(page.events)
    return {
        "last_seq": len(events),
        "is_gapless": [event.seq for event in events] == list(range(1, len(events) + 1)),
        "ends": [
            [str(event.type), event.seq]
            for event in events
            if event.type in ("agent_completed", "agent_failed", "agent_cancelled")
        ],
        "fingerprint": fingerprint((str(event.type), event.payload) for event in events),
    }


async def frames_of(websocket: WebSocket) -> AsyncGenerator[str | bytes]:
    """The client's frames, text or binary, until it is gone."""
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        yield message["bytes"] if text is None else text


#: What may be asked for on standard input.
COMMANDS: Final[dict[str, Callable[[Soaked], Coroutine[Any, Any, Json]]]] = {
    "rest": Soaked.rest,
    "runs": Soaked.runs,
    "forget": Soaked.forget,
}


def say(answer: Json) -> None:
    """One JSON line."""
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


async def serve(listener: socket.socket) -> None:
    """Serve until the input ends."""
    soaked = Soaked()
    asyncio.get_running_loop().set_exception_handler(soaked.note_loop_error)
    app = Starlette(routes=[WebSocketRoute("/chat", soaked.chat)])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    async with soaked.endpoint:
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="server")
        say(
            {
                "port": listener.getsockname()[1],
                "objects": census.objects(),
                "memory": census.memory(),
            }
        )
        async for line in lines_of_input():
            say(await COMMANDS[line](soaked))
        soaked.endpoint.start_draining()
        server.should_exit = True
        await serving
    say({"tasks": census.tasks(), "loop_errors": soaked.loop_errors[:50]})


async def lines_of_input() -> AsyncGenerator[str]:
    """The lines of standard input, until it ends."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with contextlib.closing(transport):
        while line := await reader.readline():
            yield line.decode().strip()


def main() -> None:
    records = LogRecords()
    logging.getLogger("agent_messaging").addHandler(records)
    before = census.objects()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        asyncio.run(serve(listener))
    say(
        {
            "before": before,
            "objects": census.objects(),
            "memory": census.memory(),
            "log": records.counts,
            "log_examples": records.examples,
        }
    )


if __name__ == "__main__":
    main()
