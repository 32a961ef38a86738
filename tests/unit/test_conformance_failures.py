"""A case that fails says what its contract wanted and what came, with asserts and without."""

import asyncio
import subprocess
import sys
from typing import Final

import pytest

from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import ConformanceError
from agent_messaging.testing.conformance._expect import PATIENCE, expect, found, patience


def said(came: object, wanted: object, about: object = None) -> str:
    """What an expectation says that is not met."""
    with pytest.raises(ConformanceError) as error:
        expect(came, wanted, about)
    return str(error.value)


def test_what_was_expected_is_no_error() -> None:
    expect([1, 2], [1, 2])
    assert found("something") == "something"


def test_an_error_says_what_was_wanted_and_what_came() -> None:
    assert said(3, "three") == "wanted 'three', but 3 came"


def test_it_says_which_of_several_it_is_about() -> None:
    assert said(None, 1, ("run", 7)) == "('run', 7): wanted 1, but None came"
    with pytest.raises(ConformanceError, match=r"^run 7: wanted something, but None came$"):
        found(None, "run 7")


@pytest.mark.parametrize(
    ("came", "wanted", "position"),
    [([1, 2, 3], [1, 4, 3], 1), ([1, 2], [1, 2, None], 2), ("abc", "ab", 2)],
)
def test_of_lists_and_texts_it_says_where_they_begin_to_differ(
    came: object, wanted: object, position: int
) -> None:
    assert said(came, wanted).endswith(f" came; they differ from position {position} on")


def test_where_that_is_plain_it_does_not() -> None:
    assert "position" not in said([], [1])
    assert "position" not in said("ab", ["a", "b"])
    assert "position" not in said((1, 2), (1, 3))


def test_what_is_long_is_not_shown_as_a_whole() -> None:
    assert len(said("x" * 2**20, "x" * (2**20 + 1))) < 600
    assert len(said([*range(1000)], [*range(1001)])) < 600


def test_the_one_error_is_an_assertion_error_for_every_test_runner() -> None:
    assert issubclass(ConformanceError, AssertionError)


def test_what_comes_to_no_end_is_an_error_too() -> None:
    async def main() -> float:
        with pytest.raises(ConformanceError, match=r"came to no end in 20 s$"):
            async with patience():
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == PATIENCE


def test_a_time_out_of_what_is_tested_stays_what_it_is() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError, match="of its own"):
            async with patience():
                raise TimeoutError("of its own")

    run_virtual(main())


#: A case without asserts: a log that accepts what it has to refuse.
BROKEN: Final = """
import asyncio
from agent_messaging import MemoryEventLog
from agent_messaging.testing.conformance import EVENT_LOG_CASES, LogOnTrial

class Accepting:
    def __init__(self, log):
        self.log = log

    def __getattr__(self, name):
        return getattr(self.log, name)

    async def append(self, lease, events):
        pass

async def make_log(*, held_events=None):
    return LogOnTrial(Accepting(MemoryEventLog()), asyncio.sleep)

assert False, "asserts are to be off here"
asyncio.run(EVENT_LOG_CASES["an_event_that_skips_one_is_refused"](make_log))
"""


def test_a_case_fails_and_explains_itself_where_asserts_are_off() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-c", BROKEN], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "in an_event_that_skips_one_is_refused" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "agent_messaging.testing.conformance.ConformanceError: "
        "wanted <class 'agent_messaging.LeaseLost'>, but None came"
    )
