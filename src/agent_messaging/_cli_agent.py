"""The agent that the command line is given: found, and shown to its author where it fails."""

import importlib
import operator
import sys
import traceback
from pathlib import Path

from agent_messaging._cli_exit import EXIT_USAGE, StopError, say
from agent_messaging._errors import AgentError, ErrorCode
from agent_messaging._handler import RunFinished
from agent_messaging._registry import AgentLike

__all__ = ["explain", "load_agent"]


def load_agent(name: str | None) -> AgentLike:
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


def explain(finished: RunFinished) -> None:
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
