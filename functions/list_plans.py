"""GET /plans: what can be bought now, as it stands on record: whoever changes the catalogue compares with it."""

from billing import plan_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    plan_table.forget()
    sold = sorted(plan_table.in_force().items())
    return {"plans": [plan_table.version(slug, number).public() for slug, number in sold]}
