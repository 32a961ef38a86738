"""What a host's own handler of messages has to pass."""

from collections.abc import Mapping
from typing import Final

from agent_messaging.testing.conformance._cases import Case, cases_of
from agent_messaging.testing.conformance._handlers import (
    cancellation,
    connections,
    messages,
    statistics,
)
from agent_messaging.testing.conformance._handlers.trial import MakeHandler

__all__ = ["HANDLER_CASES"]

#: What every `agent_messaging.MessageHandler` is to pass, by what the case sees to.
HANDLER_CASES: Final[Mapping[str, Case[MakeHandler]]] = cases_of(
    messages, connections, statistics, cancellation
)
