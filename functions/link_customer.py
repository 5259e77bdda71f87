"""PUT /customers/{id}/stripe-customer: this customer is a Stripe customer that was there before us."""

from typing import Annotated

from billing import adoption
from billing.api import Request, endpoint
from billing.bodies import Body, matching


class Link(Body):
    stripe_customer: Annotated[str, matching(r"^cus_[A-Za-z0-9]{1,250}$")]


@endpoint(body=Link)
def handler(request: Request, link: Link) -> dict:
    """Once for all: neither is linked to another afterwards. What it has at Stripe is on record from then on."""
    return adoption.link(request, link.stripe_customer).at_stripe()
