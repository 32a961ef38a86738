"""Cases: a send that is cancelled ends as that."""

from agent_messaging.testing.conformance._cancelling import (
    CANCELLED,
    TURNS,
    cancelled_after,
    outcome_of,
)
from agent_messaging.testing.conformance._expect import expect
from agent_messaging.testing.conformance._transports.trial import (
    LONG,
    MakeTransport,
    opened,
    stalled,
)


async def a_send_that_is_cancelled_raises_that(make_transport: MakeTransport) -> None:
    for turns in TURNS:
        # What was cut is not gone on with: the library sends nothing more on such a connection.
        async with opened(make_transport) as connection:
            outcome = await cancelled_after(turns, connection.send(LONG))
            if outcome is None:
                return
            expect(outcome, CANCELLED, f"cancelled after {turns} turns of the loop")


async def a_send_that_waits_for_its_peer_can_be_cancelled(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as connection:
        async with stalled(connection) as flooding:
            is_waiting = not flooding.done()
        if is_waiting:
            expect(outcome_of(flooding), CANCELLED, "cancelled while it waited")
