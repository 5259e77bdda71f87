"""POST /subscription/cancel: at the end of the period, or now."""

from typing import Literal

from billing import changes, plan_table, pricing
from billing.api import Request, endpoint
from billing.bodies import Body
from billing.customers import Customer
from billing.errors import Malformed
from billing.holds import Draft, Wish


class Cancellation(Body):
    immediately: bool = False
    unused_time: Literal["none", "credit", "refund"] | None = None


@endpoint(body=Cancellation)
def handler(request: Request, wanted: Cancellation) -> dict:
    """What is given back of a period that is cut short is said, by the plan or here; unless said, nothing."""
    if wanted.unused_time and not wanted.immediately:
        raise Malformed.of([("unused_time", "only of what is cancelled immediately")])

    def decide(ours: Customer) -> Wish | None:
        subscription = ours.live()
        plan = plan_table.by_price(subscription.theirs.price)
        policy = plan.unused_time if plan else "none"
        return subscription.cancel(wanted.immediately, wanted.unused_time or policy)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        return pricing.cancellation(ours, wish, mark)

    return changes.carry_out(request, decide, draft)
