"""Handlers of a host's own with one fault each, which the conformance suite is to find."""

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from agent_messaging import Message, Transport, WebSocketLike, as_transport

#: What a handler sends over, or takes for that.
Websocket = WebSocketLike | None


class Notes:
    """A good handler of notes; those below derive from it, each with one fault."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {"note": 0, "recall": 0}
        self.kinds = ["note", "recall"]

    @property
    def supported_types(self) -> frozenset[str]:
        return frozenset({"note", "recall"})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(self, user_id: str, websocket: Websocket, message: Message) -> bool:
        self.counts[message.type] += 1
        await self.answer(user_id, websocket, message)
        return True

    async def answer(self, user_id: str, websocket: Websocket, message: Message) -> None:
        for word in ("heard", "noted"):
            await self.work()
            await self.send(self.transport(websocket), self.frame(word, user_id))

    async def work(self) -> None:
        await asyncio.sleep(0)

    def transport(self, websocket: Websocket) -> Transport:
        assert websocket is not None
        return as_transport(websocket)

    async def send(self, transport: Transport, frame: str) -> None:
        await transport(frame)

    def frame(self, word: str, user_id: str) -> str:
        return json.dumps({"type": word, "user_id": user_id})

    def get_stats(self) -> Mapping[str, object]:
        return {"counts": dict(self.counts), "kinds": list(self.kinds)}


class SendsNothing(Notes):
    """A good one too."""

    async def answer(self, user_id: str, websocket: Websocket, message: Message) -> None:
        await self.work()


class TakesItsTime(Notes):
    """A good one too."""

    async def work(self) -> None:
        await asyncio.sleep(1.0)


class GivesUpSoon(Notes):
    """A good one too, which waits for no websocket for long."""

    async def send(self, transport: Transport, frame: str) -> None:
        async with asyncio.timeout(0.05):
            await transport(frame)


# Which messages are handled, and what is sent for them.


class IsNoCoroutineFunction(Notes):
    def handle_message(self, user_id: str, websocket: Websocket, message: Message) -> Any:
        return super().handle_message(user_id, websocket, message)


class DeniesAType(Notes):
    def can_handle(self, message_type: str) -> bool:
        return message_type == "note"


class TakesAnyCase(Notes):
    def can_handle(self, message_type: str) -> bool:
        return message_type.lower() in self.supported_types


class FallsThrough(Notes):
    async def handle_message(self, user_id: str, websocket: Websocket, message: Message) -> Any:
        try:
            await super().handle_message(user_id, websocket, message)
        except ConnectionError:
            return False


class SaysNan(Notes):
    def frame(self, word: str, user_id: str) -> str:
        return json.dumps({"type": word, "score": float("nan")})


class SaysWords(Notes):
    def frame(self, word: str, user_id: str) -> str:
        return f"{word} by {user_id}"


class SendsBytes(Notes):
    def frame(self, word: str, user_id: str) -> Any:
        return super().frame(word, user_id).encode()


class KnowsOneFramework(Notes):
    def transport(self, websocket: Websocket) -> Transport:
        own: Any = websocket
        send: Transport = getattr(own, "send_text", own)
        return send


# Calls at once, and websockets that fail.


class KeepsTheWebsocket(Notes):
    websocket: Websocket = None

    async def answer(self, user_id: str, websocket: Websocket, message: Message) -> None:
        self.websocket = websocket
        await super().answer(user_id, websocket, message)

    def transport(self, websocket: Websocket) -> Transport:
        return super().transport(self.websocket)

    def frame(self, word: str, user_id: str) -> str:
        return json.dumps({"type": word})


class KeepsTheUser(Notes):
    user_id = ""

    async def answer(self, user_id: str, websocket: Websocket, message: Message) -> None:
        self.user_id = user_id
        await super().answer(user_id, websocket, message)

    def frame(self, word: str, user_id: str) -> str:
        return super().frame(word, self.user_id)


class SwallowsFailures(Notes):
    async def send(self, transport: Transport, frame: str) -> None:
        try:
            await transport(frame)
        except ConnectionError:
            return


class SwallowsTheFailureOfItsTenthSend(Notes):
    async def answer(self, user_id: str, websocket: Websocket, message: Message) -> None:
        transport = self.transport(websocket)
        for number in range(1, 11):
            try:
                await self.send(transport, self.frame(f"word {number}", user_id))
            except ConnectionError:
                if number < 10:
                    raise


class GivesUpForGood(Notes):
    is_broken = False

    async def handle_message(self, user_id: str, websocket: Websocket, message: Message) -> bool:
        try:
            return not self.is_broken and await super().handle_message(user_id, websocket, message)
        except ConnectionError:
            self.is_broken = True
            return False


class ExcusesItselfAsCancelled(Notes):
    async def send(self, transport: Transport, frame: str) -> None:
        try:
            await transport(frame)
        except ConnectionError:
            raise asyncio.CancelledError from None


# Statistics.


class SharesAList(Notes):
    def get_stats(self) -> Mapping[str, object]:
        return {"counts": dict(self.counts), "kinds": MappingProxyType({"all": self.kinds})}


class ShowsItsCounters(Notes):
    def get_stats(self) -> Mapping[str, object]:
        return {"counts": MappingProxyType(self.counts), "kinds": tuple(self.kinds)}


# Cancellation.


class SwallowsCancellation(Notes):
    async def work(self) -> None:
        try:
            await super().work()
        except asyncio.CancelledError:
            return


class SeesEverySendToItsEnd(Notes):
    async def send(self, transport: Transport, frame: str) -> None:
        sending = asyncio.ensure_future(transport(frame))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await sending
            raise


class KeepsItsLock(Notes):
    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def handle_message(self, user_id: str, websocket: Websocket, message: Message) -> bool:
        await self.lock.acquire()
        try:
            return await super().handle_message(user_id, websocket, message)
        except ConnectionError:
            return False
        finally:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                self.lock.release()
