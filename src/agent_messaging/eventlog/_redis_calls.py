"""Calls of scripts on the server: those that are made together go together."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice, takewhile
from typing import Final, NamedTuple, TypeAlias, cast, final

from agent_messaging._errors import EventLogError
from agent_messaging._timeouts import timeout_after
from agent_messaging.eventlog._redis_answers import text
from agent_messaging.eventlog._redis_client import (
    RedisClient,
    RedisLogError,
    is_unknown_script,
    trouble,
)
from agent_messaging.eventlog._redis_scripts import Script

__all__ = ["Calls", "Part", "Words"]

#: Keys or arguments of a script.
Words: TypeAlias = Sequence[str | int]

#: Calls that go to the server at once, at most: while it runs them it serves nobody else.
_TOGETHER: Final = 128


@final
class Part(NamedTuple):
    """What a script that does the same for several runs needs: for all of them, or for one."""

    keys: tuple[str, ...]
    arguments: tuple[str | int, ...]


@final
class _Call:
    """One call, and the future of its answer: what the script returned, or an exception."""

    __slots__ = ("answer", "arguments", "begun", "head", "keys", "script")

    def __init__(self, script: Script, head: Part | None, keys: Words, arguments: Words) -> None:
        loop = asyncio.get_running_loop()
        self.script = script
        self.head = head
        self.keys = keys
        self.arguments = arguments
        self.begun = loop.time()
        self.answer: asyncio.Future[object] = loop.create_future()


@final
class _Command:
    """What is sent for one call, or for several with the same head."""

    __slots__ = ("arguments", "calls", "keys", "script")

    def __init__(self, call: _Call) -> None:
        head = call.head or Part((), ())
        self.script = call.script
        self.calls = [call]
        self.keys = [*head.keys, *call.keys]
        self.arguments = [*head.arguments, *call.arguments]

    def join(self, call: _Call) -> None:
        """Do this one too."""
        self.calls.append(call)
        self.keys += call.keys
        self.arguments += call.arguments

    def answer(self, reply: object) -> None:
        """Hand out what the server said: for several runs in a list, or in one line."""
        replies: Sequence[object]
        if self.calls[0].head is None or isinstance(reply, Exception):
            replies = [reply] * len(self.calls)
        elif isinstance(reply, list):
            replies = cast("list[object]", reply)
        else:
            replies = text(reply).split()
        for call, its_reply in zip(self.calls, replies, strict=True):
            if not call.answer.done():  # who asked may have been cancelled
                call.answer.set_result(its_reply)


@final
class Calls:
    """The one way of a log's scripts to the server, one pipeline at a time.

    What is asked for while one is under way goes with the next. So calls take effect in the order
    in which they were made, and one that was cancelled never after a later one, unless the server
    took longer than ``timeout``. A call that is cancelled before it was sent is not made, and
    neither is one beyond so many that wait: it fails at once.

    Args:
        client: the host's client.
        timeout: seconds until a pipeline without an answer is given up, and with it the calls that
            have waited for it as long.
        bound: calls that may wait for the one under way; one more is refused.
    """

    __slots__ = ("_bound", "_client", "_is_closed", "_sender", "_timeout", "_waiting")

    def __init__(self, client: RedisClient, timeout: float, bound: int) -> None:
        self._client: Final = client
        self._timeout: Final = timeout
        self._bound: Final = bound
        self._waiting: dict[_Call, None] = {}
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False

    def check_open(self) -> None:
        """Raise `EventLogError` once it was closed."""
        if self._is_closed:
            raise EventLogError("the event log is closed; use one that is open")

    async def ask(
        self, script: Script, keys: Words, arguments: Words = (), head: Part | None = None
    ) -> object:
        """Run a script; what it answers.

        Args:
            script: the script.
            keys: its keys.
            arguments: its arguments.
            head: those that come before them, of a script that does the same for several runs and
                answers for each; the answer is the one for this run. Calls with the same head go
                to the server as one.

        Raises:
            RedisLogError: the server, or the way to it, is in trouble, or too many calls wait.
            EventLogError: the log is closed.
        """
        call = _Call(script, head, keys, arguments)
        self._begin(call)
        try:
            answer = await call.answer
        except asyncio.CancelledError:
            self._waiting.pop(call, None)
            raise
        if isinstance(answer, Exception):
            raise self._trouble(script, answer)
        return answer

    async def ask_each(
        self, script: Script, parts: Sequence[tuple[Part | None, Part]]
    ) -> list[object]:
        """Run a script for several runs or shards, as `ask` would; the answers.

        Args:
            script: the script.
            parts: for each the head, and the keys and arguments.

        Returns:
            The answers, and a `RedisLogError` in place of each that is missing.

        Raises:
            RedisLogError: all of them are missing, or too many calls wait; some may have been run.
            EventLogError: the log is closed.
        """
        self.check_open()
        # Not more at once than a pipeline takes, so that the calls of others go in between.
        together = min(_TOGETHER, self._bound)
        outcomes: list[object] = []
        for at in range(0, len(parts), together):
            outcomes += await self._ask_together(script, parts[at : at + together])
        failures = [outcome for outcome in outcomes if isinstance(outcome, RedisLogError)]
        if failures and len(failures) == len(outcomes):
            raise failures[0]
        return outcomes

    async def _ask_together(
        self, script: Script, parts: Sequence[tuple[Part | None, Part]]
    ) -> list[object]:
        calls = [_Call(script, head, *part) for head, part in parts]
        self._begin(*calls)
        try:
            answers = [await call.answer for call in calls]
        except asyncio.CancelledError:
            for call in calls:
                self._waiting.pop(call, None)
            raise
        return [
            self._trouble(script, answer) if isinstance(answer, Exception) else answer
            for answer in answers
        ]

    def _begin(self, *calls: _Call) -> None:
        self.check_open()
        if len(self._waiting) + len(calls) > self._bound:
            raise RedisLogError(
                f"asked Redis to {calls[0].script.name}, expected room among the {self._bound} "
                "calls that may wait, got none: see whether the server is up and can keep up; "
                "then ask again"
            )
        self._waiting.update(dict.fromkeys(calls))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(
                self._send(), name="agent_messaging Redis calls"
            )

    def _trouble(self, script: Script, error: Exception) -> RedisLogError:
        self.check_open()  # what failed because of that is no trouble
        return trouble(script.name, error)

    async def aclose(self) -> None:
        """Give up what is under way; it may have happened. Idempotent."""
        self._is_closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        # One that was cancelled before its first step has done nothing, not even clean up.
        self._give_up(())

    # The sender.

    async def _send(self) -> None:
        """Send what waits, and what comes meanwhile."""
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls = list(islice(self._waiting, _TOGETHER))
                for call in calls:
                    del self._waiting[call]
                # Those that were cancelled in this turn of the loop are not gone by themselves yet.
                await self._send_together(_joined([one for one in calls if not one.answer.done()]))
        finally:
            self._give_up(calls)

    def _give_up(self, sent: Iterable[_Call]) -> None:
        """Have nobody wait any more, neither for what was sent nor for what was not."""
        _answer((*sent, *self._waiting), EventLogError("cancelled"))
        self._waiting.clear()

    async def _send_together(self, commands: Sequence[_Command]) -> None:
        if not commands:
            return
        try:
            async with timeout_after(self._timeout):
                replies = await self._execute("EVALSHA", commands)
                unknown = [at for at, reply in enumerate(replies) if is_unknown_script(reply)]
                if unknown:
                    again = await self._execute("EVAL", [commands[at] for at in unknown])
                    for at, reply in zip(unknown, again, strict=True):
                        replies[at] = reply
        except Exception as error:  # noqa: BLE001 - the host's client may raise anything
            replies = [error] * len(commands)
            self._fail_the_late(error)
        for command, reply in zip(commands, replies, strict=True):
            command.answer(reply)

    def _fail_the_late(self, error: Exception) -> None:
        """Let a server that is lost keep nobody longer for others having asked before."""
        latest = asyncio.get_running_loop().time() - self._timeout
        late = tuple(takewhile(lambda call: call.begun <= latest, self._waiting))
        for call in late:
            del self._waiting[call]
        _answer(late, error)

    async def _execute(self, name: str, commands: Sequence[_Command]) -> list[object]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            script, keys = command.script, command.keys
            code = script.digest if name == "EVALSHA" else script.text
            pipeline.execute_command(name, code, len(keys), *keys, *command.arguments)
        return await pipeline.execute(raise_on_error=False)


def _answer(calls: Iterable[_Call], answer: object) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_result(answer)


def _joined(calls: Sequence[_Call]) -> list[_Command]:
    """The commands for the calls: one for those of a script with the same head."""
    commands: list[_Command] = []
    by_head: dict[tuple[Script, Part], _Command] = {}
    for call in calls:
        if call.head is None:
            commands.append(_Command(call))
            continue
        command = by_head.get((call.script, call.head))
        if command is None:
            command = by_head[call.script, call.head] = _Command(call)
            commands.append(command)
        else:
            command.join(call)
    return commands
