"""The command line's host: one session of one user, whose frames are lines."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, final

from agent_messaging._cli_agent import explain
from agent_messaging._cli_exit import EXIT_FILE, StopError
from agent_messaging._cli_streams import Lines, Output
from agent_messaging._endpoint import Endpoint
from agent_messaging._errors import ErrorCode, EventLogError
from agent_messaging._handler import AgentMessageHandler, RunFinished
from agent_messaging._limits import Limits
from agent_messaging._registry import AgentLike
from agent_messaging._session import Session
from agent_messaging._session_end import SessionEndReason
from agent_messaging._timeouts import timeout_after
from agent_messaging.eventlog.memory import MemoryEventLog
from agent_messaging.eventlog.protocol import EventLog

__all__ = ["LEASE_SECONDS", "Host"]

#: Seconds that runs have to end, and their last frames to go out, once the program is to end.
_GRACE: Final = 5.0
#: Seconds of them after which an agent that was cancelled is waited for no more.
_CLEAN_UP: Final = 4.0
#: Seconds that a frame may wait to go out: whoever reads them sets the pace.
_PATIENCE: Final = 365 * 24 * 3600.0

#: Seconds after which the runs of a process that was killed are ended by the next one. As short as
#: a user waits for that, and longer than an agent that lacks an ``await`` holds up the event loop.
LEASE_SECONDS: Final = 10.0
#: Seconds for which a log that fails is asked again; it has waited for other programs by itself.
_LOG_SECONDS: Final = 2.0

#: Runs that have not ended, the queued ones too, before the next line waits: far more than anybody
#: has at a terminal, and few enough for a file of any length.
_UNDER_WAY: Final = 64
#: Frames that are written before the next line is taken, if agents do not come to rest.
_STEP: Final = 64
#: Turns of the loop in which a line has its effect; a few tasks deep is usual.
_TURNS: Final = 8
#: Answers of a log in a file in which a line has its effect: the start of a run, its events, and
#: what is read of them to be sent.
_ANSWERS: Final = 6
#: The user is trusted, and held to no rate. No agent is far ahead of what is written, so that the
#: log never has to let go of an event that was not: 34 of a run, of up to 1 MiB each.
_LIMITS: Final = Limits(
    messages_per_minute=None,
    frames_per_minute=None,
    runs_per_user=_UNDER_WAY,
    queued_per_thread=_UNDER_WAY,
    lag_events=32,
)
_LOG_BYTES: Final = 64 * 1024 * 1024


@final
class Host:
    """One session of one user, whose frames are lines.

    Args:
        agent: what works on the messages.
        user_id: whose they are.
        log: where events are kept; by default in memory.

    Raises:
        ConfigurationError: it is no agent.
    """

    def __init__(self, agent: AgentLike, user_id: str, log: EventLog | None = None) -> None:
        self._user_id = user_id
        self._log = log
        self._run_ended = asyncio.Event()
        self._endpoint = Endpoint(
            AgentMessageHandler(agent, on_run_finished=self._finished),
            log=MemoryEventLog(bytes_per_user=_LOG_BYTES) if log is None else log,
            limits=_LIMITS,
            slow_consumers="wait",
            cancel_grace=_CLEAN_UP,
            send_timeout=_PATIENCE,
            final_send_timeout=_PATIENCE,
            drain_timeout=_PATIENCE,
            heartbeat=None,
            log_timeout=_LOG_SECONDS,
            lease_seconds=LEASE_SECONDS,
        )

    async def serve(self, read: Callable[[], Awaitable[bytes]], output: Output) -> None:
        """Take the lines that are read, until they end or the session does; see all runs ended.

        Those of other processes over the same log, too, where a line has brought them here.

        Args:
            read: the next bytes of the input; none at its end.
            output: takes the frames.

        Raises:
            StopError: the input cannot be read, the output takes no more, or the log cannot keep
                events (`EXIT_FILE`, without a reason: its owner knows that).
            CancelledError: the call was cancelled; the runs were too, and had some seconds.
        """
        ended = asyncio.Event()

        async def close(reason: SessionEndReason) -> None:
            if reason == "log_unavailable":
                output.give_up(StopError(EXIT_FILE))
            ended.set()

        async with self._endpoint as endpoint:
            session = await endpoint.open(self._user_id, output.send, close=close)
            try:
                await self._take_lines(session, read, output)
                session.end_when_quiet()
                await endpoint.drain()
                await ended.wait()
            finally:
                # Nothing is left, unless this is not how it was to end.
                with suppress(TimeoutError):
                    async with timeout_after(_GRACE):
                        await endpoint.drain(0)
                await session.close()
        output.check()

    async def _take_lines(
        self, session: Session, read: Callable[[], Awaitable[bytes]], output: Output
    ) -> None:
        lines = Lines(_LIMITS.frame_bytes)
        ended = False
        while not (ended or session.end):
            chunk = await output.unless_broken(read())
            ended = not chunk
            for line in lines.feed(chunk or b"\n"):  # the last line may lack its end
                await session.receive(line)
                await self._keep_pace(session, output)
                if ErrorCode.LOG_UNAVAILABLE in self._endpoint.stats()["refusals"]:
                    output.give_up(StopError(EXIT_FILE))
                    return

    async def _keep_pace(self, session: Session, output: Output) -> None:
        """Wait until what a line brings about is written, and there is room for one more run.

        Answers so come in the order of the lines, where agents have nothing to wait for.
        """
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self._log is not None and self._endpoint.runs(self._user_id):
            await self._let_log_answer(self._log)
        await output.take(_STEP, session.wait_sent())
        while len(self._endpoint.runs(self._user_id)) >= _UNDER_WAY:
            self._run_ended.clear()
            await self._run_ended.wait()

    async def _let_log_answer(self, log: EventLog) -> None:
        """Wait for what the log was asked, and for what is asked for because of that."""
        with suppress(EventLogError):  # whoever needs the answer hears of that
            for _ in range(_ANSWERS):
                # It answers in the order in which it is asked.
                await log.find_run(self._user_id, "")
                for _ in range(_TURNS):
                    await asyncio.sleep(0)

    def _finished(self, finished: RunFinished) -> None:
        self._run_ended.set()
        explain(finished)
