"""A SIGTERM for servers that close their sockets first, and tell the application last."""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from agent_messaging import Endpoint


@asynccontextmanager
async def draining(endpoint: Endpoint) -> AsyncGenerator[None]:
    """For a lifespan: the endpoint, which drains on a SIGTERM before the server hears of it.

    A second SIGTERM reaches the server at once.
    """
    loop = asyncio.get_running_loop()
    drains: list[asyncio.Task[None]] = []

    async def drain() -> None:
        await endpoint.drain()
        signal.raise_signal(signal.SIGTERM)

    def on_sigterm(*_: object) -> None:
        signal.signal(signal.SIGTERM, of_the_server)
        endpoint.start_draining()
        loop.call_soon_threadsafe(lambda: drains.append(loop.create_task(drain())))

    # Only the main thread hears of signals; a test client runs a lifespan in another.
    is_main = threading.current_thread() is threading.main_thread()
    of_the_server = signal.getsignal(signal.SIGTERM)
    async with endpoint:
        if is_main:
            signal.signal(signal.SIGTERM, on_sigterm)
        try:
            yield
        finally:
            if is_main:
                signal.signal(signal.SIGTERM, of_the_server)
