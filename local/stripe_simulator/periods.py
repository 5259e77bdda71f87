"""Billing periods: counted from an anchor, in UTC, clamped to the end of short months (31 Jan, 28 Feb, 31 Mar)."""

from calendar import monthrange
from datetime import UTC, datetime

DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "year": 12}
DAY = 86_400
HOUR = 3_600


def boundary(anchor: int, interval: str, count: int, number: int) -> int:
    """Where the period of this number begins, as seconds since the epoch; period 0 begins at the anchor."""
    if interval in DAYS:
        return anchor + number * count * DAYS[interval] * DAY
    first = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(first.year * 12 + first.month - 1 + number * count * MONTHS[interval], 12)
    day = min(first.day, monthrange(year, month + 1)[1])
    return int(first.replace(year=year, month=month + 1, day=day).timestamp())


def period_at(anchor: int, interval: str, count: int, at: int) -> tuple[int, int]:
    """The period [start, end) that holds a moment, which may lie before the anchor."""
    length = boundary(anchor, interval, count, 1) - anchor
    number = (at - anchor) // length
    while boundary(anchor, interval, count, number) > at:
        number -= 1
    while boundary(anchor, interval, count, number + 1) <= at:
        number += 1
    return boundary(anchor, interval, count, number), boundary(anchor, interval, count, number + 1)
