"""Channels under Daphne: `CHAT_SECRET=... python -m hosts.channels_host`, in docs/examples."""

# Daphne is untyped.
# pyright: basic

import asyncio
from typing import Any

from daphne.server import Server  # isort:skip - first, as it installs Twisted's reactor
from twisted.internet.defer import Deferred

from hosts.channels_app import application, endpoint
from hosts.console import say_port, until_stopped


class DrainingServer(Server):
    """Daphne knows no lifespan: this is one."""

    def enter(self) -> None:
        """Called when it listens, and the event loop is about to run."""
        asyncio.get_event_loop().create_task(endpoint.__aenter__())
        say_port(self.listening_addresses[0][1])

    def kill_all_applications(self) -> Deferred[Any]:
        """Called on a SIGTERM; Daphne waits for it, and drops the connections then."""
        left = asyncio.ensure_future(endpoint.__aexit__(None, None, None))
        return Deferred.fromFuture(left).addCallback(self.kill_the_rest)

    def kill_the_rest(self, _: object) -> Deferred[Any]:
        killed: Deferred[Any] = super().kill_all_applications()
        return killed


def main() -> None:
    server = DrainingServer(application, endpoints=["tcp:port=0:interface=127.0.0.1"])
    server.ready_callable = server.enter
    with until_stopped(endpoint):
        server.run()


if __name__ == "__main__":
    main()
