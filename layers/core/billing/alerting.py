"""Telling that a metric has come to so many percent of its limit: each crossing once in a period."""

from billing import alert_table, log, plan_table, records, standing, usage, usage_table
from billing.alert_table import Alert, Seen
from billing.domain_events import Happened
from billing.entitlements import Standing

MOST = 10_000  # crossings

_told: dict[tuple[str, str, int, int], None] = {}  # on record for certain: a put that is refused costs a write


def watch(seen: Seen, sums: dict[tuple[str, str, int], int]) -> None:
    """
    What a total has come to by now, not by what it has just grown, is compared with the limit: so it does not matter
    how often the stream tells it, in what order, and whether something before was lost. `sums` is for one batch: its
    records were all written before it came, so what a total in shards adds up to is read once.
    """
    measure = _standing(seen).measure(seen.counter.partition("~")[0])
    if not measure or not measure.limit or measure.counter != seen.counter:
        return
    period = measure.period(seen.at)
    if period.start != seen.start:
        return
    level = seen.used
    if measure.shards > 1:
        total = seen.customer, seen.counter, seen.start
        if total not in sums:
            sums[total] = usage_table.total(seen.customer, seen.counter, period, measure.shards).used
        level = sums[total]
    for percent in measure.crossed(level):
        about = percent, measure.limit, level, seen.at, seen.counter
        _tell(Alert(seen.customer, measure.id, seen.start, period.end, *about))


def _standing(seen: Seen) -> Standing:
    """At least as new as the terms of the total: a limit may have been lowered since it was read."""
    stands = standing.of(seen.customer, seen.at)
    if not usage.supersedes(seen.terms, stands.terms):
        return stands
    plan_table.forget()
    return standing.afresh(seen.customer, seen.at)


def _tell(alert: Alert) -> None:
    crossing = alert.customer, alert.counter, alert.start, alert.percent
    if crossing in _told:
        return
    happened = Happened("usage.threshold_reached", alert.public())
    if records.tell(alert.customer, [happened], [alert_table.put(alert)], alert.crossed_at):
        log.counted("ThresholdCrossed", metric=alert.metric, percent=alert.percent)
    if len(_told) >= MOST:
        _told.pop(next(iter(_told)), None)
    _told[crossing] = None
