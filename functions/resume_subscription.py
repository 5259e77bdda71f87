"""POST /subscription/resume: go on after all, whether it was going to be cancelled or is paused."""

from billing import changes
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Draft, Wish


@endpoint()
def handler(request: Request) -> dict:
    def decide(ours: Customer) -> Wish:
        return ours.bought().resume()

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        subscription = ours.live()
        return Draft(subscription.resume_steps(mark), follow=subscription.put_back(mark))

    return changes.carry_out(request, decide, draft)
