"""PUT /subscription/plan: move to another plan, or to the newest version of the same."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from billing import changes, plan_table, pricing
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Wish
from billing.plans import MOST_SEATS, SLUG


class Choice(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    plan_slug: Annotated[str, Field(pattern=SLUG)]
    quantity: Annotated[int, Field(ge=1, le=MOST_SEATS)] | None = None


@endpoint(body=Choice)
def handler(request: Request, choice: Choice) -> dict:
    """The seats stay unless others are named; what the rest of the old plan was worth is credited."""

    def decide(ours: Customer) -> Wish | None:
        return ours.live().change(plan_table.current(choice.plan_slug), choice.quantity or ours.live().theirs.quantity)

    def draft(ours: Customer, wish: Wish, mark: str) -> changes.Draft:
        return pricing.change(ours, wish, mark, request.at)

    return changes.carry_out(request, decide, draft)
