"""The demonstration agent of the command line: real tools, no network, no model."""

import ast
import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from agent_messaging._errors import AgentError
from agent_messaging._run import Run

__all__ = ["demo", "evaluate", "find_expressions", "text_statistics"]

Number: TypeAlias = int | float

#: No number on the way to a result is larger; it fits a float, and a line on a screen.
_LARGEST: Final = 10**100
#: Characters of one expression. It bounds the work, and how deep the parser and we recurse.
_LONGEST: Final = 200
#: Expressions that one request has calculated, and characters in which they are looked for.
_MOST: Final = 5
_SEARCHED: Final = 4000

_ARITHMETIC: Final = re.compile(r"[-+*/%().0-9 eE]+")
_CANDIDATE: Final = re.compile(r"(?:[0-9][eE][-+]?[0-9]|[-+*/%().0-9 ])+")
#: Where one expression ends and the next begins, as no operator stands between them.
_BETWEEN: Final = re.compile(r"(?<=[0-9).]) +(?=[0-9(.])")
_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_WAIT: Final = re.compile(r"\bwait (?:for )?([0-9]{1,3}) seconds?\b", re.IGNORECASE)
_SENTENCE_END: Final = re.compile(r"(?<![.!?\u2026])[.!?\u2026]++(?=\s|$)")


async def demo(run: Run) -> dict[str, object]:
    """Calculate what the user's text asks for, and count what is in it; wait if it says so."""
    await run.thinking("I count the words, and look for something to calculate.")
    async with run.tool("text_statistics", {"text": run.request}) as call:
        statistics = text_statistics(run.request)
        call.result = statistics
    words, letters = statistics["words"], statistics["letters"]
    await run.chunk(f"Your text has {_count(words, 'word')} of {_count(letters, 'letter')}. ")

    wait = _WAIT.search(run.request)
    if wait is not None:
        seconds = int(wait[1])
        async with run.tool("wait", {"seconds": seconds}) as call:
            await asyncio.sleep(seconds)
            call.result = seconds

    expressions = find_expressions(run.request)
    if not expressions:
        average = await _calculate(run, f"{letters} / {words or 1}")
        await run.chunk("There is no arithmetic in it. ")
        await run.chunk(f"A word has {_shown(round(average, 1))} letters on average.")
    results: dict[str, object] = {}
    for expression in expressions:
        try:
            results[expression] = value = await _calculate(run, expression)
        except AgentError as error:
            await run.chunk(f"{expression} cannot be calculated: {error}. ")
        else:
            await run.chunk(f"{expression} is {_shown(value)}. ")
    return {"words": words, "calculated": results}


async def _calculate(run: Run, expression: str) -> Number:
    async with run.tool("calculate", {"expression": expression}) as call:
        value = evaluate(expression)
        call.result = value
    return value


def _shown(value: Number) -> str:
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _count(number: object, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def text_statistics(text: str) -> dict[str, object]:
    """How many characters, letters, words, lines and sentences, and the most frequent words."""
    words = [word.casefold() for word in _WORD.findall(text)]
    return {
        "characters": len(text),
        "letters": sum(map(str.isalpha, text)),
        "words": len(words),
        "lines": len(text.splitlines()),
        # What stands after the last full stop is a sentence too.
        "sentences": sum(1 for part in _SENTENCE_END.split(text) if _WORD.search(part)),
        "frequent": dict(Counter(words).most_common(3)),
    }


def find_expressions(text: str) -> list[str]:
    """The arithmetic expressions in a text, in their order: at most five, each once."""
    found: dict[str, None] = {}
    for candidate in _CANDIDATE.findall(text[:_SEARCHED]):
        for part in _BETWEEN.split(candidate):
            # A full stop and brackets may belong to the sentence around it.
            inner = part.strip().rstrip(" .")
            for expression in (inner, inner.strip(" ()")):
                if isinstance(_parse(expression), ast.BinOp):
                    found[expression] = None
                    break
    return list(found)[:_MOST]


def evaluate(expression: str) -> Number:
    """The value of an arithmetic expression: numbers, ``+ - * / // % **``, signs and brackets.

    The values are Python's. No more than bounded work is done, whatever the text.

    Raises:
        AgentError: it is no such expression of at most 200 characters, it divides by zero, its
            value is not real, or a number in it is larger than 10**100; the text says which.
    """
    node = _parse(expression)
    if node is None:
        raise AgentError("this is not an arithmetic expression")
    try:
        return _value(node)
    except ZeroDivisionError:
        raise AgentError("division by zero") from None
    except OverflowError:
        raise AgentError("a number is too large") from None


def _parse(expression: str) -> ast.expr | None:
    # With these characters alone the parser meets no names worth the name, and warns of nothing.
    if len(expression) > _LONGEST or not _ARITHMETIC.fullmatch(expression):
        return None
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        return None


def _value(node: ast.expr) -> Number:
    value: object
    match node:
        case ast.Constant(value=value):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            value = _value(operand)
        case ast.BinOp(left=left, op=sign, right=right):
            value = _OPERATORS[type(sign)](_value(left), _value(right))
        case _:
            value = None
    if isinstance(value, complex):
        raise AgentError("the result is not a real number")
    if not isinstance(value, int | float):
        raise AgentError("this is not an arithmetic expression")
    if not abs(value) <= _LARGEST:  # written so that NaN is refused, too
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> Any:
    # Python would happily fill the memory; half of the bits are known before it starts.
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and (base.bit_length() - 1) * max(exponent, 0) > _LARGEST.bit_length()
    ):
        raise OverflowError
    return base**exponent


_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Number, Number], Any]]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: _power,
}
