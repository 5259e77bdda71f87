from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from billing.periods import period_of
from billing.proration import Line, Proration, discounted, prorate

HALF = Fraction(1, 2)
HOUR, DAY = 3_600, 86_400

TOTALS = st.integers(0, 10**12)
# Few cents in short periods: there the ties are.
CHANGES = st.one_of(
    st.tuples(TOTALS, TOTALS, st.integers(1, 366 * DAY)),
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 12)),
).flatmap(lambda drawn: st.tuples(*map(st.just, drawn), st.integers(0, drawn[2] - 1)))


@st.composite
def calendars(draw):
    """A billing period as Stripe counts it, and an instant of it."""
    at, anchor = draw(st.integers(1_500_000_000, 2_500_000_000)), draw(st.integers(1_500_000_000, 2_500_000_000))
    return period_of(at, anchor, draw(st.sampled_from(["month", "year"]))), at


def on(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp())


def amounts(*change):
    credit, charge = (line.amount_cents for line in prorate(*change))
    return credit, charge


def net(*change):
    return sum(amounts(*change))


def is_tie(exact):
    return (exact - HALF).denominator == 1


def test_an_upgrade_is_charged_less_what_it_gives_back():
    told = Proration("usd", 1_790_000_000, [Line("unused", -1000), Line("remaining", 2500)]).public()

    assert (told["credit_cents"], told["charge_cents"], told["net_cents"]) == (1000, 2500, 1500)
    assert told["effective_at"] == "2026-09-21T14:13:20Z"


@settings(derandomize=True)
@given(st.lists(st.integers(-(10**9), 10**9)))
def test_the_net_is_the_sum_of_the_lines_and_credits_and_charges_are_never_negative(amounts):
    proration = Proration("usd", 0, [Line("", amount) for amount in amounts])

    assert proration.net_cents == sum(amounts)
    assert proration.credit_cents >= 0 and proration.charge_cents >= 0


def test_first_the_old_is_credited_and_then_the_new_is_charged():
    assert prorate(1000, 2000, 0, 10, 5) == [Line("Unused time", -500), Line("Remaining time", 1000)]


def test_what_comes_to_nothing_is_a_line_all_the_same():
    assert amounts(0, 1000, 0, 10, 5) == (0, 500)
    assert amounts(1000, 0, 0, 10, 5) == (-500, 0)
    assert amounts(1, 1, 0, 10, 9) == (0, 0)


def test_with_the_first_second_the_whole_period_is_left_and_with_the_last_one_second():
    start, end = on(2026, 11, 1), on(2026, 12, 1)

    assert amounts(1999, 4999, start, end, start) == (-1999, 4999)
    assert amounts(end - start, 3 * (end - start), start, end, end - 1) == (-1, 3)


@pytest.mark.parametrize("at", [-1, 10, 11])
def test_an_instant_outside_the_period_has_no_price(at):
    with pytest.raises(ValueError, match="not in"):
        prorate(1000, 2000, 0, 10, at)


@pytest.mark.parametrize("at", [0, 5])
def test_a_period_that_ends_before_it_began_has_no_instant(at):
    with pytest.raises(ValueError, match="not in"):
        prorate(1000, 2000, 5, 0, at)


def test_money_is_never_a_float():
    with pytest.raises(TypeError):
        prorate(1000.0, 2000.0, 0, 10, 5)  # pyright: ignore[reportArgumentType]


@settings(derandomize=True)
@given(CHANGES)
def test_each_line_is_the_nearest_whole_amount_and_a_tie_goes_down(change):
    old, new, length, at = change
    credit, charge = amounts(old, new, 0, length, at)
    left = Fraction(length - at, length)

    assert -HALF <= credit + old * left < HALF
    assert -HALF <= charge - new * left < HALF
    assert credit <= 0 <= charge


def test_of_a_large_amount_a_hair_more_than_half_a_unit_is_still_more_than_half():
    year = 365 * DAY
    total = 1000 * year + year // 2 - 1

    assert Fraction(total * (year - 1), year) == 31_551_766_998 + HALF + Fraction(1, year)
    assert amounts(total, total, 0, year, 1) == (-31_551_766_999, 31_551_766_999)


@settings(derandomize=True)
@given(CHANGES)
def test_no_change_costs_nothing_and_where_half_a_unit_is_rounded_it_gives_one_back(change):
    total, _, length, at = change

    assert net(total, total, 0, length, at) == (-1 if is_tie(Fraction(total * (length - at), length)) else 0)


def test_half_a_unit_is_rounded_down_on_both_lines():
    assert amounts(1000, 1000, 0, 2_592_000, 2_592_000 - 6_480) == (-3, 2)


@settings(derandomize=True)
@given(CHANGES)
def test_there_and_back_at_the_same_instant_costs_nothing_but_a_unit_for_each_half_that_is_rounded(change):
    old, new, length, at = change
    ties = sum(is_tie(Fraction(total * (length - at), length)) for total in (old, new))

    assert net(old, new, 0, length, at) == -net(new, old, 0, length, at) - ties


@settings(derandomize=True)
@given(CHANGES, st.integers(0, 10**12))
def test_a_detour_by_a_third_plan_at_the_same_instant_is_never_dearer(change, between):
    old, new, length, at = change
    detour = net(old, between, 0, length, at) + net(between, new, 0, length, at)

    assert detour - net(old, new, 0, length, at) in (-1, 0)


