"""What hosts' own event logs, transports and handlers have to pass: cases as plain functions.

::

    @pytest.mark.parametrize("name", EVENT_LOG_CASES)
    def test_my_log(name):
        asyncio.run(EVENT_LOG_CASES[name](make_my_log))

A case returns, or raises what is wrong. It makes what it tests by itself, in the loop in which it
runs, and closes it. The loop's time may be virtual; what needs real time takes some seconds.
"""

from agent_messaging.testing.conformance._cases import Case
from agent_messaging.testing.conformance._event_logs import EVENT_LOG_CASES
from agent_messaging.testing.conformance._event_logs.trial import LogOnTrial, MakeLog
from agent_messaging.testing.conformance._expect import ConformanceError
from agent_messaging.testing.conformance._handlers import HANDLER_CASES
from agent_messaging.testing.conformance._handlers.trial import HandlerOnTrial, MakeHandler
from agent_messaging.testing.conformance._transports import TRANSPORT_CASES
from agent_messaging.testing.conformance._transports.trial import MakeTransport, TransportOnTrial

__all__ = [
    "EVENT_LOG_CASES",
    "HANDLER_CASES",
    "TRANSPORT_CASES",
    "Case",
    "ConformanceError",
    "HandlerOnTrial",
    "LogOnTrial",
    "MakeHandler",
    "MakeLog",
    "MakeTransport",
    "TransportOnTrial",
]

# What users see in tracebacks and documentation is where they import it from.
for _public in (ConformanceError, HandlerOnTrial, LogOnTrial, MakeLog, TransportOnTrial):
    _public.__module__ = __name__
