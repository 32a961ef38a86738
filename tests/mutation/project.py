"""A copy of the project to be changed."""

import ast
import shutil
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent


def modules() -> tuple[str, ...]:
    """The files that are changed, from the root of the project."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return tuple(settings["tool"]["mutmut"]["only_mutate"])


def copy_project(folder: Path) -> None:
    """Copy what the tests need, with the properties of the modules made methods.

    The tool changes no function that has a decorator, and so would pass over every property.
    """
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", folder)
    for name in modules():
        path = folder / name
        path.write_text(without_decorators(path.read_text()))


def without_decorators(source: str) -> str:
    """The same module, whose properties are made by calls of `property`."""
    lines = source.splitlines(keepends=True)
    properties = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and [ast.unparse(decorator) for decorator in node.decorator_list] == ["property"]
    ]
    # From the end, so that the lines before stay where they are.
    for node in sorted(properties, key=lambda node: node.lineno, reverse=True):
        getter = f"_get_{node.name}"
        lines.insert(
            node.end_lineno or node.lineno,
            f"\n{' ' * node.col_offset}{node.name} = property({getter})\n",
        )
        first = node.lineno - 1
        lines[first] = lines[first].replace(f"def {node.name}(", f"def {getter}(", 1)
        del lines[node.decorator_list[0].lineno - 1]
    return "".join(lines)
