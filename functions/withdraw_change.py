"""DELETE /subscription/change: give up a change that waits for its payment."""

from billing import changes
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Wish


@endpoint()
def handler(request: Request) -> dict:
    def decide(ours: Customer) -> Wish:
        return ours.live().withdraw()

    def draft(ours: Customer, wish: Wish, mark: str) -> changes.Draft:
        return changes.Draft(ours.live().void())

    return changes.carry_out(request, decide, draft)
