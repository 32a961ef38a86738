"""One connection of a client in a test, and what of its errors the test has not expected yet."""

from collections.abc import Callable, Mapping
from typing import Final, final

from agent_messaging._endpoint import Endpoint
from agent_messaging._messages import MessageType
from agent_messaging._session import Session
from agent_messaging._session_end import FAREWELLS, SessionEndReason
from agent_messaging.testing._inbox import Inbox
from agent_messaging.testing._received import ReceivedFrame, received
from agent_messaging.testing._transports import RecordingTransport
from agent_messaging.testing._troubles import HANDLER_FAILED, Troubles, UnexpectedError

__all__ = ["Connection"]


@final
class Connection:
    """A connection of a client with an endpoint.

    Args:
        inbox: where what it brings is noted.
        troubles: what the library logs.
        changed: called after each frame, and when the library has closed it.

    Attributes:
        transport: the client's side of it.
        session: the endpoint's side, once it is open.
    """

    session: Session

    def __init__(self, inbox: Inbox, troubles: Troubles, changed: Callable[[], object]) -> None:
        self.transport: Final[RecordingTransport] = RecordingTransport()
        self._inbox = inbox
        self._troubles = troubles
        self._changed = changed
        self._errors: list[ReceivedFrame] = []
        self._is_end_expected = False

    async def open(self, endpoint: Endpoint, user_id: str, metadata: Mapping[str, object]) -> None:
        """Have the endpoint open its side.

        Raises:
            RemoteError: it refuses to.
        """
        self.session = await endpoint.open(
            user_id, self._take, close=self._close, metadata=metadata
        )

    async def _take(self, text: str) -> None:
        await self.transport(text)
        frame = received(text)
        self._inbox.add(frame)
        if frame.type == MessageType.ERROR_MESSAGE:
            self._errors.append(frame)
            if not self._is_farewell(frame):
                session = self.session
                self._troubles.arrived(session.user_id, session.connection_id, frame.payload)
        self._changed()

    async def _close(self, reason: SessionEndReason) -> None:
        await self.transport.close(reason)
        self._changed()

    def _is_farewell(self, frame: ReceivedFrame) -> bool:
        """Whether an error tells of the connection's end, and is no answer with the same code."""
        end = self.session.end
        said = (frame.payload.get("code"), frame.payload.get("message"))
        return end is not None and FAREWELLS.get(end.reason) == said

    # What is expected.

    def take_error(self) -> ReceivedFrame | None:
        """The next error, and with it the end that it tells of is expected; None for no error."""
        if not self._errors:
            return None
        frame = self._errors.pop(0)
        self._is_end_expected |= self._is_farewell(frame)
        return frame

    def expect_end(self) -> None:
        """Have the end be expected, and the error that tells of it."""
        self._is_end_expected = True
        self._errors = [frame for frame in self._errors if not self._is_farewell(frame)]

    def check(self) -> None:
        """See that no error is left, and that it has not ended with one.

        Raises:
            UnexpectedError: it is, or has; the cause is what a handler of the host's raised.
        """
        for frame in self._errors:
            logged = self._troubles.logged
            failed = (each.error for each in logged if each.event == HANDLER_FAILED)
            raise UnexpectedError(
                f"the library answered {frame}; expect_error() says that this is meant; "
                f"{self._inbox}"
            ) from next(failed, None)
        end = self.session.end
        if end is not None and end.reason in FAREWELLS and not self._is_end_expected:
            raise UnexpectedError(
                f"the library ended the connection as {end.reason}; expect_closed(), before the "
                f"client reconnects, says that this is meant; {self._inbox}"
            )

    def check_answers(self) -> None:
        """See that each refusal of what was sent by it has arrived, once nothing more can.

        Raises:
            UnexpectedError: one has not.
        """
        own = {"user_id": self.session.user_id, "connection_id": self.session.connection_id}
        for refusal in self._troubles.refusals:
            if own.items() <= refusal.fields.items():
                raise UnexpectedError(
                    f"the library answered the error {refusal.fields['code']}, which did not "
                    f"arrive; expect_log({refusal.event!r}) says that this is meant; {self._inbox}"
                )
