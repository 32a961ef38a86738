"""What can be fuzzed, by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final, Protocol

from fuzz import decoding, session
from fuzz.mutations import Mutate

__all__ = ["CORPUS", "HARNESSES", "Harness"]

#: A folder of inputs for each harness.
CORPUS: Final = Path(__file__).resolve().parent / "corpus"


class Harness(Protocol):
    """A module that executes one input at a time."""

    @property
    def LENGTH(self) -> int:  # noqa: N802 - a module's constant
        """Bytes of the longest input."""
        ...

    @property
    def SEEDS(self) -> Sequence[bytes]:  # noqa: N802 - as above
        """The first inputs."""
        ...

    @property
    def WORDS(self) -> Sequence[str]:  # noqa: N802 - as above
        """What is put into inputs now and then."""
        ...

    @property
    def execute(self) -> Callable[[bytes], None]:
        """Does with one input all that there is to do; raises if anything is wrong."""
        ...

    @property
    def mutated(self) -> Callable[[bytes, int, Random, Mutate], bytes]:
        """Another input near this one, of so many bytes at most."""
        ...


HARNESSES: Final[Mapping[str, Harness]] = {"decoding": decoding, "session": session}
