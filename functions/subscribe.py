"""POST /subscription: buy a plan."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from billing import changes, gateway, plan_table, registration, trials
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.discounts import CODE
from billing.holds import Draft, Wish
from billing.plans import MOST_SEATS, SLUG


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    plan_slug: Annotated[str, Field(pattern=SLUG)]
    quantity: Annotated[int, Field(ge=1, le=MOST_SEATS)] = 1
    payment_method: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,255}$")] | None = None
    promotion_code: Annotated[str, Field(pattern=CODE)] | None = None


@endpoint(body=Order)
def handler(request: Request, order: Order) -> dict:
    """Charged at once if there is something to charge; else `incomplete`, with what the client confirms it with."""

    def decide(ours: Customer) -> Wish | None:
        return ours.subscribe(
            plan_table.on_sale(order.plan_slug), order.quantity, order.payment_method, order.promotion_code
        )

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        theirs, plan = registration.theirs(ours, request.at), plan_table.priced(wish.terms["price"])
        on_file = theirs.payment_method is not None
        promotion = gateway.promotion(wish.terms["code"], theirs.id)
        trial = trials.first(ours, plan, wish.terms["payment_method"], theirs)
        steps = ours.subscribe_steps(plan, wish, mark, on_file, trial.granted, gateway.taxed(), promotion)
        return Draft(steps, claim=trial.card)

    return changes.carry_out(request, decide, draft)
