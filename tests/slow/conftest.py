"""Tests that take longer than all others together: what reaches the functions is as in theirs."""

from tests.functions.conftest import drain, hear, swept

__all__ = ["drain", "hear", "swept"]
