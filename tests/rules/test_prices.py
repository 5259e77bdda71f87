"""Which of Stripe's prices a plan can stand for, and what it must cost then."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import PriceDiffers, PriceUnfit
from billing.plans import Plan
from billing.prices import REASONS, Cost, TheirPrice, Tier, agree, cost, differs, unfit

EACH = TheirPrice("price_1", True, "usd", "month", unit=Decimal(1000))
TEAM = Plan("team", 1, "Team", "month", "usd", 1000, 1000, 1)


def tiered(*tiers, **fields):
    """Tiers as (up to, flat, unit)."""
    told = [Tier(up_to, Decimal(flat), Decimal(unit)) for up_to, flat, unit in tiers]
    return replace(EACH, unit=None, tiers=told, mode="graduated", **fields)


def as_documented(tiers, seats):
    """Stripe's docs, Pricing models: each unit by the tier it falls in, and the flat amount of each tier reached."""
    total, first = 0, 1
    for up_to, flat, unit in tiers:
        inside = range(first, seats + 1 if up_to is None else min(seats, up_to) + 1)
        total += (flat if inside or first == 1 else 0) + unit * len(inside)
        first = (up_to or seats) + 1
    return total


def test_a_price_for_each_seat_is_a_base_with_one_seat_and_the_same_for_each_further_one():
    assert cost(EACH) == Cost(1000, 1000, 1)


def test_a_flat_tier_is_the_base_and_its_end_the_last_seat_that_is_included():
    assert cost(tiered((5, 5000, 0), (None, 0, 900))) == Cost(5000, 900, 5)


@pytest.mark.parametrize(
    ("price", "wanted"),
    [
        (replace(EACH, unit=Decimal(0)), Cost(0, 0, 1)),
        (tiered((None, 500, 100)), Cost(600, 100, 1)),
        (tiered((None, 500, 0)), Cost(500, 0, 1)),
        (tiered((1, 0, 700), (None, 0, 100)), Cost(700, 100, 1)),
        (tiered((5, 0, 100), (None, 0, 100)), Cost(100, 100, 1)),
        (tiered((3, 900, 0), (8, 0, 50), (None, 0, 50)), Cost(900, 50, 3)),
        (tiered((5, 5000, 0), (None, 0, 0)), Cost(5000, 0, 1)),
        (tiered((5, 0, 0), (None, 0, 900)), Cost(0, 900, 5)),
        (tiered((5, 5000, 0), (None, 0, 900), interval="year"), Cost(5000, 900, 5)),
    ],
)
def test_what_comes_to_the_same_is_told_so(price, wanted):
    assert cost(price) == wanted


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        (replace(EACH, interval=None), "one_time"),
        (replace(EACH, usage="metered"), "metered"),
        (replace(EACH, usage="something_new"), "metered"),
        (replace(EACH, interval="week"), "interval"),
        (replace(EACH, interval="day"), "interval"),
        (replace(EACH, interval_count=3), "interval_count"),
        (replace(EACH, interval="year", interval_count=2), "interval_count"),
        (replace(EACH, unit=None, custom=True), "custom_amount"),
        (replace(EACH, unit=None), "custom_amount"),
        (replace(EACH, packaged=True), "package"),
        (replace(tiered((5, 5000, 0), (None, 0, 900)), mode="volume"), "volume"),
        (replace(tiered((5, 5000, 0), (None, 0, 900)), mode="something_new"), "volume"),
        (replace(EACH, unit=Decimal("0.5")), "decimals"),
        (tiered((5, 5000, 0), (None, 0, "0.000000000001")), "decimals"),
        (tiered((5, "0.5", 0), (None, 0, 1)), "decimals"),
        (tiered((5, 5000, 100), (None, 0, 900)), "tiers"),
        (tiered((5, 5000, 0), (None, 300, 900)), "tiers"),
        (tiered((5, 5000, 0), (10, 0, 900), (None, 0, 800)), "tiers"),
        (tiered((5, 5000, 0), (10, 100, 0), (None, 0, 0)), "tiers"),
        (tiered((5, 0, 1000), (None, 0, 0)), "tiers"),
    ],
)
def test_what_no_plan_can_say_is_refused_with_its_reason(price, reason):
    assert unfit(price) == reason and reason in REASONS
    with pytest.raises(PriceUnfit, match=reason):
        cost(price)


amounts = st.integers(0, 5000)


@st.composite
def prices(draw):
    ends = sorted(draw(st.sets(st.integers(1, 40), max_size=3)))
    few = st.sampled_from([0, 0, 0, 100, 250])
    return [(end, draw(few), draw(few)) for end in [*ends, None]]


@given(prices(), st.integers(1, 200))
def test_the_total_is_stripes_arithmetic_for_every_number_of_seats(tiers, seats):
    assert tiered(*tiers).total(seats) == as_documented(tiers, seats)


@given(prices())
def test_what_is_placed_costs_the_same_for_every_number_of_seats_and_what_is_not_has_no_plan(tiers):
    price = tiered(*tiers)
    stripes = [as_documented(tiers, seats) for seats in range(1, 130)]
    if unfit(price):
        seat = stripes[-1] - stripes[-2]
        grown = [included for included in range(1, 130) if shaped(stripes[0], seat, included) == stripes]
        assert not grown
    else:
        plan = Plan("", 0, "", "month", "usd", *cost(price))
        assert [plan.total(seats) for seats in range(1, 130)] == stripes


def shaped(base, seat, included):
    return [base + seat * max(0, seats - included) for seats in range(1, 130)]


@given(prices(), amounts, amounts, st.integers(0, 45))
def test_a_difference_is_found_wherever_it_is(tiers, base, seat, included):
    price, plan = tiered(*tiers), Plan("", 0, "", "month", "usd", base, seat, included)
    same = [plan.total(seats) for seats in range(1, 130)] == [as_documented(tiers, seats) for seats in range(1, 130)]
    found = differs(price, plan)
    assert (found is None) == same
    assert found is None or price.total(found) != plan.total(found)


@given(st.integers(1, 10**6), st.integers(1, 10**12))
def test_a_million_seats_are_no_further_than_one(included, base):
    plan = Plan("", 0, "", "month", "usd", base, 7, included)
    price = tiered((included, base, 0), (None, 0, 7))
    assert cost(price) == Cost(base, 7, included) if included > 1 else cost(price).base_price_cents == base
    assert differs(price, plan) is None and differs(price, replace(plan, price_per_seat_cents=8))


def test_a_plan_that_says_the_same_in_other_words_agrees():
    agree(EACH, replace(TEAM, base_price_cents=0, included_seats=0), on_sale=True)
    agree(EACH, TEAM, on_sale=True)


@pytest.mark.parametrize(
    "said",
    [
        {"base_price_cents": 999},
        {"price_per_seat_cents": 999},
        {"included_seats": 2},
        {"currency": "eur"},
        {"billing_interval": "year"},
    ],
    ids=repr,
)
def test_a_plan_that_says_something_else_is_refused(said):
    with pytest.raises(PriceDiffers):
        agree(EACH, replace(TEAM, **said), on_sale=True)


def test_an_archived_price_is_of_those_who_have_it():
    archived = replace(EACH, active=False)
    agree(archived, TEAM, on_sale=False)
    with pytest.raises(PriceUnfit, match="inactive"):
        agree(archived, TEAM, on_sale=True)


def test_a_total_is_exact():
    assert Fraction(replace(EACH, unit=Decimal("0.1")).total(3)) == Fraction(3, 10)
