"""POST /subscription/quote: what a change of plan or seats would cost, line by line, and good for a while."""

from typing import Annotated, Literal

from msgspec import Meta

from billing import changes, plan_table, pricing
from billing.api import Request, endpoint
from billing.bodies import Body, matching
from billing.plans import MOST_SEATS, SLUG


class Question(Body):
    plan_slug: Annotated[str, matching(SLUG)] | None = None
    quantity: Annotated[int, Meta(ge=1, le=MOST_SEATS)] | None = None
    effective: Literal["now", "period_end"] | None = None


@endpoint(body=Question)
def handler(request: Request, asked: Question) -> dict:
    """What is not said stays as it is."""
    ours = changes.caught_up(request)
    subscription = ours.live()
    plan = plan_table.on_sale(asked.plan_slug) if asked.plan_slug else plan_table.of(subscription)
    wish = pricing.move(ours, plan, asked.quantity or subscription.theirs.quantity, asked.effective)
    return pricing.quote(ours, wish, request.at)
