"""
What each action asks of AWS and of Stripe is what docs/performance.md says: in a Lambda that has just started, and in
the next call there. What is not on the page, or is there and is no more, fails as well.
"""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import calls
from bench.calls import Calls, Taken
from bench.meter import Meter
from billing import dynamodb
from tests.conftest import forget
from tests.functions.test_event_endpoint import queues, url  # noqa: F401
from tests.functions.test_mails import post_office  # noqa: F401
from tests.functions.usual import ADA, BOB, USUAL, World

TOLD = calls.table()
METHODS = {"get": "GET", "post": "POST", "delete": "DELETE"}  # Stripe's; all others are AWS's


@contextmanager
def heard(moments):
    """What is asked meanwhile."""
    found = Calls(Counter(), Counter())

    def listen(moment):
        when, name = moment.split()
        if when == "before":
            asked = found.stripe if name in METHODS else found.aws
            asked[METHODS.get(name) or name] += 1

    moments.append(listen)
    yield found
    moments.remove(listen)


@pytest.fixture
def world(api, stripe, clock, context, hear, moments, request):
    return World(api, stripe, clock, context, hear, moments, request.getfixturevalue)


@pytest.mark.parametrize("name", USUAL)
def test_an_action_asks_for_no_more_and_no_less_than_the_page_says(name, world, moments, template):
    act, meter = USUAL[name](world), Meter(dynamodb.db(), template)
    forget()
    with heard(moments) as cold:
        act(ADA)
    with heard(moments) as warm, meter.calls() as made:
        act(BOB)
    taken = meter.units(made)

    is_so = calls.row(name, Taken(cold, warm, taken.writes, taken.reads))
    assert name in TOLD and calls.row(name, TOLD[name]) == is_so, f"docs/performance.md has to say\n{is_so}"


def test_every_function_has_a_row_and_every_row_a_function():
    functions = {path.stem for path in Path("functions").glob("*.py")}
    assert {name.split(",")[0] for name in TOLD} == functions
    assert TOLD.keys() == USUAL.keys()
