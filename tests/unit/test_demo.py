"""The demonstration agent: its tools over a user's text, and the path that its runs walk."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent_messaging import AgentError, ToolExecuting
from agent_messaging._demo import demo, evaluate, find_expressions, text_statistics
from agent_messaging.testing import Transcript, run_agent

Tree: TypeAlias = Any  # a number, ("-", tree) or (sign, tree, tree)

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "//": lambda left, right: left // right,
    "%": lambda left, right: left % right,
    "**": lambda left, right: left**right,
}


def tools_of(run: Transcript) -> list[str]:
    return [event.tool_name for event in run.events if isinstance(event, ToolExecuting)]


# The agent.


def test_a_run_walks_the_whole_golden_path() -> None:
    run = run_agent(demo, "What is 2 + 3?")
    run.assert_golden_path(strict=True)
    assert [event.type for event in run.events] == [
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_response_chunk",
        "tool_executing",
        "tool_completed",
        "agent_response_chunk",
        "agent_completed",
    ]


def test_what_the_text_asks_for_is_calculated_and_answered() -> None:
    run = run_agent(demo, "What is 2 + 3, and 10 / 4?")
    assert tools_of(run) == ["text_statistics", "calculate", "calculate"]
    assert run.text == "Your text has 3 words of 9 letters. 2 + 3 is 5. 10 / 4 is 2.5. "
    assert run.result == {"words": 3, "calculated": {"2 + 3": 5, "10 / 4": 2.5}}


@pytest.mark.parametrize(
    ("text", "counted", "average"),
    [
        ("Hello", "1 word of 5 letters", "5"),
        ("It is late", "3 words of 8 letters", "2.7"),
        ("x" * 99999, "1 word of 99999 letters", "99999"),
        ("?!", "0 words of 0 letters", "0"),
    ],
)
def test_a_text_without_arithmetic_has_its_average_word_calculated(
    text: str, counted: str, average: str
) -> None:
    run = run_agent(demo, text)
    assert tools_of(run) == ["text_statistics", "calculate"]
    assert run.text == (
        f"Your text has {counted}. There is no arithmetic in it. "
        f"A word has {average} letters on average."
    )


def test_a_division_by_zero_is_a_tool_error_and_the_run_goes_on() -> None:
    run = run_agent(demo, "1 / 0 or 1 + 1")
    errors = [use.error for uses in run.tools.values() for use in uses if use.status == "error"]
    assert errors == ["division by zero"]
    assert "1 / 0 cannot be calculated: division by zero. 1 + 1 is 2. " in run.text
    assert run.result == {"words": 1, "calculated": {"1 + 1": 2}}


@given(st.text(min_size=1, max_size=300).filter(lambda text: not text.isspace()))
@example("?!")
@example("\ud800 \x00 \x1b[31m")
@example("9**9**9 10**100*10 (((((((((1/0")
def test_every_text_gets_a_complete_run_of_at_least_two_tools(text: str) -> None:
    run = run_agent(demo, text)
    run.assert_golden_path(strict=True)
    assert run.tools.keys() == {"text_statistics", "calculate"}


# Text statistics.


def test_a_text_is_counted() -> None:
    assert text_statistics("It's late. It's 3 o'clock!\nGood night") == {
        "characters": 37,
        "letters": 25,
        "words": 6,
        "lines": 2,
        "sentences": 3,
        "frequent": {"it's": 2, "late": 1, "o'clock": 1},
    }


def test_words_count_without_regard_to_case_and_in_any_script() -> None:
    statistics = text_statistics("Straße STRASSE Ελλάδα 東京")
    assert statistics["words"] == 4
    assert statistics["frequent"] == {"strasse": 2, "ελλάδα": 1, "東京": 1}


def test_marks_in_a_row_and_within_a_word_end_one_sentence_or_none() -> None:
    assert text_statistics("Really?!... Version 3.11 is out.")["sentences"] == 2


@pytest.mark.parametrize("text", ["", " \n ", "...", "42"])
def test_a_text_without_words_has_none(text: str) -> None:
    statistics = text_statistics(text)
    assert (statistics["words"], statistics["sentences"]) == (0, 0)


# Finding expressions.


@pytest.mark.parametrize(
    ("text", "expressions"),
    [
        ("What is 2+3?", ["2+3"]),
        ("Add 3 * 4. 5 / 2 is more.", ["3 * 4", "5 / 2"]),
        ("(that is 2 * 3)", ["2 * 3"]),
        ("(2 + 3) * 4", ["(2 + 3) * 4"]),
        (".5 * 2 and 1e3 / 2", [".5 * 2", "1e3 / 2"]),
        ("1 + 1 is 1 + 1", ["1 + 1"]),
        ("3 apples, 2024-01-15, 50% of -7", []),
        ("3 elephants + 4 eagles", []),
        ("1+1, 1+2, 1+3, 1+4, 1+5, 1+6", ["1+1", "1+2", "1+3", "1+4", "1+5"]),
        ("1+" * 150 + "1", []),
        (" " * 4000 + "1+1", []),
    ],
)
def test_expressions_are_found_in_prose(text: str, expressions: list[str]) -> None:
    assert find_expressions(text) == expressions


# Evaluating.


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("+.5 - 1e3", -999.5),
        ("1 ** 9999999999", 1),
        ("10 ** 100", 10**100),
        (" 1 ", 1),
    ],
)
def test_expressions_have_the_value_that_python_gives_them(expression: str, value: float) -> None:
    assert evaluate(expression) == value
    assert type(evaluate(expression)) is type(value)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("1 / 0", "division by zero"),
        ("1 // 0", "division by zero"),
        ("1 % 0.0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("0 ** -9999", "division by zero"),
        ("10 ** 101", "a number is too large"),
        ("9 ** 9 ** 9 ** 9", "a number is too large"),
        ("1e300", "a number is too large"),
        ("1e999 - 1e999", "a number is too large"),
        ("10 ** 99 * 11", "a number is too large"),
        ("2.5 ** 999999", "a number is too large"),
        ("(-8) ** .5", "the result is not a real number"),
        ("", "this is not an arithmetic expression"),
        ("two", "this is not an arithmetic expression"),
        ("1 +", "this is not an arithmetic expression"),
        ("()", "this is not an arithmetic expression"),
        ("...", "this is not an arithmetic expression"),
        ("2(3)", "this is not an arithmetic expression"),
        ("e", "this is not an arithmetic expression"),
        ("1 .e", "this is not an arithmetic expression"),
        ("1 if 1 else 1", "this is not an arithmetic expression"),
        ("__import__('os')", "this is not an arithmetic expression"),
        ("1" * 201, "this is not an arithmetic expression"),
        ("(" * 199, "this is not an arithmetic expression"),
        ("1\n+ 1", "this is not an arithmetic expression"),
        ("\u0661 + 1", "this is not an arithmetic expression"),
    ],
)
def test_what_cannot_be_calculated_says_why(expression: str, why: str) -> None:
    with pytest.raises(AgentError) as caught:
        evaluate(expression)
    assert caught.value.message == why


def test_the_deepest_expressions_are_evaluated() -> None:
    assert evaluate("-" * 198 + "1") == 1
    assert evaluate("(" * 99 + "1" + ")" * 99) == 1


numbers = st.integers(0, 10**6) | st.floats(0, 10**6, allow_nan=False)
trees: st.SearchStrategy[Tree] = st.recursive(
    numbers,
    lambda inner: (
        st.tuples(st.just("-"), inner)
        | st.tuples(st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner, inner)
        | st.tuples(st.just("**"), inner, st.integers(-3, 3))
    ),
    max_leaves=8,
)
whole_trees: st.SearchStrategy[Tree] = st.recursive(
    st.integers(0, 999),
    lambda inner: (
        st.tuples(st.just("-"), inner)
        | st.tuples(st.sampled_from(["+", "-", "*", "//", "%"]), inner, inner)
    ),
    max_leaves=8,
)


def written(tree: Tree) -> str:
    match tree:
        case (_, inner):
            return f"-({written(inner)})"
        case (sign, left, right):
            return f"({written(left)}) {sign} ({written(right)})"
        case number:
            return repr(number)


def values_in(tree: Tree) -> list[float]:
    """The value of each part of the tree, the whole last, as Python's operators have it."""
    match tree:
        case (_, inner):
            values = values_in(inner)
            return [*values, -values[-1]]
        case (sign, left, right):
            lefts, rights = values_in(left), values_in(right)
            return [*lefts, *rights, OPERATORS[sign](lefts[-1], rights[-1])]
        case number:
            return [number]


