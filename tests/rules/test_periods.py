from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import period_of, rfc3339
from billing.usage import DAY, FOREVER, Period, counted

INSTANTS = st.integers(1_500_000_000, 2_500_000_000)


def on(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp())


def test_a_month_from_the_31st_ends_with_the_month_and_comes_back_to_the_31st():
    anchor = on(2026, 1, 31, 10)
    starts = [period_of(on(2026, month, 15), anchor, "month").start for month in range(2, 7)]

    assert [rfc3339(start) for start in starts] == [
        "2026-01-31T10:00:00Z",
        "2026-02-28T10:00:00Z",
        "2026-03-31T10:00:00Z",
        "2026-04-30T10:00:00Z",
        "2026-05-31T10:00:00Z",
    ]


def test_a_year_from_a_leap_day_is_renewed_on_the_28th_until_the_next_leap_day():
    anchor = on(2024, 2, 29)

    assert period_of(on(2026, 2, 28), anchor, "year") == (on(2026, 2, 28), on(2027, 2, 28))
    assert period_of(on(2028, 2, 28), anchor, "year").end == on(2028, 2, 29)


def test_a_period_begins_with_its_first_second_and_ends_before_the_next():
    anchor = on(2026, 11, 23, 12)

    assert period_of(anchor, anchor, "month").start == anchor
    assert period_of(anchor - 1, anchor, "month").end == anchor


@settings(derandomize=True)
@given(INSTANTS, INSTANTS, st.sampled_from(["month", "year"]))
def test_periods_leave_no_gap_and_overlap_nowhere(at, anchor, interval):
    period = period_of(at, anchor, interval)

    assert period.start <= at < period.end
    assert period_of(period.end, anchor, interval).start == period.end
    assert period_of(period.start - 1, anchor, interval).end == period.start
    assert {period_of(t, anchor, interval) for t in (period.start, at, period.end - 1)} == {period}


def test_what_a_metric_says_of_its_reset_decides_what_it_is_counted_over():
    anchor, at = on(2026, 1, 15), on(2026, 11, 23, 12)

    assert counted("period", at, anchor, "month") == (on(2026, 11, 15), on(2026, 12, 15))
    assert counted("period", at, anchor, "year") == (on(2026, 1, 15), on(2027, 1, 15))
    assert counted("month", at, anchor, "year") == (on(2026, 11, 1), on(2026, 12, 1))
    assert counted("day", at, anchor, "year") == (on(2026, 11, 23), on(2026, 11, 24))
    assert counted("never", at, anchor, "year") == Period(0, FOREVER)


@settings(derandomize=True)
@given(INSTANTS)
def test_days_follow_each_other(at):
    days = [counted("day", at + n * DAY, 0, "month") for n in range(3)]

    assert all(one.end == next.start for one, next in pairwise(days))
