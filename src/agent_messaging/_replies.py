"""Answers to messages that start no run."""

import logging
from typing import Final, final

from agent_messaging._emitter import Clock
from agent_messaging._errors import RemoteError
from agent_messaging._log import log
from agent_messaging._messages import MessageType
from agent_messaging._outbox import Outbox
from agent_messaging._stats import Statistics
from agent_messaging.dialects.native import NativeDialect

__all__ = ["Replies"]

_logger: Final = logging.getLogger("agent_messaging.handler")


@final
class Replies:
    """Refuses messages: counts, logs, and sends the reply frame."""

    __slots__ = ("_clock", "_dialect", "_final_send_timeout", "_statistics")

    def __init__(
        self,
        dialect: NativeDialect,
        statistics: Statistics,
        clock: Clock,
        final_send_timeout: float,
    ) -> None:
        self._dialect = dialect
        self._statistics = statistics
        self._clock = clock
        self._final_send_timeout = final_send_timeout

    async def refuse(self, user_id: str, outbox: Outbox | None, refusal: RemoteError) -> bool:
        self._statistics.refused(refusal.code)
        log(
            _logger,
            logging.INFO,
            "message_refused",
            {"user_id": user_id, "code": str(refusal.code), "message_id": refusal.message_id},
        )
        if outbox is not None:
            kind = MessageType.ERROR_MESSAGE
            frame = self._dialect.encode_control(kind, refusal.reply, self._clock.wall())
            outbox.post(frame, kind, _unrecorded)
            cancelled = await outbox.settle(self._final_send_timeout)
            if cancelled is not None:
                raise cancelled
        return False


def _unrecorded(kind: MessageType, accepted: bool) -> None:
    """The receipt of a reply; refusals are counted when they are decided."""
