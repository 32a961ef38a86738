"""How long the searches here go on, where they are asked to."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seeds",
        type=int,
        default=200,
        help="how many seeds the barrier of STOP_AGENT is tried with",
    )
    parser.addoption(
        "--examples",
        type=int,
        default=None,
        help="how many random examples the endpoint's machine tries, in place of its usual ones",
    )


@pytest.fixture
def examples(pytestconfig: pytest.Config) -> int | None:
    examples: int | None = pytestconfig.getoption("examples")
    return examples


@pytest.fixture
def seeds(pytestconfig: pytest.Config) -> int:
    seeds: int | None = pytestconfig.getoption("seeds")
    assert seeds is not None
    return seeds
