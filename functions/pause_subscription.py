"""POST /subscription/pause: no money is taken until a date, or until it is resumed."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from billing import changes
from billing.api import Request, endpoint
from billing.bodies import Body
from billing.customers import Customer
from billing.errors import Malformed
from billing.holds import Draft, Wish


class Pause(Body):
    resumes_at: Annotated[datetime, Meta(tz=True)] | None = None


@endpoint(body=Pause)
def handler(request: Request, pause: Pause) -> dict:
    """Invoices that fall into it are void. Whether it gives access meanwhile, the plan says."""
    resumes_at = _epoch(pause.resumes_at, request.at) if pause.resumes_at else None

    def decide(ours: Customer) -> Wish | None:
        return ours.bought().pause(resumes_at)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        subscription = ours.live()
        steps = subscription.pause_steps(mark, resumes_at)
        return Draft(steps, follow=subscription.put_back(mark), restore=subscription.put_back())

    return changes.carry_out(request, decide, draft)


def _epoch(moment: datetime, at: int) -> int:
    if moment.timestamp() <= at:
        raise Malformed.of([("resumes_at", "is past")])
    return int(moment.timestamp())
