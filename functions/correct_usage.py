"""POST /usage/corrections: void an event, or put a right one in its place."""

from typing import Annotated

from msgspec import Meta

from billing import correcting
from billing.api import Request, endpoint
from billing.bodies import Body, Name
from billing.corrections import Correction
from billing.usage import MOST


class Correcting(Body):
    customer_id: Name
    idempotency_key: Name
    corrects: Name
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    quantity: Annotated[int, Meta(ge=-MOST, le=MOST)] | None = None
    value: Name | None = None

    def __post_init__(self) -> None:
        if self.idempotency_key == self.corrects:
            raise ValueError("a correction is an event of its own, with a key of its own")


@endpoint(body=Correcting, of_customer=False)
def handler(request: Request, given: Correcting) -> dict:
    """Without a quantity or a value the event is void. Who has done it stands on record with the reason."""
    correction = Correction(
        given.customer_id,
        given.idempotency_key,
        given.corrects,
        given.reason,
        request.actor,
        given.quantity,
        given.value,
    )
    return correcting.correct(correction, request.at)
