"""GET /customers/{id}/stripe-customer: which Stripe customer this one is, and what of it is on record."""

from billing import customer_table
from billing.api import Request, endpoint
from billing.errors import NotFound


@endpoint()
def handler(request: Request) -> dict:
    ours = customer_table.find(request.customer, request.at)
    if not ours.stripe_id:
        raise NotFound("this customer is none of Stripe's yet")
    return ours.at_stripe()
