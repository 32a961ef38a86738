"""A Redis server of the tests' own: on a unix socket in a temporary directory, and stopped."""

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, final

import redis.asyncio

__all__ = ["RedisServer", "client_of", "running_server"]

#: Seconds of real time until a server that does not come up is a failure.
PATIENCE: Final = 20.0


@final
class RedisServer:
    """One server's process, which may be killed and started again.

    Attributes:
        path: its socket.
        folder: where its files are.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder: Final = folder
        self.path: Final = str(folder / "redis.sock")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, says: str = "+PONG") -> None:
        """Start it, with options beside its own; returns when it says this to PING."""
        assert self._process is None, "it is running"
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", "0", "--unixsocket", self.path),
                *("--dir", str(self.folder), "--logfile", "redis.log", "--daemonize", "no"),
                *(self._options or ("--save", "")),
                *options,
            ]
        )
        self.wait_for(says, "PING")

    def wait_for(self, expected: str, *words: str) -> None:
        """Wait until it says what is expected to a command."""
        deadline = time.monotonic() + PATIENCE
        while expected.encode() not in (said := self.ask(*words)):
            assert self._process is not None
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, said
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash would, and wait for that."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, if it is running."""
        if self._process is not None:
            self.resume()
            self._end(signal.SIGTERM)

    def suspend(self) -> None:
        """Have it do nothing at all."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """Send one command, by itself; the reply as it comes, none from a server that is down."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(PATIENCE)
            try:
                asking.connect(self.path)
                asking.sendall(" ".join(words).encode() + b"\r\n")
                return asking.recv(4096)
            except OSError:
                return b""

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "redis.log").read_text()

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        self._process = None


@contextmanager
def running_server(*options: str) -> Generator[RedisServer]:
    """A server, until the end of the block; without options it keeps nothing on disk."""
    # Not the test's own directory: the path of a unix socket has to be short.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), *options)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def client_of(
    server: RedisServer, *, protocol: int = 2, decode_responses: bool = False
) -> AsyncGenerator["redis.asyncio.Redis"]:
    """A client of the server, closed at the end."""
    client = redis.asyncio.Redis(
        unix_socket_path=server.path, protocol=protocol, decode_responses=decode_responses
    )
    try:
        yield client
    finally:
        await client.aclose()
