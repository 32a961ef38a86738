"""Channels under Daphne: `CHAT_SECRET=... python -m hosts.channels_host`, in docs/examples."""

import asyncio

from channels.generic.websocket import AsyncWebsocketConsumer
from daphne.server import Server
from django.conf import settings

from hosts.agents import make_router
from hosts.auth import authenticate
from hosts.console import say_finished, say_port, until_interrupted

# A Django project has this in its settings module, and calls django.setup().
settings.configure()  # pyright: ignore[reportUnknownMemberType] - Django is untyped

router = make_router(say_finished)

#: Frames that one client may have waiting; more than that is no conversation.
WAITING_FRAMES = 64


class ChatConsumer(AsyncWebsocketConsumer):
    """Channels calls back, one event at a time: what `receive` awaits, `disconnect` waits for.

    So the runs have a task of their own, and a client that goes away ends its run at once.
    """

    worker: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        headers = dict(self.scope["headers"])
        user_id = authenticate(headers.get(b"authorization", b"").decode("latin-1"))
        if user_id is None:
            await self.close()  # before accept(), which Daphne answers with 403
            return
        await self.accept()
        self.user_id = user_id
        self.frames: asyncio.Queue[str | bytes] = asyncio.Queue(WAITING_FRAMES)
        self.worker = asyncio.create_task(self.work())

    async def work(self) -> None:
        while True:
            await router.handle_frame(self.user_id, self.send, await self.frames.get())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            self.frames.put_nowait(bytes_data or b"" if text_data is None else text_data)
        except asyncio.QueueFull:
            await self.close(code=1008)

    async def disconnect(self, code: int) -> None:
        if self.worker is not None:
            self.worker.cancel()
            await asyncio.wait([self.worker])


def main(consumer: type[ChatConsumer] = ChatConsumer, close_timeout: int = 10) -> None:
    def is_ready() -> None:
        # Daphne is untyped.
        addresses: list[tuple[str, int]] = server.listening_addresses  # pyright: ignore[reportUnknownMemberType]
        say_port(addresses[0][1])

    server = Server(
        consumer.as_asgi(),
        endpoints=["tcp:port=0:interface=127.0.0.1"],
        application_close_timeout=close_timeout,
        ready_callable=is_ready,
    )
    with until_interrupted(router):
        server.run()


if __name__ == "__main__":
    main()
