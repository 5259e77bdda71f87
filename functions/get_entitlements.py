"""GET /entitlements: all that a customer may do now, and how much of it is left."""

from billing import standing, usage_table
from billing.api import Request, endpoint
from billing.entitlements import allowance


@endpoint()
def handler(request: Request) -> dict:
    stands = standing.afresh(request.customer, request.at)
    metrics = {}
    for measure in stands.measures():
        total = usage_table.total(request.customer, measure.counter, measure.period(request.at), measure.shards)
        metrics[measure.id] = allowance(measure, total, request.at)
    plan = stands.plan
    return {
        "plan": plan.slug if plan else None,
        "plan_version": plan.version if plan else None,
        "access": stands.access,
        "reason": stands.reason,
        "dunning": stands.dunning,
        "features": dict.fromkeys(plan.features, True) if plan else {},
        "limits": stands.limits,
        "metrics": metrics,
    }
