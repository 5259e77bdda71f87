"""GET /stripe-prices/{price}/plan: the version of a plan that a Stripe price belongs to, be it on sale or not."""

from billing import plan_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    return plan_table.priced(request.path["price"]).public()
