"""One client of the soak: what it does at random, and how it comes to its end."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Final, final

from soak.agents import GRACE
from soak.connection import GONE, PATIENCE, Connection, connected
from soak.ledger import Device, Sent

#: Frames that are refused without a message id.
_RUBBISH: Final = (
    "",
    "{",
    "[]",
    '{"type":"\\ud83d"}',
    '{"type":"resume","payload":{}}',
    '{"type":"resume","payload":{"after":{"r":-1}}}',
    '{"type":"stop_agent"}',
    '{"type":"ping","payload":{"id":{}}}',
    '{"type":"chat","payload":' + '{"a":' * 40 + "1" + "}" * 41,
    '{"type":"chat","payload":{"text":"' + "x" * 300_000 + '"}}',
)

#: Frames that are refused with the message id that they carry.
_REFUSED: Final = (
    {"type": "sing", "payload": {"song": "of the sea"}},
    {"type": "chat", "payload": {"text": "  "}},
    {"type": "chat", "payload": {"text": "quick"}, "user_id": "somebody else"},
    {"type": "chat", "payload": {"text": 3}},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all clients go by: where the server is, until when they act, and how often.

    Attributes:
        uri: the server's.
        end: the loop's time at which no client begins anything any more.
        pace: mean seconds between two acts of one client.
    """

    uri: str
    end: float
    pace: float


