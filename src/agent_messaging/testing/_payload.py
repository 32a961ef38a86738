"""The payload of a message in which a user says something."""

from collections.abc import Mapping

from agent_messaging._messages import TEXT_FIELDS, MessageType

__all__ = ["payload_saying"]


def payload_saying(
    type: MessageType,  # noqa: A002 - the field's name
    text: str,
    more: Mapping[str, object],
) -> dict[str, object]:
    """A payload that says ``text``, with more beside it.

    Raises:
        ValueError: it has a field too in which a text is looked for.
    """
    fields = TEXT_FIELDS.get(type) or TEXT_FIELDS[MessageType.CHAT]
    for field in fields:
        if field in more:
            raise ValueError(
                f"payload has {field!r}, where the agent would read the text; give that as text, "
                "or the whole message as a frame"
            )
    return {**more, fields[-1]: text}