@settings(derandomize=True)
@given(calendars(), TOTALS, TOTALS, st.integers(1, 400 * DAY))
def test_the_later_in_the_period_the_smaller_both_lines(calendar, old, new, later):
    (start, end), at = calendar
    assume(at + later < end)
    credit, charge = amounts(old, new, start, end, at)
    credit_later, charge_later = amounts(old, new, start, end, at + later)

    assert credit <= credit_later <= 0 <= charge_later <= charge


@settings(derandomize=True)
@given(calendars())
def test_in_any_period_a_cent_a_second_is_charged_for_each_second_that_is_left(calendar):
    (start, end), at = calendar

    assert amounts(end - start, 2 * (end - start), start, end, at) == (at - end, 2 * (end - at))


@settings(derandomize=True)
@given(calendars(), TOTALS, TOTALS, st.integers(-(10**9), 10**9))
def test_it_matters_how_much_of_a_period_is_left_and_not_when_it_began(calendar, old, new, moved):
    (start, end), at = calendar

    assert amounts(old, new, start, end, at) == amounts(old, new, start + moved, end + moved, at + moved)


@pytest.mark.parametrize(
    ("anchor", "interval", "days"),
    [
        (on(2027, 2, 5), "month", 28),
        (on(2028, 2, 5), "month", 29),
        (on(2027, 4, 5), "month", 30),
        (on(2027, 5, 5), "month", 31),
        (on(2027, 1, 31), "month", 28),  # 31 January to 28 February
        (on(2028, 1, 31), "month", 29),
        (on(2026, 3, 1), "year", 365),
        (on(2027, 3, 1), "year", 366),  # 29 February 2028 is in it
        (on(2028, 2, 29), "year", 365),
    ],
)
def test_a_day_is_a_28th_to_a_31st_of_a_month_and_a_365th_or_366th_of_a_year(anchor, interval, days):
    start, end = period_of(anchor, anchor, interval)

    assert end - start == days * DAY
    assert amounts(100 * days, 300 * days, start, end, end - DAY) == (-100, 300)


def test_the_leap_day_costs_what_every_other_day_costs():
    start, end = period_of(on(2028, 2, 10), on(2028, 2, 10), "month")
    a_day = net(0, 2900, start, end, on(2028, 2, 28)) - net(0, 2900, start, end, on(2028, 2, 29))

    assert a_day == net(0, 2900, start, end, on(2028, 2, 29)) - net(0, 2900, start, end, on(2028, 3, 1)) == 100


@pytest.mark.parametrize(
    "switch",
    [
        on(2026, 10, 25, 1),  # Europe/Berlin: 3:00 is 2:00 again
        on(2027, 3, 28, 1),  # 2:00 is 3:00
        on(2026, 11, 1, 6),  # America/New_York: 2:00 is 1:00 again
        on(2027, 3, 14, 7),  # 2:00 is 3:00
    ],
)
@pytest.mark.parametrize("interval", ["month", "year"])
def test_the_hour_that_a_clock_skips_or_repeats_is_an_hour_like_any_other(switch, interval):
    start, end = period_of(switch, switch - 12 * DAY, interval)
    instants = [switch - 2 * HOUR, switch - HOUR, switch, switch + HOUR, switch + 2 * HOUR]
    charged = [net(0, end - start, start, end, at) for at in instants]

    assert [before - after for before, after in pairwise(charged)] == [HOUR] * 4
    assert net(0, end - start, start, end, switch - 1) - net(0, end - start, start, end, switch) == 1


def test_a_coupon_takes_off_a_percentage_or_an_amount():
    assert discounted(2000) == 2000
    assert discounted(2000, percent_off=25) == 1500
    assert discounted(1000, amount_off_cents=166) == 834
    with pytest.raises(ValueError, match="or"):
        discounted(2000, 25, 166)


def test_a_coupon_never_leaves_less_than_nothing():
    assert discounted(100, amount_off_cents=200) == discounted(100, percent_off=100) == 0


@pytest.mark.parametrize("percent", [33.33, Decimal("33.33")], ids=repr)
def test_a_percentage_is_taken_as_it_is_written(percent):
    assert discounted(10_000, percent) == 6667


def test_of_several_coupons_the_items_own_come_first():
    assert discounted(discounted(1000, percent_off=10), amount_off_cents=200) == 700
    assert discounted(discounted(1000, amount_off_cents=200), percent_off=10) == 720


def test_the_old_may_be_credited_without_the_coupon_that_the_new_is_charged_with():
    assert amounts(1000, discounted(2000, percent_off=50), 0, 10, 5) == (-500, 500)


@settings(derandomize=True)
@given(CHANGES, st.integers(1, 10_000))
def test_whether_a_discounted_total_is_rounded_before_its_share_is_taken_matters_by_a_unit_at_most(change, hundredths):
    total, _, length, at = change
    exact = discounted(total, hundredths / 100)
    once, twice = (net(0, left, 0, length, at) for left in (exact, ceil(exact - HALF)))

    assert exact == Fraction(total * (10_000 - hundredths), 10_000)
    assert abs(once - twice) <= 1
