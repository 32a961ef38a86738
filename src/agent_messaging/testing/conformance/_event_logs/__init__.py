"""What an implementation of `EventLog` has to pass."""

from collections.abc import Mapping
from typing import Final

from agent_messaging.testing.conformance._cases import Case, cases_of
from agent_messaging.testing.conformance._event_logs import (
    cancellation,
    claims,
    closing,
    events,
    eviction,
    fencing,
    following,
    forgetting,
    isolation,
    leases,
    notices,
)
from agent_messaging.testing.conformance._event_logs.trial import MakeLog

__all__ = ["EVENT_LOG_CASES"]

#: What every event log is to pass, by what the case sees to.
EVENT_LOG_CASES: Final[Mapping[str, Case[MakeLog]]] = cases_of(
    events,
    claims,
    fencing,
    following,
    eviction,
    notices,
    leases,
    isolation,
    forgetting,
    cancellation,
    closing,
)
