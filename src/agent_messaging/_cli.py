"""The command line: a host on standard input and output, one frame a line."""

import argparse
import asyncio
import importlib
import operator
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, final

from agent_messaging._cli_streams import (
    EXIT_STREAM,
    BlockingCalls,
    Lines,
    Output,
    StopError,
    read_chunk,
    write_line,
)
from agent_messaging._cli_text import TextLines, json_line
from agent_messaging._endpoint import Endpoint
from agent_messaging._errors import AgentError, ConfigurationError, ErrorCode
from agent_messaging._handler import AgentMessageHandler, RunFinished
from agent_messaging._limits import Limits, is_id
from agent_messaging._registry import AgentLike
from agent_messaging._session import Session
from agent_messaging._timeouts import timeout_after
from agent_messaging.eventlog.memory import MemoryEventLog

__all__ = ["HINT", "Host", "main"]

EXIT_USAGE: Final = 2
EXIT_SIGNAL: Final = 128  # and the signal's number, as a shell counts
EXIT_INTERRUPTED: Final = EXIT_SIGNAL + signal.SIGINT

_DESCRIPTION: Final = """\
Run an agent on standard input and output: one client frame a line comes in, one
server frame a line goes out. Everything else goes to standard error, what the
agent prints included.
"""

_EPILOG: Final = """\
exit codes:
  0    the input ended; how each run ended is in its frames
  1    standard input cannot be read, or standard output takes no more
  2    the arguments, or the agent that they name, cannot be used
  130  interrupted by Ctrl-C; every run has got its terminal event
  143  ended by SIGTERM; likewise

A second Ctrl-C or SIGTERM ends the program at once.
"""

HINT: Final = """\
Type one JSON frame a line, for example
  {"type": "chat", "thread_id": "a", "payload": {"text": "Wait 20 seconds, then 6 * 7."}}
or, while that is worked on,
  {"type": "stop_agent", "payload": {"thread_id": "a"}}
and end with Ctrl-D (on Windows: Ctrl-Z, then Enter).
"""

#: Seconds that runs have to end, and their last frames to go out, once the program is to end.
_GRACE: Final = 5.0
#: Seconds of them after which an agent that was cancelled is waited for no more.
_CLEAN_UP: Final = 4.0
#: Seconds that a frame may wait to go out: whoever reads them sets the pace.
_PATIENCE: Final = 365 * 24 * 3600.0

