"""What a change of plan or seats costs today: Stripe's own preview is the authority, and the change says the same."""

from billing import gateway, plan_table
from billing.changes import Draft
from billing.customers import Customer
from billing.holds import Wish


def change(ours: Customer, wish: Wish, mark: str, at: int) -> Draft:
    """
    The steps of a change to a price and a quantity of seats, at the instant of its preview.

    What costs more is invoiced at once and granted when it is paid; what costs less is credited on the next invoice.
    Stripe makes only so many invoices of a subscription: beyond that, and while on trial, the next one takes it all.
    """
    subscription, plan = ours.live(), plan_table.priced(wish.terms["price"])
    theirs = subscription.changeable()
    trialing = theirs.status == "trialing"  # its first period begins when the trial ends, whatever its interval
    resets = not trialing and plan_table.of(subscription).billing_interval != plan.billing_interval
    repricing = subscription.repricing(plan.price, wish.terms["quantity"], at, resets)
    proration = gateway.preview(theirs, repricing, at)
    owed = proration.net_cents > 0 and not trialing
    collect = resets or (owed and subscription.may_invoice(at))
    steps = subscription.change_steps(mark, repricing, collect)
    return Draft(steps, proration, billed="now" if collect else "next_invoice")
