"""The benchmark: ``python tests/benchmarks/run.py [--quick] [--json]``."""

import argparse
import asyncio
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.endpoints import endpoint_paths
from benchmarks.footprint import BASELINE, ImportCost, Memory, import_cost, memory
from benchmarks.paths import check_frames, core_paths, growth_paths
from benchmarks.rounds import Result, compare

IMPORT_BUDGET_MS = 15.0
SESSION_BUDGET = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: a row takes ``rounds`` times three batches."""

    rounds: int
    batch: int
    growth_rounds: int
    interpreters: int
    messages: int


FULL = Scale(rounds=100, batch=200, growth_rounds=15, interpreters=15, messages=10_000)
QUICK = Scale(rounds=2, batch=20, growth_rounds=2, interpreters=2, messages=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was measured, and on what."""

    python: str
    machine: str
    paths: list[Result]
    growth: list[Result]
    imports: ImportCost
    memory: Memory


async def measured(scale: Scale, *, quick: bool) -> Report:
    """Measure everything; progress goes to stderr."""
    await check_frames()
    _say("preparing handlers and endpoints with a long past")
    async with endpoint_paths(quick=quick) as (endpoint, endpoint_growth):
        paths = await compare(
            [*core_paths(), endpoint],
            rounds=scale.rounds,
            batch=scale.batch,
            progress=_progress("paths", scale.rounds),
        )
        growth = await compare(
            [*await growth_paths(quick=quick), *endpoint_growth],
            rounds=scale.growth_rounds,
            batch=scale.batch,
            progress=_progress("growth", scale.growth_rounds),
        )
    _say("imports and memory")
    return Report(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        machine=f"{platform.system()} {platform.machine()}",
        paths=paths,
        growth=growth,
        imports=import_cost(scale.interpreters),
        memory=await memory(scale.messages),
    )


def table(report: Report) -> str:
    """The report as text."""
    imports, memory = report.imports, report.memory
    spread = f"{imports.ms.lower:.1f} to {imports.ms.upper:.1f}"
    budget = f"budget {IMPORT_BUDGET_MS:.0f} {_verdict(imports.ms.median, IMPORT_BUDGET_MS)}"
    session = f"budget {SESSION_BUDGET:,} {_verdict(memory.idle_session, SESSION_BUDGET)}"
    by_hand = f"{memory.waiting_floor:,.0f} by hand"
    lines = [
        f"{report.python}, {report.machine}; ratios to the hand-written floor, lower is better",
        "",
        *_ratios("path", report.paths),
        "",
        *_ratios("does the cost grow?", report.growth),
        "",
        f"import of agent_messaging beyond `{BASELINE}`",
        f"  {imports.ms.median:.1f} ms, quartiles {spread}, {budget}",
        f"  modules of the package: {', '.join(imports.package)}",
        f"  other modules: {', '.join(imports.others) or 'none'}",
        "",
        "memory",
        f"  {memory.message:,.0f} bytes a decoded Message with its payload",
        f"  {memory.event:,.0f} bytes an event",
        f"  {memory.waiting_run:,.0f} bytes a waiting run on its own connection; {by_hand}",
        f"  {memory.growth:+,} bytes held after {memory.messages:,} more messages",
        f"  {memory.idle_session:,.0f} bytes an idle session of a user of its own, {session}",
    ]
    return "\n".join(lines)


def _ratios(heading: str, results: list[Result]) -> list[str]:
    width = max(len(result.name) for result in results)
    lines = [f"{heading:<{width}}  ratio  quartiles       budget        floor"]
    for result in results:
        ratio = result.ratio
        budget = "-" if result.budget is None else f"{result.budget:.2f}"
        verdict = "" if result.budget is None else _verdict(ratio.median, result.budget)
        lines.append(
            f"{result.name:<{width}}  {ratio.median:5.2f}  {ratio.lower:5.2f} to {ratio.upper:5.2f}"
            f"  {budget:>5} {verdict:<4}  {result.floor_us:9.1f} us"
        )
    return lines


def _verdict(measured: float, budget: float) -> str:
    return "kept" if measured <= budget else "over"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _progress(what: str, rounds: int) -> Callable[[int], None]:
    def progress(number: int) -> None:
        if number % max(1, rounds // 5) == 0:
            _say(f"{what}: round {number} of {rounds}")

    return progress


def main() -> None:
    """Measure, and print the table or its figures as JSON."""
    parser = argparse.ArgumentParser(description="Ratios to a hand-written floor.")
    parser.add_argument(
        "--quick", action="store_true", help="little of everything: shows that it runs, no figures"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    quick: bool = arguments.quick
    report = asyncio.run(measured(QUICK if quick else FULL, quick=quick))
    print(json.dumps(asdict(report), indent=2) if arguments.json else table(report))


if __name__ == "__main__":
    main()
