"""GET /entitlements/{feature}: may this customer? Of a flag, a metric or a limit of its plan."""

from billing import standing, usage_table
from billing.api import Request, endpoint
from billing.entitlements import allowance, feature, metered


@endpoint()
def handler(request: Request) -> dict:
    """What the plan does not have is not allowed: that is an answer, not an error."""
    name = request.path["feature"]
    stands = standing.afresh(request.customer, request.at)
    measure = metered(stands, name)
    if not measure or (stands.plan and name in stands.plan.features):
        return feature(stands, name)
    total = usage_table.total(request.customer, measure.counter, measure.period(request.at), measure.shards)
    return {"feature": name} | allowance(measure, total, request.at)
