"""Messages to handlers: the first that takes the type, and an answer where none does."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial

import pytest

from agent_messaging import (
    AgentMessageHandler,
    ConfigurationError,
    ErrorCode,
    Message,
    MessageHandler,
    MessageRouter,
    MessageType,
    RemoteError,
    Run,
    WebSocketLike,
)
from agent_messaging.testing import RecordingTransport, run_virtual
from support import chat, runs_of, start_agent
from support.clients import Client
from support.lines import own_records


async def echo(run: Run) -> str:
    return run.request


async def talkative(run: Run) -> None:
    for number in range(5):
        await run.chunk(str(number))
        await asyncio.sleep(0)


class Pings:
    """A handler of the host's own, which uses the websocket itself."""

    def __init__(self, *types: str, error: Exception | None = None) -> None:
        self.supported_types: Collection[str] = types or ("ping",)
        self.calls: list[tuple[str, WebSocketLike | None, Message]] = []
        self._error = error

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        self.calls.append((user_id, websocket, message))
        if self._error is not None:
            raise self._error
        return True

    def get_stats(self) -> Mapping[str, object]:
        return {"pings": len(self.calls)}


PING = Message(type="ping", message_id="m1")


# Routing.


def test_a_message_goes_to_the_handler_of_its_type() -> None:
    pings = Pings()
    client = Client(MessageRouter(AgentMessageHandler(echo), pings))
    assert client.say(PING) is True
    assert client.say(chat("Rome")) is True
    assert len(pings.calls) == 1
    assert client.payload("agent_completed")["result"] == "Rome"


def test_the_first_registered_handler_wins() -> None:
    first, second = Pings("ping"), Pings("ping", "pong")
    client = Client(MessageRouter(first, second))
    client.say(PING)
    client.say(Message(type="pong"))
    assert [len(first.calls), len(second.calls)] == [1, 1]


def test_a_handler_can_be_registered_later_and_stands_behind_the_others() -> None:
    router = MessageRouter(AgentMessageHandler(echo))
    client = Client(router)
    assert client.say(PING) is False
    router.register(Pings("ping", "chat"))
    assert client.say(PING) is True
    assert client.say(chat()) is True
    assert client.types == ["error_message", "agent_started", "agent_completed"]


@pytest.mark.parametrize("kind", ["ping", "of_the_hosts_own", "agent_started", "CHAT"])
def test_a_type_that_nothing_handles_is_answered_and_no_success(kind: str) -> None:
    client = Client(MessageRouter(AgentMessageHandler(echo)))
    assert client.say(Message(type=kind, message_id="m1")) is False
    error = client.payload("error_message")
    assert (error["code"], error["message_id"]) == ("unsupported_type", "m1")
    assert client.say(chat()) is True


def test_a_router_without_handlers_answers_everything() -> None:
    client = Client(MessageRouter())
    assert client.say(chat()) is False
    assert client.payload("error_message")["code"] == "unsupported_type"


def test_a_message_in_anothers_name_reaches_no_handler() -> None:
    pings = Pings()
    client = Client(MessageRouter(pings))
    assert client.say(Message(type="ping", user_id="another")) is False
    error = client.payload("error_message")
    assert error["code"] == "identity_mismatch"
    assert error["message"] == "user_id is not the user of this connection; leave it out"
    assert pings.calls == []


def test_a_refusal_of_the_agents_handler_is_that_handlers_to_count() -> None:
    handler = AgentMessageHandler(echo)
    router = MessageRouter(handler)
    client = Client(router)
    assert client.say(Message(type="chat")) is False
    assert client.payload("error_message")["code"] == "missing_content"
    assert handler.processing_stats["errors"] == 1
    assert router.get_stats()["errors"] == 0


def test_metadata_reaches_the_agent() -> None:
    seen: list[Mapping[str, object]] = []

    async def agent(run: Run) -> None:
        seen.append(run.context.metadata)

    router = MessageRouter(AgentMessageHandler(agent, RecordingTransport()))
    metadata = {"plan": "pro"}
    frame = '{"type":"chat","payload":{"text":"x"}}'
    assert run_virtual(router.handle_message("u1", RecordingTransport(), chat(), metadata=metadata))
    assert run_virtual(router.handle_frame("u1", RecordingTransport(), frame, metadata=metadata))
    assert run_virtual(router.handle_message("u1", None, chat(), metadata=metadata))
    assert run_virtual(router.handle_message("u1", RecordingTransport(), chat()))
    assert [dict(each) for each in seen] == [metadata, metadata, metadata, {}]


# Registering.


class NoHandler:
    supported_types = ("ping",)


class NotAsync(Pings):
    def handle_message(self, *_: object) -> bool:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        return True


