"""A service as it was written for the former handlers, unchanged, behind the one handler.

python docs/examples/former_service.py
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from agent_messaging import MessageRouter, NativeDialect
from agent_messaging.compat import AgentMessageHandler, adapt_service, loads_legacy


class ReportService:
    """Knows nothing of this library: it sends JSON frames of its own on the websocket."""

    async def handle_start_agent(
        self,
        user_id: str,
        payload: dict[str, Any],
        db_session: str,
        websocket: Any,
    ) -> None:
        await websocket.send_json({"type": "agent_started", "payload": {"report": "sales"}})
        await websocket.send_json({"type": "agent_thinking", "payload": {"thought": "Reading"}})
        await websocket.send_json({"type": "tool_executing", "tool_name": "query"})
        rows = [payload["user_request"], db_session]
        await websocket.send_text(
            json.dumps({"type": "tool_completed", "data": {"tool_name": "query", "rows": rows}})
        )
        await websocket.send_json({"type": "agent_completed", "payload": {"summary": "2 rows"}})

    async def handle_user_message(
        self,
        user_id: str,
        payload: dict[str, Any],
        db_session: str,
        websocket: Any,
    ) -> None:
        """Sends neither a start nor an end; both are supplied."""
        await websocket.send_json({"type": "agent_update", "payload": {"percent": 50}})


async def database_session() -> AsyncGenerator[str, None]:
    """As a FastAPI dependency: a generator that yields the session once."""
    yield "a session"


async def main() -> None:
    """What a former front end sends, and what it gets now."""

    async def send(frame: str) -> None:
        print(frame)

    handler = AgentMessageHandler(adapt_service(ReportService(), database_session))
    router = MessageRouter(handler, dialect=NativeDialect(loads=loads_legacy))
    for frame in (
        '{"type": "execute_agent", "payload": {"user_request": "sales", "thread_id": "t-1"}}',
        '{"type": "chat_message", "payload": {"content": "and costs?", "thread_id": "t-1"}}',
    ):
        await router.handle_frame("user-1", send, frame)


if __name__ == "__main__":
    asyncio.run(main())
