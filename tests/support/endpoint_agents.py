"""Agents that do what a test tells them, one order after the other, while their runs go on."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agent_messaging import (
    AgentError,
    LifecycleError,
    OutboxFullError,
    Run,
    ToolCall,
    TransportError,
)
from support.endpoint_witness import Witness
from support.loop import TICK

#: ``say``: that many chunks, each awaited; ``blurt``: as many, none awaited. ``open`` and
#: ``close`` a tool call. ``stray``: leave a task behind that says something so many ticks later.
#: ``swallow`` the next so many cancellations. ``shield``: wait for so many ticks in an inner task
#: that no cancellation reaches. ``return``, or end by raising: an error, an error in words for
#: the client, a cancellation of its own making.
Verb: TypeAlias = Literal[
    "say",
    "blurt",
    "open",
    "close",
    "stray",
    "swallow",
    "shield",
    "return",
    "fail",
    "fail in words",
    "cancel itself",
]


@dataclass(frozen=True, slots=True)
class Order:
    """One thing that an agent is to do."""

    verb: Verb
    number: int = 1


RETURN: Final = Order("return")


class Puppet:
    """One run's agent.

    Attributes:
        run: what it holds.
        swallows: how many cancellations it takes no notice of.
        refused: how many of its events were refused, since its run had ended without it.
    """

    def __init__(self, run: Run) -> None:
        self.run: Final = run
        self.swallows = 0
        self.refused = 0
        self._orders: deque[Order] = deque()
        self._ordered = asyncio.Event()
        self._is_released = False
        self._calls: list[ToolCall] = []
        self._strays: list[asyncio.Task[None]] = []

    def order(self, *orders: Order) -> None:
        """Have it do this, after what it was told before."""
        self._orders.extend(orders)
        self._ordered.set()

    def release(self) -> None:
        """Have it end now: with what it was told before, or by returning."""
        self.swallows = 0
        self._is_released = True
        self._ordered.set()

    async def live(self) -> object:
        """Do what is ordered, until an order ends it."""
        while True:
            try:
                while not (self._orders or self._is_released):
                    self._ordered.clear()
                    await self._ordered.wait()
                order = self._orders.popleft() if self._orders else RETURN
                if order.verb == "return":
                    return {"told": order.number}
                await self._obey(order)
            except asyncio.CancelledError:
                if not self.swallows:
                    raise
                self.swallows -= 1
            except (LifecycleError, TransportError, OutboxFullError):
                # Its run ended without it, is not its own any more, or it spoke too fast.
                self.refused += 1

    async def _obey(self, order: Order) -> None:
        run, number = self.run, order.number
        match order.verb:
            case "say":
                for nth in range(number):
                    await run.chunk(f"{run.context.message_id} {nth}")
            case "blurt":
                for nth in range(number):
                    run.thinking(f"{run.context.message_id} {nth}")
            case "open":
                call = run.tool("search", {"of": run.context.message_id})
                self._calls.append(call)
                await run.tool_executing(call.tool_call_id, call.tool_name, call.arguments)
            case "close":
                if self._calls:
                    await run.tool_completed(self._calls.pop().tool_call_id, number)
            case "stray":
                self._strays.append(asyncio.create_task(self._stray(number)))
            case "swallow":
                self.swallows += number
            case "shield":
                await asyncio.shield(asyncio.ensure_future(asyncio.sleep(number * TICK)))
            case "fail":
                raise RuntimeError("not for the client")
            case "fail in words":
                raise AgentError("for the client", code="odd", retryable=True)
            case "cancel itself":
                raise asyncio.CancelledError
            case "return":
                pass

    async def _stray(self, ticks: int) -> None:
        await asyncio.sleep(ticks * TICK)
        try:
            await self.run.thinking("a stray thought")
        except (LifecycleError, TransportError, OutboxFullError):
            self.refused += 1


class Stage:
    """Where the agents are; one agent function for all runs.

    Args:
        witness: knows which runs have ended.
        shares_threads: whether a thread may have several runs at once.

    Attributes:
        puppets: the agents whose code runs, by run id, oldest first.
        first_orders: what each new one is to do at once.
        faults: in words, what no agent may see.
        is_over: whether those that begin are to end at once.
    """

    def __init__(self, witness: Witness, *, shares_threads: bool) -> None:
        self.puppets: dict[str, Puppet] = {}
        self.first_orders: tuple[Order, ...] = ()
        self.faults: list[str] = []
        self.is_over = False
        self._begun: set[str] = set()
        self._witness = witness
        self._shares_threads = shares_threads

    async def agent(self, run: Run) -> object:
        """What the handler runs."""
        context = run.context
        self._check(run)
        puppet = self.puppets[context.run_id] = Puppet(run)
        self._begun.add(context.run_id)
        puppet.order(*self.first_orders)
        if self.is_over:
            puppet.release()
        try:
            return await puppet.live()
        finally:
            del self.puppets[context.run_id]

    def release(self) -> None:
        """Have all of them end."""
        for puppet in self.puppets.values():
            puppet.release()

    def _check(self, run: Run) -> None:
        context = run.context
        history = self._witness.histories.get((context.user_id, context.run_id))
        if history is None:
            self.faults.append(f"{context} began, and was never claimed")
            return
        mine = (history.thread_id, history.message_id)
        if mine != (context.thread_id, context.message_id):
            self.faults.append(f"{context} was claimed as {mine}")
        if history.is_ended:
            self.faults.append(f"{context} began after its end")
        if self._shares_threads:
            return
        for other in self._witness.active[context.user_id].values():
            began = other.is_started or other.run_id in self._begun
            if other.thread_id == context.thread_id and began and other is not history:
                self.faults.append(f"{context} began while {other.run_id} was on its thread")
