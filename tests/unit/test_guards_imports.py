"""Guards of the rooms: imports point down, and none reaches for the machine."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import agent_messaging
from support.source_rules import facilities_of, imports_of, module_name

ROOT = Path(agent_messaging.__file__).parents[1]
SOURCES = {
    module_name(path, ROOT): ast.parse(path.read_text())
    for path in sorted((ROOT / "agent_messaging").rglob("*.py"))
}

#: The rooms from the ground up: each may import those on the lines above its own, and no others.
ROOMS = (
    ("_buckets", "_deadlines", "_json_encoder", "_limits", "_log", "_records", "_timeouts"),
    ("dialects", "eventlog"),
    ("_errors",),
    ("_checks", "_ids", "_messages"),
    ("_events", "eventlog.protocol"),
    ("_lifecycle", "_stats", "eventlog._memory_runs"),
    ("_outbox", "dialects.native", "eventlog._memory_store"),
    ("_emitter", "eventlog.memory"),
    ("_cancellation", "_replies"),
    ("_run",),
    ("_registry",),
    ("_handler",),
    ("_router",),
    # Above: one message on one connection. From here: a process's runs and sessions.
    ("_endpoint_stats", "_log_access", "_policies", "_session_end", "_tasks"),
    ("_services", "_users"),
    ("_journal", "_watch"),
    ("_active_run", "_delivery", "_recovery"),
    ("_session",),
    ("_control", "_stream", "_upkeep"),
    ("_intake",),
    ("_endpoint",),
    ("",),  # the package root
    # From here: what is loaded only where it is asked for.
    (
        "compat",
        "eventlog._redis_client",
        "eventlog._redis_keys",
        "eventlog._redis_scripts",
        "eventlog._sqlite_errors",
        "eventlog._sqlite_followers",
        "eventlog._sqlite_rows",
        "eventlog._sqlite_schema",
    ),
    ("eventlog._redis_answers", "eventlog._sqlite_file", "eventlog._sqlite_rows"),
    ("eventlog._redis_calls", "eventlog._sqlite_store"),
    ("eventlog._redis_readers", "eventlog._sqlite_news", "eventlog._sqlite_retention"),
    ("eventlog.redis_streams", "eventlog._sqlite_reader", "eventlog._sqlite_thread"),
    ("eventlog.sqlite",),
    (
        "testing._determinism",
        "testing._loop",
        "testing._payload",
        "testing._troubles",
    ),
    ("testing._received",),
    ("testing._transcript", "testing._transports"),
    ("testing._inbox",),
    ("testing._connection",),
    ("testing._agent", "testing._async_client"),
    ("testing._client",),
    ("testing._conversation",),
    ("testing._check_rules", "testing._check_payloads"),
    ("testing._check_runs",),
    ("testing._check",),
    ("testing",),
    ("testing.conformance._cases", "testing.conformance._expect"),
    ("testing.conformance._cancelling",),
    (
        "testing.conformance._event_logs.trial",
        "testing.conformance._handlers.trial",
        "testing.conformance._transports.trial",
    ),
    (
        "testing.conformance._event_logs.cancellation",
        "testing.conformance._event_logs.claims",
        "testing.conformance._event_logs.closing",
        "testing.conformance._event_logs.events",
        "testing.conformance._event_logs.eviction",
        "testing.conformance._event_logs.fencing",
        "testing.conformance._event_logs.following",
        "testing.conformance._event_logs.forgetting",
        "testing.conformance._event_logs.isolation",
        "testing.conformance._event_logs.leases",
        "testing.conformance._event_logs.notices",
        "testing.conformance._handlers.cancellation",
        "testing.conformance._handlers.connections",
        "testing.conformance._handlers.messages",
        "testing.conformance._handlers.statistics",
        "testing.conformance._transports.cancellation",
        "testing.conformance._transports.frames",
        "testing.conformance._transports.peers",
    ),
    (
        "testing.conformance._event_logs",
        "testing.conformance._handlers",
        "testing.conformance._transports",
    ),
    ("testing.conformance",),
    ("_cli_arguments", "_cli_exit", "_cli_text", "_demo"),
    ("_cli_agent", "_cli_file", "_cli_log_text", "_cli_streams"),
    ("_cli_host", "_cli_output"),
    ("_cli_check", "_cli_log"),
    ("_cli_run",),
    ("_cli",),
    ("__main__",),
    ("testing._program", "testing._wire_strategies"),
    ("testing._near_valid", "testing._program_strategies"),
    ("testing.strategies",),
)

#: What is needed beside the standard library and typing-extensions, and where.
NEEDS = dict.fromkeys(
    (
        "testing._near_valid",
        "testing._program_strategies",
        "testing._wire_strategies",
        "testing.strategies",
    ),
    "hypothesis",
)

#: Where the machine may be reached for, and why.
EXEMPT = {
    "testing._conversation": "it makes the loop of a test that has none",
    "testing._client": "it runs the loop of a test that has none",
    "testing._loop": "it is an event loop, and tells when threads are at work",
    "testing.conformance._event_logs.trial": "it tells in which thread a log calls back",
    "eventlog._sqlite_file": "the file of a log: opened by SQLite, and looked at",
    "eventlog._sqlite_reader": "the same file, read from outside",
    "eventlog._sqlite_thread": "the one thread that works on it",
    "eventlog.sqlite": "a path is taken, and the thread answers into the loop",
    "_cli_agent": "the command line imports an agent, and shows its tracebacks",
    "_cli_arguments": "a command has arguments, and prints its version",
    "_cli_check": "its standard input, and the file that is checked",
    "_cli_exit": "its standard error, and the numbers of signals for its exit codes",
    "_cli_file": "a file is looked for before SQLite opens it",
    "_cli_log": "whether its standard output is a terminal",
    "_cli_output": "its standard output and error, and whether those are terminals",
    "_cli_run": "it is a host: it runs a loop, and minds signals",
    "_cli_streams": "its stdin and stdout, which only threads can read and write",
    "__main__": "what runs the command line",
}

#: Where one facility alone is named, and why.
ONE_FACILITY = {
    # What a log in a file says in its own words, its tables, and what is asked of them.
    **dict.fromkeys(
        (
            "eventlog._sqlite_errors",
            "eventlog._sqlite_news",
            "eventlog._sqlite_schema",
            "eventlog._sqlite_store",
        ),
        "sqlite3",
    ),
    # A stream may be dropped in any thread; what that means is for its loop to do.
    "_stream": "call_soon_threadsafe",
}


def room(module: str) -> str:
    return module.removeprefix("agent_messaging").removeprefix(".")


LEVELS = {name: level for level, names in enumerate(ROOMS) for name in names}


def rooms_imported(module: str, tree: ast.AST) -> set[str]:
    """The rooms of the package that the module imports."""
    is_package = any(other.startswith(module + ".") for other in SOURCES)
    package = module if is_package else module.rpartition(".")[0]
    found = {name for name in imports_of(tree, package) if name in SOURCES}
    # Naming a module of the package names the packages around it too, which hold nothing.
    return {room(name) for name in found if not is_around(name, found)}


def is_around(name: str, others: set[str]) -> bool:
    return any(other.startswith(name + ".") for other in others)


def test_every_module_has_a_room_and_every_room_a_module() -> None:
    assert {room(module) for module in SOURCES} == set(LEVELS)


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_point_down_only(module: str) -> None:
    level = LEVELS[room(module)]
    upward = {name for name in rooms_imported(module, SOURCES[module]) if LEVELS[name] >= level}
    assert upward == set()


def test_the_import_guard_sees_an_import_that_points_up() -> None:
    for statement in (
        "from agent_messaging._handler import AgentMessageHandler",
        "import agent_messaging._handler",
        "from agent_messaging import _handler",
        "from . import _handler",
        "from ._handler import AgentMessageHandler",
        "def later():\n    from agent_messaging._handler import AgentMessageHandler",
    ):
        assert rooms_imported("agent_messaging._errors", ast.parse(statement)) == {"_handler"}
    assert rooms_imported("agent_messaging._errors", ast.parse("import agent_messaging")) == {""}
    deeper = ast.parse("from .._handler import x\nfrom . import native")
    imported = rooms_imported("agent_messaging.dialects.other", deeper)
    assert imported == {"_handler", "dialects.native"}


def test_only_typing_extensions_is_needed_beside_the_standard_library() -> None:
    known = {*sys.stdlib_module_names, "agent_messaging", "typing_extensions"}
    needed = {
        room(module): name.split(".")[0]
        for module, tree in SOURCES.items()
        for name in imports_of(tree, module)
        if name and name.split(".")[0] not in known
    }
    assert needed == NEEDS


# Facilities of the machine.


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_room_names_a_network_thread_process_or_environment_facility(module: str) -> None:
    if room(module) in EXEMPT:
        assert facilities_of(SOURCES[module]), "an exemption that is not needed"
    else:
        allowed = {ONE_FACILITY[room(module)]} if room(module) in ONE_FACILITY else set[str]()
        assert facilities_of(SOURCES[module]) == allowed


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import socket", {"socket"}),
        ("import socket as s", {"socket"}),
        ("from socket import create_connection as c", {"socket"}),
        ("import http.client", {"http.client"}),
        ("from concurrent.futures import ThreadPoolExecutor", {"concurrent.futures"}),
        ("def f():\n    import threading", {"threading"}),
        ("import os\nos.environ['A']", {"os.environ"}),
        ("import os as o\no.getenv('A')", {"os.getenv"}),
        ("from os import environ, urandom", {"os.environ"}),
        ("import os\nos.urandom(16)", set[str]()),
        ("from os import urandom", set[str]()),
        ("import asyncio\nasyncio.run(f())", {"asyncio.run"}),
        ("from asyncio import run", {"asyncio.run"}),
        ("import asyncio\nasyncio.to_thread(f)", {"asyncio.to_thread", "to_thread"}),
        ("from asyncio import open_connection", {"asyncio.open_connection"}),
        ("import asyncio\nasyncio.current_task()", set[str]()),
        ("loop.run_in_executor(None, f)", {"run_in_executor"}),
        ("self._run(run)\nself.run()", set[str]()),
        ("import time\ntime.sleep(1)", {"time.sleep"}),
        ("import sys\nsys.version_info > (3, 13)", set[str]()),
        ("import sys\nsys.argv", {"sys.argv"}),
        ("import time\ntime.monotonic()", set[str]()),
        ("open('/etc/passwd')", {"open"}),
        ("__import__('socket')", {"__import__"}),
        ("import importlib\nimportlib.import_module('socket')", {"importlib"}),
    ],
)
def test_the_facility_guard_sees_what_it_looks_for(source: str, found: set[str]) -> None:
    assert facilities_of(ast.parse(source)) == found


# Importing.

#: What ``import agent_messaging`` loads of the package, and nothing more.
LOADED = {
    "agent_messaging",
    *(f"agent_messaging.{name}" for name in LEVELS if name and LEVELS[name] < LEVELS[""]),
}

WATCH = """
import sys

