"""The subscription record: its shape, its items and their periods, its moves from status to status, its end."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from local.stripe_simulator import schedules
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, listed
from local.stripe_simulator.errors import invalid
from local.stripe_simulator.periods import period_at

ENDED = ("canceled", "incomplete_expired")


@dataclass(frozen=True)
class Debit:
    """
    What was charged for an item: an invoice line, net of its discounts, for [start, end).

    What lies after `until` was credited since, and another debit may cover it.
    """

    amount: int
    start: int
    end: int
    until: int
    name: str
    price: Record
    quantity: int
    invoice: str | None = None
    line: str | None = None


@dataclass
class Book:
    """What Stripe knows of a subscription and does not show."""

    debits: dict[str, list[Debit]] = field(default_factory=dict)  # by item: credits are parts of these
    held: Any = None  # the proposal behind `pending_update`
    held_invoice: str | None = None
    warned_of: int | None = None  # the trial end that trial_will_end was sent for
    resumption: str | None = None  # the invoice that resumes it, once it is paid
    resumes_on_attempt: bool = False  # then also where its payment fails
    quantity_changes: list[int] = field(default_factory=list)  # when, of the last hour


def item(subscription: str, price: Record, quantity: int, now: int, period: tuple[int, int], **fields: Any) -> Record:
    recurring = price["recurring"]
    if not recurring:
        raise invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`."
        )
    return {
        "id": new_id("subscription_item"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": now,
        "current_period_end": period[1],
        "current_period_start": period[0],
        "discounts": [],
        "metadata": {},
        "plan": plan(price),
        "price": price,
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
        **fields,
    }


def plan(price: Record) -> Record:
    """The price, as it was called before there were prices."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def period(price: Record, anchor: int, at: int) -> tuple[int, int]:
    recurring = price["recurring"]
    return period_at(anchor, recurring["interval"], recurring["interval_count"], at)


def whole(subscription: Record, one: Record) -> tuple[int, int]:
    """The period of an item, as if no date to cancel at cut it short."""
    if subscription["status"] == "trialing":
        return one["current_period_start"], subscription["trial_end"]
    return period(one["price"], subscription["billing_cycle_anchor"], one["current_period_start"])


def cut(subscription: Record, span: tuple[int, int]) -> tuple[int, int]:
    """No period goes beyond a date to cancel at."""
    date = None if subscription["cancel_at_period_end"] else subscription["cancel_at"]
    return span[0], min(span[1], date or span[1])


def paused_by(reason: str, at: int) -> Record:
    return {"paused": {"subscription": {"type": reason}, "transitioned_at": at, "type": "subscription"}}


def record(id: str, customer: Record, now: int, items: list[Record], **fields: Any) -> Record:
    return {
        "id": id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": now,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": now},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": now,
        "currency": items[0]["price"]["currency"],
        "customer": customer["id"],
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": listed(f"/v1/subscription_items?subscription={id}", items),
        "latest_invoice": None,
        "livemode": False,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": now,
        "status": "incomplete",
        "test_clock": customer["test_clock"],
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
        **fields,
    }


def need_flexible(subscription: Record) -> None:
    if subscription["billing_mode"]["type"] != "flexible":
        raise invalid("The simulator changes nothing that is billed `classic`: migrate the subscription first.")


def items(subscription: Record) -> list[Record]:
    return subscription["items"]["data"]


def next_end(subscription: Record) -> int:
    """When the first of its items begins a new period."""
    return min(one["current_period_end"] for one in items(subscription))


def last_end(subscription: Record) -> int:
    return max(one["current_period_end"] for one in items(subscription))


def payer(account: Account, subscription: Record | None, customer: Record) -> Record | None:
    """The payment method that is charged: the subscription's own, else the customer's."""
    own = subscription["default_payment_method"] if subscription else None
    id = own or customer["invoice_settings"]["default_payment_method"]
    return account.tables["payment_method"].get(id) if id else None


def follow(account: Account, subscription: Record) -> None:
    """Have it looked at whenever something is due by its present state."""
    if subscription["status"] in ENDED:
        return
    pending, paused, trial = subscription["pending_update"], subscription["pause_collection"], subscription["trial_end"]
    due = [next_end(subscription), subscription["cancel_at"]]
    if subscription["status"] == "incomplete":
        due.append(subscription["created"] + EXPIRY)
    if subscription["status"] == "trialing" and trial:
        due += [trial, max(trial - WARNING, account.now(subscription))]
    due += [pending and pending["expires_at"], paused and paused["resumes_at"]]
    due += [account.tables["discount"][id]["end"] for id in subscription["discounts"]]
    for at in due:
        account.look_at(subscription, at)


EXPIRY = 23 * 3_600
WARNING = 3 * 86_400


def end(
    account: Account, subscription: Record, status: str, reason: str | None = None, details: Record | None = None
) -> None:
    """For good. What it still owes is no longer collected by itself."""
    now = account.now(subscription)
    with account.changing(subscription) if status == "incomplete_expired" else nullcontext():
        subscription.update(status=status, pending_update=None, ended_at=now)
    if status == "canceled":
        subscription["canceled_at"] = subscription["canceled_at"] or now
        subscription["cancellation_details"].update(details or {})
        if reason:
            subscription["cancellation_details"]["reason"] = reason
        account.emit("customer.subscription.deleted", subscription)
    account.books[subscription["id"]].held = None
    schedules.end_with(account, subscription, aborted=reason == "payment_failed")
    for invoice in account.of("invoice", subscription["customer"]):
        mine = (invoice["parent"] or {}).get("subscription_details", {}).get("subscription") == subscription["id"]
        if mine and invoice["status"] in ("draft", "open"):
            with account.changing(invoice):
                invoice.update(auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None)
