"""PUT /subscription/discount: a promotion code for what is billed from now on; null takes it off."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from billing import changes, gateway
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.discounts import CODE
from billing.holds import Draft, Wish


class Promotion(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    promotion_code: Annotated[str, Field(pattern=CODE)] | None


@endpoint(body=Promotion)
def handler(request: Request, wanted: Promotion) -> dict:
    """In place of what discounts there are. What is paid already stays as it is."""

    def decide(ours: Customer) -> Wish | None:
        code = wanted.promotion_code
        return ours.live().discount(gateway.promotion(code) if code else None)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        subscription = ours.live()
        steps = subscription.discount_steps(mark, wish.terms["promotion"])
        return Draft(steps, follow=subscription.put_back(mark), restore=subscription.put_back())

    return changes.carry_out(request, decide, draft)
