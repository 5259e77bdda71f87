"""GET /invoices/upcoming: the next invoice of the subscription as it is, as Stripe would make it."""

from dataclasses import asdict

from billing import closing, customer_table, gateway, usage_table
from billing.api import Request, endpoint
from billing.periods import period_of
from billing.subscriptions import Subscription


@endpoint()
def handler(request: Request) -> dict:
    """
    What is billed by usage is told apart, as far as the period has come: it is on the invoice only when the period is
    over. An invoice that falls into a pause will be void: that is said.
    """
    bought = customer_table.find(request.customer, request.at).live()
    coming = gateway.next_invoice(bought.theirs)
    usage = _usage(request.customer, bought, request.at)
    return coming.public() | {
        "collection_paused": bought.theirs.paused(coming.at),
        "usage": usage,
        "usage_cents": sum(each["amount_cents"] for each in usage),
    }


def _usage(customer: str, bought: Subscription, at: int) -> list[dict]:
    """What each metric with a price comes to by now; on trial, nothing."""
    theirs, told = bought.theirs, []
    for each in closing.priced(bought.plans):
        id, plan, metric = each
        period = period_of(at, theirs.anchor, plan.billing_interval)
        period = period._replace(start=max(period.start, bought.anchored_at))
        used = usage_table.with_days(customer, each.counter, period).used
        charge = metric.price.charge(used, theirs.currency) if metric.price and theirs.status != "trialing" else None
        lines = [asdict(line) for line in charge.lines] if charge else []
        told.append(
            {"metric": id, "quantity": used, "amount_cents": charge.amount_cents if charge else 0, "lines": lines}
        )
    return told
