"""The example of several workers: two processes behind HAProxy, over one Redis."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from integration.clients import WebSocketClient, over_websocket
from integration.hosts import EXAMPLES, PATIENCE, ROOT, SECRET, Host, started, within_patience
from support import Json

COUNTS: Final = frozenset({"agent_response_chunk"})
STOPPED: Final = frozenset({"stopped"})
RESUMED: Final = frozenset({"resumed"})
#: Longer than any test takes.
FOR_LONG: Final = "100000"


@dataclass
class Workers:
    """The example that runs."""

    host: Host
    token: str
    pids: dict[str, int] = field(default_factory=dict[str, int])

    async def start(self) -> None:
        """Wait until a worker has been started."""
        said = await self.host.says_next("pid")
        self.pids[said["worker"]] = said["pid"]

    @asynccontextmanager
    async def client(self, *, but: str = "") -> AsyncGenerator[WebSocketClient]:
        """A client of any worker but one."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with over_websocket(self.host.port, self.token) as client:
                    if client.worker != but:
                        yield client
                        return

    async def next(self) -> str:
        """The worker that the front sends a client to."""
        async with self.client() as client:
            return client.worker

    async def stop(self) -> list[Json]:
        """Stop all; the statistics of the workers that there were at the end."""
        self.host.terminate()
        statistics = [(await self.host.says_next("statistics"))["statistics"] for _ in self.pids]
        assert await self.host.ends() == 0
        return statistics


@asynccontextmanager
async def two_workers(token: str, drain_seconds: float = 1.0) -> AsyncGenerator[Workers]:
    variables = {"DRAIN_SECONDS": str(drain_seconds), "LEASE_SECONDS": "1"}
    async with started("workers.run", **variables) as host:
        workers = Workers(host, token)
        try:
            await workers.start()
            await workers.start()
            host.port = (await host.says_next("port"))["port"]
            yield workers
        finally:
            # Not killed: it is to stop what it has started.
            if host.is_running:
                host.terminate()
            await host.ends()


def count(to: str, **fields: str) -> str:
    return json.dumps({"type": "start_agent", "payload": {"user_request": to}, **fields})


def resume(run_id: str, seq: int) -> str:
    return json.dumps({"type": "resume", "payload": {"after": {run_id: seq}}})


async def to_the_end(client: WebSocketClient) -> list[Json]:
    frames = [await client.reads()]
    while frames[-1]["type"] not in ("agent_completed", "agent_failed", "agent_cancelled"):
        frames.append(await client.reads())
    return frames


def seqs(frames: list[Json]) -> list[int]:
    return [frame["seq"] for frame in frames]


# Across workers.


def test_a_client_that_comes_back_to_the_other_worker_gets_what_it_missed_and_the_rest(
    issue: Callable[..., str],
) -> None:
    async def main() -> None:
        async with two_workers(issue("ada")) as workers:
            async with workers.client() as ada:
                first = ada.worker
                seen = await ada.ask(count("6"), COUNTS)
                await ada.vanish()
            async with workers.client(but=first) as ada:
                assert ada.worker != first
                [resumed] = await ada.ask(resume(seen[-1]["run_id"], seen[-1]["seq"]), RESUMED)
                assert [run["evicted"] for run in resumed["payload"]["runs"]] == [False]
                seen += await to_the_end(ada)
            assert seqs(seen) == list(range(1, 9))
            assert "".join(frame["payload"].get("text", "") for frame in seen) == "1 2 3 4 5 6 "
            assert seen[-1]["payload"]["result"] == 6
            first_stats, second_stats = await workers.stop()
            assert first_stats["runs_accepted"] + second_stats["runs_accepted"] == 1

    asyncio.run(main())


