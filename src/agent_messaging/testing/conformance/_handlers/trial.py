"""A handler on trial: how it is made, and what the cases hand to it in the place of a socket."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, final

from agent_messaging import Message, MessageHandler, WebSocketLike
from agent_messaging.testing.conformance._cancelling import uncancelled
from agent_messaging.testing.conformance._expect import ConformanceError, expect, patience

__all__ = ["HandlerOnTrial", "MakeHandler", "Socket", "Trial", "on_trial"]


@final
class HandlerOnTrial(NamedTuple):
    """A new handler, and what to try it with.

    Attributes:
        handler: the handler.
        messages: one or more of each type that it supports. It handles each as often as it comes,
            for any user, and sends as many frames each time.
    """

    handler: MessageHandler
    messages: Sequence[Message]


#: Makes a handler for a case; called within the event loop in which the case runs.
MakeHandler: TypeAlias = Callable[[], Awaitable[HandlerOnTrial]]


@final
class Socket:
    """A websocket that keeps what it is sent, by any number of sends at once, as a session does.

    Args:
        fails_at: the send, counted from 1, from which on each raises ConnectionError.
        hangs: whether a send never returns.

    Attributes:
        frames: what it has taken.
    """

    def __init__(self, *, fails_at: int | None = None, hangs: bool = False) -> None:
        self.frames: list[object] = []
        self._sends = 0
        self._fails_at = fails_at
        self._hangs = hangs

    async def __call__(self, frame: str) -> None:
        """Take a frame, in some turns of the loop, so that others may come between."""
        self._sends += 1
        number = self._sends
        for _ in range(2):
            await asyncio.sleep(0)
        if self._hangs:
            await asyncio.Event().wait()
        if self._fails_at is not None and number >= self._fails_at:
            raise ConnectionError(f"send {number} failed, as it was to")
        self.frames.append(frame)


@final
class Trial:
    """A handler, with everything that a case does not care about filled in.

    Attributes:
        handler: the handler.
        messages: what it handles.
    """

    def __init__(self, made: HandlerOnTrial) -> None:
        self.handler: Final = made.handler
        self.messages: Final = made.messages

    async def call(
        self, message: Message, websocket: WebSocketLike, user_id: str = "ann"
    ) -> object:
        """What handle_message returns, whenever that is."""
        return await self.handler.handle_message(user_id, websocket, message)

    async def handle(
        self, message: Message, websocket: WebSocketLike, user_id: str = "ann"
    ) -> object:
        """What handle_message returns, within the case's patience."""
        async with patience():
            return await self.call(message, websocket, user_id)

    async def handle_all(self) -> None:
        """Handle each message once."""
        for message in self.messages:
            await self.handle(message, Socket())

    async def answered(
        self, message: Message, socket: Socket, user_id: str = "ann"
    ) -> tuple[str, int]:
        """What handle_message returns, as it is shown, and how many frames there are then."""
        done = await self.handle(message, socket, user_id)
        return repr(done), len(socket.frames)

    async def survived(self, message: Message, websocket: WebSocketLike) -> object:
        """What handle_message returns; False where it raises an Exception, as it may."""
        try:
            with uncancelled():
                return await self.handle(message, websocket)
        except ConformanceError:
            raise
        except Exception:  # noqa: BLE001 - whichever it likes
            return False


async def on_trial(make_handler: MakeHandler) -> Trial:
    """A handler on trial, and messages of each of its types."""
    trial = Trial(await make_handler())
    types = {message.type for message in trial.messages}
    expect(types, set(trial.handler.supported_types), "the types of the messages to try")
    return trial
