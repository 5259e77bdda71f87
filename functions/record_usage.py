"""POST /usage: count what customers have used; the product's backend calls it."""

from typing import Annotated, Any

from msgspec import Meta

from billing import metering
from billing.api import Request, endpoint
from billing.bodies import Body
from billing.errors import Malformed
from billing.usage import UNREADABLE


class Batch(Body):
    """Each event is judged on its own (usage.read): a bad one never fails its neighbours."""

    events: Annotated[list[Any], Meta(min_length=1, max_length=100)]
    all_or_nothing: bool = False  # of what is counted against one hard limit: all that is new, or none of it


@endpoint(body=Batch, of_customer=False)
def handler(request: Request, batch: Batch) -> dict:
    """An answer for each event; a request of which none can be read is refused as a whole."""
    answers = metering.record(batch.events, request.at, batch.all_or_nothing)
    if all(answer.get("reason") in UNREADABLE for answer in answers):
        named = [f"events.{place}.{answer['field']}".rstrip(".") for place, answer in enumerate(answers)]
        raise Malformed.of(list(zip(named, (answer["detail"] for answer in answers), strict=True)))
    return {"events": answers}
