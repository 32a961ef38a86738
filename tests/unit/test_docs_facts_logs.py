"""What the page on logs lists is what is logged: no event, level or field missing or extra."""

import ast
import asyncio
import contextlib
import logging
import re
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest

import agent_messaging
from agent_messaging import (
    AgentLike,
    AgentMessageHandler,
    Endpoint,
    Lease,
    Limits,
    MemoryEventLog,
    Message,
    MessageRouter,
    Run,
    RunFinished,
    SessionEndReason,
    WebSocketLike,
    compat,
)
from agent_messaging.eventlog.redis_streams import RedisStreamsEventLog
from agent_messaging.eventlog.sqlite import SqliteEventLog, SqliteLogError
from agent_messaging.testing import RecordingTransport, run_virtual
from support import chat, pages
from support.lines import own_records
from support.redis_logs import FaultyClient, fake_client

_SOURCE: Final = Path(agent_messaging.__file__).parent
_PAGE: Final = pages.page("how-to/statistics-and-logs.md")
_ROW: Final = re.compile(
    r"^\| `(agent_messaging[\w.]*)` \| `(\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE
)

#: Logger and event.
Event = tuple[str, str]


def documented() -> dict[Event, tuple[str, set[str]]]:
    """The levels and the fields of each event on the page."""
    found = {
        (logger, event): (levels, set(pages.words(fields)))
        for logger, event, levels, fields in _ROW.findall(_PAGE)
    }
    same = "agent_messaging.handler"
    found[same, "run_error"] = (found[same, "run_error"][0], found[same, "run_finished"][1])
    return found


def test_the_log_events_are_those_of_the_source() -> None:
    assert documented().keys() == written_in_the_source()


def test_an_event_has_one_row() -> None:
    rows = [(logger, event) for logger, event, _, _ in _ROW.findall(_PAGE)]
    assert len(rows) == len(set(rows))


def written_in_the_source() -> set[Event]:
    """Logger and event of each call of the package's `log`."""
    found: set[Event] = set()
    for path in _SOURCE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        name = re.search(r'getLogger\("([\w.]+)"\)', source)
        tree = ast.parse(source)
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name("log" | "log_event"), args=[_, _, event, *_]):
                    assert name is not None
                    found |= {(name[1], word) for word in words_of(event, tree)}
                case _:
                    pass
    return found


def words_of(event: ast.expr, tree: ast.AST) -> set[str]:
    """The texts that an expression may be: a constant, or what its name is given."""
    if isinstance(event, ast.Name):
        given = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and ast.dump(node.targets[0]) == _stored(event.id)
        ]
        assert given
        return {word for value in given for word in words_of(value, tree)}
    if isinstance(event, ast.IfExp):
        return words_of(event.body, tree) | words_of(event.orelse, tree)
    assert isinstance(event, ast.Constant)
    assert isinstance(event.value, str)
    return {event.value}


def _stored(name: str) -> str:
    return ast.dump(ast.Name(name, ast.Store()))


def test_the_levels_and_fields_of_the_log_events_are_those_of_the_source(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    plain = logging.makeLogRecord({}).__dict__.keys() | {"event", "message", "asctime"}

    with caplog.at_level(logging.DEBUG, logger="agent_messaging"):
        run_virtual(everything_that_handlers_log())
        run_virtual(everything_that_endpoints_log())
        run_virtual(everything_that_logs_log())
        asyncio.run(everything_that_a_log_on_disk_logs(tmp_path / "log.db"))

    logged: dict[Event, set[str]] = {}
    levels: dict[Event, set[str]] = {}
    for record in own_records(caplog):
        if record.name.startswith("agent_messaging"):
            event = (record.name, record.__dict__["event"])
            logged.setdefault(event, set()).update(record.__dict__.keys() - plain)
            levels.setdefault(event, set()).add(record.levelname)
    assert logged == {event: fields for event, (_, fields) in documented().items()}
    for event, (text, _) in documented().items():
        assert {level for level in levels[event] if level not in text} == set(), event


async def everything_that_a_log_on_disk_logs(path: Path) -> None:
    async with SqliteEventLog(path, busy_seconds=0.02) as log:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SqliteLogError):
                await log.forget("ann")
        await log.forget("ann")


