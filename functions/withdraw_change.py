"""DELETE /subscription/change: give up a change that waits for its payment, or for the end of the period."""

from billing import changes
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Draft, Wish


@endpoint()
def handler(request: Request) -> dict:
    def decide(ours: Customer) -> Wish:
        return ours.live().withdraw()

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        return ours.live().withdraw_draft()

    return changes.carry_out(request, decide, draft)
