"""POST /subscription: buy a plan."""

from typing import Annotated

from msgspec import Meta

from billing import subscribing
from billing.api import Request, endpoint
from billing.bodies import Body, matching
from billing.discounts import CODE
from billing.plans import MOST_SEATS, SLUG


class Order(Body):
    plan_slug: Annotated[str, matching(SLUG)]
    quantity: Annotated[int, Meta(ge=1, le=MOST_SEATS)] = 1
    payment_method: Annotated[str, matching(r"^[A-Za-z0-9_]{1,255}$")] | None = None
    promotion_code: Annotated[str, matching(CODE)] | None = None


@endpoint(body=Order)
def handler(request: Request, order: Order) -> dict:
    return subscribing.subscribe(request, order.plan_slug, order.quantity, order.payment_method, order.promotion_code)
