"""PUT /subscription/seats: change how many seats a customer pays for."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from billing import changes, plan_table, pricing
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Wish
from billing.plans import MOST_SEATS


class Seats(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    quantity: Annotated[int, Field(ge=1, le=MOST_SEATS)]


@endpoint(body=Seats)
def handler(request: Request, wanted: Seats) -> dict:
    """More seats are invoiced at once and granted when paid; fewer are credited on the next invoice."""

    def decide(ours: Customer) -> Wish | None:
        return ours.live().change(plan_table.of(ours.live()), wanted.quantity)

    def draft(ours: Customer, wish: Wish, mark: str) -> changes.Draft:
        return pricing.change(ours, wish, mark, request.at)

    return changes.carry_out(request, decide, draft)
