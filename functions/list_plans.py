"""GET /plans: what can be bought now."""

from billing import plan_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    return {"plans": [plan_table.current(slug).public() for slug in sorted(plan_table.in_force())]}
