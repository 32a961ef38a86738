"""What each server does for a peer that is gone; asserted, and said in the docs."""

from typing import Final, NamedTuple


class Vanishing(NamedTuple):
    """One host, and what becomes of a run whose client vanished."""

    host: str
    program: str
    #: The status that answers a handshake without a token.
    refusal: int
    as_of: str
    #: What the server's ``send`` raises for a peer that is gone; None where it accepts the frame.
    send_raises: str | None
    #: What the agent is left by; None where it never learns.
    agent_gets: str | None
    outcome: str

    @property
    def is_delivered(self) -> bool:
        """Whether the events after the vanishing count as delivered."""
        return self.send_raises is None

    @property
    def ends_at_once(self) -> bool:
        """Whether the run ends without another event being sent."""
        return self.agent_gets == "CancelledError"

    @property
    def row(self) -> list[str]:
        """What the table says, cell by cell."""
        return [
            f"{self.host}: `{self.program}.py`",
            self.as_of,
            "is accepted and dropped"
            if self.send_raises is None
            else f"raises `{self.send_raises}`",
            "nothing" if self.agent_gets is None else f"`{self.agent_gets}`",
            f"`{self.outcome}`",
            "delivered" if self.is_delivered else "undelivered",
        ]


VANISHINGS: Final = (
    Vanishing(
        host="Starlette under Uvicorn",
        program="starlette_host",
        refusal=403,
        as_of="Starlette 1.10, Uvicorn 0.54",
        send_raises="WebSocketDisconnect",
        agent_gets="TransportError",
        outcome="agent_cancelled",
    ),
    Vanishing(
        host="aiohttp",
        program="aiohttp_host",
        refusal=401,
        as_of="aiohttp 3.14",
        send_raises="ClientConnectionResetError",
        agent_gets="TransportError",
        outcome="agent_cancelled",
    ),
    Vanishing(
        host="websockets",
        program="websockets_host",
        refusal=401,
        as_of="websockets 17.4",
        send_raises="ConnectionClosedError",
        agent_gets="TransportError",
        outcome="agent_cancelled",
    ),
    Vanishing(
        host="Django Channels under Daphne, runs in a task",
        program="channels_host",
        refusal=403,
        as_of="Channels 4.3, Daphne 4.2",
        send_raises=None,
        agent_gets="CancelledError",
        outcome="agent_cancelled",
    ),
    Vanishing(
        host="Django Channels under Daphne, runs awaited in `receive`",
        program="channels_awaiting_host",
        refusal=403,
        as_of="Channels 4.3, Daphne 4.2",
        send_raises=None,
        agent_gets=None,
        outcome="agent_completed",
    ),
)
