"""The log in Redis while a real server dies, hangs, is full, is a replica or goes back in time."""

import asyncio
import shutil
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from redis.asyncio.cluster import RedisCluster

from agent_messaging import Lease, LoggedEvent
from agent_messaging.eventlog.redis_streams import RedisLogError, RedisStreamsEventLog
from agent_messaging.testing.conformance._event_logs.trial import (
    LEASE_SECONDS,
    Trial,
    Wakes,
    event,
    story,
)
from integration.redis_server import PATIENCE, RedisServer, client_of, running_server
from support.redis_logs import redis_log_on_trial

ALWAYS = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


async def with_log(
    server: RedisServer,
    main: Callable[[Trial], Awaitable[None]],
    *,
    timeout: float = 5.0,
) -> None:
    """Run with a log over a client of the server."""
    async with client_of(server) as client:
        log = RedisStreamsEventLog(client, timeout=timeout, block_seconds=0.2)
        try:
            async with asyncio.timeout(PATIENCE * 3):
                await main(Trial(redis_log_on_trial(log)))
        finally:
            await log.aclose()
        left = [task.get_name() for task in asyncio.all_tasks()]
        assert not [name for name in left if name.startswith("agent_messaging")]


async def until_done(ask: Callable[[], Awaitable[object]]) -> int:
    """Ask again while the log is in trouble, as the endpoint does; how often it was."""
    failures = 0
    while True:
        try:
            await ask()
        except RedisLogError:
            failures += 1
            await asyncio.sleep(0.02)
        else:
            return failures


async def fails(ask: Callable[[], Awaitable[object]]) -> str:
    """What the error of the log says."""
    with pytest.raises(RedisLogError) as caught:
        await ask()
    return str(caught.value)


def test_nothing_is_lost_by_a_crash_with_appendfsync_always() -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run")
        woken = Wakes()
        trial.log.follow("ann", "run", woken.wake)
        sent: list[LoggedEvent] = []
        for round_ in range(3):
            for _ in range(20):
                sent.append(event(len(sent) + 1, payload=f'{{"n":{len(sent)}}}'))
                await trial.append(lease, sent[-1:])
            # Whatever had been awaited is there; and what was on its way is there or not.
            coming = event(len(sent) + 1)
            under_way = asyncio.ensure_future(trial.append(lease, [coming]))
            await asyncio.sleep(0.0005 * round_)
            server.kill()
            await asyncio.wait([under_way])
            assert under_way.exception() is None or isinstance(under_way.exception(), RedisLogError)
            server.start()
            await until_done(lambda: trial.page("run"))
            assert await trial.events("run") in (sent, [*sent, coming])
            sent.append(coming)
            await until_done(lambda: trial.append(lease, sent[-1:]))
            await woken.until(len(sent))
        assert await trial.events("run") == sent
        await trial.append(lease, [story(3)[2]._replace(seq=len(sent) + 1)])

    with running_server(*ALWAYS) as server:
        asyncio.run(with_log(server, main))


def test_who_follows_hears_of_what_came_while_its_connection_was_lost() -> None:
    async def main(trial: Trial) -> None:
        async with client_of(server) as another:
            other = Trial(redis_log_on_trial(RedisStreamsEventLog(another)))
            lease = await trial.claim("run")
            woken = Wakes()
            trial.log.follow("ann", "run", woken.wake)
            await trial.append(lease, [event(1)])
            await woken.until(1)
            for seq in range(2, 40):
                if seq % 5 == 0:
                    server.ask("CLIENT", "KILL", "TYPE", "normal")
                await until_done(
                    lambda seq=seq: other.append(lease, [event(seq)])  # type: ignore[misc]
                )
            await woken.until(39)

    with running_server() as server:
        asyncio.run(with_log(server, main))


def test_a_server_that_hangs_is_given_up_and_taken_up_again() -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run")
        woken = Wakes()
        trial.log.follow("ann", "run", woken.wake)
        await trial.append(lease, [event(1)])
        await woken.until(1)
        server.suspend()
        said = await fails(lambda: trial.append(lease, [event(2)]))
        assert "TimeoutError" in said
        server.resume()
        # It may have been appended or not: the very same again is right in both cases.
        await until_done(lambda: trial.append(lease, [event(2)]))
        assert await trial.events("run") == [event(1), event(2)]
        await woken.until(2)
        await trial.append(lease, [event(3)])
        await woken.until(3)

    with running_server() as server:
        asyncio.run(with_log(server, main, timeout=0.5))


