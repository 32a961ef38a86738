"""What becomes of one inbound frame: answered, refused, or accepted as a run."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from math import ceil
from typing import Final, NamedTuple, final

from typing_extensions import Buffer

from agent_messaging._active_run import ActiveRun
from agent_messaging._control import ControlLane
from agent_messaging._errors import ErrorCode, RemoteError
from agent_messaging._handler import (
    AgentMessageHandler,
    MessageHandler,
    check_identity,
    unsupported,
)
from agent_messaging._ids import made_id
from agent_messaging._json_encoder import json_encoder
from agent_messaging._log import log, raised_at
from agent_messaging._log_access import asked
from agent_messaging._messages import Message, MessageType
from agent_messaging._router import MessageRouter
from agent_messaging._run import RunContext
from agent_messaging._services import Services
from agent_messaging._session import Session
from agent_messaging._users import OwnedRun, User
from agent_messaging.eventlog.protocol import Lease, RunRecord

__all__ = ["Intake"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")


class _Request(NamedTuple):
    """A message that is to become a run."""

    session: Session
    message: Message
    digest: str
    run: ActiveRun
    replaced: list[OwnedRun]


@final
class Intake:
    """The way of a frame into an endpoint, for all of its sessions.

    The order of checks: decode, identity, content, whether it is a retry, limits, claim.
    """

    __slots__ = ("_control", "_handler", "_new_id", "_owner", "_services")

    def __init__(
        self,
        services: Services,
        handler: MessageHandler,
        control: ControlLane,
        new_id: Callable[[], str],
        owner: str,
    ) -> None:
        self._services = services
        self._handler = handler
        self._control = control
        self._new_id = new_id
        self._owner = owner

    async def take(self, session: Session, frame: str | Buffer) -> None:
        """Take one frame.

        Raises:
            RemoteError: it is refused, which is counted and logged.
        """
        # Every frame takes a token, and a few kinds are worked on without one.
        wait = session.user.frames.take(asyncio.get_running_loop().time())
        try:
            message = self._services.dialect.decode(frame)
            check_identity(session.user_id, message)
            answer = self._control.answers.get(message.type)
            if answer is None:
                await self._accept(session, message, wait)
            elif wait and message.type != MessageType.DISCONNECT:
                raise _rate_limited(wait, message.message_id)
            else:
                await answer(session, message)
        except RemoteError as refusal:
            self._note(session, refusal)
            raise

    def _note(self, session: Session, refusal: RemoteError) -> None:
        self._services.counters.refused(refusal.code)
        fields: dict[str, object] = {
            "user_id": session.user_id,
            "connection_id": session.connection_id,
            "code": str(refusal.code),
            "message_id": refusal.message_id,
        }
        log(_logger, logging.INFO, "frame_refused", fields)

    async def _accept(self, session: Session, message: Message, wait: float) -> None:
        handler = self._handler_for(session.user_id, message)
        if not isinstance(handler, AgentMessageHandler):
            self._call(session, handler, message, wait)
            return
        assignment = handler.prepare(message)
        digest = ""
        if message.message_id is not None:
            digest = _digest(message)
            record = await self._find_claim(session.user, message.message_id)
            if session.end is not None:
                return  # as a frame that comes after the end; its user may be forgotten by now
            if record is not None:
                self._answer_retry(session, message, digest, record)
                return
        self._refuse_now(message, wait)
        context = self._context(session, message)
        lease = Lease(context.user_id, context.run_id, self._owner)
        services = self._services
        user = session.user
        run = ActiveRun(services, user, handler, message, assignment, context, lease)
        replaced = user.admit(run, services.thread_policy, services.limits)
        wait = user.messages.take(asyncio.get_running_loop().time())
        if wait:
            run.withdraw()
            raise _rate_limited(wait, message.message_id)
        request = _Request(session, message, digest, run, replaced)
        user.claiming[context.message_id] = run
        try:
            record = await self._claim(request)
        except asyncio.CancelledError:
            # The claim may have been made, and then the message is accepted.
            services.tasks.spawn(self._claim_after_all(request), f"claim {context.run_id}")
            raise
        except BaseException:
            run.withdraw()
            raise
        self._claimed(request, record)

    def _handler_for(self, user_id: str, message: Message) -> MessageHandler:
        handler = self._handler
        while isinstance(handler, MessageRouter):
            handler = handler.handler_for(user_id, message)
        if not handler.can_handle(message.type):
            raise unsupported(message)
        return handler

    def _refuse_now(self, message: Message, wait: float) -> None:
        if wait:
            raise _rate_limited(wait, message.message_id)
        if self._services.is_draining:
            raise RemoteError(
                ErrorCode.SHUTTING_DOWN,
                "the server is shutting down; send it again elsewhere",
                message_id=message.message_id,
            )

    def _context(self, session: Session, message: Message) -> RunContext:
        thread_id = message.thread_id or session.thread_id or made_id(self._new_id)
        session.thread_id = session.thread_id or thread_id
        return RunContext(
            user_id=session.user_id,
            thread_id=thread_id,
            run_id=made_id(self._new_id),
            message_id=message.message_id or made_id(self._new_id),
            connection_id=session.connection_id,
            metadata=session.metadata,
        )

    # The claim: with it the message is accepted.

    async def _find_claim(self, user: User, message_id: str) -> RunRecord | None:
        """The message's run, also if it is only about to be claimed here."""
        services = self._services
        while True:
            record = await asked(
                lambda: services.log.find_claim(user.user_id, message_id),
                services.log_timeout,
                message_id,
            )
            claiming = user.claiming.get(message_id)
            if record is not None or claiming is None:
                return record
            await claiming.claimed()

    def _claim(self, request: _Request) -> Awaitable[RunRecord]:
        services = self._services
        context = request.run.context
        return asked(
            lambda: services.log.claim(
                request.run.lease,
                thread_id=context.thread_id,
                message_id=context.message_id,
                digest=request.digest,
                owner=self._owner,
                lease_seconds=services.lease_seconds,
            ),
            services.log_timeout,
            request.message.message_id,
        )

    async def _claim_after_all(self, request: _Request) -> None:
        """Go on where `_accept` was cancelled; the same claim again is a retry."""
        session = request.session
        try:
            try:
                record = await self._claim(request)
            except BaseException:
                request.run.withdraw()
                raise
            self._claimed(request, record)
        except RemoteError as refusal:
            self._note(session, refusal)
            session.delivery.answer(MessageType.ERROR_MESSAGE, refusal.reply)

    def _claimed(self, request: _Request, record: RunRecord) -> None:
        session, message, digest, run, replaced = request
        if record.run_id != run.context.run_id:
            # The same message came twice at once, and the other was first.
            run.withdraw()
            self._answer_retry(session, message, digest, record)
            return
        session.delivery.watch_new(run)
        for other in replaced:
            other.cancel("replaced")
        run.accept()

    def _answer_retry(
        self, session: Session, message: Message, digest: str, record: RunRecord
    ) -> None:
        if record.digest != digest or message.thread_id not in (None, record.thread_id):
            raise RemoteError(
                ErrorCode.MESSAGE_ID_CONFLICT,
                "this message_id was used for another message",
                message_id=message.message_id,
            )
        self._services.counters.retries += 1
        session.thread_id = session.thread_id or record.thread_id
        watch = session.delivery.watch(record, 0, session.user.find(record.run_id))
        if watch is not None:
            session.delivery.replay(watch)

    # Handlers of the host's own types.

    def _call(
        self, session: Session, handler: MessageHandler, message: Message, wait: float
    ) -> None:
        self._refuse_now(message, wait)
        session.user.take_place(self._services.limits, message.message_id)
        session.call(self._work(session, handler, message), session.user.give_place_back)

    async def _work(self, session: Session, handler: MessageHandler, message: Message) -> None:
        try:
            await handler.handle_message(session.user_id, session, message)
        except Exception as error:  # noqa: BLE001 - whatever a host's handler raises
            fields: dict[str, object] = {
                "handler": type(handler).__name__,
                "error": type(error).__name__,
                "raised_at": raised_at(error),
            }
            log(_logger, logging.DEBUG, "handler_error", fields, error)
            log(_logger, logging.ERROR, "handler_failed", fields)
            failure = RemoteError(
                ErrorCode.AGENT_ERROR, "The handler failed.", message_id=message.message_id
            )
            session.delivery.answer(MessageType.ERROR_MESSAGE, failure.reply)


def _digest(message: Message) -> str:
    """Stands for a message's content; the same whatever the order of the payload's keys."""
    content = _canonical([message.type, message.payload])
    return blake2b(content.encode(), digest_size=16).hexdigest()


_canonical: Final = json_encoder(repr, separators=(", ", ": "), sort_keys=True, allow_nan=True)


def _rate_limited(wait: float, message_id: str | None) -> RemoteError:
    return RemoteError(
        ErrorCode.RATE_LIMITED,
        "too many of these a minute",
        message_id=message_id,
        retry_after=ceil(wait * 1000) / 1000,
    )
