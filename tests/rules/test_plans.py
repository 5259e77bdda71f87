from dataclasses import replace

import pytest

from billing.currencies import chargeable
from billing.errors import SeatsOutOfRange
from billing.plans import Metric, Plan

TEAM = Plan("team", 1, "Team", "month", "usd", 2000, price_per_seat_cents=1000, included_seats=3, max_seats=5)


def graduated(plan, seats):
    total, below = 0, 0
    for tier in plan.tiers():
        up_to = seats if tier["up_to"] == "inf" else min(seats, tier["up_to"])
        if up_to > below:
            total += tier.get("flat_amount", 0) + (up_to - below) * tier["unit_amount"]
        below = up_to
    return total


@pytest.mark.parametrize("included", [0, 1, 3])
def test_the_base_price_covers_the_included_seats_and_then_every_seat_counts(included):
    plan = replace(TEAM, included_seats=included)

    assert [graduated(plan, seats) for seats in range(1, 9)] == [
        2000 + 1000 * max(0, seats - included) for seats in range(1, 9)
    ]


@pytest.mark.parametrize("included", [0, 1, 3])
def test_a_period_costs_the_graduated_total_of_the_tiers_and_the_base_price_even_for_no_seat(included):
    plan = replace(TEAM, included_seats=included)

    assert [plan.total(seats) for seats in range(1, 9)] == [graduated(plan, seats) for seats in range(1, 9)]
    assert plan.total(0) == plan.tiers()[0]["flat_amount"] == 2000


def test_dinars_are_charged_in_tens_and_kronur_and_ugandan_shillings_in_hundreds():
    assert [chargeable(currency) for currency in ("bhd", "jod", "kwd", "omr", "tnd")] == [10] * 5
    assert [chargeable(currency) for currency in ("isk", "ugx")] == [100] * 2
    assert [chargeable(currency) for currency in ("usd", "eur", "jpy", "huf", "twd")] == [1] * 5


def test_a_plan_has_as_many_seats_as_it_says_and_none_is_no_limit():
    TEAM.seat(5)
    replace(TEAM, max_seats=None).seat(10**6)
    with pytest.raises(SeatsOutOfRange):
        TEAM.seat(6)


def test_an_absent_limit_is_zero_and_null_is_unlimited():
    plan = replace(TEAM, limits={"max_api_calls": None})

    assert plan.limit_of(Metric("max_api_calls")) is None
    assert plan.limit_of(Metric("max_projects")) == 0


def test_a_version_offers_the_same_whatever_its_number_and_price():
    assert TEAM.offers(replace(TEAM, version=2, price="price_2"))
    assert not TEAM.offers(replace(TEAM, base_price_cents=2001))


def test_an_old_version_that_lacks_a_field_opens_nothing():
    old = Plan("team", 1, "Team", "month", "usd", 2000)

    assert (old.max_seats, old.grace_days, old.features, old.limit_of(Metric("max_api_calls"))) == (0, 0, [], 0)
