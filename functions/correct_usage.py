"""POST /usage/corrections: void an event, or put a right one in its place."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from billing import correcting
from billing.api import Request, endpoint
from billing.corrections import Correction
from billing.holds import NAMEABLE
from billing.usage import MOST

Name = Annotated[str, Field(pattern=NAMEABLE)]


class Correcting(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    customer_id: Name
    idempotency_key: Name
    corrects: Name
    quantity: Annotated[int, Field(ge=-MOST, le=MOST)] | None = None
    value: Name | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _is_another(self) -> Self:
        if self.idempotency_key == self.corrects:
            raise ValueError("a correction is an event of its own, with a key of its own")
        return self


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
