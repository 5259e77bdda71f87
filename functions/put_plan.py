"""PUT /plans/{slug}: sell this under that name from now on; whoever bought an older version keeps it."""

from billing import catalogue
from billing.api import Request, endpoint
from billing.offers import Offer


@endpoint(body=Offer, of_customer=False)
def handler(request: Request, offer: Offer) -> dict:
    """The next version, unless it is what is sold already; of a price that Stripe has, or with one of its own."""
    return catalogue.sell(offer.plan(request.path["slug"]), request, offer.on_sale).public()
