"""What a host program says on standard output: one JSON object a line."""

import json
import socket
from collections.abc import Generator
from contextlib import contextmanager

from agent_messaging import MessageRouter, RunFinished


def listen() -> socket.socket:
    """A socket on any free port of the loopback interface, already listening; says which."""
    listener = socket.create_server(("127.0.0.1", 0))
    say_port(listener.getsockname()[1])
    return listener


def say_port(port: int) -> None:
    """Say where the server listens."""
    _say({"port": port})


def say_finished(finished: RunFinished) -> None:
    """Say how a run ended: what the handler's `on_run_finished` hook is told."""
    report, error = finished.report, finished.error
    cause = None if error is None else error.__cause__
    _say(
        {
            "finished": report.outcome,
            "user_id": finished.context.user_id,
            "message_id": finished.context.message_id,
            "code": finished.code,
            "error": None if error is None else type(error).__name__,
            "cause": None if cause is None else type(cause).__name__,
            "decided": sum(report.decided.values()),
            "delivered": sum(report.delivered.values()),
        }
    )


@contextmanager
def until_interrupted(router: MessageRouter) -> Generator[None]:
    """Run the server in this block; Ctrl-C ends it, and the statistics are said."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        _say({"statistics": router.get_stats()})


def _say(fields: dict[str, object]) -> None:
    print(json.dumps(fields), flush=True)