@final
class Client:
    """One device that lives: it acts, leaves, comes back, and in the end waits for all it began."""

    def __init__(self, device: Device, terms: Terms, seed: int, number: int) -> None:
        self.device = device
        self._terms = terms
        self._random = Random(seed * 1_000_003 + number)
        self._number = number
        self._made = 0
        self._counts: Final = device.ledger.counts
        #: Each client begins with another act, so that none is left out however short the soak.
        self._opening: Final = ACTS[number % len(ACTS)]
        self._is_opening = True

    # Its life.

    async def live(self) -> None:
        """Act until the terms end, over as many connections as that takes."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._random.uniform(0, 2 * self._terms.pace))
        while loop.time() < self._terms.end:
            is_narrow = self._next_is_half_read or self._random.random() < 0.1
            try:
                async with connected(self._terms.uri, self.device, is_narrow=is_narrow) as line:
                    await self._come_back(line)
                    await self._act(line)
            except GONE:
                self._counts["connections lost"] += 1
            await asyncio.sleep(self._random.uniform(0.0, 1.0))  # as long as a reload takes

    @property
    def _next_is_half_read(self) -> bool:
        return self._is_opening and self._opening == "half_read"

    async def _act(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < self._terms.end and not connection.is_gone:
            if self._is_opening:
                self._is_opening = False
                await self._say(connection, "chatty")
                name = self._opening
            else:
                [name] = self._random.choices(ACTS, WEIGHTS)
            self._counts[f"act {name}"] += 1
            goes_on = await ACT[name](self, connection)
            if not goes_on:
                return
            await asyncio.sleep(min(self._random.expovariate(1 / self._terms.pace), 10.0))

    async def _come_back(self, connection: Connection) -> None:
        """What a page does after a reload: send again what is uncertain, resume what is not over.

        In any order: a retry brings back a run from its first event, a RESUME from where it was.
        """
        for message_id, sent in list(self.device.messages.items()):
            if sent.fate == "unknown":
                connection.line.sends_message(message_id)
                self._counts["messages sent again"] += 1
                await connection.send(sent.frame)
        await self._resume(connection, self.device.unended)

    async def _resume(self, connection: Connection, cursors: dict[str, int]) -> None:
        runs = list(cursors.items())
        for start in range(0, len(runs), 100):
            after = dict(runs[start : start + 100])
            connection.line.sends_resume(after)
            self._counts["resumes"] += 1
            await connection.send(_frame("resume", {"after": after}))

    async def settle(self) -> None:
        """Wait for the end of all that was begun; stop what would go on for long."""
        last = ""
        for attempt in range(10):
            if self.device.is_settled:
                return
            try:
                async with connected(self._terms.uri, self.device, is_narrow=False) as connection:
                    await self._come_back(connection)
                    await self._stop_all(connection)
                    await connection.close()
            except GONE as error:
                last = repr(error)
            else:
                last = "nothing came any more"
            await asyncio.sleep(0.2 * attempt)
            self._counts["attempts to settle"] += 1
        if not self.device.is_settled:
            unknown = [sent.frame for sent in self.device.unknown]
            self.device.fault("unsettled", f"{last}: {self.device.unended} {unknown}")

    async def _stop_all(self, connection: Connection) -> None:
        """Stop what is not over, and what turns out to have begun, until nothing is left."""
        device = self.device
        stopped: set[str] = set()

        def is_there_news() -> bool:
            return device.is_settled or not device.unended.keys() <= stopped

        while await connection.until(is_there_news, PATIENCE) and not device.is_settled:
            for run_id in device.unended.keys() - stopped:
                await self._stop(connection, run_id=run_id)
                stopped.add(run_id)

    # Its acts. Each says whether the connection still stands.

    async def _say(self, connection: Connection, behaviour: str) -> str:
        self._made += 1
        message_id = f"{self.device.name}.{self._made}"
        fields: dict[str, object] = {"message_id": message_id}
        if self._random.random() < 0.8:
            # Its threads are those of its user's other devices too.
            fields["thread_id"] = f"{self.device.account.user_id}.{self._random.randrange(4)}"
        text = f"{behaviour} {message_id}"
        match self._random.randrange(3):
            case 0:
                frame = _frame("start_agent", {"user_request": text}, **fields)
            case 1:
                frame = _frame("user_message", {"message": text}, **fields)
            case _:
                frame = _frame("chat", {"text": text}, **fields)
        self.device.messages[message_id] = Sent(frame, behaviour)
        self._counts["messages"] += 1
        connection.line.sends_message(message_id)
        await connection.send(frame)
        return message_id

    async def talk(self, connection: Connection) -> bool:
        behaviours = ("quick", "chatty", "team", "fails", "waits", "stubborn")
        [behaviour] = self._random.choices(behaviours, (40, 25, 15, 8, 10, 2))
        await self._say(connection, behaviour)
        return True

    async def burst(self, connection: Connection) -> bool:
        for _ in range(24):
            await self._say(connection, "quick")
        return True

    async def retry(self, connection: Connection) -> bool:
        if self.device.messages:
            message_id = self._random.choice(list(self.device.messages))
            connection.line.sends_message(message_id)
            await connection.send(self.device.messages[message_id].frame)
        return True

    async def contradict(self, connection: Connection) -> bool:
        accepted = [key for key, sent in self.device.messages.items() if sent.fate == "accepted"]
        if accepted:
            message_id = self._random.choice(accepted)
            connection.line.sends_rubbish(message_id)
            frame = _frame("chat", {"text": "quick something else"}, message_id=message_id)
            await connection.send(frame)
        return True

    async def _stop(
        self, connection: Connection, *, run_id: str | None = None, thread_id: str | None = None
    ) -> None:
        if run_id is not None:
            self.device.account.stopped_runs.add(run_id)
        if thread_id is not None:
            self.device.account.stopped_threads.add(thread_id)
        connection.line.sends_stop()
        self._counts["stops"] += 1
        target = {"run_id": run_id, "thread_id": thread_id}
        await connection.send(_frame("stop_agent", target))

    async def stop_run(self, connection: Connection) -> bool:
        runs = list(self.device.unended) or list(self.device.runs)
        if runs:
            await self._stop(connection, run_id=self._random.choice(runs))
        return True

    async def stop_thread(self, connection: Connection) -> bool:
        runs = list(self.device.runs.values())
        if runs:
            run = self._random.choice(runs[-8:])
            await self._stop(connection, thread_id=run.thread_id)
            # The barrier: what comes next on the thread is safe to be sent at once.
            await self.talk(connection)
        return True

    async def defy(self, connection: Connection) -> bool:
        """Stop an agent that does not let itself be stopped."""
        message_id = await self._say(connection, "stubborn")
        sent = self.device.messages[message_id]
        if await connection.until(lambda: sent.run_id is not None, 2.0):
            await self._stop(connection, run_id=sent.run_id)
        return True

    async def trespass(self, connection: Connection) -> bool:
        """Try to stop and to resume what is another user's."""
        ledger, account = self.device.ledger, self.device.account
        others = [run_id for run_id in ledger.recent if ledger.owners[run_id] != account.user_id]
        if others:
            run_id = self._random.choice(others)
            connection.line.sends_stop()
            await connection.send(_frame("stop_agent", {"run_id": run_id}))
            connection.line.sends_resume({})  # whatever comes back is then a fault
            await connection.send(_frame("resume", {"after": {run_id: 0}}))
            # Of the same name as a thread of the other user's, it is a thread of this one's.
            thread_id = f"{ledger.owners[run_id]}.{self._random.randrange(4)}"
            await self._stop(connection, thread_id=thread_id)
            connection.line.sends_resume({}, thread_id)
            await connection.send(_frame("resume", {"thread_id": thread_id}))
        return True

    async def ping(self, connection: Connection) -> bool:
        number = self._random.randrange(1_000_000)
        connection.line.sends_ping(number)
        await connection.send(_frame("ping", {"id": number}))
        return True

    async def rubbish(self, connection: Connection) -> bool:
        if self._random.random() < 0.5:
            connection.line.sends_rubbish(None)
            await connection.send(self._random.choice(_RUBBISH))
        else:
            self._made += 1
            message_id = f"{self.device.name}.{self._made}"
            connection.line.sends_rubbish(message_id)
            frame = {**self._random.choice(_REFUSED), "message_id": message_id}
            await connection.send(json.dumps(frame))
        return True

    async def second_tab(self, connection: Connection) -> bool:
        """Watch what another device of the user does."""
        thread_id = f"{self.device.account.user_id}.{self._random.randrange(4)}"
        cursors = {
            run.run_id: run.cursor
            for run in self.device.runs.values()
            if run.thread_id == thread_id
        }
        after = dict(list(cursors.items())[-100:])
        connection.line.sends_resume(after, thread_id)
        await connection.send(_frame("resume", {"thread_id": thread_id, "after": after}))
        return True

    async def half_read(self, connection: Connection) -> bool:
        """Stop reading in the middle of a flood; then be gone, or read on."""
        await self._say(connection, "flood")
        connection.reads.clear()
        await asyncio.sleep(self._random.uniform(0.5, 4.5))
        if self._random.random() < 0.3:
            connection.kill()
            return False
        connection.reads.set()
        return True

    async def kill(self, connection: Connection) -> bool:
        connection.kill()
        return False

    async def talk_and_kill(self, connection: Connection) -> bool:
        """Be gone at once, without knowing what became of the message."""
        await self.talk(connection)
        if self._random.random() < 0.5:
            await asyncio.sleep(self._random.uniform(0.0, 0.2))
        connection.kill()
        return False

    async def vanish(self, connection: Connection) -> bool:
        """Be gone for longer than the server keeps a run for nobody."""
        await self._say(connection, "waits")
        await asyncio.sleep(0.2)
        connection.kill()
        await asyncio.sleep(1.5 * GRACE)
        return False

    async def reload(self, connection: Connection) -> bool:
        await connection.close()
        return False

    async def disconnect(self, connection: Connection) -> bool:
        await connection.send(_frame("disconnect", {}))
        await connection.until(lambda: False, PATIENCE)  # the server closes
        await connection.close()
        return False


