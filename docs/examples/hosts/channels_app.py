"""The Channels application that channels_host.py and channels_uvicorn_host.py serve."""

from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

from agent_messaging import RemoteError, Session, SessionEndReason
from hosts.agents import make_endpoint
from hosts.auth import authenticate
from hosts.closing import close_code
from hosts.console import say_finished, say_session

# A Django project has this in its settings module, and calls django.setup().
settings.configure()  # pyright: ignore[reportUnknownMemberType] - Django is untyped

endpoint = make_endpoint(say_finished)


class ChatConsumer(AsyncWebsocketConsumer):
    session: Session | None = None

    async def connect(self) -> None:
        user_id = authenticate(self.header)
        if user_id is None:
            await self.close()  # before accept(), which the server answers with 403
            return
        await self.accept()
        try:
            self.session = await endpoint.open(user_id, self.send, close=self.end)
        except RemoteError:
            await self.end("refused")

    def header(self, name: str) -> str | None:
        value: bytes | None = dict(self.scope["headers"]).get(name.encode())
        return None if value is None else value.decode("latin-1")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.session is not None:
            await self.session.receive(bytes_data or b"" if text_data is None else text_data)

    async def end(self, reason: SessionEndReason) -> None:
        code = close_code(reason)
        # Daphne takes no other codes of the standard: 4012 stands for 1012.
        await self.close(code if code == 1000 else code + 3000)

    async def disconnect(self, code: int) -> None:
        if self.session is not None:
            await self.session.close()
            say_session(self.session.user_id, self.session.end)


# Your Django site is the "http" beside it.
application: Any = ProtocolTypeRouter(
    {"websocket": URLRouter([path("chat", ChatConsumer.as_asgi())])}  # pyright: ignore[reportArgumentType]
)
