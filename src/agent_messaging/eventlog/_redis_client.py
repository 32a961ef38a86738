"""What a log needs of a client of Redis, and what it says when that fails."""

from collections.abc import Awaitable
from typing import Any, Final, Protocol, final

from agent_messaging._errors import EventLogError

__all__ = ["RedisClient", "RedisLogError", "RedisPipeline", "is_unknown_script", "trouble"]


class RedisPipeline(Protocol):
    """Commands that go to the server together, as `redis.asyncio.client.Pipeline` sends them."""

    def execute_command(self, *args: Any) -> Any:
        """Put a command behind the others."""
        ...

    def execute(self, raise_on_error: bool = ...) -> Awaitable[list[Any]]:
        """Send all; the replies, in which errors of single commands are values."""
        ...


class RedisClient(Protocol):
    """What `redis.asyncio.Redis` has that the log uses."""

    def execute_command(self, *args: Any) -> Awaitable[Any]:
        """Send a command; its reply."""
        ...

    def pipeline(self, transaction: bool = ...) -> RedisPipeline:
        """Begin a pipeline."""
        ...


@final
class RedisLogError(EventLogError):
    """The Redis server, or the client's way to it, cannot do now what the log asked for.

    Its cause is what the client raised; none where too many calls wait for it to be asked at all.
    What was asked for happened wholly or not at all; asking again is sound, and nothing need be
    restarted once the server answers.
    """


#: What to do, by the name of what the client raised, or of a class that it derives from.
_ADVICE: Final = {
    "OutOfMemoryError": "give the server more memory, or lower what is kept",
    "ReadOnlyError": "it is a replica: have the client talk to the primary",
    "MovedError": "it is a node of a cluster: use a client that knows clusters",
    "AskError": "it is a node of a cluster: use a client that knows clusters",
    "BusyLoadingError": "it is reading its data after a start: wait",
    "ClusterDownError": "the cluster has no node for the keys: bring it back",
    "MasterDownError": "the replica has lost its primary: bring that back",
    "AuthenticationError": "see to the client's password",
    "NoPermissionError": "let the client's user run scripts and streams on the log's keys",
    "MaxConnectionsError": "let the client's pool hold more connections",
    "TimeoutError": "see whether the server is up and can keep up",
    "ConnectionError": "see whether the server is up",
}
_OTHERWISE: Final = "see the cause, and the server's log"


def trouble(doing: str, error: Exception) -> RedisLogError:
    """What the log raises for what the client did.

    Args:
        doing: what was asked for.
        error: what the client raised. Its text stays where it is: it may quote the command.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    advice = next((_ADVICE[name] for name in names if name in _ADVICE), _OTHERWISE)
    raised = RedisLogError(
        f"asked Redis to {doing}, expected an answer, got {names[0]}: {advice}; then ask again"
    )
    raised.__cause__ = error
    return raised


def is_unknown_script(error: object) -> bool:
    """Whether the server knows no script of that digest, as after its start."""
    return any(kind.__name__ == "NoScriptError" for kind in type(error).__mro__)
