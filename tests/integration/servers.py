"""What each server does about clients that go, that do not read, and that are there at the end.

Asserted, and said in the docs.
"""

from typing import Final, NamedTuple

from integration.clients import Connect, over_socketio, over_sse, over_websocket


class Server(NamedTuple):
    """One host, and what its clients and its program see."""

    host: str
    program: str
    as_of: str
    connect: Connect
    #: What a client is told that has no good token.
    refusal: object
    #: How the program learns of a client that reset its connection.
    learns_by: str
    #: What the session's end holds then.
    error: str | None
    #: Whether the server takes all frames for a client that does not read.
    takes_all: bool
    #: What comes after the terminal event when the host stops, and how the connection ends.
    farewell: bool
    closed_with: object

    @property
    def row(self) -> list[str]:
        """What the table says, cell by cell."""
        closed = f"close code {self.closed_with}"
        return [
            f"{self.host}: `{self.program}.py`",
            self.as_of,
            self.learns_by,
            "is kept in memory" if self.takes_all else "waits: `slow_consumer`",
            ("`error_message`, " if self.farewell else "")
            + (closed if isinstance(self.closed_with, int) else f"{self.closed_with}"),
        ]


SERVERS: Final = (
    Server(
        host="Starlette under Uvicorn",
        program="starlette_host",
        as_of="Starlette 1.10, Uvicorn 0.54",
        connect=over_websocket,
        refusal=403,
        learns_by="its frames end",
        error=None,
        takes_all=False,
        farewell=False,
        closed_with=1012,
    ),
    Server(
        host="Server-sent events, Starlette under Uvicorn",
        program="sse_host",
        as_of="Starlette 1.10, Uvicorn 0.54",
        connect=over_sse,
        refusal=401,
        learns_by="the stream is cancelled",
        error=None,
        takes_all=False,
        farewell=False,
        closed_with="end of stream",
    ),
    Server(
        host="aiohttp",
        program="aiohttp_host",
        as_of="aiohttp 3.14",
        connect=over_websocket,
        refusal=401,
        learns_by="its frames end",
        error=None,
        takes_all=False,
        farewell=True,
        closed_with=1012,
    ),
    Server(
        host="websockets",
        program="websockets_host",
        as_of="websockets 17.4",
        connect=over_websocket,
        refusal=401,
        learns_by="its frames raise `ConnectionClosedError`",
        error="ConnectionClosedError",
        takes_all=False,
        farewell=True,
        closed_with=1012,
    ),
    Server(
        host="Django Channels under Daphne",
        program="channels_host",
        as_of="Channels 4.3, Daphne 4.2",
        connect=over_websocket,
        refusal=403,
        learns_by="`disconnect` is called",
        error=None,
        takes_all=True,
        farewell=True,
        closed_with=4012,
    ),
    Server(
        host="Django Channels under Uvicorn",
        program="channels_uvicorn_host",
        as_of="Channels 4.3, Uvicorn 0.54",
        connect=over_websocket,
        refusal=403,
        learns_by="`disconnect` is called",
        error=None,
        takes_all=False,
        farewell=False,
        closed_with=1012,
    ),
    Server(
        host="python-socketio under Uvicorn",
        program="socketio_host",
        as_of="python-socketio 5.18, Uvicorn 0.54",
        connect=over_socketio,
        refusal="One or more namespaces failed to connect: /",
        learns_by="`disconnect` is called",
        error=None,
        takes_all=True,
        farewell=False,
        closed_with="transport error",
    ),
)