def test_a_retry_at_the_other_worker_is_answered_by_the_events_of_the_first_run(
    issue: Callable[..., str],
) -> None:
    async def main() -> None:
        async with two_workers(issue("ada")) as workers:
            message = count("3", message_id="m1", thread_id="t1")
            async with workers.client() as ada:
                first = ada.worker
                told = await ada.ask(message)
            async with workers.client(but=first) as ada:
                assert await ada.ask(message) == told
                # And while it is under way.
                again = count("5", message_id="m2", thread_id="t1")
                begun = await ada.ask(again, COUNTS)
                async with workers.client(but=ada.worker) as second:
                    assert second.worker == first
                    ended = await second.ask(again)
                begun += await to_the_end(ada)
                assert ended == begun
            statistics = await workers.stop()
            assert sum(each["runs_accepted"] for each in statistics) == 2
            assert sum(each["retries"] for each in statistics) == 2

    asyncio.run(main())


def test_a_run_is_stopped_from_the_other_worker(issue: Callable[..., str]) -> None:
    async def main() -> None:
        async with two_workers(issue("ada")) as workers, workers.client() as ada:
            begun = await ada.ask(count(FOR_LONG, thread_id="t1"), COUNTS)
            run_id = begun[-1]["run_id"]
            async with workers.client(but=ada.worker) as second:
                stop = json.dumps({"type": "stop_agent", "payload": {"run_id": run_id}})
                [stopped] = await second.ask(stop, STOPPED)
                assert stopped["payload"] == {"run_ids": [run_id]}
                # A barrier: the thread is free, and what was stopped says nothing more.
                after = await second.ask(count("1", thread_id="t1"))
                assert after[-1]["type"] == "agent_completed"
            ended = await to_the_end(ada)
            assert ended[-1]["type"] == "agent_cancelled"
            assert ended[-1]["payload"]["reason"] == "stopped"
            assert seqs(begun + ended) == list(range(1, len(begun + ended) + 1))

    asyncio.run(main())


def test_the_runs_of_a_worker_that_was_killed_are_ended_by_the_other_once(
    issue: Callable[..., str],
) -> None:
    async def main() -> None:
        async with two_workers(issue("ada")) as workers:
            runs: dict[str, list[Json]] = {}
            async with workers.client() as ada:
                killed = ada.worker
                for thread_id in ("t1", "t2", "t3"):
                    begun = await ada.ask(count(FOR_LONG, thread_id=thread_id), COUNTS)
                    runs[begun[0]["run_id"]] = []
                    note(runs, begun)
                os.kill(workers.pids[killed], signal.SIGKILL)
                note(runs, await ada.rest())
            async with workers.client(but=killed) as ada:
                for run_id, seen in runs.items():
                    await ada.ask(resume(run_id, seen[-1]["seq"]), RESUMED)
                while not all(seen[-1]["type"] == "agent_failed" for seen in runs.values()):
                    note(runs, [await ada.reads()])
            for seen in runs.values():
                assert seqs(seen) == list(range(1, len(seen) + 1))
                assert seen[-1]["payload"]["code"] == "interrupted"
                assert seen[-1]["payload"]["retryable"]
            await workers.start()  # it is started anew
            for worker in workers.pids:
                async with workers.client(but=worker) as ada:
                    for run_id, seen in runs.items():
                        await ada.ask(resume(run_id, 0), RESUMED)
                        assert await to_the_end(ada) == seen
            statistics = await workers.stop()
            assert sum(each["runs_recovered"] for each in statistics) == len(runs)

    asyncio.run(main())


def note(runs: dict[str, list[Json]], frames: list[Json]) -> None:
    """Put each event to those of its run."""
    for frame in frames:
        if "seq" in frame:
            runs[frame["run_id"]].append(frame)


# Draining.


def test_a_worker_that_drains_ends_its_runs_and_gets_no_more_clients(
    issue: Callable[..., str],
) -> None:
    async def main() -> None:
        async with two_workers(issue("ada"), PATIENCE) as workers, workers.client() as ada:
            draining = ada.worker
            begun = await ada.ask(count("8", thread_id="t1"), COUNTS)
            os.kill(workers.pids[draining], signal.SIGTERM)
            seen, refused = await refusal(ada)
            # The front asks now and then; once it knows, nobody else comes here.
            async with asyncio.timeout(PATIENCE):
                while draining in {await workers.next(), await workers.next()}:
                    pass
            async with workers.client() as second:
                other = second.worker
                assert other != draining
                accepted = await second.ask(refused)
                assert accepted[-1]["type"] == "agent_completed"
            seen += await ada.rest()
            run_id = begun[0]["run_id"]
            mine = begun + [frame for frame in seen if frame.get("run_id") == run_id]
            assert seqs(mine) == list(range(1, 11))
            assert mine[-1]["type"] == "agent_completed"
            assert ada.closed_with == 1012
            ended = await workers.host.says_next("ended")
            assert (ended["worker"], ended["ended"]) == (draining, 0)
            # It was started anew, and the front finds it.
            async with workers.client(but=other) as third:
                assert third.worker == draining

    asyncio.run(main())


