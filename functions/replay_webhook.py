"""POST /webhook-events/{id}/replay: an event that has failed is tried again, as if Stripe had just sent it."""

from billing import queue, webhook_table
from billing.api import Request, endpoint


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    """One that has had its effect, or is being tried, is left alone: `replayed` is false, and nothing is sent."""
    row = webhook_table.find(request.path["id"])
    replayed = row.outcome == "failed" and webhook_table.replays(row)
    if replayed:
        queue.send(row.event, replay=row.replays + 1)
    return row.public() | {"replayed": replayed}
