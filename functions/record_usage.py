"""POST /usage: count what customers have used; the product's backend calls it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from billing import metering
from billing.api import Request, endpoint


class Batch(BaseModel):
    """Each event is judged on its own (usage.read): a bad one never fails its neighbours."""

    model_config = ConfigDict(extra="forbid", strict=True)
    events: Annotated[list[Any], Field(min_length=1, max_length=100)]


@endpoint(body=Batch, of_customer=False)
def handler(request: Request, batch: Batch) -> dict:
    return {"events": metering.record(batch.events, request.at)}