#: Runs that have not ended, the queued ones too, before the next line waits: far more than anybody
#: has at a terminal, and few enough for a file of any length.
_UNDER_WAY: Final = 64
#: Frames that are written before the next line is taken, if agents do not come to rest.
_STEP: Final = 64
#: Turns of the loop in which a line has its effect; a few tasks deep is usual.
_TURNS: Final = 8
#: The user is trusted, and held to no rate. No agent is far ahead of what is written, so that the
#: log never has to let go of an event that was not: 34 of a run, of up to 1 MiB each.
_LIMITS: Final = Limits(
    messages_per_minute=None,
    frames_per_minute=None,
    runs_per_user=_UNDER_WAY,
    queued_per_thread=_UNDER_WAY,
    lag_events=32,
)
_LOG_BYTES: Final = 64 * 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's; the exit code.

    Raises:
        SystemExit: for ``--help``, ``--version`` and arguments that do not parse, and when an
            agent raises it.
    """
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments.agent, arguments.user, arguments.format)
    except StopError as stop:
        say(f"agent-messaging: error: {stop.reason}\n" if stop.reason else "")
        return stop.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


# What is asked for.


@final
class _Version(argparse.Action):
    """Prints the version, looked up only when it is asked for: that takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - it takes as long as all else

        sys.stdout.write(f"agent-messaging {version('agent-messaging')}\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-messaging",
        description="The message layer between a chat front end and AI agents.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="command", required=True)
    run = commands.add_parser(
        "run",
        help="run an agent on standard input and output",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "--agent",
        metavar="module:name",
        help="the agent, importable from the current directory (default: a demonstration that "
        "calculates and counts)",
    )
    run.add_argument(
        "--user",
        metavar="ID",
        type=_user,
        default="local",
        help="the authenticated user, 1 to 128 printable characters (default: local)",
    )
    run.add_argument(
        "--format",
        choices=("json", "text"),
        default="json",
        help="frames as on a wire, or one readable line an event (default: json)",
    )
    return parser


def _user(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError("an id has 1 to 128 printable characters")
    return text


def _run(agent_name: str | None, user_id: str, output_format: str) -> None:
    stdin, stdout = sys.stdin, sys.stdout
    if stdout is None:
        raise StopError(EXIT_STREAM, "standard output is closed")
    render = TextLines(stdout.encoding) if output_format == "text" else json_line
    # What an agent prints is no frame.
    with redirect_stdout(sys.stderr), Path(os.devnull).open("rb") as nothing:
        try:
            host = Host(_load(agent_name), user_id)
        except ConfigurationError as error:
            raise StopError(EXIT_USAGE, f"--agent {agent_name}: {error}") from None
        # Python has None for a stream that is closed: an input without lines. Its number must
        # not be used, since the next file to be opened gets it.
        source = nothing if stdin is None else stdin
        _complete(_serve(host, source.fileno(), stdout.fileno(), render))


def _load(name: str | None) -> AgentLike:
    """The agent that ``module:name`` stands for, the demonstration for None.

    Raises:
        StopError: there is no such module or name, or the module raises at its import.
    """
    if name is None:
        from agent_messaging._demo import demo  # noqa: PLC0415 - for those who use it

        return demo
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute or module_name.startswith("."):
        raise StopError(EXIT_USAGE, f"--agent takes module:name, not {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current directory, as for an interactive Python
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - whatever the agent's own module raises
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):
            hint = " (give its name without .py)" if module_name.endswith(".py") else ""
            raise StopError(EXIT_USAGE, f"there is no module {module_name!r}{hint}") from None
        say(_traceback(error))
        raise StopError(EXIT_USAGE, f"the module {module_name!r} raised an exception") from None
    try:
        agent: AgentLike = operator.attrgetter(attribute)(module)
    except AttributeError:
        reason = f"the module {module_name!r} has no {attribute!r}"
        raise StopError(EXIT_USAGE, reason) from None
    return agent


# What goes to standard error.


def say(text: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):  # with nobody to read it, it is not worth failing for
            sys.stderr.write(text)
            sys.stderr.flush()


def _explain(finished: RunFinished) -> None:
    """Show the agent's author what the client does not read: where the agent failed."""
    error = finished.error
    if finished.code == ErrorCode.AGENT_ERROR and not isinstance(error, AgentError | None):
        say(_traceback(error))


def _traceback(error: BaseException) -> str:
    """The traceback from where it enters the agent's own code."""
    not_the_agents = (str(Path(__file__).parent / "_"), importlib.__file__, "<frozen importlib")
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(not_the_agents):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


# The host.


@final
class Host:
    """One session of one user, whose frames are lines.

    Args:
        agent: what works on the messages.
        user_id: whose they are.

    Raises:
        ConfigurationError: it is no agent.
    """

    def __init__(self, agent: AgentLike, user_id: str) -> None:
        self._user_id = user_id
        self._run_ended = asyncio.Event()
        self._endpoint = Endpoint(
            AgentMessageHandler(agent, on_run_finished=self._finished),
            log=MemoryEventLog(bytes_per_user=_LOG_BYTES),
            limits=_LIMITS,
            slow_consumers="wait",
            cancel_grace=_CLEAN_UP,
            send_timeout=_PATIENCE,
            final_send_timeout=_PATIENCE,
            drain_timeout=_PATIENCE,
            heartbeat=None,
        )

    async def serve(self, read: Callable[[], Awaitable[bytes]], output: Output) -> None:
        """Take the lines that are read, until they end or the session does; see all runs ended.

        Args:
            read: the next bytes of the input; none at its end.
            output: takes the frames.

        Raises:
            StopError: the input cannot be read, or the output takes no more.
            CancelledError: the call was cancelled; the runs were too, and had some seconds.
        """
        async with self._endpoint as endpoint:
            session = await endpoint.open(self._user_id, output.send)
            try:
                await self._take_lines(session, read, output)
                await endpoint.drain()
            finally:
                # Nothing is left, unless this is not how it was to end.
                with suppress(TimeoutError):
                    async with timeout_after(_GRACE):
                        await endpoint.drain(0)
                await session.close()
        output.check()

    async def _take_lines(
        self, session: Session, read: Callable[[], Awaitable[bytes]], output: Output
    ) -> None:
        lines = Lines(_LIMITS.frame_bytes)
        ended = False
        while not (ended or session.end):
            chunk = await output.unless_broken(read())
            ended = not chunk
            for line in lines.feed(chunk or b"\n"):  # the last line may lack its end
                await session.receive(line)
                await self._keep_pace(session, output)

    async def _keep_pace(self, session: Session, output: Output) -> None:
        """Wait until what a line brings about is written, and there is room for one more run.

        Answers so come in the order of the lines, where agents have nothing to wait for.
        """
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        await output.take(_STEP, session.wait_sent())
        while len(self._endpoint.runs(self._user_id)) >= _UNDER_WAY:
            self._run_ended.clear()
            await self._run_ended.wait()

    def _finished(self, finished: RunFinished) -> None:
        self._run_ended.set()
        _explain(finished)


async def _serve(host: Host, source: int, sink: int, render: Callable[[str], bytes]) -> None:
    """Have the host serve two file descriptors."""
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


def _complete(serving: Coroutine[Any, Any, None]) -> None:
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
