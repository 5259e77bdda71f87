"""GET /invoices/upcoming: the next invoice of the subscription as it is, as Stripe would make it."""

from billing import customer_table, gateway
from billing.api import Request, endpoint


@endpoint()
def handler(request: Request) -> dict:
    """What is billed by usage is not in it. One that falls into a pause will be void: that is said."""
    theirs = customer_table.find(request.customer, request.at).live().theirs
    coming = gateway.next_invoice(theirs)
    return coming.public() | {"collection_paused": theirs.paused(coming.at)}
