"""GET /subscription: what a customer has bought, and whether it gives access."""

from billing import customer_table, plan_table
from billing.api import Request, endpoint


@endpoint()
def handler(request: Request) -> dict:
    ours = customer_table.find(request.customer, request.at)
    subscription = ours.live()
    plan = plan_table.by_price(subscription.theirs.price)
    answer = subscription.public(plan, request.at, ours.dunning(plan))
    if ours.pending and not answer["pending_change"]:
        answer["pending_change"] = {"status": "in_flight", "action": ours.pending.wish.action}
    return answer
