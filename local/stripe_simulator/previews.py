"""What the next invoice of a subscription would be, as it is or after a change: computed as the invoice would be."""

from typing import Any

from local.stripe_simulator import changes, discounts, invoices, proration, scheduling, subscriptions, taxes
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record
from local.stripe_simulator.errors import Refused, invalid
from local.stripe_simulator.forms import Shape, choice, flag, text
from local.stripe_simulator.routes import route

TAKES: dict[str, Shape] = {
    "automatic_tax": {"enabled": flag},
    "currency": text,
    "customer": text,
    "discounts": discounts.SHAPE,
    "preview_mode": choice("next", "recurring"),
    "subscription": text,
    "subscription_details": changes.SHAPE | {"cancel_at_period_end": flag, "cancel_now": flag},
}
KEPT = 1000  # previews whose lines can still be paged


@route("POST", "/v1/invoices/create_preview", "invoice", TAKES)
def create(account: Account, params: dict[str, Any]) -> Record:
    """
    The immediate invoice if the change makes one, else the next renewal with all that waits for it.

    `recurring` shows of that renewal only what comes again: no prorations, no discount of duration `once`.
    """
    said = {**params.get("subscription_details", {}), "discounts": params.get("discounts")}
    if params.get("subscription"):
        subscription = account.get("subscription", params["subscription"], "subscription", 400)
        customer = account.tables["customer"][subscription["customer"]]
        if params.get("customer") not in (None, customer["id"]):
            raise invalid("The subscription does not belong to the customer.", "subscription")
        if subscription["status"] in subscriptions.ENDED:
            raise _nothing_comes()
        subscription = _taxed(subscription, customer, params)
        if said.get("cancel_now"):
            return _of_cancel(account, subscription, customer, said)
        return _of_change(account, subscription, customer, said, params.get("preview_mode") == "recurring")
    return _of_new(account, account.get("customer", params.get("customer", ""), "customer", 400), said, params)


def _taxed(subscription: Record, customer: Record, params: dict[str, Any]) -> Record:
    """With the tax setting of the preview; without one, with its own."""
    tax = subscription["automatic_tax"] | params.get("automatic_tax", {})
    if tax["enabled"]:
        taxes.need_location(customer)
    return subscription | {"automatic_tax": tax}


def _of_change(
    account: Account, subscription: Record, customer: Record, said: dict[str, Any], recurring: bool
) -> Record:
    proposal = changes.propose(account, subscription, said)
    date = said.get("proration_date")
    waiting = [] if recurring else _waiting(account, subscription, customer)
    lines = [] if recurring else proposal.lines
    if proposal.bills_now and not recurring:
        in_force = discounts.in_force(account, proposal.discounts, account.now(customer))
        return _record(account, subscription, customer, [*waiting, *lines], date, discounts=in_force)
    turn = min(one["current_period_end"] for one in proposal.items)
    start = min(one["current_period_start"] for one in proposal.items)
    ends = scheduling.foresee(account, subscription, proposal, turn)
    ends = said.get("cancel_at_period_end", ends or (subscription["cancel_at"] or turn + 1) <= turn)
    if ends and not waiting and not lines:
        raise _nothing_comes()
    due = [] if ends else [one | {} for one in proposal.items if one["current_period_end"] <= turn]
    for one in due:
        span = subscriptions.cut(subscription, subscriptions.period(one["price"], proposal.anchor, turn))
        one["current_period_start"], one["current_period_end"] = span
    renewed = subscription | {"status": "active"}
    lines = [*waiting, *lines, *changes.full_lines(account, renewed, due, {})]
    in_force = [
        id
        for id in discounts.in_force(account, proposal.discounts, turn)
        if not recurring or discounts.coupon_of(account, id)["duration"] != "once"
    ]
    span = {"created": turn, "period_end": turn, "period_start": start}
    return _record(account, subscription, customer, lines, date, discounts=in_force, **span)


def _waiting(account: Account, subscription: Record, customer: Record) -> list[Record]:
    return [invoices.line_of(one) for one in invoices.pending(account, customer["id"], subscription["id"])]


def _of_cancel(account: Account, subscription: Record, customer: Record, said: dict[str, Any]) -> Record:
    """The invoice of a cancellation with `invoice_now`. Its credit does not reach the customer's balance."""
    at = changes.proration_date(subscription, said, account.now(subscription))
    lines = _waiting(account, subscription, customer)
    if said.get("proration_behavior") != "none":
        lines += changes.all_credits(account, subscription, at)
    if not lines:
        raise _nothing_comes()
    preview = _record(account, subscription, customer, lines, said.get("proration_date"))
    if preview["total"] < 0:
        preview["ending_balance"] = preview["starting_balance"]
    return preview


def _of_new(account: Account, customer: Record, said: dict[str, Any], params: dict[str, Any]) -> Record:
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
    subscription = _taxed(subscriptions.record(id, customer, now, items, status=status), customer, params)
    subtotal = sum(proration.total(one["price"], one["quantity"]) for one in items)
    wished = discounts.wished(account, customer, None, said["discounts"], subscription["currency"], subtotal)
    lines = changes.full_lines(account, subscription, items, {})
    return _record(account, subscription, customer, lines, None, discounts=wished)


def _record(
    account: Account,
    subscription: Record,
    customer: Record,
    lines: list[Record],
    proration_date: int | None,
    **fields: Any,
) -> Record:
    id = f"upcoming_{new_id('invoice')}"
    invoice = invoices.record(account, customer, subscription, "upcoming", lines, id=id, auto_advance=False, **fields)
    _, invoice["ending_balance"] = invoices.due(invoice["total"], customer["balance"])
    if proration_date:
        invoice["parent"]["subscription_details"]["subscription_proration_date"] = proration_date
    account.tables["preview"][id] = invoice
    if len(account.tables["preview"]) > KEPT:
        account.tables["preview"].pop(next(iter(account.tables["preview"])))
    return invoice


def _nothing_comes() -> Refused:
    return Refused(404, "No upcoming invoices for customer", code="invoice_upcoming_none")
