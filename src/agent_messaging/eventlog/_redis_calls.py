"""Calls of scripts on the server: those that are made together go together."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, cast, final

from agent_messaging._errors import EventLogError
from agent_messaging._timeouts import timeout_after
from agent_messaging.eventlog._redis_answers import text
from agent_messaging.eventlog._redis_client import (
    CrowdedError,
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

#: Calls that wait for their turn, at most: more than any process makes whose server answers.
_WAITING: Final = 100_000


@final
class Part(NamedTuple):
    """What a script that does the same for several runs needs: for all of them, or for one."""

    keys: tuple[str, ...]
    arguments: tuple[str | int, ...]


@final
class _Call:
    """One call, and the future of its answer: what the script returned, or an exception."""

    __slots__ = ("answer", "arguments", "head", "keys", "script")

    def __init__(self, script: Script, head: Part | None, keys: Words, arguments: Words) -> None:
        self.script = script
        self.head = head
        self.keys = keys
        self.arguments = arguments
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()


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
        timeout: seconds until a pipeline without an answer is given up.
        most: calls that wait at once; one more fails.
    """

    __slots__ = ("_client", "_is_closed", "_most", "_sender", "_timeout", "_waiting")

    def __init__(self, client: RedisClient, timeout: float, most: int = _WAITING) -> None:
        self._client: Final = client
        self._timeout: Final = timeout
        self._most: Final = most
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
            RedisLogError: the server, or the way to it, is in trouble.
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
            RedisLogError: all of them are missing.
            EventLogError: the log is closed.
        """
        self.check_open()
        calls = [_Call(script, head, *part) for head, part in parts]
        for call in calls:
            self._begin(call)
        try:
            answers = [await call.answer for call in calls]
        except asyncio.CancelledError:
            for call in calls:
                self._waiting.pop(call, None)
            raise
        outcomes = [
            self._trouble(script, answer) if isinstance(answer, Exception) else answer
            for answer in answers
        ]
        failures = [outcome for outcome in outcomes if isinstance(outcome, RedisLogError)]
        if failures and len(failures) == len(outcomes):
            raise failures[0]
        return outcomes

    def _begin(self, call: _Call) -> None:
        self.check_open()
        if len(self._waiting) >= self._most:
            call.answer.set_result(CrowdedError())
            return
        self._waiting[call] = None
        if self._sender is None:
            sender = asyncio.get_running_loop().create_task(
                self._send(), name="agent_messaging Redis calls"
            )
            # Under an eager task factory it may have come to its end already.
            self._sender = None if sender.done() else sender

    def _trouble(self, script: Script, error: Exception) -> RedisLogError:
        self.check_open()  # what failed because of that is no trouble
        return trouble(script.name, error)

    async def aclose(self) -> None:
        """Give up what is under way; it may have happened. Idempotent."""
        self._is_closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])

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
            self._sender = None
            for call in (*calls, *self._waiting):
                if not call.answer.done():
                    call.answer.set_result(EventLogError("cancelled"))

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
        for command, reply in zip(commands, replies, strict=True):
            command.answer(reply)

    async def _execute(self, name: str, commands: Sequence[_Command]) -> list[object]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            script, keys = command.script, command.keys
            code = script.digest if name == "EVALSHA" else script.text
            pipeline.execute_command(name, code, len(keys), *keys, *command.arguments)
        return await pipeline.execute(raise_on_error=False)


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
