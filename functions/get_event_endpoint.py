"""GET /event-endpoint: how the product's own URL does, which is told of what happens."""

import os

from billing import endpoint_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(_: Request) -> dict:
    url = os.environ["EVENT_URL"]
    return endpoint_table.find(url).public(url)
