"""A local stack of its own for what takes minutes: nothing of it is in the way of the other tests of the stack."""

from pathlib import Path

import pytest

from tests.stack.conftest import (
    ada,
    as_function,
    call,
    eventually,
    invoke,
    plans,
    records,
    schedules,
    settle,
    someone,
    stack,
    stripe,
)

__all__ = [
    "ada",
    "as_function",
    "call",
    "eventually",
    "invoke",
    "plans",
    "records",
    "schedules",
    "settle",
    "someone",
    "stack",
    "stripe",
]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    One stack, in one worker: two at once are in each other's way.

    A burst leaves thousands of events that were never delivered, which every later sweep has to do: it comes last.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("slow stack"))
    items.sort(key=lambda item: item.path == Path(__file__).parent / "test_burst.py")