@given(trees)
def test_the_evaluator_agrees_with_pythons_own(tree: Tree) -> None:
    expression = written(tree)
    try:
        values = values_in(tree)
    except (ZeroDivisionError, OverflowError):
        values = []
    small = all(abs(value) <= 10**100 for value in values)  # NaN is not
    if values and small and len(expression) <= 200:
        expected = eval(expression)  # noqa: S307 - made of numbers and signs right here
        assert evaluate(expression) == expected
        assert type(evaluate(expression)) is type(expected)
    else:
        with pytest.raises(AgentError):
            evaluate(expression)


def exactly(tree: Tree) -> Fraction:
    match tree:
        case (_, inner):
            return -exactly(inner)
        case ("//", left, right):
            return Fraction(math.floor(exactly(left) / exactly(right)))
        case ("%", left, right):
            dividend, divisor = exactly(left), exactly(right)
            return dividend - divisor * math.floor(dividend / divisor)
        case (sign, left, right):
            return Fraction(OPERATORS[sign](exactly(left), exactly(right)))
        case number:
            return Fraction(number)


def outcome(expression: str) -> float | str:
    """The value, or what the error says."""
    try:
        return evaluate(expression)
    except AgentError as error:
        return error.message


@given(whole_trees)
def test_whole_numbers_stay_exact(tree: Tree) -> None:
    assume(len(written(tree)) <= 200)
    try:
        expected: Fraction | str = exactly(tree)
    except ZeroDivisionError:
        expected = "division by zero"
    assert outcome(written(tree)) == expected


@given(st.text(max_size=250) | st.text("0123456789.+-*/%()eE ", max_size=250))
def test_no_text_raises_anything_but_the_documented_error(text: str) -> None:
    value = outcome(text)
    assert isinstance(value, str) or abs(value) <= 10**100


@given(st.text("0123456789.+-*/%()eE \n", max_size=400))
def test_what_is_found_in_a_text_is_in_it_and_is_arithmetic(text: str) -> None:
    found = find_expressions(text)
    assert len(found) == len(set(found)) <= 5
    for expression in found:
        assert expression in text
        assert set(expression) & set("+-*/%")
