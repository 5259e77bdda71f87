"""POST /portal: Stripe's pages for a customer's card, invoices, and cancelling."""

import os
from typing import Literal

from billing import customer_table, gateway, registration, return_urls
from billing.api import Request, endpoint
from billing.bodies import Body
from billing.customers import Customer


class Visit(Body):
    return_url: str
    flow: Literal["payment_method_update", "subscription_cancel"] | None = None


@endpoint(body=Visit)
def handler(request: Request, visit: Visit) -> dict:
    """A link for this visit. What is done there comes back as events; a flow ends where its customer came from."""
    return_url = return_urls.permitted(visit.return_url, return_urls.allowed(os.environ["RETURN_HOSTS"]))
    flow = _flow(customer_table.find(request.customer, request.at), visit)  # refused before Stripe hears of anyone
    theirs = registration.theirs(registration.ensure(request.customer, request.at), request.at)
    return {"url": gateway.portal(theirs.id, return_url, flow)}


def _flow(ours: Customer, visit: Visit) -> dict | None:
    if not visit.flow:
        return None
    about = {"subscription_cancel": {"subscription": ours.live().theirs.id}} if "cancel" in visit.flow else {}
    back = {"type": "redirect", "redirect": {"return_url": visit.return_url}}
    return {"type": visit.flow, "after_completion": back} | about
