"""Calls of scripts on the server: those that are made together go together."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, cast, final

from agent_messaging._errors import EventLogError
from agent_messaging._timeouts import timeout_after
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

    __slots__ = ("answer", "arguments", "head", "keys", "script")

    def __init__(self, script: Script, head: Part | None, keys: Words, arguments: Words) -> None:
        self.script = script
        self.head = head
        self.keys = keys
        self.arguments = arguments
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def outcome(self) -> object:
        """The answer; a `RedisLogError` in its place is returned, not raised."""
        answer = await self.answer
        if isinstance(answer, Exception):
            error = trouble(self.script.name, answer)
            error.__cause__ = answer
            return error
        return answer


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
        """Hand out what the server said."""
        is_list = self.calls[0].head is not None and not isinstance(reply, Exception)
        replies = cast("list[object]", reply) if is_list else [reply] * len(self.calls)
        for call, its_reply in zip(self.calls, replies, strict=True):
            if not call.answer.done():  # who asked may have been cancelled
                call.answer.set_result(its_reply)


@final
class Calls:
    """The one way of a log's scripts to the server, one pipeline at a time.

    What is asked for while one is under way goes with the next. So calls take effect in the order
    in which they were made, and one that was cancelled never after a later one. A call that is
    cancelled before it was sent is not made.

    Args:
        client: the host's client.
        timeout: seconds until a pipeline without an answer is given up.
    """

    __slots__ = ("_client", "_is_closed", "_sender", "_timeout", "_waiting")

    def __init__(self, client: RedisClient, timeout: float) -> None:
        self._client: Final = client
        self._timeout: Final = timeout
        self._waiting: dict[_Call, None] = {}
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False

    def check_open(self) -> None:
        """Raise `EventLogError` once it was closed."""
        if self._is_closed:
            raise EventLogError("the event log is closed; use one that is open")

    async def ask(self, script: Script, keys: Words, arguments: Words = ()) -> object:
        """Run a script; what it returned.

        Raises:
            RedisLogError: the server, or the way to it, is in trouble.
            EventLogError: the log is closed.
        """
        (answer,) = await self._outcomes([_Call(script, None, keys, arguments)])
        if isinstance(answer, RedisLogError):
            raise answer
        return answer

    async def ask_each(
        self, script: Script, parts: Sequence[tuple[Part | None, Part]]
    ) -> list[object]:
        """Run a script several times; the answers.

        Args:
            script: the script.
            parts: what it needs for all of a shard's runs, and for one of them. Those with the
                same first part go as one, also with those that others ask for now: the script
                answers with a list. Those without one go by themselves.

        Returns:
            The answers, and a `RedisLogError` in place of each that is missing.

        Raises:
            RedisLogError: all of them are missing.
            EventLogError: the log is closed.
        """
        answers = await self._outcomes(
            [_Call(script, head, part.keys, part.arguments) for head, part in parts]
        )
        failures = [answer for answer in answers if isinstance(answer, RedisLogError)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        return answers

    async def _outcomes(self, calls: Sequence[_Call]) -> list[object]:
        self.check_open()
        self._waiting.update(dict.fromkeys(calls))
        if self._sender is None:
            sender = asyncio.get_running_loop().create_task(
                self._send(), name="agent_messaging Redis calls"
            )
            # Under an eager task factory it may have come to its end already.
            self._sender = None if sender.done() else sender
        try:
            outcomes = [await call.outcome() for call in calls]
        finally:
            for call in calls:
                self._waiting.pop(call, None)
        self.check_open()
        return outcomes

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
                await self._send_together(_joined(calls))
        finally:
            self._sender = None
            for call in (*calls, *self._waiting):
                if not call.answer.done():
                    call.answer.set_result(EventLogError("cancelled"))

    async def _send_together(self, commands: Sequence[_Command]) -> None:
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
