"""Connections in memory with one fault each, which the conformance suite is to find."""

import asyncio
import unicodedata
from collections import deque
from typing import Final

#: How many characters a connection holds that its peer has not read.
ROOM: Final = 2**22


class Server:
    """What the connections of one case share."""

    def __init__(self) -> None:
        self.lock: Final = asyncio.Lock()
        self.wires: Final[list[Wire]] = []


class Wire:
    """A good connection, with the peer at its other end.

    Those below derive from it, each with one fault, as narrow as it takes to be seen in one way.
    """

    raises_when_gone = True

    def __init__(self, server: Server) -> None:
        self.server: Final = server
        self.sends = 0
        self.is_gone = False
        self._frames: deque[object] = deque()
        self._waiting = 0
        self._changed = asyncio.Condition()
        server.wires.append(self)

    # The host's end.

    async def send(self, frame: str) -> None:
        self.sends += 1
        for _ in range(3):
            await self.turn()
        async with self._changed:
            while self._waiting > ROOM and not self.is_gone:
                await self.wait()
        if self.is_gone:
            await self.refuse()
        else:
            await self.deliver(frame)

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def wait(self) -> None:
        await self._changed.wait()

    async def refuse(self) -> None:
        raise ConnectionResetError("the peer has gone")

    async def deliver(self, frame: object) -> None:
        async with self._changed:
            self._frames.append(frame)
            self._waiting += len(str(frame))
            self._changed.notify_all()

    # The peer's end.

    async def receive(self) -> object:
        async with self._changed:
            while not self._frames:
                await self._changed.wait()
            frame = self._frames.popleft()
            self._waiting -= len(str(frame))
            self._changed.notify_all()
        return frame

    async def close(self) -> None:
        async with self._changed:
            self.is_gone = True
            self._changed.notify_all()


class WaitsToBeRead(Wire):
    """A good one too, whose sends return when the peer has the frame."""

    async def deliver(self, frame: object) -> None:
        await super().deliver(frame)
        async with self._changed:
            while self._waiting and not self.is_gone:
                await self._changed.wait()


# What becomes of frames.


class Normalises(Wire):
    async def deliver(self, frame: object) -> None:
        await super().deliver(unicodedata.normalize("NFC", str(frame)))


class SendsBytes(Wire):
    async def deliver(self, frame: object) -> None:
        await super().deliver(b"{}" if frame == "{}" else frame)


class CutsLongFrames(Wire):
    async def deliver(self, frame: object) -> None:
        await super().deliver(str(frame)[:1_000_000])


class DropsOne(Wire):
    async def deliver(self, frame: object) -> None:
        if self.sends != 200:
            await super().deliver(frame)


class RepeatsTheLast(Wire):
    async def deliver(self, frame: object) -> None:
        await super().deliver(frame)
        if self.sends == 300:
            await super().deliver(frame)


class SwapsTwo(Wire):
    kept: object = None

    async def deliver(self, frame: object) -> None:
        if self.sends == 100:
            self.kept = frame
        else:
            await super().deliver(frame)
        if self.sends == 101:
            await super().deliver(self.kept)


class HoldsOneBack(Wire):
    kept: object = None

    async def deliver(self, frame: object) -> None:
        if self.kept is not None:
            await super().deliver(self.kept)
        self.kept = frame if str(frame).isdigit() else None
        if self.kept is None:
            await super().deliver(frame)


# Who gets them.


class SendsToWhoCameLast(Wire):
    async def deliver(self, frame: object) -> None:
        wire = self.server.wires[-1] if frame == '"one 7"' else self
        await Wire.deliver(wire, frame)


class SendsBehindOneLock(Wire):
    async def send(self, frame: str) -> None:
        async with self.server.lock:
            await super().send(frame)


class FallsWithTheFirst(Wire):
    async def deliver(self, frame: object) -> None:
        if frame == '"second"' and any(wire.is_gone for wire in self.server.wires):
            await self.refuse()
        await super().deliver(frame)


# Who is gone.


class WaitsForWhoIsGone(Wire):
    raises_when_gone = False

    async def refuse(self) -> None:
        if self.sends > 10:
            await asyncio.Event().wait()


class GoesOnAccepting(Wire):
    async def refuse(self) -> None:
        """Say nothing."""


class ExcusesItselfAsCancelled(Wire):
    async def refuse(self) -> None:
        raise asyncio.CancelledError


# Cancellation.


class SwallowsCancellation(Wire):
    async def turn(self) -> None:
        try:
            await super().turn()
        except asyncio.CancelledError:
            return


class SwallowsCancellationWhileItWaits(Wire):
    is_patient = True

    async def wait(self) -> None:
        try:
            await super().wait()
        except asyncio.CancelledError:
            if not self.is_patient or len(self.server.wires) > 1:
                raise
            self.is_patient = False
