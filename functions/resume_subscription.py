"""POST /subscription/resume: go on after all, whether it was going to be cancelled or is paused."""

from billing import changes, gateway
from billing.api import Request, endpoint
from billing.customers import Customer
from billing.holds import Draft, Step, Wish


@endpoint()
def handler(request: Request) -> dict:
    def decide(ours: Customer) -> Wish:
        return ours.bought().resume()

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        subscription = ours.live()
        given_up = gateway.given_up(subscription.theirs) if subscription.theirs.collection_paused else None
        steps = subscription.resume_steps(mark, anew=given_up is not None)
        kept = [Step("discard_draft", given_up.id)] if given_up and given_up.status == "draft" else []
        return Draft(steps, follow=[*subscription.put_back(mark), *kept], restore=subscription.put_back())

    return changes.carry_out(request, decide, draft)
