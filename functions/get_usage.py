"""GET /usage?metric=: what has been used of a metric in the current period, day by day."""

from billing import standing, usage, usage_table
from billing.api import Request, endpoint
from billing.errors import Malformed, NotFound


@endpoint()
def handler(request: Request) -> dict:
    if unknown := request.query.keys() - {"metric"}:
        raise Malformed.of([(min(unknown), "no such parameter")])
    if not request.query.get("metric"):
        raise Malformed.of([("metric", "which metric?")])
    stands = standing.afresh(request.customer, request.at)
    measure = stands.measure(request.query["metric"])
    if not measure:
        raise NotFound("no such metric in the plan")

    period = measure.period(request.at)
    total = usage_table.total(request.customer, measure.id, period)
    days = usage_table.days(request.customer, measure.id, period) if usage_table.is_long(period) else total.days
    return {
        "metric": measure.id,
        **usage.span(period),
        "used": total.used,
        "limit": measure.limit,
        "remaining": usage.remaining(measure.limit, total.used),
        "enforcement": measure.metric.enforcement,
        "days": [{"date": date, "n": n, "sum": sum} for date, (n, sum) in days.items()],
    }
