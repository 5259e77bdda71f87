"""POST /subscription: buy a plan."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from billing import changes, plan_table, registration
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Wish
from billing.plans import MOST_SEATS, SLUG


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    plan_slug: Annotated[str, Field(pattern=SLUG)]
    quantity: Annotated[int, Field(ge=1, le=MOST_SEATS)] = 1
    payment_method: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,255}$")] | None = None


@endpoint(body=Order)
def handler(request: Request, order: Order) -> dict:
    """Charged at once if there is something to charge; else `incomplete`, with what the client confirms it with."""

    def decide(ours: Customer) -> Wish | None:
        return ours.subscribe(plan_table.current(order.plan_slug), order.quantity, order.payment_method)

    def draft(ours: Customer, wish: Wish, mark: str) -> changes.Draft:
        on_file, plan = registration.has_card(ours, request.at), plan_table.priced(wish.terms["price"])
        return changes.Draft(ours.subscribe_steps(plan, wish, mark, on_file))

    return changes.carry_out(request, decide, draft)
