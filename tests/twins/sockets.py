"""The socket stays with the host: no network, no environment, and nothing done by importing."""

from typing import Final

from twins.twin import Twin

FACILITIES: Final = "test_no_room_names_a_network_thread_process_or_environment_facility"
IMPORTING: Final = "test_importing_the_package_has_no_side_effect_and_loads_no_more_than_it_needs"

TWINS: Final = (
    Twin(
        "imports a socket",
        "_outbox.py",
        """
         import logging
        +import socket
         from collections import deque
        """,
        "test_guards_imports.py",
        (f"{FACILITIES}[agent_messaging._outbox]",),
    ),
    Twin(
        "reads the environment",
        "_limits.py",
        """
         from dataclasses import dataclass
        +from os import environ
         from typing import Final, TypeGuard, final
        @@
        -DEFAULT_LIMITS: Final = Limits()
        +DEFAULT_LIMITS: Final = Limits(frame_bytes=int(environ.get("FRAME_BYTES", 262144)))
        """,
        "test_guards_imports.py",
        (f"{FACILITIES}[agent_messaging._limits]", IMPORTING),
    ),
    Twin(
        "starts a loop",
        "_tasks.py",
        """
         T = TypeVar("T")
        +_loop: Final = asyncio.new_event_loop()
        """,
        "test_guards_imports.py",
        (f"{FACILITIES}[agent_messaging._tasks]", IMPORTING),
    ),
    Twin(
        "needs a loop before it is entered",
        "_endpoint.py",
        """
                 self._is_closed = False
        +        self._began_at = asyncio.get_running_loop().time()

             async def __aenter__(self) -> Self:
        """,
        "test_endpoint.py",
        ("test_making_one_needs_no_loop_and_starts_nothing",),
    ),
    Twin(
        "sets up logging for the host",
        "_log.py",
        """
         __all__ = ["Listener", "is_heard", "listener", "log", "raised_at"]
        +
        +logging.getLogger("agent_messaging.handler").addHandler(logging.StreamHandler())
        """,
        "test_guards_imports.py",
        (IMPORTING,),
    ),
    Twin(
        "loads what few hosts need",
        "__init__.py",
        """
         from agent_messaging.eventlog.memory import MemoryEventLog
        +from agent_messaging.eventlog.sqlite import SqliteEventLog
        """,
        "test_guards_imports.py",
        (IMPORTING,),
    ),
    Twin(
        "needs more than the standard library",
        "_json_encoder.py",
        """
         import json
        +import orjson
        """,
        "test_guards_imports.py",
        ("test_only_typing_extensions_is_needed_beside_the_standard_library",),
    ),
)