sys.path.insert(0, sys.argv[1])  # before any other that is installed

# What the package builds on is there first, so that only its own doings are seen.
import asyncio, contextlib, copy, dataclasses, enum, functools, heapq, inspect, json, logging
import math, os, re, signal, threading, time, types, typing, typing_extensions, warnings

seen = []


class Environment(dict):
    def __getattribute__(self, name):
        seen.append(f"environ.{name}")
        return super().__getattribute__(name)

    def __getitem__(self, name):
        seen.append(f"environ[{name}]")
        return super().__getitem__(name)

    def __contains__(self, name):
        seen.append(f"{name} in environ")
        return super().__contains__(name)

    def __iter__(self):
        seen.append("iter(environ)")
        return super().__iter__()


def state():
    loggers = {
        name: (logger.level, logger.handlers, logger.propagate, logger.disabled, logger.filters)
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and not name.startswith("agent_messaging")
    }
    return {
        "threads": threading.enumerate(),
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "other loggers": loggers,
        "logger class": logging.getLoggerClass(),
        "record factory": logging.getLogRecordFactory(),
        "warning filters": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, sys.unraisablehook),
        "path": list(sys.path),
        "meta path": list(sys.meta_path),
        "directory": os.getcwd(),
        "recursion limit": sys.getrecursionlimit(),
        "loop": asyncio._get_running_loop(),
    }


