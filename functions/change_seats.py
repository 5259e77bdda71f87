"""PUT /subscription/seats: change how many seats a customer pays for."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from billing import changes, plan_table, pricing
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Draft, Wish
from billing.plans import MOST_SEATS


class Seats(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    quantity: Annotated[int, Field(ge=1, le=MOST_SEATS)]
    effective: Literal["now", "period_end"] | None = None
    quote_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None


@endpoint(body=Seats)
def handler(request: Request, wanted: Seats) -> dict:
    """More seats are invoiced at once and granted when paid; fewer are credited on the next invoice."""

    def decide(ours: Customer) -> Wish | None:
        plan = plan_table.of(ours.live())
        return pricing.move(ours, plan, wanted.quantity, wanted.effective, wanted.quote_id, request.at)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        return pricing.change(ours, wish, mark, request.at)

    return changes.carry_out(request, decide, draft)
