"""
Trouble at some of the calls by which what heals speaks to AWS and Stripe: nothing is lost, and nothing doubled.

At all of them: tests/slow/test_boundaries.py.
"""

import pytest

from tests.functions import boundaries
from tests.functions.lives import LIVES

SEED = 20261123

world = boundaries.world


@pytest.mark.parametrize("life", LIVES)
def test_trouble_on_the_way_changes_nothing_of_what_has_become_of_it(world, life):
    print("seed", SEED)
    wrong, walked = boundaries.walk(world, LIVES[life](), some=2, seed=SEED)

    assert (wrong, walked) == ({}, 2)
