"""PUT /customers/{id}/limits: limits of a customer's own, in place of its plan's; all of them at once."""

from typing import Annotated

from pydantic import Field

from billing import customer_table, records
from billing.api import Request, endpoint
from billing.offers import Count, Document, Name


class Limits(Document):
    limits: Annotated[dict[Name, Count | None], Field(max_length=100)]


@endpoint(body=Limits)
def handler(request: Request, given: Limits) -> dict:
    """Null is unlimited; one that is not named is the plan's again. They hold from the next event on."""
    found = customer_table.find(request.customer, request.at)
    customer = records.update(found, lambda ours: ours.limited(given.limits, request.at), request.at)
    return {"customer": customer.id, "limits": customer.limits}
