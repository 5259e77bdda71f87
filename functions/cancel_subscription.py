"""POST /subscription/cancel: at the end of the period, or now."""

from pydantic import BaseModel, ConfigDict

from billing import changes
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Wish


class Cancellation(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    immediately: bool = False


@endpoint(body=Cancellation)
def handler(request: Request, wanted: Cancellation) -> dict:
    """What was paid stays paid: nothing is refunded here."""

    def decide(ours: Customer) -> Wish | None:
        return ours.live().cancel(wanted.immediately)

    def draft(ours: Customer, wish: Wish, change_id: str) -> changes.Draft:
        return changes.Draft(ours.live().cancel_steps(change_id, wish.terms["immediately"]))

    return changes.carry_out(request, decide, draft)
