"""The calls that pause a subscription, whose service and invoices then rest, and resume it."""

from typing import Any

from local.stripe_simulator import changes, collection, invoices, limits, subscribing, subscriptions
from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record
from local.stripe_simulator.errors import Refused, invalid
from local.stripe_simulator.forms import Shape, choice, whole
from local.stripe_simulator.routes import route

PAUSE: dict[str, Shape] = {
    "bill_for": {
        "outstanding_usage_through": {"type": choice("none", "now")},
        "unused_time_from": {"type": choice("item_current_period_start", "none", "now")},
    },
    "invoicing_behavior": choice("invoice", "pending_invoice_item"),
    "type": choice("subscription"),
}


@route("POST", "/v1/subscriptions/{subscription}/pause", "subscription", PAUSE)
def pause(account: Account, id: str, params: dict[str, Any]) -> Record:
    """No more periods and no more invoices until it is resumed. What was paid and is not used is credited."""
    subscription = account.get("subscription", id)
    refusal = _why_not(subscription)
    if refusal:
        raise refusal
    now, customer = account.now(subscription), account.tables["customer"][subscription["customer"]]
    since = params.get("bill_for", {}).get("unused_time_from", {}).get("type", "now")
    behavior = "always_invoice" if params.get("invoicing_behavior") == "invoice" else "create_prorations"
    proposal = _unused(account, subscription, since, behavior)
    if proposal.bills_now:
        limits.new_invoice(account, subscription)
    with account.changing(subscription):
        changes.apply(account, subscription, proposal)
        subscription["status"] = "paused"
        subscription["status_details"] = subscriptions.paused_by("pause_requested", now)
        if proposal.bills_now:
            due = subscribing.bill(account, subscription, customer, proposal, auto_advance=True)
    if proposal.bills_now:
        collection.collect(account, due)
    else:
        _wait(account, customer, proposal)
    account.emit("customer.subscription.paused", subscription)
    return subscription


def _why_not(subscription: Record) -> Refused | None:
    if subscription["schedule"]:
        return invalid(f"You cannot pause a subscription with an attached schedule: `{subscription['schedule']}`.")
    if subscription["status"] not in ("active", "past_due"):
        return invalid(f"You cannot pause a subscription that is {subscription['status']}.")
    if subscription["collection_method"] != "charge_automatically":
        return invalid("You can only pause subscriptions with `collection_method=charge_automatically`.")
    if subscription["pending_update"]:
        return invalid("You cannot pause a subscription with a pending update.")
    return None


def _unused(account: Account, subscription: Record, since: str, behavior: str) -> changes.Proposal:
    items, lines = subscriptions.items(subscription), []
    debits = dict(account.books[subscription["id"]].debits)
    for one in items if since != "none" else []:
        at = account.now(subscription) if since == "now" else one["current_period_start"]
        lines += changes.credits(one, debits.get(one["id"], []), at)
        debits[one["id"]] = changes.uncredited(debits.get(one["id"], []), at)
    return changes.of_lines(subscription, items, lines, debits, behavior)


def _wait(account: Account, customer: Record, proposal: changes.Proposal) -> None:
    for line in proposal.lines:
        invoices.waiting_item(account, customer, line)


RESUME: dict[str, Shape] = {
    "billing_cycle_anchor": {"type": choice("now", "unchanged")},
    "payment_behavior": choice("resume_on_payment_attempt", "resume_on_payment_success"),
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
    "proration_date": whole,
}


@route("POST", "/v1/subscriptions/{subscription}/resume", "subscription", RESUME)
def resume(account: Account, id: str, params: dict[str, Any]) -> Record:
    """
    Where that makes an invoice, the subscription stays paused until it is paid; where it makes none, it is active.

    `resume_on_payment_success` tries to collect at once and again on the account's days. `resume_on_payment_attempt`
    tries nothing: whoever pays the invoice resumes the subscription, as active, or as past due where that fails.
    """
    subscription = account.get("subscription", id)
    if subscription["status"] != "paused":
        raise invalid("The subscription is not paused, and cannot be resumed.")
    if subscription["collection_method"] != "charge_automatically":
        raise invalid("You can only resume subscriptions with `collection_method=charge_automatically`.")
    customer, book = account.tables["customer"][subscription["customer"]], account.books[id]
    now, at_once = account.now(subscription), params.get("payment_behavior") == "resume_on_payment_success"
    restarts = params.get("billing_cycle_anchor", {}).get("type", "now") == "now"
    if restarts:
        if "proration_date" in params:
            raise invalid("`proration_date` cannot be passed when `billing_cycle_anchor=now`.", "proration_date")
        fresh = {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none"}
        proposal = changes.propose(account, subscription, fresh)
    else:
        behavior, at = params.get("proration_behavior", "create_prorations"), params.get("proration_date", now)
        proposal = changes.go_on(account, subscription, at, behavior)
    if proposal.bills_now:
        limits.new_invoice(account, subscription)
    if book.resumption:
        collection.void(account, account.tables["invoice"][book.resumption])
    with account.changing(subscription):
        changes.apply(account, subscription, proposal)
        if proposal.bills_now:
            invoice = subscribing.bill(account, subscription, customer, proposal, auto_advance=at_once)
            book.resumption, book.resumes_on_attempt = invoice["id"], not at_once
    if not proposal.bills_now:
        _wait(account, customer, proposal)
        changes.resumed(account, subscription)
        return subscription
    account.look_at(subscription, now + subscriptions.EXPIRY)
    if at_once or not invoice["amount_due"]:
        collection.collect(account, invoice)
    return subscription
