"""Cases: a call that is cancelled ends as that, and leaves nothing behind."""

import asyncio

from agent_messaging.testing.conformance._cancelling import (
    CANCELLED,
    TURNS,
    cancel,
    cancelled_after,
    outcome_of,
)
from agent_messaging.testing.conformance._expect import expect
from agent_messaging.testing.conformance._handlers.trial import MakeHandler, Socket, on_trial


async def a_call_that_is_cancelled_raises_that(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        for turns in TURNS:
            outcome = await cancelled_after(turns, trial.call(message, Socket()))
            if outcome is None:
                break
            about = f"a {message.type!r} cancelled after {turns} turns of the loop"
            expect(outcome, CANCELLED, about)


async def a_call_whose_websocket_hangs_can_be_cancelled(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    calls = [
        asyncio.ensure_future(trial.call(message, Socket(hangs=True))) for message in trial.messages
    ]
    # What gives up by itself, or sends nothing, has come to its end.
    _, hanging = await asyncio.wait(calls, timeout=0.1)
    await cancel(*calls)
    for message, call in zip(trial.messages, calls, strict=True):
        if call in hanging:
            about = f"a {message.type!r} cancelled while its websocket hung"
            expect(outcome_of(call), CANCELLED, about)


async def it_goes_on_after_a_call_that_was_cancelled(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        before = await trial.answered(message, Socket())
        for turns in TURNS:
            if await cancelled_after(turns, trial.call(message, Socket())) is None:
                break
            after = await trial.answered(message, Socket())
            expect(after, before, f"result and number of frames for a {message.type!r}")
