"""What was used in any span of time: whole days by the totals, the edges by their events, if none is missing."""

import time
from collections.abc import Iterable

from billing import tallies, usage_table
from billing.errors import Contended, RangeTooLarge
from billing.periods import DAY, Period, day_of, start_of
from billing.tallies import Day, Tally, Use
from billing.usage import RETENTION

MOST = 10_000  # events that are read one by one
INSTEAD = "ask for less, or from midnight to midnight, UTC"
PAUSES = (0.1, 0.3, 0.6, 1.0)  # seconds: the index is a moment behind the totals


def over(customer: str, metric: str, aggregation: str, held: bool, span: Period, at: int) -> Tally:
    """
    Exact, or Contended if the index does not have all events yet. `used` of what is held is how much of it there was
    at the end. RangeTooLarge: too many events would have to be read, or some are no longer kept.
    """
    for pause in (*PAUSES, None):
        known = usage_table.days(customer, metric, aggregation)
        one_by_one = _one_by_one(known, aggregation, span)
        uses = _read(customer, metric, aggregation, known, one_by_one, at - RETENTION)
        if uses is not None:
            return _put_together(known, uses, aggregation, held, span)
        if pause:
            time.sleep(pause)
    raise Contended("not all events of the edges can be read yet")


def _one_by_one(known: dict[str, Day], aggregation: str, span: Period) -> list[str]:
    """The days whose events have to be read: those at the edges; where values are told apart, all."""
    edges = {day_of(edge) for edge in span if edge % DAY}
    counted = [day for day, each in known.items() if each.n]
    days = [day for day in counted if day in edges or (aggregation == "unique" and _within(day, span))]
    if sum(known[day].n for day in days) > MOST:
        raise RangeTooLarge(f"more than {MOST} events would have to be read: {INSTEAD}")
    return days


def _read(
    customer: str, metric: str, aggregation: str, known: dict[str, Day], days: Iterable[str], kept: int
) -> list[Use] | None:
    """None: some of them are not to be seen yet."""
    uses = []
    for day in days:
        of_day = [each for each in usage_table.of_day(customer, metric, day) if each.aggregation == aggregation]
        if not known[day].is_of([each.live for each in of_day]):
            if start_of(day) < kept:
                raise RangeTooLarge(f"the events of {day} are no longer kept: {INSTEAD}")
            return None
        uses += [each.event.use for each in of_day if each.live]
    return uses


def _put_together(known: dict[str, Day], uses: list[Use], aggregation: str, held: bool, span: Period) -> Tally:
    edges = tallies.tally(aggregation, [use for use in uses if span.start <= use.at < span.end])
    days = {day: each for day, each in known.items() if each.n and _within(day, span)} | dict(edges.days)
    n = sum(each.n for each in days.values())
    if aggregation == "unique":
        used = edges.used
    elif held:
        before = sum(each.value for day, each in known.items() if start_of(day) + DAY <= span.end)
        used = before + sum(use.quantity for use in uses if start_of(day_of(span.end)) <= use.at < span.end)
    else:
        used = tallies.combined(aggregation, days)
    return Tally(used, n, days=dict(sorted(days.items())))


def _within(day: str, span: Period) -> bool:
    return span.start <= start_of(day) and start_of(day) + DAY <= span.end
