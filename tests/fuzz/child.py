"""The process that fuzzes: atheris over the instrumented package, until it ends or is ended."""

import importlib
import random
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# By its name, so that type checkers need it no more than tests do.
atheris: Any = importlib.import_module("atheris")

# The harnesses too: what they find out about an input tells it from others.
with atheris.instrument_imports(include=["agent_messaging", "fuzz"]):
    from fuzz.harnesses import HARNESSES


def fuzz(name: str, options: Sequence[str]) -> None:
    """Hand it over to libFuzzer, which ends the process.

    Args:
        name: of a harness.
        options: libFuzzer's, and its folders.
    """
    harness = HARNESSES[name]

    def mutated(content: bytes, limit: int, seed: int) -> bytes:
        return harness.mutated(content, limit, random.Random(seed), atheris.Mutate)

    with (
        tempfile.NamedTemporaryFile("w", suffix=".dict") as words,
        tempfile.TemporaryDirectory() as seeds,
    ):
        for nth, seed in enumerate(harness.SEEDS):
            Path(seeds, str(nth)).write_bytes(seed)
        words.writelines(f'"{_escaped(word)}"\n' for word in harness.WORDS)
        words.flush()
        # With the first, libFuzzer begins the processes in which it merges.
        itself = shlex.join([sys.executable, "-m", "fuzz.child", name])
        atheris.Setup(
            [itself, f"-dict={words.name}", f"-max_len={harness.LENGTH}", *options, seeds],
            harness.execute,
            custom_mutator=mutated,
        )
        atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word.encode())


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
