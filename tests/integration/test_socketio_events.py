"""Events that no client of ours sends, to the python-socketio host."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import socketio

from integration.hosts import PATIENCE, Host, running, within_patience

NO_FRAMES: Final[tuple[tuple[object, ...], ...]] = (
    (),
    (None,),
    ({"type": "ping"},),
    ('{"type":"ping"}', 1),
)


async def sends(host: Host, token: str, sent: tuple[object, ...]) -> None:
    """Send one event, which ends the connection."""
    is_over = asyncio.Event()

    def disconnected(_: str) -> None:
        is_over.set()

    sio: Any = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    sio.on("disconnect", disconnected)
    url = f"http://127.0.0.1:{host.port}"
    await within_patience(sio.connect(url, auth={"token": token}, wait_timeout=PATIENCE))
    await within_patience(sio.emit("frame", sent))
    assert (await host.says_next("session"))["session"] == "disconnected"
    await within_patience(is_over.wait())


async def sends_each(token: str) -> list[str]:
    async with running("socketio_host") as host:
        for sent in NO_FRAMES:
            await sends(host, token, sent)
        await host.stop()
        return host.errors()


def test_an_event_that_is_no_frame_ends_its_connection_and_hurts_nobody(
    issue: Callable[..., str],
) -> None:
    assert asyncio.run(sends_each(issue("ada"))) == []
