"""GET /plans: what can be bought now."""

from billing import plan_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    sold = sorted(plan_table.in_force().items())
    return {"plans": [plan_table.version(slug, number).public() for slug, number in sold]}
