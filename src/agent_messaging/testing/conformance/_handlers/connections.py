"""Cases: calls at once, and websockets that fail."""

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

from agent_messaging.testing.conformance._expect import expect
from agent_messaging.testing.conformance._handlers.trial import MakeHandler, Socket, on_trial

T = TypeVar("T")

#: How many turns of the loop after one call the next one comes.
_GAPS: Final = range(12)
#: Which send of a message's frames fails: each of the first ones, and the last.
_FAILURES: Final = 8


async def calls_at_once_do_not_mix_their_frames(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        alone = await trial.answered(message, Socket())
        for gap in _GAPS:
            sockets = [Socket() for _ in range(3)]
            answers = await _at_once(gap, *[trial.answered(message, socket) for socket in sockets])
            about = f"result and number of frames for each {message.type!r}, {gap} turns apart"
            expect(answers, [alone] * 3, about)


async def calls_at_once_do_not_mix_their_users(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        for gap in _GAPS:
            anns, bobs = Socket(), Socket()
            await _at_once(
                gap,
                trial.answered(message, anns, "the user ann"),
                trial.answered(message, bobs, "the user bob"),
            )
            for socket, other in ((anns, "the user bob"), (bobs, "the user ann")):
                mixed = [frame for frame in socket.frames if other in str(frame)]
                expect(mixed, [], f"frames for a {message.type!r} that name the other user")


async def _at_once(gap: int, *calls: Coroutine[object, object, T]) -> list[T]:
    """What each call returns, each begun so many turns of the loop after the one before."""
    tasks: list[asyncio.Future[T]] = []
    for call in calls:
        tasks.append(asyncio.ensure_future(call))
        for _ in range(gap):
            await asyncio.sleep(0)
    return await asyncio.gather(*tasks)


async def a_websocket_that_fails_is_no_success(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        _, frames = await trial.answered(message, Socket())
        sends = range(1, frames + 1)
        for at in sorted({*sends[:_FAILURES], *sends[-1:]}):
            done = await trial.survived(message, Socket(fails_at=at))
            expect(repr(done), "False", f"a {message.type!r} whose send {at} failed")


async def it_goes_on_after_a_websocket_that_failed(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        before = await trial.answered(message, Socket())
        await trial.survived(message, Socket(fails_at=1))
        after = await trial.answered(message, Socket())
        expect(after, before, f"result and number of frames for a {message.type!r}")
