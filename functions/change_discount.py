"""PUT /subscription/discount: a promotion code for what is billed from now on; null takes it off."""

from typing import Annotated

from billing import changes, gateway
from billing.api import Request, endpoint
from billing.bodies import Body, matching
from billing.customers import Customer
from billing.discounts import CODE
from billing.holds import Draft, Wish


class Promotion(Body):
    promotion_code: Annotated[str, matching(CODE)] | None


@endpoint(body=Promotion)
def handler(request: Request, wanted: Promotion) -> dict:
    """In place of what discounts there are. What is paid already stays as it is."""

    def decide(ours: Customer) -> Wish | None:
        return ours.live().discount(wanted.promotion_code)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        subscription = ours.live()
        promotion = gateway.promotion(wish.terms["code"], subscription.theirs.customer)
        steps, follow = subscription.discount_steps(mark, promotion), subscription.put_back(mark, discounted=True)
        return Draft(steps, follow=follow, restore=subscription.put_back())

    return changes.carry_out(request, decide, draft)
