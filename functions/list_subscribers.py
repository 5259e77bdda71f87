"""GET /plans/{slug}/versions/{version}/subscriptions: who is on a version of a plan, as Stripe has it, page by page."""

import re

from billing import customer_table, listings, plan_table
from billing.api import Request, endpoint
from billing.errors import Malformed, NotFound
from billing.theirs import Theirs


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    """At most a hundred; there may be fewer, or none, and more to come: `next` is the `cursor` of the next page."""
    if unknown := request.query.keys() - {"cursor"}:
        raise Malformed.of([(min(unknown), "no such parameter")])
    slug, number = request.path["slug"], request.path["version"]
    if not re.fullmatch(r"[0-9]{1,6}", number):
        raise NotFound(f"no plan {slug}, version {number}")
    price = plan_table.version(slug, int(number)).price
    assert price is not None
    living, after = listings.subscribers(price, request.query.get("cursor"))
    return {"subscriptions": [row for theirs in living if (row := _row(theirs))], "next": after}


def _row(theirs: Theirs) -> dict | None:
    """None: it is of no customer of ours, someone else's in the same Stripe account."""
    try:
        customer = customer_table.owner(theirs.customer)
    except NotFound:
        return None
    return {"customer": customer, "subscription": theirs.id, "status": theirs.status, "seats": theirs.quantity}