async def refusal(client: WebSocketClient) -> tuple[list[Json], str]:
    """What came before a message was refused, and that message; the signal may come later."""
    seen: list[Json] = []
    for number in range(1000):
        message = count("1", message_id=f"m{number}", thread_id=f"t{number}")
        seen += await client.ask(message)
        if seen[-1]["type"] == "error_message":
            assert seen[-1]["payload"]["code"] == "shutting_down"
            return seen, message
    raise AssertionError("it does not drain")


def test_all_is_ended_in_an_order_in_which_clients_hear_of_it(issue: Callable[..., str]) -> None:
    async def main() -> None:
        async with two_workers(issue("ada")) as workers, workers.client() as ada:
            await ada.ask(count(FOR_LONG, thread_id="t1"), COUNTS)
            async with workers.client(but=ada.worker) as second:
                await second.ask(count(FOR_LONG, thread_id="t2"), COUNTS)
                statistics = await workers.stop()
                for client in (ada, second):
                    last = (await client.rest())[-1]
                    assert last["type"] == "agent_cancelled"
                    assert last["payload"]["reason"] == "shutdown"
                    assert client.closed_with == 1012
            assert [each["runs_cancelled"] for each in statistics] == [1, 1]
            assert workers.host.errors() == []
            for pid in workers.pids.values():
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", workers.host.port)

    asyncio.run(main())


# Its programs.


def test_the_client_of_the_example_misses_nothing(issue: Callable[..., str]) -> None:
    async def main() -> str:
        async with two_workers(issue("ada")) as workers:
            client = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "workers.client", str(workers.host.port)),
                cwd=EXAMPLES,
                env={**os.environ, "CHAT_SECRET": SECRET},
                stdout=asyncio.subprocess.PIPE,
            )
            printed, _ = await within_patience(client.communicate())
            assert client.returncode == 0
            return printed.decode()

    printed = asyncio.run(main())
    assert set(re.findall(r"connected to (\S+)", printed)) == {"worker-1", "worker-2"}
    assert re.findall(r"^(\d+) agent", printed, re.MULTILINE) == [str(n) for n in range(1, 15)]
    page = (ROOT / "docs" / "how-to" / "run-several-workers.md").read_text()
    shown = page.partition("workers.client PORT\n")[2].partition("```")[0]
    assert without_figures(shown) == without_figures(printed)


def without_figures(printed: str) -> str:
    """How many events were missed, and which worker came first, differs from time to time."""
    return re.sub(r"(meanwhile: |worker-)\d+", r"\1N", printed)


def test_every_file_of_the_example_is_shown_by_its_page() -> None:
    page = (ROOT / "docs" / "how-to" / "run-several-workers.md").read_text()
    shown = re.findall(r"\{literalinclude\} \.\./examples/workers/(\S+)\n", page)
    files = [path.name for path in (EXAMPLES / "workers").iterdir() if path.is_file()]
    assert sorted(shown) == sorted(files)


def test_it_says_what_is_missing() -> None:
    environment = {"PATH": "", "PYTHONPATH": str(EXAMPLES)}
    done = subprocess.run(
        [sys.executable, "-m", "workers.run"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    first, *wanted = done.stderr.splitlines()
    assert first == "first:"
    assert set(wanted) - {"apt-get install haproxy"} == {  # which may be in /usr/sbin
        "apt-get install redis-server",
        "export CHAT_SECRET=...",
    }
