"""One worker: a host of WebSockets on a unix socket, whose endpoint has its events in Redis.

A process of its own. It says on its standard output when it serves, and at the end what is left;
it ends when its input does, so that it never outlives who started it.
"""

import argparse
import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any, Final, final

from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection, unix_serve

from agent_messaging import AgentMessageHandler, Endpoint, Limits, grace
from agent_messaging.eventlog.redis_streams import RedisStreamsEventLog
from kill_redis.agents import Agents
from kill_redis.broken import VARIANTS
from soak import census

#: More than the clients ask for: what a single user may do is other tests' business.
LIMITS: Final = Limits(
    messages_per_minute=None,
    frames_per_minute=None,
    runs_per_user=1000,
    queued_per_thread=1000,
    sessions_per_user=1000,
    resumed_runs=1000,
    lag_events=4096,
)
#: Seconds. A run waits for its client about as long as a reload takes.
GRACE: Final = 3.0
#: Longer than a server takes to come back.
LOG_TIMEOUT: Final = 20.0


@final
class Records(logging.Handler):
    """Writes the library's log records to a file, one JSON object a line.

    Those from WARNING on, and what clients say of events that the log lacks.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", record.msg)
        if record.levelno < logging.WARNING and event != "log_went_backwards":
            return
        fields = {
            "event": event,
            "level": record.levelname,
            "run_id": getattr(record, "run_id", None),
            "text": record.getMessage()[:500],
        }
        os.write(self._file, f"{json.dumps(fields)}\n".encode())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--lease", type=float, required=True)
    parser.add_argument("--variant", choices=VARIANTS, required=True)
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    loop_errors: list[str] = []

    def note_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop_errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(note_loop_error)
    agents = Agents(options.folder / "executions", options.name)
    client = Redis(unix_socket_path=options.redis)
    log = RedisStreamsEventLog(client)
    endpoint = Endpoint(
        AgentMessageHandler(agents.work),
        log=VARIANTS[options.variant](log),
        limits=LIMITS,
        on_disconnect=grace(GRACE),
        cancel_grace=5.0,
        log_timeout=LOG_TIMEOUT,
        lease_seconds=options.lease,
        drain_timeout=5.0,
    )

    async def chat(connection: ServerConnection) -> None:
        assert connection.request is not None
        user_id = connection.request.headers["x-user"]
        await endpoint.serve(user_id, connection, connection.send)

    socket = options.folder / f"{options.name}.sock"
    async with (
        client,
        endpoint,
        unix_serve(chat, str(socket), compression=None, ping_interval=None, close_timeout=1.0),
    ):
        say(is_ready=True)
        await loop.run_in_executor(None, os.read, 0, 1)  # until it ends
    await log.aclose()
    await asyncio.sleep(0)
    say(tasks=census.tasks(), loop_errors=loop_errors, stats=endpoint.stats())


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    options = arguments()
    logger = logging.getLogger("agent_messaging")
    logger.setLevel(logging.INFO)
    logger.addHandler(Records(options.folder / f"{options.name}.records"))
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
