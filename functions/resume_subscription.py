"""POST /subscription/resume: stay after all, as long as the period has not ended."""

from billing import changes
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Wish


@endpoint()
def handler(request: Request) -> dict:
    def decide(ours: Customer) -> Wish:
        return ours.live().resume()

    def draft(ours: Customer, wish: Wish, mark: str) -> changes.Draft:
        return changes.Draft(ours.live().resume_steps(mark))

    return changes.carry_out(request, decide, draft)