class NoTypes(Pings):
    def __init__(self) -> None:
        super().__init__()
        self.supported_types = ()


class Untyped(Pings):
    def __init__(self) -> None:
        super().__init__()
        del self.supported_types


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (NoHandler, "NoHandler has no method can_handle"),
        (NotAsync, r"NotAsync\.handle_message must be a coroutine function"),
        (NoTypes, r"NoTypes\.supported_types names no message type"),
        (Untyped, r"Untyped\.supported_types names no message type"),
        (MessageRouter, r"MessageRouter\.supported_types names no message type"),
        (object, "object has no method can_handle"),
        (partial(echo), "partial has no method can_handle"),
    ],
)
def test_what_is_no_handler_is_refused_when_it_is_registered_and_named(
    make: Callable[[], object], what: str
) -> None:
    handler = make() if isinstance(make, type) else make
    router = MessageRouter()
    with pytest.raises(ConfigurationError, match=what):
        router.register(handler)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match=what):
        MessageRouter(handler)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert router.supported_types == frozenset()
    assert router.get_stats()["handlers"] == []


@pytest.mark.parametrize("handler", [AgentMessageHandler, Pings, MessageRouter])
def test_a_class_in_the_place_of_a_handler_is_refused(handler: object) -> None:
    with pytest.raises(ConfigurationError):
        MessageRouter(handler)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_handler_is_registered_once() -> None:
    handler = AgentMessageHandler(echo)
    with pytest.raises(ConfigurationError, match="AgentMessageHandler is registered already"):
        MessageRouter(handler, handler)
    MessageRouter(handler, AgentMessageHandler(echo))


def test_a_router_is_not_registered_in_itself_by_whatever_way() -> None:
    router = MessageRouter(Pings())
    outer = MessageRouter(MessageRouter(router))
    for inner in (router, outer):
        with pytest.raises(ConfigurationError):
            router.register(inner)


def test_a_handler_that_falls_through_has_not_handled_the_message() -> None:
    class FallsThrough(Pings):
        async def handle_message(
            self, user_id: str, websocket: WebSocketLike | None, message: Message
        ) -> bool:
            return None  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    router = MessageRouter(FallsThrough())
    assert run_virtual(router.handle_message("u1", RecordingTransport(), PING)) is False
    assert run_virtual(router.handle_message("u1", None, PING)) is False


def test_a_handler_whose_can_handle_is_a_coroutine_function_is_refused() -> None:
    class Asks(Pings):
        async def can_handle(self, message_type: str) -> bool:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
            return False

    with pytest.raises(ConfigurationError, match="can_handle"):
        MessageRouter(Asks())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5"])
