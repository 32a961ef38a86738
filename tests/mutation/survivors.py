"""What a change is, and why no test is to notice it."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

EXPLAINED: Final = Path(__file__).with_name("explained.toml")


@dataclass(frozen=True)
class Change:
    """What was changed in a function: the lines as they were, and as they became."""

    function: str
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"{self.function}\n    - {self.was}\n    + {self.becomes}"


@dataclass(frozen=True)
class Rule:
    """Explains each change within what ``ignoring`` matches."""

    why: str
    ignoring: re.Pattern[str]

    def explains(self, change: Change) -> bool:
        return self.ignoring.sub("", change.was) == self.ignoring.sub("", change.becomes)


@dataclass(frozen=True)
class Single:
    """Explains one change."""

    why: str
    change: Change

    def explains(self, change: Change) -> bool:
        return self.change == change


Explanation = Rule | Single


def explanations() -> tuple[Explanation, ...]:
    """Those that are known."""
    table = tomllib.loads(EXPLAINED.read_text())
    rules = [Rule(rule["why"], re.compile(rule["ignoring"])) for rule in table["rule"]]
    singles = [
        Single(group["why"], Change(change["of"], change["was"], change["becomes"]))
        for group in table["group"]
        for change in group["changes"]
    ]
    return (*rules, *singles)


def explained(change: Change, known: Iterable[Explanation]) -> Explanation | None:
    """What explains the change, or None."""
    return next((one for one in known if one.explains(change)), None)


def change_of(mutant: str, diff: str) -> Change:
    """The change in a mutant of the tool's, whose name is as ``package.module.xǁClassǁname__n``."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++", "#"))]
    module, _, name = mutant.rpartition(".")
    name = name.rpartition("__mutmut_")[0]
    name = name[2:].replace("ǁ", ".") if name.startswith("xǁ") else name.removeprefix("x_")
    return Change(
        f"{module.removeprefix('agent_messaging.')}.{name.replace('_get_', '')}",
        _joined(line[1:] for line in lines if line.startswith("-")),
        _joined(line[1:] for line in lines if line.startswith("+")),
    )


def _joined(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines)
