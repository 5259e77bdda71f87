"""PUT /subscription/seats: change how many seats a customer pays for."""

from typing import Annotated, Literal

from msgspec import Meta

from billing import changes, plan_table, pricing
from billing.api import Request, endpoint
from billing.bodies import Body, matching
from billing.customers import Customer
from billing.holds import Draft, Wish
from billing.plans import MOST_SEATS


class Seats(Body):
    quantity: Annotated[int, Meta(ge=1, le=MOST_SEATS)]
    effective: Literal["now", "period_end"] | None = None
    quote_id: Annotated[str, matching(r"^[0-9a-f]{32}$")] | None = None


@endpoint(body=Seats)
def handler(request: Request, wanted: Seats) -> dict:
    """More seats are invoiced at once and granted when paid; fewer are credited on the next invoice."""

    def decide(ours: Customer) -> Wish | None:
        plan = plan_table.of(ours.live())
        return pricing.move(ours, plan, wanted.quantity, wanted.effective, wanted.quote_id, request.at)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        return pricing.change(ours, wish, mark, request.at)

    return changes.carry_out(request, decide, draft)
