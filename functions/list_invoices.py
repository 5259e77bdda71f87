"""GET /invoices: what Stripe has billed, the newest first, with links to its pages that are made for this answer."""

import re

from billing import customer_table, gateway
from billing.api import Request, endpoint
from billing.errors import Malformed
from billing.invoices import page, place_of


@endpoint()
def handler(request: Request) -> dict:
    """Those on record, and Stripe's own word of them: an event may still be on its way."""
    if unknown := request.query.keys() - {"limit", "cursor"}:
        raise Malformed.of([(min(unknown), "no such parameter")])
    most = _most(request.query.get("limit", "20"))
    after = place_of(request.query["cursor"]) if "cursor" in request.query else None

    ours = customer_table.find(request.customer, request.at)
    kept = customer_table.invoices(ours.id, most + 1, after)  # one more: is there another page?
    theirs = gateway.invoices(ours.stripe_id, most + 1, after) if ours.stripe_id else []
    invoices, following = page([*kept, *theirs], most)
    return {"invoices": [invoice.public() for invoice in invoices], "next": following}


def _most(limit: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]?|100", limit):
        raise Malformed.of([("limit", "a whole number from 1 to 100")])
    return int(limit)
