"""Cases: peers that are gone, peers that do not read, and the others meanwhile."""

import asyncio
from typing import Final

from agent_messaging.testing.conformance._expect import ConformanceError
from agent_messaging.testing.conformance._transports.trial import (
    MakeTransport,
    opened,
    stalled,
)

#: Seconds within which a send is to raise once the peer is gone.
_NOTICED: Final = 10.0


async def two_connections_do_not_mix(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as one, opened(make_transport) as other:
        await asyncio.gather(
            one.passes(*[f'"one {number}"' for number in range(50)]),
            other.passes(*[f'"other {number}"' for number in range(50)]),
        )
        await one.passes('"the last"')
        await other.passes('"the last"')


async def a_peer_that_does_not_read_holds_up_no_other(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as one, opened(make_transport) as other, stalled(one):
        await other.passes('"first"', '"second"')
        await other.passes('"third"')


async def a_peer_that_is_gone_takes_no_other_with_it(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as one, opened(make_transport) as other:
        await one.close()
        await one.takes('"too late"')
        await other.passes('"first"', '"second"')


async def a_send_to_a_peer_that_is_gone_comes_to_an_end(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as connection:
        await connection.close()
        sends = 0
        while sends < 20 and await connection.takes('"too late"'):
            sends += 1


async def a_peer_that_is_gone_is_noticed(make_transport: MakeTransport) -> None:
    async with opened(make_transport) as connection:
        if not connection.raises_when_gone:
            return
        await connection.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _NOTICED
        while await connection.takes('"too late"'):
            if loop.time() > deadline:
                raise ConformanceError(
                    f"the peer was gone, and for {_NOTICED:g} s no send raised; "
                    "if your server goes on accepting frames, say raises_when_gone=False"
                )
            await asyncio.sleep(0.01)