REACHES = ("socket.", "subprocess.", "os.", "_thread.", "signal.", "shutil.", "tempfile.", "http.")


def audit(event, arguments):
    if event.startswith(REACHES) and event not in {"os.listdir", "os.scandir"}:
        seen.append(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(f"open {arguments[0]}")


before, modules = state(), set(sys.modules)
os.environ = Environment(os.environ)
sys.dont_write_bytecode = True
seen.clear()
sys.addaudithook(audit)

import agent_messaging

found = list(seen)
assert not found, found
after = state()
assert before == after, [name for name in before if before[name] != after[name]]
own = {name for name in logging.root.manager.loggerDict if name.startswith("agent_messaging")}
assert own
for name in own:
    logger = logging.getLogger(name)
    assert logger.handlers == [] and logger.filters == [], name
    assert logger.level == logging.NOTSET and logger.propagate and not logger.disabled, name
print("\\n".join(sorted(set(sys.modules) - modules)))
"""


def test_importing_the_package_has_no_side_effect_and_loads_no_more_than_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", WATCH, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("agent_messaging")} == LOADED
    others = {name.split(".")[0] for name in loaded} - {"agent_messaging"}
    assert others <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("doing", "trace"),
    [
        ("import os; os.environ.get('A')", "environ.get"),
        ("import os; os.getenv('A')", "environ.get"),
        ("import socket; socket.socket()", "socket.__new__"),
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "thread"),
        ("import logging; logging.basicConfig()", "root logger"),
        ("import warnings; warnings.simplefilter('ignore')", "warning filters"),
    ],
)
def test_the_watch_over_importing_sees_what_it_looks_for(doing: str, trace: str) -> None:
    watch = WATCH.replace("\nimport agent_messaging\n", f"\nimport agent_messaging\n{doing}\n")
    assert watch != WATCH
    done = subprocess.run(
        [sys.executable, "-I", "-c", watch, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert trace in done.stderr
