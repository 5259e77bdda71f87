"""POST /subscription/cancel: at the end of the period, or now."""

from pydantic import BaseModel, ConfigDict

from billing import changes, gateway
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Wish


class Cancellation(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    immediately: bool = False


@endpoint(body=Cancellation)
def handler(request: Request, wanted: Cancellation) -> dict:
    """What was paid stays paid: nothing is refunded here. What earlier changes have left to be charged is charged."""

    def decide(ours: Customer) -> Wish | None:
        return ours.live().cancel(wanted.immediately)

    def draft(ours: Customer, wish: Wish, mark: str) -> changes.Draft:
        now = wish.terms["immediately"]
        owed = sum(gateway.waiting(ours.live().theirs).values()) if now else 0
        return changes.Draft(ours.live().cancel_steps(mark, now, invoice_now=owed > 0))

    return changes.carry_out(request, decide, draft)
