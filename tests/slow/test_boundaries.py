"""Trouble at every call by which what heals speaks to AWS and Stripe: nothing is lost, and nothing doubled."""

import logging

import pytest

from tests.functions import boundaries
from tests.functions.lives import LIVES

world = boundaries.world


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "life", [life for life in LIVES if life != "process all of them"]
)  # each of them is walked by itself
def test_trouble_at_any_moment_changes_nothing_of_what_has_become_of_it(world, life):
    logging.disable(logging.CRITICAL)  # thousands of crashes are meant
    try:
        wrong, walked = boundaries.walk(world, LIVES[life]())
    finally:
        logging.disable(logging.NOTSET)

    assert wrong == {}, "\n".join(f"{trouble}: {told}" for trouble, told in wrong.items())
    assert walked >= 8
