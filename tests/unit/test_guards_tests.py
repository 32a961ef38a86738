"""Guards of the tests: their loops and transports are the testing kit's, and there are no mocks."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]

LOOP: Final = "an event loop"
MOCK: Final = "a mock"
TRANSPORT: Final = "a transport that records"

#: What is beside the kit, by module, and why the kit's is not what is needed there.
BESIDE_THE_KIT: Final[dict[tuple[str, str], str]] = {
    ("benchmarks/logs.py", LOOP): "measures for how long a loop in real time is held",
    ("unit/test_sqlite_log.py", LOOP): "counts what a thread has called, in real time",
    ("support/broken_transports.py", TRANSPORT): "its peer reads, and so waits for what it gets",
    ("support/wires.py", TRANSPORT): "notes its misuse, where the kit's raises and so fails",
    ("typing/downstream/support_desk.py", TRANSPORT): "a project of its own, with its own socket",
    ("unit/test_outbox_pool.py", TRANSPORT): "sockets as servers have them, with what each takes",
}


def trees() -> Iterator[tuple[str, ast.Module]]:
    """The modules of all tests, by their paths."""
    for path in sorted(TESTS.rglob("*.py")):
        name = path.relative_to(TESTS).as_posix()
        yield name, ast.parse(path.read_text(encoding="utf-8"), filename=name)


def kinds_of(tree: ast.Module) -> set[str]:
    """What a module has of its own that the kit is for."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(_is_mock(alias.name) for alias in names):
                found.add(MOCK)
            case ast.ImportFrom(module=str(module), names=names) if any(
                _is_mock(f"{module}.{alias.name}") for alias in names
            ):
                found.add(MOCK)
            case ast.ClassDef(bases=bases) if any(_is_loop(ast.unparse(base)) for base in bases):
                found.add(LOOP)
            case ast.FunctionDef(name="select", args=ast.arguments(args=[_, _])):
                found.add(LOOP)
            case ast.AsyncFunctionDef() if _records(node):
                found.add(TRANSPORT)
            case _:
                pass
    return found


def _is_mock(name: str) -> bool:
    return f"{name}.".startswith(("unittest.mock.", "mock."))


def _is_loop(base: str) -> bool:
    return base.endswith(("EventLoop", "EventLoopPolicy", "VirtualTimeLoop", "Selector"))


def _records(function: ast.AsyncFunctionDef) -> bool:
    """Whether it takes a frame, and puts that at the end of a list."""
    taken = [arg.arg for arg in function.args.args if arg.arg != "self"]
    is_send = function.name == "__call__" or function.name.startswith("send")
    if not taken or not (is_send or taken[0] in {"frame", "text", "data", "message"}):
        return False
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "append"
        and [ast.unparse(each) for each in node.args] == taken[:1]
        for node in ast.walk(function)
    )


def test_tests_have_nothing_of_their_own_that_the_kit_is_for() -> None:
    found = {(name, kind) for name, tree in trees() for kind in kinds_of(tree)}
    assert found == BESIDE_THE_KIT.keys()


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("import unittest.mock", {MOCK}),
        ("from unittest import mock", {MOCK}),
        ("from unittest.mock import AsyncMock", {MOCK}),
        ("import mock as m", {MOCK}),
        ("from mock import Mock", {MOCK}),
        ("import unittest\nfrom mockery import x", set[str]()),
        ("class Loop(asyncio.SelectorEventLoop): ...", {LOOP}),
        ("class Loop(VirtualTimeLoop): ...", {LOOP}),
        ("class Policy(asyncio.DefaultEventLoopPolicy): ...", {LOOP}),
        ("class Own(selectors.DefaultSelector): ...", {LOOP}),
        ("class Own:\n def select(self, timeout=None): ...", {LOOP}),
        ("class Form:\n def select(self): ...", set[str]()),
        (
            "class Socket:\n async def __call__(self, frame: str):\n  self.all.append(frame)",
            {TRANSPORT},
        ),
        (
            "def test():\n async def send(text: str | bytes):\n  if text:\n   seen.append(text)",
            {TRANSPORT},
        ),
        ("async def send_text(data: str | None = None): frames.append(data)", {TRANSPORT}),
        ("async def send(frame: str): lengths.append(len(frame))", set[str]()),
        ("async def other(frame: str): frames.append(frame)", {TRANSPORT}),
        ("async def step(number: int): order.append(number)", set[str]()),
        ("async def nothing(): frames.append(frame)", set[str]()),
    ],
)
def test_the_guard_sees_each_of_them(source: str, kinds: set[str]) -> None:
    assert kinds_of(ast.parse(source)) == kinds
