"""Reading the package's source: which rooms a module imports, and what of the machine it uses."""

import ast
from collections.abc import Iterator
from pathlib import Path

#: Modules that reach the network, threads, processes or the environment.
FACILITIES = frozenset(
    {
        *("socket", "ssl", "select", "selectors", "socketserver", "http", "urllib", "ftplib"),
        *("smtplib", "imaplib", "poplib", "xmlrpc", "wsgiref", "websockets", "aiohttp", "requests"),
        *("threading", "_thread", "queue", "concurrent", "sched", "signal"),
        *("multiprocessing", "subprocess", "pty", "fcntl", "mmap", "ctypes"),
        *("platform", "pathlib", "tempfile", "shutil", "getpass", "atexit", "site"),
        *("importlib", "runpy", "pkgutil", "sqlite3"),
    }
)

#: What is allowed of modules that also hold such facilities; nothing else of them is.
ALLOWED = {
    "os": frozenset({"urandom"}),
    "sys": frozenset({"version_info"}),
    "time": frozenset({"time", "monotonic"}),
}

#: Names of asyncio and of its loops that open connections, threads, processes or loops.
ASYNC_FACILITIES = frozenset(
    {
        *("open_connection", "start_server", "open_unix_connection", "start_unix_server"),
        *("create_connection", "create_server", "create_datagram_endpoint", "start_tls"),
        *("create_unix_connection", "create_unix_server", "connect_accepted_socket"),
        *("sock_recv", "sock_sendall", "sock_connect", "sock_accept", "getaddrinfo"),
        *("add_reader", "add_writer", "connect_read_pipe", "connect_write_pipe", "sendfile"),
        *("to_thread", "run_in_executor", "run_coroutine_threadsafe", "call_soon_threadsafe"),
        *("create_subprocess_exec", "create_subprocess_shell", "subprocess_exec"),
        *("subprocess_shell", "add_signal_handler", "set_default_executor"),
        *("Runner", "new_event_loop", "set_event_loop", "get_event_loop", "run_until_complete"),
        *("run_forever", "set_event_loop_policy", "get_event_loop_policy", "set_debug"),
    }
)

#: Built-in names that reach out in the same way.
BUILT_INS = frozenset({"open", "input", "exec", "eval", "compile", "__import__", "breakpoint"})


def imports_of(tree: ast.AST, package: str) -> Iterator[str]:
    """The full names of the modules that a module of ``package`` imports, at any depth of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(above) if node.level else ""
            module = ".".join(name for name in (base, node.module or "") if name)
            yield module
            # What is imported from a package may be one of its modules.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def facilities_of(tree: ast.AST) -> set[str]:
    """What of the machine a module names: imports, attributes of imported modules, built-ins."""
    found: set[str] = set()
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name.split(".")[0]] = alias.name
                if alias.name.split(".")[0] in FACILITIES:
                    found.add(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.split(".")[0] in FACILITIES:
                found.add(node.module)
            for alias in node.names:
                found |= _named(node.module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = modules.get(node.value.id) if isinstance(node.value, ast.Name) else None
            found |= _named(module or "", node.attr)
            if node.attr in ASYNC_FACILITIES:
                found.add(node.attr)
        elif isinstance(node, ast.Name) and node.id in BUILT_INS:
            found.add(node.id)
    return found


def _named(module: str, name: str) -> set[str]:
    """What naming ``name`` of ``module`` comes to."""
    banned = (
        (module in ALLOWED and name not in ALLOWED[module])
        or (module.split(".", maxsplit=1)[0] == "asyncio" and name in ASYNC_FACILITIES | {"run"})
        or f"{module}.{name}" in FACILITIES
    )
    return {f"{module}.{name}"} if banned else set()


def module_name(path: Path, root: Path) -> str:
    """The name of the module in ``path``, below ``root``; a package's is its folder's."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
