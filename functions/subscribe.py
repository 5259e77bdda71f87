"""POST /subscription: buy a plan."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from billing import subscribing
from billing.api import Request, endpoint
from billing.discounts import CODE
from billing.plans import MOST_SEATS, SLUG


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    plan_slug: Annotated[str, Field(pattern=SLUG)]
    quantity: Annotated[int, Field(ge=1, le=MOST_SEATS)] = 1
    payment_method: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,255}$")] | None = None
    promotion_code: Annotated[str, Field(pattern=CODE)] | None = None


@endpoint(body=Order)
def handler(request: Request, order: Order) -> dict:
    return subscribing.subscribe(request, order.plan_slug, order.quantity, order.payment_method, order.promotion_code)