def test_the_wait_for_a_reply_is_a_positive_number_of_seconds(seconds: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^final_send_timeout"):
        MessageRouter(final_send_timeout=seconds)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# A router is a handler.


def test_a_router_is_a_handler_with_the_types_of_its_handlers() -> None:
    router: MessageHandler = MessageRouter(AgentMessageHandler(echo), Pings("ping", "pong"))
    assert set(router.supported_types) == {"start_agent", "user_message", "chat", "ping", "pong"}
    assert router.can_handle("pong")
    assert router.can_handle(MessageType.CHAT)
    assert not router.can_handle("connect")


def test_routers_nest() -> None:
    pings = Pings()
    inner = MessageRouter(AgentMessageHandler(echo), pings)
    outer = MessageRouter(inner)
    client = Client(outer)
    assert client.say(chat("Rome")) is True
    assert client.payload("agent_completed")["result"] == "Rome"
    assert client.say(PING) is True
    assert pings.calls == [("user-1", client.transport, PING)]
    assert client.say(Message(type="connect")) is False
    assert (outer.get_stats()["errors"], inner.get_stats()["errors"]) == (1, 0)


def test_what_an_inner_router_no_longer_handles_is_answered_by_the_inner_one() -> None:
    class Fickle(Pings):
        answers = iter([True, False])

        def can_handle(self, message_type: str) -> bool:
            return next(self.answers)

    inner = MessageRouter(Fickle())
    outer = MessageRouter(inner)
    client = Client(outer)
    assert client.say(PING) is False
    assert client.payload("error_message")["code"] == "unsupported_type"
    assert (outer.get_stats()["errors"], inner.get_stats()["errors"]) == (0, 1)


def test_statistics_are_the_routers_refusals_and_its_handlers_counters_detached() -> None:
    handler, pings = AgentMessageHandler(echo), Pings()
    router = MessageRouter(handler, pings)
    client = Client(router)
    client.say(chat())
    client.say(PING)
    client.say(Message(type="connect"))
    client.say(Message(type="ping", user_id="another"))
    stats = router.get_stats()
    assert stats["errors"] == 2
    assert stats["refusals"] == {"unsupported_type": 1, "identity_mismatch": 1}
    assert stats["handlers"] == [handler.get_stats(), {"pings": 1}]
    stats["refusals"].clear()
    stats["handlers"].clear()
    assert router.get_stats()["refusals"] != {}
    assert len(router.get_stats()["handlers"]) == 2


# Handlers of the host's own.


def test_a_handler_of_the_hosts_gets_the_websocket_as_the_host_gave_it() -> None:
    pings = Pings()
    client = Client(MessageRouter(pings))
    client.say(PING)
    ((user_id, websocket, message),) = pings.calls
    assert user_id == "user-1"
    assert websocket is client.transport
    assert message is PING


@pytest.mark.parametrize("error", [ValueError("own"), RemoteError(ErrorCode.TIMEOUT, "own")])
@pytest.mark.parametrize("websocket", [None, RecordingTransport()])
def test_what_a_handler_of_the_hosts_raises_is_raised_on(
    error: Exception, websocket: RecordingTransport | None
) -> None:
    router = MessageRouter(Pings(error=error))
    with pytest.raises(type(error)) as raised:
        run_virtual(router.handle_message("u1", websocket, PING))
    assert raised.value is error
    assert router.get_stats()["errors"] == 0


# Without a websocket.


def test_without_a_websocket_the_handlers_own_serves() -> None:
    own = RecordingTransport()
    router = MessageRouter(MessageRouter(AgentMessageHandler(echo, own)))
    assert run_virtual(router.handle_message("u1", None, chat("Rome"))) is True
    ((_, completed),) = runs_of(own.frames).values()
    assert completed["payload"]["result"] == "Rome"


def test_without_a_websocket_a_handler_of_the_hosts_gets_the_message_all_the_same() -> None:
    pings = Pings()
    own_name = Message(type="ping", user_id="u1")
    router = MessageRouter(pings)
    for message in (PING, own_name):
        assert run_virtual(router.handle_message("u1", None, message)) is True
    assert pings.calls == [("u1", None, PING), ("u1", None, own_name)]


def test_without_a_websocket_a_refusal_is_only_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = MessageRouter(AgentMessageHandler(echo, RecordingTransport()))
    with caplog.at_level(logging.INFO, "agent_messaging"):
        assert run_virtual(router.handle_message("u1", None, PING)) is False
        assert (
            run_virtual(router.handle_message("u1", None, Message(type="chat", user_id="u2")))
            is False
        )
    assert router.get_stats()["refusals"] == {"unsupported_type": 1, "identity_mismatch": 1}
    assert [vars(record)["user_id"] for record in own_records(caplog)] == ["u1", "u1"]


def test_without_any_websocket_it_is_a_configuration_error() -> None:
    router = MessageRouter(AgentMessageHandler(echo))
    with pytest.raises(ConfigurationError, match="websocket"):
        run_virtual(router.handle_message("u1", None, chat()))


@pytest.mark.parametrize("user_id", ["", None, 7])
def test_a_user_id_that_is_none_is_a_configuration_error(user_id: object) -> None:
    client = Client(MessageRouter(Pings()), user_id=user_id)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="user_id"):
        client.say(PING)
    with pytest.raises(ConfigurationError, match="user_id"):
        run_virtual(MessageRouter().handle_frame(user_id, RecordingTransport(), "{}"))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_websocket_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="websocket"):
        run_virtual(MessageRouter(Pings()).handle_message("u1", object(), PING))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# One connection, several handlers.


def test_a_router_and_the_handlers_below_it_never_send_at_once_on_one_connection() -> None:
    async def main() -> None:
        router = MessageRouter(MessageRouter(AgentMessageHandler(talkative)))
        client = Client(router, RecordingTransport(turns=2))
        sent = [
            client.send(chat()),
            client.send(start_agent()),
            client.send(Message(type="chat")),
            client.send(PING),
            router.handle_frame("user-1", client.transport, "{"),
        ]
        assert list(await asyncio.gather(*sent)) == [True, True, False, False, False]
        assert client.types.count("error_message") == 3
        assert client.types.count("agent_completed") == 2

    run_virtual(main())


def test_a_reply_of_the_router_stands_in_the_order_of_the_connection() -> None:
    async def main() -> None:
        client = Client(MessageRouter(AgentMessageHandler(echo)), RecordingTransport(seconds=1))
        await asyncio.gather(client.send(chat()), client.send(PING))
        assert client.types == ["agent_started", "agent_completed", "error_message"]

    run_virtual(main())
