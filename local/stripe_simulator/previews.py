"""What the next invoice of a subscription would be, as it is or after a change: computed as the invoice would be."""

from typing import Any

from local.stripe_simulator import changes, invoices, subscriptions
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record
from local.stripe_simulator.errors import Refused, invalid
from local.stripe_simulator.forms import Shape, choice, flag, text
from local.stripe_simulator.routes import route

TAKES: dict[str, Shape] = {
    "automatic_tax": {"enabled": flag},
    "currency": text,
    "customer": text,
    "preview_mode": choice("next"),
    "subscription": text,
    "subscription_details": changes.SHAPE | {"cancel_at_period_end": flag},
}


@route("POST", "/v1/invoices/create_preview", "invoice", TAKES)
def create(account: Account, params: dict[str, Any]) -> Record:
    """The immediate invoice if the change makes one, else the next renewal with all that waits for it."""
    said = params.get("subscription_details", {})
    if params.get("subscription"):
        subscription = account.get("subscription", params["subscription"], "subscription", 400)
        customer = account.tables["customer"][subscription["customer"]]
        if params.get("customer") not in (None, customer["id"]):
            raise invalid("The subscription does not belong to the customer.", "subscription")
        return _of_change(account, subscription, customer, said)
    return _of_new(account, account.get("customer", params.get("customer", ""), "customer", 400), said)


def _of_change(account: Account, subscription: Record, customer: Record, said: dict[str, Any]) -> Record:
    if subscription["status"] in subscriptions.ENDED:
        raise _nothing_comes()
    proposal = changes.propose(account, subscription, said)
    waiting = [invoices.line_of(one) for one in invoices.pending(account, customer["id"], subscription["id"])]
    if proposal.bills_now:
        return _record(account, subscription, customer, [*waiting, *proposal.lines], said.get("proration_date"))
    ends = said.get("cancel_at_period_end", subscription["cancel_at"] is not None)
    if ends and not waiting and not proposal.lines:
        raise _nothing_comes()
    turn = min(one["current_period_end"] for one in proposal.items)
    due = [] if ends else [one | {} for one in proposal.items if one["current_period_end"] == turn]
    for one in due:
        one["current_period_start"], one["current_period_end"] = subscriptions.period(
            one["price"], proposal.anchor, turn
        )
    renewed = subscription | {"status": "active"}
    lines = [*waiting, *proposal.lines, *changes.full_lines(account, renewed, due, {})]
    start = min(one["current_period_start"] for one in proposal.items)
    span = {"created": turn, "period_end": turn, "period_start": start}
    return _record(account, subscription, customer, lines, said.get("proration_date"), **span)


def _of_new(account: Account, customer: Record, said: dict[str, Any]) -> Record:
    """A subscription that is not there yet."""
    now, items = account.now(customer), []
    id, trial_end = new_id("subscription"), said.get("trial_end")
    for wish in said.get("items", []):
        price = account.get("price", wish.get("price", ""), "subscription_details[items][0][price]", 400)
        span = subscriptions.period(price, now, now) if not isinstance(trial_end, int) else (now, trial_end)
        items.append(subscriptions.item(id, price, wish.get("quantity", 1), now, span))
    if not items:
        raise _nothing_comes()
    status = "trialing" if isinstance(trial_end, int) else "active"
    subscription = subscriptions.record(id, customer, now, items, status=status)
    return _record(account, subscription, customer, changes.full_lines(account, subscription, items, {}), None)


def _record(
    account: Account,
    subscription: Record,
    customer: Record,
    lines: list[Record],
    proration_date: int | None,
    **fields: Any,
) -> Record:
    invoice = invoices.record(account, customer, subscription, "upcoming", lines, **fields)
    _, balance = invoices.due(invoice["total"], customer["balance"])
    invoice["id"] = f"upcoming_{invoice['id']}"
    invoice.update(ending_balance=balance, auto_advance=False)
    if proration_date:
        invoice["parent"]["subscription_details"]["subscription_proration_date"] = proration_date
    return invoice


def _nothing_comes() -> Refused:
    return Refused(404, "No upcoming invoices for customer", code="invoice_upcoming_none")
