"""The inputs that fuzzing found worth keeping, executed again: they hold, and cost what they may.

`tests/fuzz/run.py` finds others, and needs a fuzzer for it; this needs none. What they cost is
counted in executed lines of the package, so that nothing depends on how fast a machine is.
"""

from contextlib import suppress
from random import Random
from typing import Final

import pytest

from agent_messaging import NativeDialect, RemoteError
from fuzz import decoding, session
from fuzz.effort import lines_of
from fuzz.harnesses import CORPUS, HARNESSES
from fuzz.run import Watch
from fuzz.world import World

#: Lines for each byte of a frame, which is decoded eight times; the corpus comes to 19.
LINES_A_BYTE: Final = 40

#: Lines for each unit of a session's work; the corpus comes to 175.
LINES_A_UNIT: Final = 350


def inputs(name: str) -> dict[str, bytes]:
    """The seeds and the corpus, by their names."""
    seeds = {f"seed {nth}": seed for nth, seed in enumerate(HARNESSES[name].SEEDS)}
    return seeds | {path.name: path.read_bytes() for path in sorted((CORPUS / name).iterdir())}


def each(name: str, step: int = 1) -> pytest.MarkDecorator:
    named = list(inputs(name).items())[::step]
    return pytest.mark.parametrize(
        "content", [content for _, content in named], ids=[name for name, _ in named]
    )


@each("decoding")
def test_a_frame_is_decoded_as_it_has_to_be_at_a_cost_by_its_length(content: bytes) -> None:
    lines = lines_of(lambda: decoding.execute(content))
    assert 0 < lines <= LINES_A_BYTE * (len(content) + 30)


@each("decoding")
def test_decoding_eight_times_as_much_costs_eight_times_as_much(content: bytes) -> None:
    # Both are above the number of brackets from which on a frame's depth is looked at.
    assert lines_of(lambda: decode(content, 320)) <= 8 * lines_of(lambda: decode(content, 40))


def decode(content: bytes, times: int) -> None:
    frames = b",".join([content] * times)
    with suppress(RemoteError):
        NativeDialect().decode(b'{"type":"x","payload":{"":[%b]}}' % frames)


@each("session")
def test_a_session_keeps_its_promises_at_a_cost_by_its_work(content: bytes) -> None:
    see_cost(content, times=1)


@each("session", step=12)
def test_a_session_that_goes_on_costs_no_more_for_each_unit_of_its_work(content: bytes) -> None:
    see_cost(content, times=6)


def see_cost(content: bytes, times: int) -> None:
    worlds: list[World] = []
    lines = lines_of(lambda: worlds.append(session.played(content, times=times)))
    assert 0 < lines <= LINES_A_UNIT * worlds[0].work


def test_what_costs_more_for_each_the_more_there_are_is_seen() -> None:
    decoder = NativeDialect()

    def all_over_again(times: int) -> None:
        for number in range(times):
            for _ in range(number):
                decoder.decode('{"type":"x"}')

    assert lines_of(lambda: all_over_again(64)) > 8 * lines_of(lambda: all_over_again(8))


@pytest.mark.parametrize("name", sorted(HARNESSES))
def test_inputs_near_those_hold_too(name: str) -> None:
    harness = HARNESSES[name]
    random = Random(1)

    def with_another_byte(content: bytes, limit: int) -> bytes:
        changed = bytearray(content or b"0")
        changed[random.randrange(len(changed))] = random.randrange(256)
        return bytes(changed[:limit])

    for content in random.choices(list(inputs(name).values()), k=100):
        near = harness.mutated(content, harness.LENGTH, random, with_another_byte)
        assert len(near) <= harness.LENGTH
        harness.execute(near)


@pytest.mark.parametrize("name", sorted(HARNESSES))
def test_the_corpus_is_small_enough_to_be_kept(name: str) -> None:
    sizes = [len(content) for content in inputs(name).values()]
    assert 50 <= len(sizes) <= 600
    assert sum(sizes) <= 750_000
    assert max(sizes) <= HARNESSES[name].LENGTH


def test_the_command_reads_what_libfuzzer_prints() -> None:
    watch = Watch()
    watch.read("INFO: Using built-in libfuzzer\n")
    watch.read("#2\tINITED cov: 290 ft: 600 corp: 9/2Kb exec/s: 0 rss: 54Mb\n")
    watch.read("#90\tNEW    cov: 296 ft: 655 corp: 13/9b lim: 700 exec/s: 45 rss: 55Mb L: 7/9\n")
    assert watch.executions == 90
    assert "coverage 296 (+6), features 655; 13 inputs; 55Mb" in watch.figures()
    assert watch.fault == []
    watch.read(" === Uncaught Python exception: ===\n")
    watch.read("AssertionError: it became 1, and not 2\n")
    watch.read("stat::number_of_executed_units: 91\n")
    assert watch.fault[1] == "AssertionError: it became 1, and not 2"
