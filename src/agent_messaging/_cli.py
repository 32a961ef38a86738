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
from collections.abc import Callable, Coroutine, Generator, Sequence
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
)
from agent_messaging._cli_text import json_line, text_line
from agent_messaging._errors import AgentError, ConfigurationError, ErrorCode
from agent_messaging._handler import AgentMessageHandler, RunFinished
from agent_messaging._limits import DEFAULT_LIMITS, is_id
from agent_messaging._registry import AgentLike
from agent_messaging._router import MessageRouter

__all__ = ["attend", "main"]

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
  130  interrupted by Ctrl-C; a run in flight has got its agent_cancelled
  143  ended by SIGTERM; likewise

A second Ctrl-C or SIGTERM ends the program at once.
"""

_HINT: Final = """\
Type one JSON frame a line, for example
  {"type": "chat", "payload": {"text": "What is 6 * 7?"}}
and end with Ctrl-D (on Windows: Ctrl-Z, then Enter).
"""

#: Seconds that a run has to end, and its last frames to go out, once the program is to end.
_GRACE: Final = 5.0
#: Seconds that a call waits for its frames to go out: whoever reads them sets the pace.
_PATIENCE: Final = 365 * 24 * 3600.0


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
    # Python has None for a stream that is closed. Its number must not be used then, since the
    # next file to be opened gets it.
    stdin, stdout = sys.stdin, sys.stdout
    if stdout is None:
        raise StopError(EXIT_STREAM, "standard output is closed")
    render = partial(text_line, stdout.encoding) if output_format == "text" else json_line
    with redirect_stdout(sys.stderr):  # what an agent prints is no frame
        try:
            handler = AgentMessageHandler(
                _load(agent_name), final_send_timeout=_PATIENCE, on_run_finished=_explain
            )
        except ConfigurationError as error:
            raise StopError(EXIT_USAGE, f"--agent {agent_name}: {error}") from None
        if stdin is not None:
            router = MessageRouter(handler, final_send_timeout=_PATIENCE)
            _host(_serve(router, user_id, stdin.fileno(), stdout.fileno(), render))


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


def _host(handling: Coroutine[Any, Any, None]) -> None:
    """Run the host in an event loop of its own, until it ends or a signal ends it.

    Raises:
        StopError: the host does, or Ctrl-C or SIGTERM came; a run in flight has then got its
            terminal event.
    """
    code = 0
    runner = asyncio.Runner()
    loop = runner.get_loop()
    task = loop.create_task(handling)

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


async def _serve(
    router: MessageRouter, user_id: str, source: int, sink: int, render: Callable[[str], bytes]
) -> None:
    """Handle the lines of a file descriptor, one after the other, until it ends.

    Raises:
        StopError: the source cannot be read, or the sink takes no more.
    """
    if os.isatty(source):
        say(_HINT)
    reader = BlockingCalls("agent-messaging reader")
    output = Output(sink, render)
    lines = Lines(DEFAULT_LIMITS.frame_bytes)
    try:
        ended = False
        while not ended:
            chunk = await reader.call(partial(read_chunk, source))
            ended = not chunk
            for line in lines.feed(chunk or b"\n"):  # the last line may lack its end
                await attend(router.handle_frame(user_id, output.send, line), output.broken)
    finally:
        reader.close()
        output.close()


async def attend(handling: Coroutine[Any, Any, bool], broken: asyncio.Future[StopError]) -> None:
    """See one line's handling to its end; end it when the output is broken, or when cancelled."""
    task = asyncio.create_task(handling)
    # What it raises once nobody waits for it any more is in its frames, and no cause for a log.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    both: list[asyncio.Future[Any]] = [task, broken]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_GRACE)
    if broken.done():
        raise broken.result()
    await task
