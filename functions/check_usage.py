"""POST /usage/check: whether so much more could be used now; nothing is counted."""

from typing import Annotated

from msgspec import Meta

from billing import standing, usage, usage_table
from billing.api import Request, endpoint
from billing.bodies import Body, Name
from billing.entitlements import Measure, Standing
from billing.errors import Unavailable
from billing.usage import MOST


class Asked(Body):
    customer_id: Name
    metric_id: Name
    quantity: Annotated[int, Meta(ge=0, le=MOST)] = 1


@endpoint(body=Asked, of_customer=False)
def handler(request: Request, asked: Asked) -> dict:
    """
    As it would be counted this instant; only what is recorded counts, so another may be faster. If the store cannot
    tell, what is remembered of the customer's plan says what the metric wants then; what is not known is denied.
    """
    named = {"customer_id": asked.customer_id, "metric_id": asked.metric_id, "quantity": asked.quantity}
    try:
        stands = standing.afresh(asked.customer_id, request.at)
        measure = _in_force(stands, asked.metric_id)
        if not measure:
            return named | _told(None, False, "unknown_metric" if stands.access else stands.reason)
        total = usage_table.total(asked.customer_id, measure.counter, measure.period(request.at), measure.shards)
    except Unavailable:
        stands = standing.remembered(asked.customer_id, request.at)
        measure = _in_force(stands, asked.metric_id) if stands else None
        return named | _told(measure, measure is not None and measure.metric.unavailable == "allow", "unavailable")
    fits = measure.fits(total.used, asked.quantity)
    reason = "unlimited" if measure.limit is None else "within_limit" if fits else "limit_reached"
    left = {"used": total.used, "remaining": usage.remaining(measure.limit, total.used)}
    return named | _told(measure, fits or not measure.hard, reason) | left


def _in_force(stands: Standing, metric: str) -> Measure | None:
    """Not of a subscription without access: what is only watched there goes on being counted, but is not allowed."""
    return next((measure for measure in stands.measures() if measure.id == metric), None)


def _told(measure: Measure | None, allowed: bool, reason: str) -> dict:
    told = {"allowed": allowed, "reason": reason, "used": None, "limit": None, "remaining": None, "enforcement": None}
    return told | ({"limit": measure.limit, "enforcement": measure.metric.enforcement} if measure else {})
