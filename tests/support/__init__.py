"""What our tests share beside the kit: messages, frames, and what is left in a loop."""

from support.frames import Json, decoded, runs_of
from support.loop import tasks_left
from support.messages import chat, start_agent, user_message

__all__ = [
    "Json",
    "chat",
    "decoded",
    "runs_of",
    "start_agent",
    "tasks_left",
    "user_message",
]
