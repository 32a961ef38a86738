"""Two workers behind HAProxy, over one Redis: `CHAT_SECRET=... python -m workers.run`.

In docs/examples. Ctrl-C or a SIGTERM ends all of it: first the workers, which drain; then HAProxy,
through which their clients hear the end; then Redis, into which the workers write it.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
WORKERS = ("worker-1", "worker-2")
#: Seconds for a process to come up.
START_SECONDS = 10.0
#: Seconds for a process to end; more than a worker takes to drain.
STOP_SECONDS = 60.0


def missing() -> list[str]:
    """What is to be installed or set first."""
    programs = ("redis-server", "haproxy")
    packages = ("redis", "starlette", "uvicorn", "websockets")
    return [
        *(f"apt-get install {name}" for name in programs if shutil.which(name) is None),
        *(f"pip install {name}" for name in packages if find_spec(name) is None),
        *(f"export {name}=..." for name in ("CHAT_SECRET",) if name not in os.environ),
    ]


@asynccontextmanager
async def running(
    *command: str | Path, pass_fds: tuple[int, ...] = ()
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A process that is told to end when the block ends, and waited for."""
    process = await asyncio.create_subprocess_exec(
        *command,
        pass_fds=pass_fds,
        start_new_session=True,  # a Ctrl-C is for this program alone
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def until_up(path: Path) -> None:
    """Wait until a process takes connections at a unix socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        async with asyncio.timeout(START_SECONDS):
            while True:
                if asking.connect_ex(str(path)) == 0:
                    return
                await asyncio.sleep(0.05)


async def first_of(*awaited: Coroutine[object, object, object]) -> None:
    """Wait until one of these has come to its end."""
    tasks = [asyncio.create_task(each) for each in awaited]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def keep(name: str, folder: Path, is_over: asyncio.Event) -> None:
    """Run a worker until all is over; one that ends before is started again."""
    command = (sys.executable, "-m", "workers.worker", name, folder / f"{name}.sock")
    while not is_over.is_set():
        async with running(*command) as worker:
            say({"worker": name, "pid": worker.pid})
            await first_of(worker.wait(), is_over.wait())
        if not is_over.is_set():
            say({"worker": name, "ended": worker.returncode})
            # Not at once: it may be one that cannot start.
            await first_of(asyncio.sleep(1.0), is_over.wait())


async def run(listener: socket.socket, folder: Path) -> bool:
    """Whether it was ended as it is to be."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    os.environ |= {
        "REDIS_URL": f"unix://{folder}/redis.sock",
        "FOLDER": str(folder),
        "FRONT_SOCKET": str(listener.fileno()),
    }
    redis_options = ("--dir", folder, "--unixsocket", folder / "redis.sock")
    are_over = asyncio.Event()
    async with running("redis-server", HERE / "redis.conf", *redis_options) as redis:
        await until_up(folder / "redis.sock")
        workers = [asyncio.create_task(keep(name, folder, are_over)) for name in WORKERS]
        try:
            for name in WORKERS:
                await until_up(folder / f"{name}.sock")
            haproxy_options = ("-db", "-q", "-f", HERE / "haproxy.cfg")
            async with running(
                "haproxy", *haproxy_options, pass_fds=(listener.fileno(),)
            ) as haproxy:
                say({"port": listener.getsockname()[1]})
                await first_of(stop.wait(), redis.wait(), haproxy.wait())
                are_over.set()
                await asyncio.wait(workers)
        finally:
            are_over.set()
            await asyncio.wait(workers)
    return stop.is_set()


def say(fields: dict[str, object]) -> None:
    # In one write, since the workers say things too.
    print(f"{json.dumps(fields)}\n", end="", flush=True)


def main() -> None:
    # Where Debian has haproxy, and where not everybody looks for it.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    if wanted := missing():
        sys.exit("\n".join(["first:", *wanted]))
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with (
        socket.create_server(("127.0.0.1", port)) as listener,
        tempfile.TemporaryDirectory(prefix="workers-") as folder,
    ):
        if not asyncio.run(run(listener, Path(folder))):
            sys.exit("Redis or HAProxy has ended by itself")


if __name__ == "__main__":
    main()
