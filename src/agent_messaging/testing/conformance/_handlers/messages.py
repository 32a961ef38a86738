"""Cases: which messages are handled, and what is sent for them."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from agent_messaging import MessageRouter, MessageType, WebSocketLike
from agent_messaging.testing.conformance._expect import expect
from agent_messaging.testing.conformance._handlers.trial import MakeHandler, Socket, on_trial


async def a_router_takes_it(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    router = MessageRouter(trial.handler)
    expect(router.supported_types, frozenset(trial.handler.supported_types))


async def it_can_handle_each_type_that_it_supports(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for kind in trial.handler.supported_types:
        expect(repr(trial.handler.can_handle(kind)), "True", f"can_handle({kind!r})")


async def it_can_handle_no_other_type(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    supported = set(trial.handler.supported_types)
    similar = {like for kind in supported for like in (kind.upper(), f"{kind}s", kind[:-1])}
    for kind in sorted({*MessageType, "", "a type of nobody's", *similar} - supported):
        expect(repr(trial.handler.can_handle(kind)), "False", f"can_handle({kind!r})")


async def every_message_is_handled(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        done = await trial.handle(message, Socket())
        # What is only true in a way is no success for a router.
        expect(repr(done), "True", f"handle_message, for a {message.type!r}")


async def its_frames_are_json_texts(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        socket = Socket()
        await trial.handle(message, socket)
        others = [frame for frame in socket.frames if not _is_json(frame)]
        expect(others, [], f"frames for a {message.type!r} that are no JSON texts")


def _is_json(frame: object) -> bool:
    """Whether a client's parser takes it; Python's own takes more."""
    if not isinstance(frame, str):
        return False
    constants: list[str] = []
    try:
        json.loads(frame, parse_constant=constants.append)
    except ValueError:
        return False
    return not constants


async def any_websocket_will_do(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    for message in trial.messages:
        alone = await trial.answered(message, Socket())
        for kind, make_websocket in _WEBSOCKETS.items():
            socket = Socket()
            done = await trial.handle(message, make_websocket(socket))
            about = f"result and number of frames for a {message.type!r} over {kind}"
            expect((repr(done), len(socket.frames)), alone, about)


def _function(socket: Socket) -> WebSocketLike:
    async def send(frame: str) -> None:
        await socket(frame)

    return send


class _SendsText:
    def __init__(self, socket: Socket) -> None:
        self.send_text: Final = socket.__call__


class _SendsStr:
    def __init__(self, socket: Socket) -> None:
        self.send_str: Final = socket.__call__


class _Sends:
    def __init__(self, socket: Socket) -> None:
        self.send: Final = socket.__call__


#: What `agent_messaging.as_transport` knows, beside what is called as a session of an endpoint is.
_WEBSOCKETS: Final[Mapping[str, Callable[[Socket], WebSocketLike]]] = {
    "a function": _function,
    "an object with send_text": _SendsText,
    "an object with send_str": _SendsStr,
    "an object with send": _Sends,
}
