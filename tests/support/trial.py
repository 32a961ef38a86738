"""A trial: one message through a handler of its own, watched from outside the package."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import anyio

from agent_messaging import (
    AgentEvent,
    AgentLike,
    AgentMessageHandler,
    LifecycleError,
    Limits,
    Message,
    MessageRouter,
    NativeDialect,
    Run,
    RunFinished,
    ToolCall,
)
from agent_messaging.testing import loop_clock, run_virtual
from support import recount
from support.loop import BEGINNING, tasks_left, virtual_loop
from support.messages import chat
from support.recount import EPOCH, Decided
from support.wires import Wire

#: An agent as a coroutine function, before it is given the form that a handler takes.
Body: TypeAlias = Callable[[Run], Awaitable[object]]

FINAL_SEND_TIMEOUT: Final = 4.0


@dataclass(frozen=True, slots=True)
class AgentEnd:
    """How the agent's own code ended: in which iteration of the loop, when, and with what.

    ``refusals`` are what its emits had raised by then.
    """

    step: int
    at: float
    refusals: frozenset[type[BaseException] | None]
    result: object = None
    escaped: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """One call of an emitting method: in which iteration, and the refusal that it raised."""

    step: int
    refusal: type[BaseException] | None


class Watch:
    """What a run decides and its agent does, noted as it happens.

    The payloads come from the dialect's ``dumps``, before the lifecycle allows them; the agent's
    side takes back those of the calls that were refused. So what is left is what was decided.
    """

    def __init__(self) -> None:
        self.decided: list[Decided] = []
        self.emits: list[Emit] = []
        self.faults: list[str] = []
        self.run: Run | None = None
        self.end: AgentEnd | None = None
        #: The tasks that the agent left, which are not the library's.
        self.tasks: list[asyncio.Task[Any]] = []

    def dumps(self, payload: object) -> str:
        """Encode as the default does, and note it."""
        at = virtual_loop().time()
        text = json.dumps(payload, allow_nan=False, separators=(",", ":"))
        self.decided.append(Decided(text, at))
        return text

    def close(self) -> None:
        """Put what was decided in order, once the run is over."""
        self.decided = recount.in_order(self.decided)

    @contextmanager
    def emitting(self) -> Generator[None]:
        """Around a call that emits: it does what it says, or nothing."""
        run, step = self.run, virtual_loop().turns
        assert run is not None
        before, mark = dict(run.report.decided), len(self.decided)
        refusal: type[BaseException] | None = None
        try:
            yield
        except Exception as raised:
            refusal = type(raised)
            if refusal is LifecycleError:
                del self.decided[mark:]
            if run.report.decided != before or len(self.decided) != mark:
                self.faults.append(f"an emit that raised {refusal.__name__} was decided")
            raise
        finally:
            self.emits.append(Emit(step, refusal))

    def over(self, run: Run) -> Run:
        """The run, with its emits watched."""
        return cast("Run", _WatchedRun(run, self))

    def ended(self, result: object = None, escaped: BaseException | None = None) -> None:
        """Note how the agent's own code ended."""
        loop = virtual_loop()
        refusals = frozenset(emit.refusal for emit in self.emits)
        self.end = AgentEnd(loop.turns, loop.time(), refusals, result, escaped)

    def watching(self, body: Body) -> Callable[[Run], Awaitable[object]]:
        """The agent, with its end noted."""

        async def agent(run: Run) -> object:
            self.run = run
            try:
                result = await body(run)
            except BaseException as escaped:
                self.ended(escaped=escaped)
                raise
            self.ended(result)
            return result

        return agent


class _WatchedRun:
    """What the steps of a program hold of their run, each emit of it watched.

    Texts begin with the word that tells their kind.
    """

    def __init__(self, run: Run, watch: Watch) -> None:
        self._run = run
        self.watch = watch

    def thinking(self, text: str) -> Awaitable[None]:
        with self.watch.emitting():
            return self._run.thinking(f"thinking {text}")

    def chunk(self, text: str) -> Awaitable[None]:
        with self.watch.emitting():
            return self._run.chunk(f"chunk {text}")

    def progress(self, name: str, data: object = None) -> Awaitable[None]:
        with self.watch.emitting():
            return self._run.progress(name, data)

    def emit(self, event: AgentEvent) -> Awaitable[None]:
        with self.watch.emitting():
            return self._run.emit(event)

    def tool(self, name: str, arguments: object = None) -> ToolCall:
        call = self._run.tool(name, arguments)
        return ToolCall(cast("Run", self), call.tool_call_id, name, arguments)

    def tool_executing(
        self, tool_call_id: str, tool_name: str, arguments: object = None
    ) -> Awaitable[None]:
        with self.watch.emitting():
            return self._run.tool_executing(tool_call_id, tool_name, arguments)

    def tool_completed(
        self, tool_call_id: str, result: object = None, *, error: str | None = None
    ) -> Awaitable[None]:
        with self.watch.emitting():
            return self._run.tool_completed(tool_call_id, result, error=error)


def watch_of(run: Run) -> Watch:
    """The watch over a run, in a step of a program."""
    return cast("_WatchedRun", run).watch


