"""GET /customers/{id}/events: what has happened to a customer, for whoever has missed some of it."""

import re

from billing import outbox
from billing.api import Request, endpoint
from billing.errors import Malformed


@endpoint()
def handler(request: Request) -> dict:
    """In sequence, published or not; `next` is the `after` of the next page. Kept for 90 days after they were."""
    if unknown := request.query.keys() - {"after", "limit"}:
        raise Malformed.of([(min(unknown), "no such parameter")])
    after, most = request.query.get("after", "0"), request.query.get("limit", "50")
    if not re.fullmatch("[0-9]{1,12}", after):
        raise Malformed.of([("after", "the sequence of an event, or the `next` of a page before")])
    if not re.fullmatch("[1-9][0-9]?|100", most):
        raise Malformed.of([("limit", "a whole number from 1 to 100")])
    events = outbox.later(request.customer, int(after), int(most) + 1)  # one more: is there another page?
    shown = events[: int(most)]
    following = shown[-1].sequence if len(events) > len(shown) else None
    return {"events": [each.public() for each in shown], "next": following}
