"""What usage costs."""

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from billing.currencies import chargeable
from billing.rating import ChargeLine, Rate, Tier

CALLS = Rate("unit", included=1000, unit_amount="0.15")
BUNDLES = Rate("package", unit_amount="500", package_size=1000)
# Stripe's docs, Pricing models: 12 units cost 111 dollars by graduated tiers and 66 by volume.
DOCUMENTED = [Tier(5, "500", "1000"), Tier(10, "400", "2000"), Tier(None, "300", "3000")]
CURRENCIES = ("usd", "jpy", "kwd", "isk")

amounts = st.builds(
    lambda units, places: f"{Decimal(units).scaleb(-places):f}", st.integers(0, 10**6), st.integers(0, 12)
)
quantities = st.one_of(st.integers(0, 60), st.integers(0, 10**15))


@st.composite
def tiers(draw):
    ends = sorted(draw(st.sets(st.integers(1, 50), max_size=4)))
    return [Tier(end, draw(amounts), draw(amounts)) for end in (*ends, None)]


def tiered(model):
    return st.builds(Rate, st.just(model), st.integers(0, 20), tiers=tiers())


units = st.builds(Rate, st.just("unit"), st.integers(0, 20), amounts)
packages = st.builds(Rate, st.just("package"), st.integers(0, 20), amounts, st.integers(1, 12))
growing = st.one_of(units, packages, tiered("graduated"))
rates = st.one_of(growing, tiered("volume"))


