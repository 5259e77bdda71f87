"""A local stack of its own for what takes minutes: nothing of it is in the way of the other tests of the stack."""

from tests.stack.conftest import (
    ada,
    as_function,
    call,
    eventually,
    invoke,
    plans,
    records,
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
    "settle",
    "someone",
    "stack",
    "stripe",
]
