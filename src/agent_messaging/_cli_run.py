"""The command ``run``: a host on standard input and output, one frame a line."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import (
    AbstractAsyncContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from agent_messaging._cli_agent import load_agent
from agent_messaging._cli_exit import EXIT_SIGNAL, EXIT_STREAM, EXIT_USAGE, StopError, say
from agent_messaging._cli_host import LEASE_SECONDS, Host
from agent_messaging._cli_streams import BlockingCalls, Output, read_chunk, write_line
from agent_messaging._cli_text import TextLines, json_line
from agent_messaging._errors import ConfigurationError
from agent_messaging.eventlog.protocol import EventLog

__all__ = ["HINT", "complete", "run"]

HINT: Final = """\
Type one JSON frame a line, for example
  {"type": "chat", "thread_id": "a", "payload": {"text": "Wait 20 seconds, then 6 * 7."}}
or, while that is worked on,
  {"type": "stop_agent", "payload": {"thread_id": "a"}}
and end with Ctrl-D (on Windows: Ctrl-Z, then Enter).
"""


def run(agent_name: str | None, user_id: str, output_format: str, path: str | None) -> None:
    """Run an agent on standard input and output.

    Args:
        agent_name: as ``module:name``; None for the demonstration.
        user_id: whose the frames are.
        output_format: ``json`` or ``text``.
        path: the file that keeps the events; None to keep them in memory.

    Raises:
        StopError: it ended otherwise than by the end of its input.
        SystemExit: an agent raised it.
    """
    stdin, stdout = sys.stdin, sys.stdout
    if stdout is None:
        raise StopError(EXIT_STREAM, "standard output is closed")
    render = TextLines(stdout.encoding) if output_format == "text" else json_line
    # What an agent prints is no frame.
    with redirect_stdout(sys.stderr), Path(os.devnull).open("rb") as nothing:
        agent = load_agent(agent_name)
        log, keeping = _log(path)
        try:
            host = Host(agent, user_id, log)
        except ConfigurationError as error:
            raise StopError(EXIT_USAGE, f"--agent {agent_name}: {error}") from None
        # Python has None for a stream that is closed: an input without lines. Its number must
        # not be used, since the next file to be opened gets it.
        source = nothing if stdin is None else stdin
        complete(_serve(host, keeping, source.fileno(), stdout.fileno(), render))


def _log(path: str | None) -> tuple[EventLog | None, AbstractAsyncContextManager[None]]:
    """A log in this file, and what opens it."""
    if path is None:
        return None, nullcontext()
    from agent_messaging._cli_file import kept  # noqa: PLC0415 - SQLite, for those who use it
    from agent_messaging.eventlog.sqlite import SqliteEventLog  # noqa: PLC0415 - likewise

    log = SqliteEventLog(path)
    return log, kept(log, path, LEASE_SECONDS)


async def _serve(
    host: Host,
    keeping: AbstractAsyncContextManager[None],
    source: int,
    sink: int,
    render: Callable[[str], bytes],
) -> None:
    """Have the host serve two file descriptors."""
    async with keeping:
        if os.isatty(source):
            say(HINT)
        reader = BlockingCalls("agent-messaging reader")
        writer = BlockingCalls("agent-messaging writer")
        output = Output(render, lambda line: writer.call(partial(write_line, sink, line)))
        try:
            await host.serve(lambda: reader.call(partial(read_chunk, source)), output)
        finally:
            reader.close()
            writer.close()


def complete(serving: Coroutine[Any, Any, None]) -> None:
    """Run this in an event loop of its own, until it ends or a signal ends it.

    Raises:
        StopError: it does, or Ctrl-C or SIGTERM came; the runs have then got their terminal event.
        SystemExit: an agent does; likewise.
    """
    code = 0
    runner = asyncio.Runner()
    loop = runner.get_loop()
    task = loop.create_task(serving)

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal code
        if code or task.done():
            os._exit(EXIT_SIGNAL + number)  # pragma: no cover - it would end what measures, too
        code = EXIT_SIGNAL + number
        loop.call_soon_threadsafe(task.cancel)

    # The signals outlast the runner, whose end waits for what agents left in threads.
    with _on_signals(stop), runner:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            if not code:
                raise
            raise StopError(code) from None
        except (SystemExit, KeyboardInterrupt):
            # It has left the loop at once; what was decided is still to be written.
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            raise


@contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Meanwhile Ctrl-C and SIGTERM call this; unless they are ignored, or this is a thread."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
