"""A client that loses its connection: `CHAT_SECRET=... python -m workers.client PORT`.

In docs/examples, while `workers.run` runs. It has a worker count, is cut off, and comes back to
the other worker.
"""

import asyncio
import json
import sys
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect

from hosts.auth import issue

RUN_ENDS = ("agent_completed", "agent_failed", "agent_cancelled")


class Chat:
    """What a client has of its one run."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.seq = 0
        self.is_over = False

    async def read(self, connection: ClientConnection) -> None:
        """Take the next frame."""
        frame = json.loads(await connection.recv())
        kind, payload = frame["type"], frame["payload"]
        if kind == "resumed":
            [run] = payload["runs"]
            print("missed meanwhile:", run["to_seq"] - run["from_seq"] + 1)
        elif "seq" in frame and frame["seq"] > self.seq:
            self.run_id, self.seq, self.is_over = frame["run_id"], frame["seq"], kind in RUN_ENDS
            print(f"{self.seq} {kind} {payload.get('text', '')}".rstrip())


def connected(port: str, token: str) -> connect:
    return connect(
        f"ws://127.0.0.1:{port}/chat", additional_headers={"Authorization": f"Bearer {token}"}
    )


def worker_of(connection: ClientConnection) -> str:
    response = connection.response
    return "nobody" if response is None else response.headers["x-worker"]


async def main(port: str) -> None:
    token, chat = issue("ada"), Chat()
    async with connected(port, token) as connection:
        print("connected to", worker_of(connection))
        message = {
            "type": "start_agent",
            "message_id": str(uuid4()),
            "payload": {"user_request": "12"},
        }
        await connection.send(json.dumps(message))
        while chat.seq < 5:
            await chat.read(connection)
        connection.transport.abort()  # no goodbye
    print("cut off")
    await asyncio.sleep(1.0)
    async with connected(port, token) as connection:
        print("connected to", worker_of(connection))
        resume = {"type": "resume", "payload": {"after": {chat.run_id: chat.seq}}}
        await connection.send(json.dumps(resume))
        while not chat.is_over:
            await chat.read(connection)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