def _frame(kind: str, payload: object, **fields: object) -> str:
    return json.dumps({"type": kind, "payload": payload, **fields})


_Act = Callable[[Client, Connection], Coroutine[Any, Any, bool]]

#: What clients do, and how often.
_TABLE: Final[dict[str, tuple[_Act, int]]] = {
    "talk": (Client.talk, 40),
    "burst": (Client.burst, 1),
    "retry": (Client.retry, 6),
    "contradict": (Client.contradict, 3),
    "stop_run": (Client.stop_run, 6),
    "stop_thread": (Client.stop_thread, 5),
    "trespass": (Client.trespass, 3),
    "defy": (Client.defy, 2),
    "ping": (Client.ping, 8),
    "rubbish": (Client.rubbish, 5),
    "second_tab": (Client.second_tab, 3),
    "half_read": (Client.half_read, 2),
    "kill": (Client.kill, 4),
    "talk_and_kill": (Client.talk_and_kill, 4),
    "vanish": (Client.vanish, 1),
    "reload": (Client.reload, 6),
    "disconnect": (Client.disconnect, 3),
}
ACTS: Final = tuple(_TABLE)
WEIGHTS: Final = tuple(weight for _, weight in _TABLE.values())
ACT: Final = {name: act for name, (act, _) in _TABLE.items()}
