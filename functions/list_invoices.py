"""GET /invoices: what Stripe has billed, the newest first, with links to its pages that are made for this answer."""

from billing import customer_table, gateway
from billing.api import Request, endpoint

MOST = 100


@endpoint()
def handler(request: Request) -> dict:
    ours = customer_table.find(request.customer, request.at)
    kept = customer_table.invoices(request.customer, MOST)
    theirs = gateway.invoices(ours.stripe_id, MOST) if ours.stripe_id else []
    links = {invoice.id: invoice.links for invoice in theirs}
    return {"invoices": [invoice.public() | links.get(invoice.id, {}) for invoice in kept]}
