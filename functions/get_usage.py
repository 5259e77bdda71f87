"""GET /usage?metric=: what has been used in the current period, or from `start` to `end`, day by day."""

from billing import alert_table, history, standing, usage, usage_table
from billing.api import Request, endpoint
from billing.entitlements import Measure
from billing.errors import Malformed, NotFound
from billing.periods import Period, rfc3339
from billing.tallies import Tally
from billing.usage import FOREVER, Unfit


@endpoint()
def handler(request: Request) -> dict:
    """
    The current period is one read, and one more of its alerts if there is a limit; other spans are exact too, whatever
    part of a day they begin and end with.
    """
    if unknown := request.query.keys() - {"metric", "start", "end"}:
        raise Malformed.of([(min(unknown), "no such parameter")])
    if not request.query.get("metric"):
        raise Malformed.of([("metric", "which metric?")])
    span = _span(request.query)
    measure = standing.afresh(request.customer, request.at).measure(request.query["metric"])
    if not measure:
        raise NotFound("no such metric in the plan")

    metric = measure.metric
    if span:
        held = metric.kind == "held"
        tally = history.over(request.customer, measure.id, metric.aggregation, held, span, request.at)
        return _told(measure, tally, span)
    period = measure.period(request.at)
    total = usage_table.with_days(request.customer, measure.counter, period)
    return _told(measure, total, period) | {
        "limit": measure.limit,
        "remaining": usage.remaining(measure.limit, total.used),
        "enforcement": metric.enforcement,
        "alerts": _alerts(request.customer, measure, period),
    }


def _alerts(customer: str, measure: Measure, period: Period) -> list[dict]:
    told = alert_table.of_period(customer, measure.counter, period.start) if measure.limit else []
    return [{"percent": percent, "crossed_at": rfc3339(at)} for percent, at in told]


def _span(query: dict) -> Period | None:
    if not query.keys() & {"start", "end"}:
        return None
    found = {}
    for name in ("start", "end"):
        try:
            found[name] = usage.instant(query.get(name))
        except Unfit as unfit:
            raise Malformed.of([(name, str(unfit))]) from unfit
        if not 0 <= found[name] < FOREVER:
            raise Malformed.of([(name, "between the years 1970 and 9999, UTC")])
    if found["start"] >= found["end"]:
        raise Malformed.of([("end", "after the start")])
    return Period(**found)


def _told(measure: Measure, tally: Tally, span: Period) -> dict:
    how = measure.metric.aggregation
    days = [{"date": day, "n": each.n, how: each.value} for day, each in tally.days.items() if each.n]
    return {"metric": measure.id, "aggregation": how, **usage.span(span), "used": tally.used, "days": days}