class _Former:
    """A service of the former handlers that sends what is no frame."""

    async def handle_start_agent(
        self, *, user_id: str, payload: object, db_session: object, websocket: object
    ) -> None: ...

    async def handle_user_message(
        self, *, user_id: str, payload: object, db_session: object, websocket: object
    ) -> None:
        assert isinstance(websocket, compat.FormerWebSocket)
        await websocket.send_text("no frame")


async def everything_that_handlers_log() -> None:
    async def failing(run: Run) -> None:
        raise ValueError

    def raising(finished: RunFinished) -> None:
        raise ValueError

    cases: list[tuple[AgentLike, Message, RecordingTransport]] = [
        (failing, Message(type="dance"), RecordingTransport()),
        (failing, chat(), RecordingTransport(hangs_at=1)),
        (failing, chat(), RecordingTransport(fails_at=1)),
        (compat.adapt_service(_Former()), chat(), RecordingTransport()),
    ]
    for agent, message, client in cases:
        handler = AgentMessageHandler(agent, on_run_finished=raising, final_send_timeout=1.0)
        await handler.handle_message("user-1", client, message)
        await handler.aclose()


class _Deaf:
    """A handler of the host's own that raises, or swallows cancellations until it may end."""

    supported_types = frozenset({"raise", "stay"})

    def __init__(self, may_end: asyncio.Event) -> None:
        self._may_end = may_end

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        if message.type == "raise":
            raise ValueError
        await deaf_until(self._may_end)
        return True

    def get_stats(self) -> dict[str, object]:
        return {}


async def deaf_until(may_end: asyncio.Event) -> None:
    while not may_end.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await may_end.wait()


async def fail_to_close(reason: SessionEndReason) -> None:
    raise ValueError


async def everything_that_endpoints_log() -> None:
    may_end = asyncio.Event()
    log = MemoryEventLog()

    async def agent(run: Run) -> None:
        match run.request:
            case "forget":
                await log.forget(run.context.user_id)
                await run.thinking("Where was I?")
            case "close":
                await log.aclose()
                await run.thinking("Is anybody there?")
            case _:
                await deaf_until(may_end)

    router = MessageRouter(AgentMessageHandler(agent), _Deaf(may_end))
    endpoint = Endpoint(
        router,
        log=log,
        limits=Limits(sessions_per_user=1),
        cancel_grace=1.0,
        drain_timeout=1.0,
        final_send_timeout=1.0,
        log_timeout=1.0,
    )
    async with endpoint:
        session = await endpoint.open("ada", RecordingTransport(), close=fail_to_close)
        await endpoint.serve("ada", _nothing(), RecordingTransport(fails_at=1))
        await session.receive("{")
        await session.receive('{"type": "raise"}')
        await session.receive('{"type": "stay"}')
        await session.receive('{"type": "chat", "payload": {"text": "stay"}, "thread_id": "t-1"}')
        await asyncio.sleep(1.0)
        await session.receive('{"type": "stop_agent", "payload": {"thread_id": "t-1"}}')
        await asyncio.sleep(2.0)
        await endpoint.open("eve", RecordingTransport(fails_at=1))
        await log.claim(
            Lease("ada", "left", "token"),
            thread_id="t",
            message_id="m",
            digest="",
            owner="gone",
            lease_seconds=0,
        )
        await endpoint.recover()
        await session.receive('{"type": "resume", "payload": {"after": {"left": 9}}}')
        another = await endpoint.open("bob", RecordingTransport())
        await another.receive('{"type": "chat", "payload": {"text": "forget"}}')
        await asyncio.sleep(2.0)
        another = await endpoint.open("bob", RecordingTransport())
        await another.receive('{"type": "chat", "payload": {"text": "close"}}')
        await asyncio.sleep(2.0)
    may_end.set()


async def everything_that_logs_log() -> None:
    async with fake_client() as client:
        faulty = FaultyClient(client)
        faulty.error = ConnectionError()
        log = RedisStreamsEventLog(faulty)
        log.follow("ada", "run", lambda last_seq: None)
        await asyncio.sleep(1.0)
        faulty.error = None
        await asyncio.sleep(10.0)
        await log.aclose()


async def _nothing() -> AsyncGenerator[str, None]:
    frames: tuple[str, ...] = ()
    for frame in frames:
        yield frame
