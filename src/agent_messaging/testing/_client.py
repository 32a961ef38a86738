"""A client's side of a conversation with an endpoint, for a test without an event loop."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextvars import copy_context
from inspect import CORO_CLOSED, CORO_CREATED, getcoroutinestate
from typing import Any, Final, TypeVar, final

from agent_messaging._messages import MessageType
from agent_messaging._run import NO_METADATA
from agent_messaging._session_end import SessionEndReason
from agent_messaging.testing._async_client import AsyncClient
from agent_messaging.testing._received import ReceivedFrame
from agent_messaging.testing._transcript import Ending, Transcript
from agent_messaging.testing._transports import RecordingTransport
from agent_messaging.testing._troubles import LoggedTrouble

__all__ = ["Client"]

T = TypeVar("T")


@final
class Client:
    """One client of an endpoint: what it sends, and what it waits for.

    Made by `converse`, and by `another`. The event loop runs while a method is called, and not
    between the calls. What the library answers as an error, what it logs, and that it ends a
    connection with an error, has to be expected: a wait that comes upon an error that was not
    raises it, and the end of the conversation whatever is left. After the conversation, and within
    an event loop, a method raises a RuntimeError.

    Attributes:
        user_id: whose client it is.
    """

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self.user_id: Final[str] = client.user_id
        self._runner = runner
        self._client = client

    @property
    def frames(self) -> tuple[ReceivedFrame, ...]:
        """All that it received, on all of its connections."""
        return self._client.frames

    @property
    def runs(self) -> tuple[Transcript, ...]:
        """The runs that it saw something of, in the order in which it did."""
        return self._client.runs

    @property
    def transport(self) -> RecordingTransport:
        """Its connection at this moment: have it hang or fail."""
        return self._client.transport

    # Out.

    def send(
        self,
        text: str,
        *,
        type: MessageType = MessageType.CHAT,  # noqa: A002 - the field's name
        payload: Mapping[str, object] = NO_METADATA,
        message_id: str | None = None,
        thread_id: str | None = None,
    ) -> str:
        """Send a message for the agent; see `AsyncClient.send`.

        Returns:
            The ``message_id``.

        Raises:
            ValueError: the payload has a text of its own.
            AssertionError: the connection is closed.
        """
        sending = self._client.send(
            text, type=type, payload=payload, message_id=message_id, thread_id=thread_id
        )
        return self._run(sending)

    def send_frame(self, frame: str | bytes | Mapping[str, object]) -> None:
        """Send any frame: as it is, or an object as its JSON.

        Raises:
            AssertionError: the connection is closed.
        """
        self._run(self._client.send_frame(frame))

    def stop(self, run_id: str | None = None) -> None:
        """Ask for the end of a run; by default of all in the session's thread.

        Raises:
            AssertionError: the connection is closed, or no message was accepted yet.
        """
        self._run(self._client.stop(run_id))

    # In.

    def expect(self, type: str, *, timeout: float | None = None) -> ReceivedFrame:  # noqa: A002 - the field's name
        """Wait for the next frame of a type; those before it are passed over, but for errors.

        Raises:
            UnexpectedError: an error came that was not expected.
            AssertionError: none came in time; the message lists what did, and the cause is what
                an agent raised in the meantime.
        """
        return self._run(self._client.expect(type, timeout=timeout))

    def expect_error(self, code: str, *, timeout: float | None = None) -> ReceivedFrame:
        """Wait for the next ``error_message``, which has to have this code.

        Where a handler of the host's own raised, its line in the log is expected with it.

        Raises:
            AssertionError: none came in time, or one with another code.
        """
        return self._run(self._client.expect_error(code, timeout=timeout))

    def expect_run(
        self,
        how: Ending | None = "completed",
        *,
        message_id: str | None = None,
        timeout: float | None = None,
    ) -> Transcript:
        """Wait for the end of a run, and pass over its frames; see `AsyncClient.expect_run`.

        Raises:
            Exception: what the agent raised, if the run was not expected to fail.
            UnexpectedError: the run ended otherwise than expected, or an error came that was not.
            AssertionError: no run ended in time; the message lists what came.
        """
        return self._run(self._client.expect_run(how, message_id=message_id, timeout=timeout))

    def expect_log(self, event: str, *, timeout: float | None = None) -> LoggedTrouble:
        """Wait for a warning or an error in the log by its event; see `AsyncClient.expect_log`.

        Raises:
            AssertionError: none came in time; the message lists the frames that did.
        """
        return self._run(self._client.expect_log(event, timeout=timeout))

    def expect_closed(self, reason: SessionEndReason, *, timeout: float | None = None) -> None:
        """Wait until the library has closed the connection; see `AsyncClient.expect_closed`.

        Raises:
            AssertionError: it was not closed in time, or for another reason.
        """
        self._run(self._client.expect_closed(reason, timeout=timeout))

    def wait(self, seconds: float) -> None:
        """Let time pass; in virtual time it takes none."""
        self._run(self._client.wait(seconds))

    # Connections.

    def disconnect(self) -> None:
        """Be gone, as a browser whose tab is closed. Idempotent."""
        self._run(self._client.disconnect())

    def reconnect(self) -> None:
        """Come back after `disconnect`, and resume the runs that had not ended."""
        self._run(self._client.reconnect())

    def another(
        self, user_id: str | None = None, *, metadata: Mapping[str, object] = NO_METADATA
    ) -> "Client":
        """One more client of the endpoint: by default another tab of the same user."""
        return Client(self._runner, self._run(self._client.another(user_id, metadata=metadata)))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            # The test's own context variables are those that an agent reads.
            return self._runner.run(call, context=copy_context())
        finally:
            state = getcoroutinestate(call)
            if state == CORO_CREATED:  # the conversation is over
                call.close()
            elif state != CORO_CLOSED:  # the loop has given up, and is not to go on with it
                tasks = asyncio.all_tasks(self._runner.get_loop())
                next(task for task in tasks if task.get_coro() is call).cancel()
