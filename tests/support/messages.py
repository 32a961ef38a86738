"""Messages as a client sends them."""

from agent_messaging import Message, MessageType


def start_agent(text: str = "hello", **fields: object) -> Message:
    """A START_AGENT with this request; ``fields`` are those of `Message`, and ``agent``."""
    agent = fields.pop("agent", None)
    payload = {"user_request": text} if agent is None else {"user_request": text, "agent": agent}
    return Message.from_dict({"type": MessageType.START_AGENT, "payload": payload, **fields})


def user_message(text: str = "hello", **fields: object) -> Message:
    """A USER_MESSAGE with this text."""
    return Message.from_dict(
        {"type": MessageType.USER_MESSAGE, "payload": {"message": text}, **fields}
    )


def chat(text: str = "hello", **fields: object) -> Message:
    """A CHAT with this text."""
    return Message.from_dict({"type": MessageType.CHAT, "payload": {"text": text}, **fields})
