"""GET /invoices: what Stripe has billed, the newest first, with links to its pages that are made for this answer."""

from billing import customer_table, gateway
from billing.api import Request, endpoint

MOST = 100


@endpoint()
def handler(request: Request) -> dict:
    """Those on record, and Stripe's own word of the newest: an event may still be on its way."""
    ours = customer_table.find(request.customer, request.at)
    kept = customer_table.invoices(request.customer, MOST)
    theirs = gateway.invoices(ours.stripe_id, MOST) if ours.stripe_id else []
    known = {invoice.id: invoice for invoice in [*kept, *theirs]}
    newest = sorted(known.values(), key=lambda invoice: (invoice.created, invoice.id), reverse=True)
    return {"invoices": [invoice.public() for invoice in newest[:MOST]]}
