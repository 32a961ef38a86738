"""What a host program says on standard output: one JSON object a line."""

import json
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager

from agent_messaging import Endpoint, RunFinished, SessionEnd


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
    _say(
        {
            "finished": report.outcome,
            "user_id": finished.context.user_id,
            "message_id": finished.context.message_id,
            "code": finished.code,
            "reason": finished.reason,
            "error": None if error is None else type(error).__name__,
            "decided": sum(report.decided.values()),
            "delivered": sum(report.delivered.values()),
        }
    )


def say_session(user_id: str, end: SessionEnd | None) -> None:
    """Say how a session ended."""
    error = None if end is None else end.error
    _say(
        {
            "session": None if end is None else end.reason,
            "user_id": user_id,
            "error": None if error is None else type(error).__name__,
        }
    )


@contextmanager
def until_stopped(endpoint: Endpoint) -> Generator[None]:
    """Run the server in this block, until Ctrl-C or a SIGTERM; then the statistics are said."""
    # A server that stops on a SIGTERM may raise it again when it has, as Uvicorn does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        _say({"statistics": endpoint.stats()})


def _say(fields: dict[str, object]) -> None:
    # In one write: several workers may have the same output.
    print(f"{json.dumps(fields)}\n", end="", flush=True)
