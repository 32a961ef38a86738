"""What a host's own way of sending has to pass."""

from collections.abc import Mapping
from typing import Final

from agent_messaging.testing.conformance._cases import Case, cases_of
from agent_messaging.testing.conformance._transports import cancellation, frames, peers
from agent_messaging.testing.conformance._transports.trial import MakeTransport

__all__ = ["TRANSPORT_CASES"]

#: What every transport is to pass, by what the case sees to.
TRANSPORT_CASES: Final[Mapping[str, Case[MakeTransport]]] = cases_of(frames, peers, cancellation)