@dataclass(frozen=True, slots=True)
class Finish:
    """What a finish hook was told, and how many frames the transport had accepted by then."""

    finished: RunFinished
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is around the agent.

    Attributes:
        message: what the client sends.
        cancel_after: in iterations after the start of the call, when it is cancelled.
        in_scope: whether it is then an anyio scope around the call that is cancelled, which
            cancels the call's task again in each iteration until it is over.
        cancelled_before: whether its task is cancelled right before it calls the handler, and
            never again.
        swallowed_before: whether its task swallowed a cancellation earlier in its life, and was
            never cancelled again.
        routed: whether the message goes through a `MessageRouter`.
        run_timeout: the handler's, in seconds.
        limits: the handler's.
    """

    message: Message = field(default_factory=chat)
    cancel_after: Sequence[int] = ()
    in_scope: bool = False
    cancelled_before: bool = False
    swallowed_before: bool = False
    routed: bool = False
    run_timeout: float | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True, kw_only=True)
class Trial:
    """What came of it.

    Attributes:
        scope: the scope around the call, in a setting that has one.
        called: whether the call began.
        returned, raised: what it returned, or raised.
        cancels: before which iterations its task was cancelled while it was under way.
        steps, seconds: how many iterations and how long the call took.
        accepted: how many frames the transport had accepted when the call ended.
        finishes: what the finish hook was told.
        stats: the handler's counters at the very end.
        close_seconds: how long closing took.
        tasks: how many tasks were left that are not the agent's.
        loop_errors: what the loop's exception handler was told.
        front: what was called: the handler, or the router in front of it.
    """

    setting: Setting
    watch: Watch
    wire: Wire
    front: AgentMessageHandler | MessageRouter
    scope: anyio.CancelScope | None = None
    called: bool = False
    returned: object = None
    raised: BaseException | None = None
    cancels: list[int] = field(default_factory=list[int])
    start: int = 0
    steps: int = 0
    seconds: float = 0.0
    accepted: int = 0
    finishes: list[Finish] = field(default_factory=list[Finish])
    stats: Mapping[str, object] = field(default_factory=dict[str, object])
    close_seconds: float = 0.0
    tasks: int = 0
    loop_errors: list[str] = field(default_factory=list[str])


def conduct(
    agent: Callable[[Watch], AgentLike], wire: Wire, setting: Setting | None = None
) -> Trial:
    """Send one message through a new handler, on a loop of its own, and close the handler.

    Args:
        agent: makes the agent, which tells the watch of its end.
        wire: the transport.
        setting: what is around it.
    """
    return run_virtual(_conduct(agent, wire, setting or Setting()))


async def _conduct(agent: Callable[[Watch], AgentLike], wire: Wire, setting: Setting) -> Trial:
    await asyncio.sleep(BEGINNING)
    loop = virtual_loop()
    watch = Watch()
    clock = loop_clock(EPOCH)
    finishes: list[Finish] = []
    frames = wire.frames
    handler = AgentMessageHandler(
        agent(watch),
        dialect=NativeDialect(dumps=watch.dumps),
        run_timeout=setting.run_timeout,
        final_send_timeout=FINAL_SEND_TIMEOUT,
        on_run_finished=lambda finished: finishes.append(Finish(finished, len(frames))),
        limits=setting.limits,
        clock=clock,
    )
    front: AgentMessageHandler | MessageRouter = handler
    if setting.routed:
        front = MessageRouter(
            handler, final_send_timeout=FINAL_SEND_TIMEOUT, limits=setting.limits, clock=clock
        )
    trial = Trial(setting=setting, watch=watch, wire=wire, front=front, finishes=finishes)
    errors = trial.loop_errors
    loop.set_exception_handler(lambda _, told: errors.append(str(told)))
    host = loop.create_task(_host(trial))
    trial.start = loop.turns

    def cancel() -> None:
        if not host.done():
            trial.cancels.append(loop.turns)
            if trial.scope is None:
                host.cancel()
            else:
                trial.scope.cancel()

    for step in setting.cancel_after:
        loop.call_after_turns(step, cancel)
    await asyncio.wait([host])
    watch.close()
    if not trial.called:
        trial.raised = asyncio.CancelledError()
    ended = loop.time()
    await front.aclose()
    trial.close_seconds = loop.time() - ended
    # What the agent left behind goes on first, to see that it can emit no more.
    await asyncio.gather(*watch.tasks, return_exceptions=True)
    trial.tasks = len(tasks_left())
    trial.stats = handler.get_stats()
    return trial


async def _host(trial: Trial) -> None:
    loop = virtual_loop()
    task = asyncio.current_task()
    assert task is not None
    setting = trial.setting
    if setting.swallowed_before:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
    if setting.cancelled_before:
        trial.cancels.append(loop.turns)
        task.cancel()
    trial.called = True
    began = loop.time()
    trial.scope = anyio.CancelScope() if setting.in_scope else None
    with trial.scope or nullcontext():
        try:
            trial.returned = await trial.front.handle_message("user-1", trial.wire, setting.message)
        except BaseException as raised:
            trial.raised = raised
            if setting.in_scope and isinstance(raised, asyncio.CancelledError):
                raise
    trial.steps = loop.turns - trial.start
    trial.seconds = loop.time() - began
    trial.accepted = len(trial.wire.frames)
