"""Guards of what the conformance suites show to hosts."""

import inspect
import typing
from collections.abc import Mapping
from types import ModuleType

import pytest

from agent_messaging.testing import conformance

CLASSES = [
    public
    for public in (getattr(conformance, name) for name in conformance.__all__)
    if inspect.isclass(public)
]
SUITES: list[Mapping[str, object]] = [
    conformance.EVENT_LOG_CASES,
    conformance.TRANSPORT_CASES,
    conformance.HANDLER_CASES,
]


def test_nothing_public_is_missing_from_all_or_extra_in_it() -> None:
    names = {
        name
        for name, value in vars(conformance).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert names == set(conformance.__all__)
    assert len(names) == len(conformance.__all__)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_public_class_reports_the_public_module_and_can_be_read_at_run_time(
    cls: type[object],
) -> None:
    assert cls.__module__ == "agent_messaging.testing.conformance"
    assert (cls.__doc__ or "").strip()
    assert isinstance(typing.get_type_hints(cls), dict)
    is_shape = getattr(cls, "_is_protocol", False)
    assert hasattr(cls, "__final__") is not is_shape


@pytest.mark.parametrize("cases", SUITES, ids=["event logs", "transports", "handlers"])
def test_a_case_is_a_coroutine_function_of_the_name_that_it_has_in_its_suite(
    cases: Mapping[str, object],
) -> None:
    assert len(cases) > 10
    for name, case in cases.items():
        assert inspect.iscoroutinefunction(case)
        assert case.__name__ == name


def test_no_two_suites_have_a_case_of_the_same_name() -> None:
    names = [name for cases in SUITES for name in cases]
    assert len(names) == len(set(names))
