"""Subscribing: by a customer, and by the last step of dunning."""

from billing import changes, gateway, plan_table, registration, trials
from billing.api import Request
from billing.customers import Customer
from billing.holds import Draft, Wish


def subscribe(
    request: Request, slug: str, quantity: int = 1, payment_method: str | None = None, code: str | None = None
) -> dict:
    """Charged at once if there is something to charge; else `incomplete`, with what the client confirms it with."""

    def decide(ours: Customer) -> Wish | None:
        return ours.subscribe(plan_table.on_sale(slug), quantity, payment_method, code)

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        theirs, plan = registration.theirs(ours, request.at), plan_table.priced(wish.terms["price"])
        on_file = theirs.payment_method is not None
        promotion = gateway.promotion(wish.terms["code"], theirs.id)
        trial = trials.first(ours, plan, wish.terms["payment_method"], theirs)
        steps = ours.subscribe_steps(plan, wish, mark, on_file, trial.granted, gateway.taxed(), promotion)
        return Draft(steps, claim=trial.card)

    return changes.carry_out(request, decide, draft)
