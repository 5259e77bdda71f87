"""
Death, failure and silence at some of the calls by which a period is closed: what is due is billed all the same, once.

At all of them: tests/slow/test_closing_goes_on.py.
"""

from random import Random

import pytest

import close_period
from tests.functions import boundaries
from tests.functions.boundaries import KINDS, Trouble, calls_worth, differences
from tests.functions.metered import Metered

SEED, TRIES = 20261123, 3

world = boundaries.world


@pytest.fixture
def ada(world, hear):
    metered = Metered(world.api, world.stripe, world.clock, hear, world.context)
    metered.subscribes()
    metered.passes(days=3)
    metered.uses("calls", 30)
    metered.uses("exports", 11)
    metered.uses("tokens", 14)
    return metered


def on_the_renewal(ada):
    ada.ends()
    ada.passes(minutes=32)


def on_the_renewal_after_it(ada):
    ada.ends()
    ada.passes(hours=3)
    ada.on_schedule()
    ada.ends()
    ada.passes(minutes=32)


def lost_with_its_renewal(ada):
    """It is cancelled within the draft's hour."""
    ada.ends()
    ada.closes()
    ada.cancels(immediately=True, unused_time="none")
    ada.hears()
    ada.passes(minutes=40)


def alone(ada):
    ada.cancels(immediately=True, unused_time="none")
    ada.hears()
    ada.passes(minutes=32)


def corrected_of_one_that_has_ended(ada):
    key = ada.uses("calls", 100)
    alone(ada)
    start = ada.waiting()[0]
    ada.closes_now(start)
    ada.corrects(key)
    ada.uses("exports", 100, at=start + 5)
    ada.uses("tokens", 100, at=start + 5)


def told(ada):
    """All that stands for the usage, at Stripe and on record."""
    invoices = [
        (each["billing_reason"], each["status"], each["total"], each["amount_paid"], len(each["lines"]["data"]))
        for each in ada.stripe.invoices.values()
    ]
    stated = [(each.metric, each.number, each.quantity, each.amount_cents, each.due_cents) for each in ada.stated()]
    where = {each.billed if each.billed in ("balance", "nothing", None) else "in" for each in ada.stated()}
    balance = ada.stripe.customers[ada.customer()]["balance"]
    marks = sorted((mark.split(":")[1:], cents) for mark, cents in ada.lines())
    return {
        "invoices": sorted(invoices), "stated": stated, "where": where, "balance": balance, "billed": ada.billed(),
        "marks": marks, "waiting": ada.waiting(),
    }  # fmt: skip


def closing(ada):
    """The period is closed: by its schedule, which Lambda tries three times, then by the sweep."""
    event = {"customer": "ada", "subscription": ada.id, "start": max(ada.waiting())}

    def live(world):
        for _ in range(TRIES):
            if world.call(close_period.handler, event, world.context) is not None:
                break
            world.clock.pass_by(seconds=60)
        world.calms()
        world.call(close_period.handler, event, world.context)

    return live


def hearing(ada):
    """Stripe tells of the renewal; what fails comes again. Then the period is closed, by its schedule or the sweep."""

    def live(world):
        world.sends()
        for _ in range(9):
            world.delivers()
        world.calms()
        world.delivers()
        world.clock.pass_by(minutes=40)
        world.sweeps()
        world.clock.pass_by(minutes=2)
        ada.on_schedule()

    return live


def renewing(ada):
    ada.passes(seconds=ada.period()[1] - ada.now + 60)


def walk(ada, world, prepare, begin, some=None):
    """Every trouble there may be, or some by chance: what came of each that should not have, and how many."""
    prepare(ada)
    live = begin(ada)
    world.keep()

    def outcome(kind="dies", number=None):
        world.back()
        world.trouble = trouble = Trouble(world.stripe, kind, number)
        live(world)
        return told(ada), trouble

    wanted, quiet = outcome()
    assert wanted["waiting"] == [] and len(wanted["marks"]) >= 3 and None not in wanted["where"]
    troubles = [(kind, number) for kind in KINDS for number in calls_worth(kind, quiet.calls)]
    troubles = Random(SEED).sample(troubles, some) if some else troubles
    wrong = {}
    for kind, number in troubles:
        found, trouble = outcome(kind, number)
        assert trouble.came
        if found != wanted:
            wrong[kind, number, quiet.calls[number - 1]] = differences(wanted, found)
    return wrong, len(troubles)


LIVES = [
    (on_the_renewal, closing),
    (on_the_renewal_after_it, closing),
    (lost_with_its_renewal, closing),
    (alone, closing),
    (corrected_of_one_that_has_ended, closing),
    (renewing, hearing),
]


@pytest.mark.parametrize(("prepare", "begin"), LIVES)
def test_trouble_on_the_way_changes_nothing_of_what_is_billed(ada, world, prepare, begin):
    print("seed", SEED)
    assert walk(ada, world, prepare, begin, some=4) == ({}, 4)
