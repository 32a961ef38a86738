"""What tests share: a loop on virtual time, transports, messages, and an independent recount."""

from support.frames import Json, decoded, runs_of
from support.loop import run, tasks_left
from support.messages import chat, start_agent, user_message
from support.transports import Recorder

__all__ = [
    "Json",
    "Recorder",
    "chat",
    "decoded",
    "run",
    "runs_of",
    "start_agent",
    "tasks_left",
    "user_message",
]
