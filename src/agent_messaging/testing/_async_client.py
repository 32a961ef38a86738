"""A client's side of a conversation with an endpoint, in a test's own event loop."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar, final

from agent_messaging._endpoint import Endpoint
from agent_messaging._errors import ErrorCode
from agent_messaging._messages import MessageType
from agent_messaging._run import NO_METADATA
from agent_messaging._session import Session
from agent_messaging._session_end import SessionEndReason
from agent_messaging._timeouts import timeout_after
from agent_messaging.testing._connection import Connection
from agent_messaging.testing._inbox import Inbox
from agent_messaging.testing._loop import VirtualTimeLoop
from agent_messaging.testing._payload import payload_saying
from agent_messaging.testing._received import ReceivedFrame
from agent_messaging.testing._transcript import Ending, Transcript, check_ending
from agent_messaging.testing._transports import RecordingTransport
from agent_messaging.testing._troubles import (
    HANDLER_FAILED,
    LoggedTrouble,
    Troubles,
    UnexpectedError,
)

__all__ = ["ADVICE", "AsyncClient", "Conversation"]

T = TypeVar("T")

#: How a test says of a trouble that it is meant.
ADVICE: Final = "; expect_log() says that this is meant"


class Conversation(Protocol):
    """What the clients of one endpoint share."""

    @property
    def endpoint(self) -> Endpoint:
        """Where they are clients."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that they wait by default."""
        ...

    @property
    def troubles(self) -> Troubles:
        """What the library logged."""
        ...

    def new_message_id(self) -> str:
        """An id for a message, each once."""
        ...

    async def join(self, user_id: str, metadata: Mapping[str, object]) -> "AsyncClient":
        """One more client."""
        ...