def exact(rate, quantity):
    """Unit by unit, and in another arithmetic than the rule's."""
    with localcontext(prec=60):
        beyond = max(0, quantity - rate.included)
        if rate.model == "unit":
            return Decimal(rate.unit_amount) * beyond
        if rate.model == "package":
            return Decimal(rate.unit_amount) * (beyond // rate.package_size + (beyond % rate.package_size > 0))
        falls = [
            next(tier for tier in rate.tiers if tier.up_to is None or n <= tier.up_to) for n in range(1, beyond + 1)
        ]
        if rate.model == "volume":
            falls = falls[-1:] * beyond
        reached = [tier for place, tier in enumerate(falls) if tier not in falls[:place]]
        return sum((Decimal(tier.unit_amount) for tier in falls), Decimal(0)) + sum(
            Decimal(tier.flat_amount) for tier in reached
        )


def cents(rate, *quantities, currency="usd"):
    return [rate.charge(quantity, currency).amount_cents for quantity in quantities]


# By hand


def test_what_is_included_comes_off_first_and_each_further_unit_costs_the_same():
    assert cents(CALLS, 0, 999, 1000, 1001, 1010, 1_001_000) == [0, 0, 0, 0, 2, 150_000]


def test_a_package_is_paid_when_it_is_begun():
    assert cents(BUNDLES, 0, 1, 999, 1000, 1001, 2000, 2001) == [0, 500, 500, 500, 1000, 1000, 1500]
    assert cents(replace(BUNDLES, included=100), 100, 101, 1100, 1101) == [0, 500, 500, 1000]


def test_tiers_come_to_what_stripes_documentation_says():
    assert cents(Rate("graduated", tiers=DOCUMENTED), 12) == [11_100]
    assert cents(Rate("volume", tiers=DOCUMENTED), 12) == [6600]


def test_in_graduated_tiers_a_unit_costs_what_its_tier_says_and_a_tier_its_flat_amount_once_a_unit_falls_in_it():
    rate = Rate("graduated", tiers=DOCUMENTED)

    assert cents(rate, 0, 1, 5, 6, 10, 11) == [0, 1500, 3500, 5900, 7500, 10_800]


def test_by_volume_all_units_cost_what_the_tier_of_the_quantity_says_so_that_one_more_may_be_cheaper():
    rate = Rate("volume", tiers=[Tier(5, "700"), Tier(10, "650"), Tier(None, "600")])

    assert cents(rate, 0, 1, 5, 6, 10, 11, 20, 25) == [0, 700, 3500, 3900, 6500, 6600, 12_000, 15_000]
    dear = Rate("volume", tiers=[Tier(5, "700"), Tier(None, "400")])
    assert cents(dear, 5, 6) == [3500, 2400]


def test_tiers_count_from_the_first_unit_that_is_not_included():
    rates = [Rate(model, included=100, tiers=DOCUMENTED) for model in ("graduated", "volume")]

    assert [cents(rate, 100, 105, 112) for rate in rates] == [[0, 3500, 11_100], [0, 3500, 6600]]


def test_no_unit_costs_nothing_not_even_the_flat_amount_of_the_first_tier():
    for model in ("graduated", "volume"):
        charge = Rate(model, included=3, tiers=DOCUMENTED).charge(3, "usd")
        assert (charge.included, charge.amount_cents, charge.lines) == (3, 0, [])


def test_a_charge_tells_the_lines_that_it_is_the_sum_of():
    charge = Rate("graduated", included=10, tiers=[Tier(5, "0.15", "0"), Tier(None, "0.1", "2.5")]).charge(18, "usd")

    assert charge.lines == [ChargeLine(5, "0.15", "0", "0.75"), ChargeLine(3, "0.1", "2.5", "2.8")]
    assert charge.public() == {
        "quantity": 18,
        "included": 10,
        "amount_cents": 4,
        "lines": [
            {"quantity": 5, "unit_amount": "0.15", "flat_amount": "0", "amount": "0.75"},
            {"quantity": 3, "unit_amount": "0.1", "flat_amount": "2.5", "amount": "2.8"},
        ],
    }
    assert BUNDLES.charge(2001, "usd").lines == [ChargeLine(3, "500", "0", "1500")]  # packages, not units


def test_the_sum_is_rounded_and_not_its_lines_nor_its_units():
    halves = [Tier(1, "0.5"), Tier(2, "0.5"), Tier(None, "0.5")]

    assert cents(Rate("graduated", tiers=halves), 1, 2, 3, 4) == [1, 1, 2, 2]
    assert cents(Rate("unit", unit_amount="0.004"), 1, 124, 125) == [0, 0, 1]


def test_what_binary_fractions_cannot_say_is_exact():
    assert cents(Rate("unit", unit_amount="0.145"), 100, 1000) == [15, 145]  # 14.5 and no 14.4999…
    assert cents(Rate("unit", unit_amount="1.005"), 100) == [101]
    charge = Rate("unit", unit_amount="999999999999.000000000001").charge(10**15, "usd")
    assert (charge.amount_cents, charge.lines[0].amount) == (
        999_999_999_999 * 10**15 + 1000,
        "999999999999000000000001000",
    )


@pytest.mark.parametrize(
    ("currency", "quantity", "amount"),
    [
        ("usd", 149, 1),
        ("usd", 150, 2),
        ("jpy", 149, 1),  # the minor unit is the yen
        ("jpy", 150, 2),
        ("kwd", 499, 0),  # thousandths of a dinar, charged in tens
        ("kwd", 500, 10),
        ("kwd", 1499, 10),
        ("kwd", 1500, 20),
        ("isk", 4999, 0),
        ("isk", 5000, 100),
        ("ugx", 14_999, 100),
        ("ugx", 15_000, 200),
    ],
)
def test_a_charge_is_rounded_half_up_to_what_its_currency_can_be_charged_in(currency, quantity, amount):
    assert cents(Rate("unit", unit_amount="0.01"), quantity, currency=currency) == [amount]


def test_less_than_nothing_cannot_be_used():
    with pytest.raises(ValueError, match="-1 units"):
        CALLS.charge(-1, "usd")


# For all


@given(rates, st.integers(0, 80), st.sampled_from(CURRENCIES))
def test_the_lines_sum_to_what_the_units_cost_one_by_one(rate, quantity, currency):
    lines = rate.charge(quantity, currency).lines

    assert sum(Fraction(line.amount) for line in lines) == Fraction(exact(rate, quantity))


@given(rates, quantities, st.sampled_from(CURRENCIES))
def test_a_line_is_what_it_says_and_the_charge_the_nearest_that_can_be_charged_to_their_sum(rate, quantity, currency):
    charge, step = rate.charge(quantity, currency), chargeable(currency)
    total = sum(Fraction(line.amount) for line in charge.lines)

    for line in charge.lines:
        assert Fraction(line.amount) == line.quantity * Fraction(line.unit_amount) + Fraction(line.flat_amount)
    assert -Fraction(step, 2) < charge.amount_cents - total <= Fraction(step, 2)
    assert charge.amount_cents % step == 0


@given(rates, quantities)
def test_every_unit_is_included_or_in_a_line(rate, quantity):
    charge = rate.charge(quantity, "usd")
    lines = sum(line.quantity for line in charge.lines)

    assert charge.included == min(quantity, rate.included)
    if rate.model == "package":
        size = rate.package_size
        assert lines * size - size < quantity - charge.included <= lines * size
    else:
        assert charge.included + lines == quantity


@given(growing, st.lists(quantities, min_size=2), st.sampled_from(CURRENCIES))
def test_more_never_costs_less_but_by_volume(rate, used, currency):
    costs = cents(rate, *sorted(used), currency=currency)

    assert all(before <= after for before, after in pairwise(costs))


@given(tiered("volume"), st.data())
def test_by_volume_a_border_moves_all_units_to_the_next_price(rate, data):
    assume(len(rate.tiers) > 1)
    place = data.draw(st.integers(0, len(rate.tiers) - 2))
    tier, following = rate.tiers[place : place + 2]
    border = tier.up_to or 0
    (last,), (first,) = (rate.charge(rate.included + border + more, "usd").lines for more in (0, 1))

    assert last == ChargeLine(border, tier.unit_amount, tier.flat_amount, last.amount)
    assert first == ChargeLine(border + 1, following.unit_amount, following.flat_amount, first.amount)


@given(tiered("graduated"), st.integers(0, 60))
def test_graduated_tiers_of_one_price_and_no_flat_amount_are_a_price_for_each_unit(rate, quantity):
    price = rate.tiers[0].unit_amount
    same = replace(rate, tiers=[Tier(tier.up_to, price) for tier in rate.tiers])

    assert cents(same, quantity) == cents(Rate("unit", rate.included, price), quantity)
    assert cents(replace(same, model="volume"), quantity) == cents(same, quantity)


@given(rates, st.integers(0, 10**6), st.integers(0, 1000))
def test_included_units_are_as_if_they_had_not_been_used(rate, quantity, included):
    assert (
        replace(rate, included=included).charge(quantity + included, "usd").lines
        == replace(rate, included=0).charge(quantity, "usd").lines
    )


# What makes no sense


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"model": "each", "unit_amount": "1"}, "each is no model of a rate"),
        ({"model": "unit"}, "unit: unit_amount is missing"),
        ({"model": "unit", "unit_amount": "1", "package_size": 5}, "unit: package_size is of packages alone"),
        ({"model": "unit", "unit_amount": "1", "tiers": DOCUMENTED}, "unit: tiers are of graduated and volume alone"),
        ({"model": "package", "unit_amount": "1"}, "package: package_size is missing"),
        ({"model": "package", "package_size": 5}, "package: unit_amount is missing"),
        ({"model": "graduated"}, "graduated: tiers are missing"),
        ({"model": "volume", "unit_amount": "1", "tiers": DOCUMENTED}, "volume: unit_amount is said by the tiers"),
        ({"model": "volume", "package_size": 5, "tiers": DOCUMENTED}, "volume: package_size is of packages alone"),
        ({"model": "graduated", "tiers": DOCUMENTED[:2]}, "the last tier has no end"),
        ({"model": "graduated", "tiers": [*DOCUMENTED, Tier(None)]}, "only the last has no end"),
        ({"model": "graduated", "tiers": [Tier(5), Tier(5), Tier(None)]}, "ends after the one before it"),
        ({"model": "graduated", "tiers": [Tier(6), Tier(5), Tier(None)]}, "ends after the one before it"),
        ({"model": "unit", "unit_amount": "1/3"}, "1/3 is no decimal amount"),
        ({"model": "unit", "unit_amount": "0.0000000000001"}, "0.0000000000001 is no decimal amount"),
        ({"model": "volume", "tiers": [Tier(None, "-1")]}, "-1 is no decimal amount"),
        ({"model": "volume", "tiers": [Tier(None, "1", "1e3")]}, "1e3 is no decimal amount"),
    ],
    ids=str,
)
def test_a_rate_that_makes_no_sense_cannot_be_made(said, message):
    with pytest.raises(ValueError, match=message):
        Rate(**said)