def test_a_server_that_is_loading_is_waited_for() -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run")
        await trial.append(lease, [event(1)])
        server.ask("DEBUG", "POPULATE", "200000")
        server.ask("SAVE")
        server.kill()
        # It looks up from loading now and then.
        slowly = ("--key-load-delay", "50", "--loading-process-events-interval-bytes", "1024")
        server.start(*slowly, says="-LOADING")
        said = await fails(lambda: trial.append(lease, [event(2)]))
        assert "BusyLoadingError" in said
        assert "wait" in said
        server.ask("CONFIG", "SET", "key-load-delay", "0")
        await until_done(lambda: trial.append(lease, [event(2)]))
        assert await trial.events("run") == [event(1), event(2)]

    with running_server("--enable-debug-command", "local", "--save", "") as server:
        # Longer than the client itself asks again.
        asyncio.run(with_log(server, main, timeout=PATIENCE))


def test_a_server_without_memory_refuses_whole_steps() -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run")
        await trial.append(lease, story(5)[:2])
        server.ask("CONFIG", "SET", "maxmemory", "1")
        batch = [event(3, payload=f'"{"secret" * 1000}"'), event(4)]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "append": lambda: trial.append(lease, batch),
            "claim": lambda: trial.claim("other"),
            "renew": lambda: trial.log.renew([lease], LEASE_SECONDS),
            "tell": lambda: trial.log.notify("ann", "run", "stop"),
        }
        for call in calls.values():
            said = await fails(call)
            assert "OutOfMemoryError" in said
            assert "more memory" in said
            assert "secret" not in said
        # What needs none goes on; and nothing was done by half.
        assert await trial.events("run") == story(5)[:2]
        assert await trial.log.find_claim("ann", "message of other") is None
        assert not await trial.log.runs("ann", "another", limit=9)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await trial.append(lease, batch)
        assert await trial.events("run") == [*story(5)[:2], *batch]
        server.ask("CONFIG", "SET", "maxmemory", "1")
        await trial.log.forget("bob")
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await trial.log.forget("ann")

    with running_server() as server:
        asyncio.run(with_log(server, main))


def test_a_replica_is_read_and_refuses_the_rest() -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run")
        await trial.append(lease, [event(1)])
        server.ask("REPLICAOF", "127.0.0.1", "1")
        said = await fails(lambda: trial.append(lease, [event(2)]))
        assert "ReadOnlyError" in said
        assert "primary" in said
        assert await trial.events("run") == [event(1)]
        server.ask("REPLICAOF", "NO", "ONE")
        await until_done(lambda: trial.append(lease, [event(2)]))
        assert await trial.events("run") == [event(1), event(2)]

    with running_server() as server:
        asyncio.run(with_log(server, main))


def test_a_node_of_a_cluster_that_has_not_the_slot_says_so() -> None:
    async def main(trial: Trial) -> None:
        said = await fails(lambda: trial.claim("run"))
        assert "ClusterDownError" in said
        assert "bring it back" in said

    with running_server("--cluster-enabled", "yes", "--save", "") as server:
        asyncio.run(with_log(server, main))


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


async def every_use(trial: Trial, user_id: str) -> None:
    lease = await trial.claim("run", user_id)
    woken, told = Wakes(), asyncio.Event()
    trial.log.follow(user_id, "run", woken.wake)
    trial.log.follow_notices("owner", lambda user_id, run_id, notice: told.set())
    await trial.append_each(lease, story(9)[:3])
    await woken.until(3)
    assert await trial.log.notify(user_id, "run", "stop")
    await told.wait()
    assert not await trial.log.renew([lease], LEASE_SECONDS)
    assert not await trial.log.take_expired("another", LEASE_SECONDS, limit=9)
    assert await trial.events("run", user_id) == story(9)[:3]
    await trial.log.forget(user_id)
    await woken.until(0)


def test_a_cluster_takes_a_client_that_knows_clusters_and_tells_one_that_does_not() -> None:
    async def main() -> None:
        users = [f"user {number}" for number in range(20)]
        async with client_of(servers[0]) as single:
            log = RedisStreamsEventLog(single, block_seconds=0.2)
            trial = Trial(redis_log_on_trial(log))
            claims = [trial.claim("run", user) for user in users]
            outcomes = await asyncio.gather(*claims, return_exceptions=True)
            moved = [one for one in outcomes if isinstance(one, RedisLogError)]
            assert 0 < len(moved) < len(users)
            assert all("MovedError" in str(one) for one in moved)
            assert all("use a client that knows clusters" in str(one) for one in moved)
            for user in users:
                with suppress(RedisLogError):
                    await log.forget(user)
            await log.aclose()
        async with RedisCluster(host="127.0.0.1", port=ports[0]) as client:
            log = RedisStreamsEventLog(client, block_seconds=0.2)
            async with asyncio.timeout(PATIENCE * 3):
                for user in users:
                    await every_use(Trial(redis_log_on_trial(log)), user)
            await log.aclose()

    ports = [free_port() for _ in range(4)]
    with ExitStack() as running:
        servers: list[RedisServer] = []
        for port, bus in zip(ports[:2], ports[2:], strict=True):
            address = ("--bind", "127.0.0.1", "--port", str(port), "--cluster-port", str(bus))
            options = ("--cluster-enabled", "yes", "--save", "", *address)
            servers.append(running.enter_context(running_server(*options)))
        servers[0].ask("CLUSTER", "ADDSLOTSRANGE", "0", "8000")
        servers[1].ask("CLUSTER", "ADDSLOTSRANGE", "8001", "16383")
        servers[0].ask("CLUSTER", "MEET", "127.0.0.1", str(ports[1]), str(ports[3]))
        for server in servers:
            server.wait_for("cluster_state:ok", "CLUSTER", "INFO")
        asyncio.run(main())


