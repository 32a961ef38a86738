"""Posting frames to an outbox without a handler."""

from agent_messaging import Limits, MessageType, WebSocketLike
from agent_messaging._outbox import Outbox, as_transport

CHUNK = MessageType.AGENT_RESPONSE_CHUNK


def outbox_to(websocket: WebSocketLike, **limits: int) -> Outbox:
    """An outbox of no pool."""
    return Outbox(websocket, as_transport(websocket), Limits(**limits), lambda outbox: None)


class Receipts:
    """What the transport accepted, and what it did not, in the order of the posts."""

    def __init__(self) -> None:
        self.all: list[bool] = []

    def __call__(self, kind: MessageType, accepted: bool) -> None:
        assert kind is CHUNK
        self.all.append(accepted)
