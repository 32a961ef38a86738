"""A user's connection to a handler."""

import asyncio

from agent_messaging import Message, MessageHandler
from agent_messaging.testing import RecordingTransport, run_virtual
from support.frames import Json, decoded


class Client:
    """Sends messages to a handler on one connection, and reads what comes back."""

    def __init__(
        self,
        handler: MessageHandler,
        transport: RecordingTransport | None = None,
        user_id: str = "user-1",
    ) -> None:
        self.handler = handler
        self.transport = transport or RecordingTransport()
        self.user_id = user_id

    def say(self, message: Message) -> bool:
        """What `handle_message` returns, on a loop of its own."""
        return run_virtual(self.send(message))

    async def send(self, message: Message) -> bool:
        """What `handle_message` returns."""
        return await self.handler.handle_message(self.user_id, self.transport, message)

    def start(self, message: Message) -> asyncio.Task[bool]:
        """`send` as a task."""
        return asyncio.get_running_loop().create_task(self.send(message))

    @property
    def frames(self) -> list[Json]:
        """Every frame that the connection accepted."""
        return decoded(self.transport.frames)

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [frame["type"] for frame in self.frames]

    def payloads(self, kind: str) -> list[Json]:
        """The payloads of the frames of one type."""
        return [frame["payload"] for frame in self.frames if frame["type"] == kind]

    def payload(self, kind: str) -> Json:
        """The payload of the only frame of one type."""
        (payload,) = self.payloads(kind)
        assert isinstance(payload, dict)
        return payload