@final
class AsyncClient:
    """One client of an endpoint: what it sends, and what it waits for.

    Made by `converse_async`, and by `another`. What the library answers as an error, what it logs,
    and that it ends a connection with an error, has to be expected: a wait that comes upon an error
    that was not raises it, and the end of the conversation whatever is left.

    Its ``str`` lists what it received.

    Attributes:
        user_id: whose client it is.
    """

    def __init__(
        self, conversation: "Conversation", user_id: str, metadata: Mapping[str, object]
    ) -> None:
        self.user_id: Final[str] = user_id
        self._conversation = conversation
        self._metadata = metadata
        self._inbox = Inbox(user_id, conversation.troubles)
        self._connections: list[Connection] = []
        #: The thread that it keeps when it comes back, and those that it has named for messages.
        self._thread_id: str | None = None
        self._threads: dict[str, str | None] = {}
        self._changed = asyncio.Event()

    def __str__(self) -> str:
        """All that it received."""
        return str(self._inbox)

    @property
    def transport(self) -> RecordingTransport:
        """Its connection at this moment: have it hang or fail."""
        return self._connections[-1].transport

    @property
    def session(self) -> Session:
        """The endpoint's side of that."""
        return self._connections[-1].session

    @property
    def frames(self) -> tuple[ReceivedFrame, ...]:
        """All that it received, on all of its connections."""
        return tuple(self._inbox.frames)

    @property
    def runs(self) -> tuple[Transcript, ...]:
        """The runs that it saw something of, in the order in which it did."""
        return self._inbox.runs

    # Out.

    async def send(
        self,
        text: str,
        *,
        type: MessageType = MessageType.CHAT,  # noqa: A002 - the field's name
        payload: Mapping[str, object] = NO_METADATA,
        message_id: str | None = None,
        thread_id: str | None = None,
    ) -> str:
        """Send a message for the agent.

        In virtual time it then lets everything happen that can without time passing.

        Args:
            text: what the user says.
            type: of the message: one of the three that start a run.
            payload: more for the agent to read.
            message_id: the client's name for the message; by default ``message-1`` and so on.
            thread_id: the conversation; by default the session's own, which `reconnect` keeps, and
                of a message that is sent again the one that was named for it.

        Returns:
            The ``message_id``.

        Raises:
            ValueError: the payload has a text of its own.
            AssertionError: the connection is closed.
        """
        message_id = message_id or self._conversation.new_message_id()
        frame: dict[str, object] = {
            "type": type,
            "payload": payload_saying(type, text, payload),
            "message_id": message_id,
        }
        thread_id = thread_id or self._threads.get(message_id) or self._thread_id
        await self.send_frame(frame if thread_id is None else {**frame, "thread_id": thread_id})
        self._threads[message_id] = thread_id
        return message_id

    async def send_frame(self, frame: str | bytes | Mapping[str, object]) -> None:
        """Send any frame: as it is, or an object as its JSON.

        In virtual time it then lets everything happen that can without time passing.

        Raises:
            AssertionError: the connection is closed.
        """
        if self.session.end is not None:
            raise AssertionError(f"nothing can be sent: {self._closing}")
        text = frame if isinstance(frame, str | bytes) else json.dumps(dict(frame))
        with self._conversation.troubles.listen():
            await self.session.receive(text)
        await _settle()

    async def stop(self, run_id: str | None = None) -> None:
        """Ask for the end of a run; by default of all in the session's thread.

        Raises:
            AssertionError: the connection is closed, or no message was accepted yet.
        """
        thread_id = self._thread_id or self.session.thread_id
        if run_id is None and thread_id is None:
            raise AssertionError("there is no thread to stop before a message is accepted")
        named = {"thread_id": thread_id} if run_id is None else {"run_id": run_id}
        await self.send_frame({"type": MessageType.STOP_AGENT, "payload": named})

    # In.

    async def expect(self, type: str, *, timeout: float | None = None) -> ReceivedFrame:  # noqa: A002 - the field's name
        """Wait for the next frame of a type; those before it are passed over, but for errors.

        Raises:
            UnexpectedError: an error came that was not expected.
            AssertionError: none came in time; the message lists what did, and the cause is what
                an agent raised in the meantime.
        """
        is_error = type == MessageType.ERROR_MESSAGE
        take = self._take_error if is_error else lambda: self._inbox.take(type)
        return await self._until(take, type, timeout, is_error=is_error)

    def _take_error(self) -> ReceivedFrame | None:
        errors = (connection.take_error() for connection in self._connections)
        return next(filter(None, errors), None)

    async def expect_error(self, code: str, *, timeout: float | None = None) -> ReceivedFrame:
        """Wait for the next ``error_message``, which has to have this code.

        Where a handler of the host's own raised, its line in the log is expected with it.

        Raises:
            AssertionError: none came in time, or one with another code.
        """
        frame = await self.expect(MessageType.ERROR_MESSAGE, timeout=timeout)
        if frame.payload.get("code") != code:
            raise UnexpectedError(f"expected the error {code}, not\n  {frame}\n{self._inbox}")
        if code == ErrorCode.AGENT_ERROR:
            self._conversation.troubles.excuse(HANDLER_FAILED)
        return frame

    async def expect_run(
        self,
        how: Ending | None = "completed",
        *,
        message_id: str | None = None,
        timeout: float | None = None,
    ) -> Transcript:
        """Wait for the end of a run; all its frames are then passed over.

        Args:
            how: it is to end; None for any way.
            message_id: of the run's message, whose start or place in the queue this client has
                seen; by default it is the next run that came, and was not expected yet. One that
                was is given again, at once, if no other is of the message: it was sent again, and
                the events with which that is answered are there for `expect`. A run that cannot
                end any more, as of a user who was forgotten, is passed over by naming the next.
            timeout: seconds to wait at most; by default the conversation's.

        Raises:
            Exception: what the agent raised, if the run was not expected to fail.
            UnexpectedError: the run ended otherwise than expected, or an error came that was not.
            AssertionError: no run ended in time; the message lists what came.
        """
        what = "end of a run" if message_id is None else f"end of the run of {message_id}"
        transcript = await self._until(lambda: self._inbox.take_run(message_id), what, timeout)
        check_ending(transcript, how)
        return transcript

    async def expect_log(self, event: str, *, timeout: float | None = None) -> LoggedTrouble:
        """Wait for a warning or an error that the library logs, by the name of its event.

        And for what no client is told: ``run_finished`` of a run that failed, ``frame_refused``
        where the answer has not arrived, and ``message_refused`` where an agent has a handler of
        its own work on a message.

        Raises:
            AssertionError: none came in time; the message lists the frames that did.
        """
        troubles = self._conversation.troubles
        return await self._until(lambda: troubles.take(event), f"log line {event}", timeout)

    async def expect_closed(
        self, reason: SessionEndReason, *, timeout: float | None = None
    ) -> None:
        """Wait until the library has closed the present connection, for this reason.

        The error that tells the client so is expected with it.

        Raises:
            AssertionError: it was not closed in time, or for another reason.
        """
        connection = self._connections[-1]
        closed = connection.transport.closed
        was = await self._until(lambda: closed[0] if closed else None, "close", timeout, True)
        if was != reason:
            raise UnexpectedError(
                f"expected the session to end as {reason}, not as {was}; {self._inbox}"
            )
        connection.expect_end()

    async def wait(self, seconds: float) -> None:
        """Let time pass; in virtual time it takes none."""
        await asyncio.sleep(seconds)

    # Connections.

    async def disconnect(self) -> None:
        """Be gone, as a browser whose tab is closed. Idempotent."""
        with self._conversation.troubles.listen():
            await self.session.close()
        await _settle()

    async def reconnect(self) -> None:
        """Come back after `disconnect`, and resume the runs that had not ended.

        As a front end does, it goes on in the thread that its first session had.
        """
        self._thread_id = self._thread_id or self.session.thread_id
        await self.disconnect()
        await self.connect()
        after = self._inbox.open_runs
        if after:
            await self.send_frame({"type": MessageType.RESUME, "payload": {"after": dict(after)}})

    async def another(
        self, user_id: str | None = None, *, metadata: Mapping[str, object] = NO_METADATA
    ) -> "AsyncClient":
        """One more client of the endpoint: by default another tab of the same user."""
        return await self._conversation.join(user_id or self.user_id, metadata)

    async def connect(self) -> None:
        """Open a connection; `converse_async` has opened the first."""
        troubles = self._conversation.troubles
        connection = Connection(self._inbox, troubles, self._changed.set)
        with troubles.listen():
            await connection.open(self._conversation.endpoint, self.user_id, self._metadata)
        self._connections.append(connection)
        await _settle()

    def wake(self) -> None:
        """Have what is waited for looked for again."""
        self._changed.set()

    def check(self) -> None:
        """See that nothing is left that was not expected.

        Raises:
            BaseException: what the agent of a failed run raised.
            UnexpectedError: a run failed, an error came or did not arrive, or a connection ended
                with one.
        """
        self._inbox.check_runs()
        self._check_connections()
        for connection in self._connections:
            connection.check_answers()

    def _check_connections(self) -> None:
        for connection in self._connections:
            connection.check()

    async def _until(
        self,
        take: Callable[[], T | None],
        what: str,
        timeout: float | None,
        is_error: bool = False,
    ) -> T:
        """What is waited for, once it is there.

        Args:
            take: gives it, or None while it is not there.
            what: it is, in words.
            timeout: seconds; by default the conversation's.
            is_error: whether an error is what is waited for.
        """
        seconds = self._conversation.timeout if timeout is None else timeout
        try:
            async with timeout_after(seconds):
                while True:
                    taken = take()
                    if taken is not None:
                        return taken
                    if not is_error:
                        self._check_connections()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        troubles = self._conversation.troubles
        troubles.check(f"{ADVICE}; {self._inbox}")
        closing = f"\n{self._closing}" if self.session.end is not None else ""
        raise AssertionError(
            f"no {what} came in {seconds:g} s; {self._inbox}{closing}"
        ) from troubles.fault

    @property
    def _closing(self) -> str:
        reason = None if self.session.end is None else self.session.end.reason
        return f"the connection of {self.user_id} has ended as {reason}"


async def _settle() -> None:
    """In virtual time, which moves when all else waits, let all happen that can before that."""
    if isinstance(asyncio.get_running_loop(), VirtualTimeLoop):
        await asyncio.sleep(_MOMENT)


#: Seconds, far less than anything waits for, and enough for a clock of floats to show.
_MOMENT: Final = 1e-6
