"""Copies of the project to be changed."""

import ast
import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Group:
    """Files that are changed, and the tests that have to notice.

    Attributes:
        modules: the files by their short names, from the root of the project.
        tests: which tests, as `pytest` takes them.
    """

    modules: dict[str, str]
    tests: list[str]

    def imported(self, name: str) -> str:
        """One of the modules, as it is imported."""
        return ".".join(Path(self.modules[name]).with_suffix("").parts[1:])


def groups() -> tuple[Group, ...]:
    """What pyproject.toml says of them."""
    return tuple(
        Group({Path(path).stem: path for path in group["modules"]}, group["tests"])
        for group in _settings()["groups"]
    )


def _settings() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    mutation: dict[str, Any] = settings["tool"]["mutation"]
    return mutation


def copy_project(folder: Path, group: Group) -> None:
    """Copy what the tests need, with the properties of the modules made methods.

    The tool changes no function that has a decorator, and so would pass over every property.
    """
    for name in ("src", "tests", "docs"):
        shutil.copytree(_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in group.modules.values():
        path = folder / name
        path.write_text(without_decorators(path.read_text()))
    table = {
        **_settings()["mutmut"],
        "only_mutate": list(group.modules.values()),
        "pytest_add_cli_args_test_selection": group.tests,
    }
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in table.items()]
    project = (_ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{''.join(lines)}")


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
