"""PUT /subscription/plan: move to another plan, or to the newest version of the same."""

from typing import Annotated, Literal

from msgspec import Meta

from billing import changes, plan_table, pricing
from billing.api import Request, endpoint
from billing.bodies import Body, matching
from billing.customers import Customer
from billing.holds import Draft, Wish
from billing.plans import MOST_SEATS, SLUG


class Choice(Body):
    plan_slug: Annotated[str, matching(SLUG)]
    quantity: Annotated[int, Meta(ge=1, le=MOST_SEATS)] | None = None
    effective: Literal["now", "period_end"] | None = None
    quote_id: Annotated[str, matching(r"^[0-9a-f]{32}$")] | None = None


@endpoint(body=Choice)
def handler(request: Request, choice: Choice) -> dict:
    """The seats stay unless others are named; what the rest of the old plan was worth is credited."""

    def decide(ours: Customer) -> Wish | None:
        plan, quantity = plan_table.on_sale(choice.plan_slug), choice.quantity or ours.live().theirs.quantity
        return pricing.move(ours, plan, quantity, choice.effective, choice.quote_id, request.at)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        return pricing.change(ours, wish, mark, request.at)

    return changes.carry_out(request, decide, draft)
