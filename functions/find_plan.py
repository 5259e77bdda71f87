"""GET /stripe-prices/{price}/plan: the version of a plan that a Stripe price belongs to, and what is sold now."""

from billing import plan_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    plan = plan_table.priced(request.path["price"])
    sold = plan_table.pointer(plan.slug)
    return plan.public() | {"sold": sold and {"version": sold["version"], "retired": sold["retired"]}}
