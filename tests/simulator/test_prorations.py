"""The recorded and documented numbers of Stripe's prorations, and what a price costs."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.stripe_simulator.periods import DAY, boundary, period_at
from local.stripe_simulator.proration import rounded, share, total

MONTH = 2_592_000
SEATS = {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": [
    {"up_to": 5, "flat_amount": 5000, "unit_amount": 0}, {"up_to": None, "flat_amount": None, "unit_amount": 900},
]}  # fmt: skip
DOCS_TIERS = [
    {"up_to": 5, "flat_amount": 10, "unit_amount": 7},
    {"up_to": 10, "flat_amount": 11, "unit_amount": 6},
    {"up_to": None, "flat_amount": 0, "unit_amount": 5},
]


@pytest.mark.parametrize(
    ("full", "left", "length", "said"),
    [
        (-1000, 1_599_427_688 - 1_598_982_148, 2_678_400, -166),
        (3252, 1_599_427_688 - 1_598_982_148, 2_678_400, 541),
        (-1000, 6_480, MONTH, -3),
        (1800, 6_480, MONTH, 4),
        (3000, 6_480, MONTH, 7),
        (-2000, 1, 3, -667),
        (1000, 1, 3, 333),
        (-2000, 2_573_558, MONTH, -1986),
        (2500, 2_573_558, MONTH, 2482),
        (-1000, 10 * DAY, 30 * DAY, -333),
        (1000, 10 * DAY, 30 * DAY, 333),
        (-834, 1, 2, -417),
    ],
)
def test_a_share_of_a_period_is_what_stripe_was_seen_to_charge(full, left, length, said):
    assert share(full, 0, length, length - left) == said


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**8), st.data())
def test_a_share_is_within_half_a_cent_of_the_exact_one(full, length, data):
    at = data.draw(st.integers(0, length))
    exact = Fraction(full * (length - at), length)
    assert -Fraction(1, 2) <= share(full, 0, length, at) - exact < Fraction(1, 2)


def test_ties_are_rounded_down():
    assert [rounded(Fraction(n, 2)) for n in (-5, -3, -1, 1, 3, 9, 15)] == [-3, -2, -1, 0, 1, 4, 7]


@pytest.mark.parametrize(("quantity", "said"), [(0, 5000), (1, 5000), (5, 5000), (6, 5900), (12, 11_300)])
def test_graduated_tiers_charge_the_first_flat_amount_even_for_nothing(quantity, said):
    assert total(SEATS, quantity) == said


def test_graduated_and_volume_tiers_differ_as_in_the_documentation():
    price = {"billing_scheme": "tiered", "tiers": DOCS_TIERS}
    assert total(price | {"tiers_mode": "graduated"}, 12) == 5 * 7 + 10 + 5 * 6 + 11 + 2 * 5
    assert total(price | {"tiers_mode": "volume"}, 12) == 12 * 5
    assert total(price | {"tiers_mode": "volume"}, 10) == 10 * 6 + 11


def test_a_month_from_the_31st_ends_on_the_last_day_and_comes_back_to_the_31st():
    anchor = 1_801_353_600  # 31 January 2027, 00:00 UTC
    days = [(boundary(anchor, "month", 1, number) - anchor) // DAY for number in range(4)]
    assert days == [0, 28, 59, 89]  # 31 January, 28 February, 31 March, 30 April


@given(
    st.integers(10**9, 2 * 10**9),
    st.sampled_from(["day", "week", "month", "year"]),
    st.integers(1, 12),
    st.integers(10**9, 2 * 10**9),
)
def test_a_moment_lies_in_its_period_and_the_next_one_begins_where_it_ends(anchor, interval, count, at):
    start, end = period_at(anchor, interval, count, at)
    assert start <= at < end
    assert period_at(anchor, interval, count, end)[0] == end
