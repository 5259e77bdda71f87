"""POST /subscription/resume: go on after all, whether it was going to be cancelled or is paused."""

from billing import changes, gateway
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Draft, Wish


@endpoint()
def handler(request: Request) -> dict:
    def decide(ours: Customer) -> Wish:
        return ours.bought().resume()

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        subscription = ours.live()
        anew = subscription.theirs.collection_paused and gateway.unpaid(subscription.theirs)
        steps = subscription.resume_steps(mark, anew)
        return Draft(steps, follow=subscription.put_back(mark), restore=subscription.put_back())

    return changes.carry_out(request, decide, draft)
