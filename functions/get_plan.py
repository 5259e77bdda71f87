"""GET /plans/{slug}: one plan, as it can be bought now."""

from billing import plan_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    return plan_table.current(request.path["slug"]).public()
