"""Trouble at all of the calls by which a period is closed; at some: tests/functions/test_closing_goes_on.py."""

import pytest

from tests.functions import boundaries, test_closing_goes_on
from tests.functions.test_closing_goes_on import LIVES, walk

world, ada = boundaries.world, test_closing_goes_on.ada


@pytest.mark.parametrize(("prepare", "begin"), LIVES)
def test_trouble_on_the_way_changes_nothing_of_what_is_billed(ada, world, prepare, begin):
    wrong, walked = walk(ada, world, prepare, begin)
    assert wrong == {} and walked >= 15
