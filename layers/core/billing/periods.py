"""Spans of time that usage and prices are counted by. Instants are epoch seconds; calendars are UTC."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime
from typing import NamedTuple

MONTHS = {"month": 1, "year": 12}
DAY = 86_400


class Period(NamedTuple):
    start: int
    end: int  # exclusive


def period_of(at: int, anchor: int, interval: str) -> Period:
    """
    The billing period that holds an instant: `interval` (month, year) by `interval` from the anchor.

    Always counted from the anchor, so 31 January, 28 February, 31 March: as Stripe does
    (docs: Subscription billing cycle anchor). An instant before the anchor has its period too.
    """
    step = MONTHS[interval]
    begin, now = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(at, UTC)
    n = ((now.year - begin.year) * 12 + now.month - begin.month) // step
    if _later(begin, n * step) > at:
        n -= 1
    return Period(_later(begin, n * step), _later(begin, (n + 1) * step))


def day_of(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def start_of(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())


def month_end(month: str) -> int:
    """The first instant after a month, YYYY-MM."""
    return _later(datetime.fromisoformat(f"{month}-01T00:00:00+00:00"), 1)


def rfc3339(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _later(begin: datetime, months: int) -> int:
    year, month = divmod(begin.year * 12 + begin.month - 1 + months, 12)
    day = min(begin.day, monthrange(year, month + 1)[1])
    return int(begin.replace(year=year, month=month + 1, day=day).timestamp())
