"""Channels under Uvicorn: `CHAT_SECRET=... python -m hosts.channels_uvicorn_host`.

To be started in docs/examples.
"""

from contextlib import AbstractAsyncContextManager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from hosts.channels_app import application, endpoint
from hosts.console import listen, until_stopped
from hosts.draining import draining


def lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
    return draining(endpoint)


# Starlette is here for the lifespan, of which Channels' routers know nothing.
app = Starlette(routes=[Mount("/", application)], lifespan=lifespan)


def main() -> None:
    # Bounded, or a client that reads nothing would keep Uvicorn from ending.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    with until_stopped(endpoint):
        uvicorn.Server(config).run(sockets=[listen()])


if __name__ == "__main__":
    main()
