"""An agent alone: one message, one run, no endpoint."""

import asyncio
from collections.abc import Mapping
from typing import Final

from agent_messaging._handler import AgentMessageHandler, RunFinished
from agent_messaging._messages import Message, MessageType
from agent_messaging._registry import AgentLike
from agent_messaging._run import NO_METADATA
from agent_messaging._timeouts import timeout_after
from agent_messaging.testing._determinism import counted_ids, loop_clock
from agent_messaging.testing._loop import refuse_within_a_loop, run_virtual, waiting_tasks
from agent_messaging.testing._payload import payload_saying
from agent_messaging.testing._received import listed, run_key
from agent_messaging.testing._transcript import Ending, Transcript, check_ending
from agent_messaging.testing._transports import RecordingTransport
from agent_messaging.testing._troubles import Troubles, UnexpectedError

__all__ = ["REAL_TIMEOUT", "VIRTUAL_TIMEOUT", "run_agent", "run_agent_async"]

#: Seconds that a test waits for anything. In virtual time a day is over at once.
REAL_TIMEOUT: Final = 5.0
VIRTUAL_TIMEOUT: Final = 24 * 3600.0


def run_agent(
    agent: AgentLike,
    text: str,
    *,
    expect: Ending | None = "completed",
    type: MessageType = MessageType.CHAT,  # noqa: A002 - the field's name
    payload: Mapping[str, object] = NO_METADATA,
    user_id: str = "user-1",
    metadata: Mapping[str, object] = NO_METADATA,
    transport: RecordingTransport | None = None,
    run_timeout: float | None = None,
    cancel_after: float | None = None,
    timeout: float = VIRTUAL_TIMEOUT,
    seed: int | None = None,
) -> Transcript:
    """Run an agent on one message, in virtual time: an agent that waits for an hour takes none.

    Ids are counted and times are the loop's, so that the same agent gives the same transcript.

    Args:
        agent: what an `AgentMessageHandler` takes.
        text: what the user says.
        expect: how the client is to see the run end; None for any way, and for a transport that
            fails before the end.
        type: of the message: one of the three that start a run.
        payload: more of the message, for the agent to read in ``run.message.payload``.
        user_id: whose message it is.
        metadata: for the run's context, as a host would give it.
        transport: where the events go; by default one that takes them all.
        run_timeout: as the handler's, in seconds.
        cancel_after: seconds of virtual time after which the run is cancelled.
        timeout: seconds of virtual time until the test gives up.
        seed: of the order in which tasks go on, as a `VirtualTimeLoop`'s.

    Returns:
        The run as the client saw it: of a transport that failed, what that accepted.

    Raises:
        Exception: what the agent raised, if the run was not expected to fail. What is no
            Exception, as SystemExit, whatever was expected; but a CancelledError of an agent that
            nobody cancelled is an UnexpectedError.
        UnexpectedError: the run ended otherwise than expected, the message was refused, the library
            logged a trouble, or a message on which the agent had another handler work was refused
            or its run failed.
        ValueError: ``payload`` has a text of its own.
        AssertionError: the run did not end in time; the message lists what came, and what waits.
        RuntimeError: an event loop is running in this thread.
    """
    refuse_within_a_loop("await run_agent_async there")
    running = run_agent_async(
        agent,
        text,
        expect=expect,
        type=type,
        payload=payload,
        user_id=user_id,
        metadata=metadata,
        transport=transport,
        run_timeout=run_timeout,
        cancel_after=cancel_after,
        timeout=timeout,
    )
    return run_virtual(running, seed=seed)


async def run_agent_async(
    agent: AgentLike,
    text: str,
    *,
    expect: Ending | None = "completed",
    type: MessageType = MessageType.CHAT,  # noqa: A002 - the field's name
    payload: Mapping[str, object] = NO_METADATA,
    user_id: str = "user-1",
    metadata: Mapping[str, object] = NO_METADATA,
    transport: RecordingTransport | None = None,
    run_timeout: float | None = None,
    cancel_after: float | None = None,
    timeout: float = REAL_TIMEOUT,
) -> Transcript:
    """`run_agent` for a test that runs in an event loop already; seconds are that loop's.

    Raises:
        CancelledError: the call was cancelled; the run has its terminal event.
        BaseException: as `run_agent`.
    """
    transport = RecordingTransport() if transport is None else transport
    finished: list[RunFinished] = []
    handler = AgentMessageHandler(
        agent,
        run_timeout=run_timeout,
        on_run_finished=finished.append,
        clock=loop_clock(),
        new_id=counted_ids(),
    )
    message = Message(
        type=type,
        payload=payload_saying(type, text, payload),
        message_id="message-1",
        thread_id="thread-1",
    )
    begun = len(transport.frames)
    is_cancelled = False
    troubles = Troubles()
    with troubles.listen():
        handling = asyncio.create_task(
            handler.handle_message(user_id, transport, message, metadata=metadata)
        )
        try:
            async with timeout_after(timeout):
                if cancel_after is not None:
                    await asyncio.wait([handling], timeout=cancel_after)
                    is_cancelled = handling.cancel()
                await asyncio.wait([handling])
        except TimeoutError:
            came = listed(transport.received[begun:])
            raise AssertionError(
                f"no end of the run in {timeout:g} s; came:\n{came}\nwaiting:\n{waiting_tasks()}"
            ) from None
        finally:
            handling.cancel()
            await asyncio.wait([handling], timeout=timeout)  # an agent may swallow it
        if not (is_cancelled and handling.cancelled()):
            handling.result()
    frames = transport.received[begun:]
    if not finished:
        raise UnexpectedError(f"the message was refused:\n{listed(frames)}")
    (run,) = finished
    key = (run.context.user_id, run.context.thread_id, run.context.run_id)
    own = [frame for frame in frames if frame.is_of_run and run_key(frame) == key]
    transcript = Transcript(own, run.error)
    advice = f"; converse() and expect_log() are for one that is meant\n{transcript!r}"
    troubles.check(advice)
    check_ending(transcript, expect)
    troubles.expected_runs.add(key)
    troubles.check_runs(advice)
    return transcript
