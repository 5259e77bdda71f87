"""POST /checkout: buy a plan on a page of Stripe's."""

import os
from typing import Annotated

from msgspec import Meta

from billing import changes, gateway, plan_table, registration, return_urls, trials
from billing.api import Request, endpoint
from billing.bodies import Body, matching
from billing.customers import Customer
from billing.discounts import CODE
from billing.holds import Draft, Wish
from billing.plans import MOST_SEATS, SLUG


class Order(Body):
    plan_slug: Annotated[str, matching(SLUG)]
    success_url: str
    cancel_url: str
    quantity: Annotated[int, Meta(ge=1, le=MOST_SEATS)] = 1
    promotion_code: Annotated[str, matching(CODE)] | None = None
    allow_promotion_codes: bool = False

    def __post_init__(self) -> None:
        if self.promotion_code and self.allow_promotion_codes:
            raise ValueError("a promotion code leaves no room for another")


@endpoint(body=Order)
def handler(request: Request, order: Order) -> dict:
    """The page that is open is answered as long as the wish is the same; another wish expires it."""
    hosts = return_urls.allowed(os.environ["RETURN_HOSTS"])
    urls = {name: return_urls.permitted(getattr(order, name), hosts) for name in ("success_url", "cancel_url")}

    def decide(ours: Customer) -> Wish | None:
        plan, code = plan_table.on_sale(order.plan_slug), order.promotion_code
        return ours.check_out(plan, order.quantity, code, order.allow_promotion_codes, urls)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        theirs, plan = registration.theirs(ours, request.at), plan_table.priced(wish.terms["price"])
        promotion = gateway.promotion(wish.terms["code"], theirs.id)
        trial = trials.first(ours, plan, None, theirs).granted  # of the card that is given there, the webhook tells
        steps = ours.checkout_steps(plan, wish, mark, trial, gateway.taxed(), request.at, promotion)
        return Draft(steps)

    def stands(ours: Customer) -> dict:
        assert ours.checkout is not None
        return ours.checkout.public(plan_table.priced(ours.checkout.price).slug)

    told = changes.carry_out(request, decide, draft, stands)
    session = gateway.session(told["id"])  # its link is on no record
    return told | {"status": session.status, "url": session.url}