def test_a_client_that_may_not_run_scripts_is_told_what_it_lacks() -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run")
        server.ask("ACL", "SETUSER", "default", "-@scripting")
        said = await fails(lambda: trial.append(lease, [event(1)]))
        assert "NoPermissionError" in said
        assert "run scripts" in said
        server.ask("ACL", "SETUSER", "default", "+@all")
        await trial.append(lease, [event(1)])

    with running_server() as server:
        asyncio.run(with_log(server, main))


def test_a_server_that_lost_what_it_had_said_is_noticed(tmp_path: Path) -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run")
        ended = await trial.claim("ended")
        woken, end, new = Wakes(), Wakes(), Wakes()
        trial.log.follow("ann", "run", woken.wake)
        trial.log.follow("ann", "ended", end.wake)
        await trial.append_each(lease, story(9)[:3])
        await trial.append_each(ended, story(3)[:2])
        # What the disk has by now; as with everysec, what comes after is lost by the crash.
        server.ask("SAVE")
        shutil.copy(server.folder / "dump.rdb", tmp_path)
        await trial.append_each(lease, story(9)[3:6])
        await trial.append(ended, story(3)[2:])
        unknown = await trial.claim("unknown")
        trial.log.follow("ann", "unknown", new.wake)
        await trial.append(unknown, [event(1)])
        await woken.until(6)
        await end.until(3)
        await new.until(1)
        server.kill()
        shutil.copy(tmp_path / "dump.rdb", server.folder)
        server.start()
        # Everybody is woken, to read what there is.
        await woken.until(3)
        await end.until(2)
        await new.until(0)
        # Whoever wrote on is told that the run is not as it was left.
        assert await trial.refuses(lease, [event(7)])
        assert await trial.refuses(unknown, [event(2)])
        assert (await trial.page("ended")).status == "running"
        assert await trial.events("run") == story(9)[:3]
        assert await trial.log.find_run("ann", "unknown") is None
        # The log goes on from there.
        await trial.append(lease, story(9)[3:4])
        await woken.until(4)

    with running_server() as server:
        asyncio.run(with_log(server, main))


def test_a_server_that_comes_back_empty_is_used_again() -> None:
    async def main(trial: Trial) -> None:
        lease = await trial.claim("run", lease_seconds=10)
        woken = Wakes()
        trial.log.follow("ann", "run", woken.wake)
        await trial.append(lease, [event(1)])
        await woken.until(1)
        server.kill()
        said = await fails(lambda: trial.append(lease, [event(2)]))
        assert "ConnectionError" in said
        server.start()
        await woken.until(0)
        assert await trial.refuses(lease, [event(2)])
        assert list(await trial.log.renew([lease], 10)) == [lease]
        await trial.advance(11)
        assert not await trial.take()
        again = Lease("ann", "again", "t")
        await trial.attempt(again, message_id="message of run")
        await trial.append_each(again, story(3))

    with running_server() as server:
        asyncio.run(with_log(server, main))


def test_many_processes_worth_of_logs_take_each_run_once() -> None:
    async def main(trial: Trial) -> None:
        async with (
            client_of(server) as client,
            client_of(server, decode_responses=True, protocol=3) as another,
        ):
            logs = [
                Trial(redis_log_on_trial(RedisStreamsEventLog(one)))
                for one in (client, another, client, another)
            ]
            names = [f"run {number}" for number in range(200)]
            for number, name in enumerate(names):
                await trial.claim(name, f"user {number % 40}", lease_seconds=10)
            for one in logs:
                await one.advance(11)
            shares = await asyncio.gather(*[one.take(limit=70) for one in logs])
            rest = await logs[0].take(limit=200)
            taken = [one.lease.run_id for share in (*shares, rest) for one in share]
            assert sorted(taken) == sorted(names)

    with running_server() as server:
        asyncio.run(with_log(server, main))
