"""The subscription schedule record: its shape, its phases, its ends."""

from typing import Any

from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record

LIVE = ("active", "not_started")


def record(customer: str, subscription: Record, now: int, phases: list[Record]) -> Record:
    return {
        "id": new_id("subscription_schedule"),
        "object": "subscription_schedule",
        "application": None,
        "billing_mode": subscription["billing_mode"] | {"updated_at": now},
        "canceled_at": None,
        "completed_at": None,
        "created": now,
        "current_phase": None,
        "customer": customer,
        "customer_account": None,
        "default_settings": {
            "application_fee_percent": None,
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": "automatic",
            "billing_thresholds": None,
            "collection_method": subscription["collection_method"],
            "default_payment_method": subscription["default_payment_method"],
            "description": None,
            "invoice_settings": {
                "account_tax_ids": None,
                "custom_fields": None,
                "days_until_due": subscription["days_until_due"],
                "description": None,
                "footer": None,
                "issuer": {"type": "self"},
            },
            "on_behalf_of": None,
            "transfer_data": None,
        },
        "end_behavior": "release",
        "livemode": False,
        "metadata": {},
        "pause_schedules": [],
        "phases": phases,
        "released_at": None,
        "released_subscription": None,
        "status": "active",
        "subscription": subscription["id"],
        "test_clock": subscription["test_clock"],
    }


def phase(start: int, end: int, currency: str, items: list[Record], **fields: Any) -> Record:
    return {
        "add_invoice_items": [],
        "application_fee_percent": None,
        "automatic_tax": None,
        "billing_cycle_anchor": None,
        "billing_thresholds": None,
        "collection_method": None,
        "currency": currency,
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "end_date": end,
        "invoice_settings": None,
        "items": items,
        "metadata": {},
        "on_behalf_of": None,
        "proration_behavior": "create_prorations",
        "start_date": start,
        "transfer_data": None,
        "trial_end": None,
        **fields,
    }


def item(price: Record, quantity: int, metadata: dict[str, str]) -> Record:
    return {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": metadata,
        "plan": price["id"],
        "price": price["id"],
        "quantity": quantity,
        "tax_rates": [],
    }


def follow(account: Account, schedule: Record) -> None:
    """Have it looked at when the phase that runs comes to its end."""
    if schedule["status"] == "active":
        account.look_at(schedule, schedule["current_phase"]["end_date"])


def release(account: Account, schedule: Record) -> None:
    """The subscription goes on without it."""
    subscription = account.tables["subscription"][schedule["subscription"]]
    with account.changing(subscription):
        subscription["schedule"] = None
    schedule.update(
        current_phase=None,
        released_at=account.now(schedule),
        released_subscription=subscription["id"],
        status="released",
        subscription=None,
    )
    account.emit("subscription_schedule.released", schedule)


def complete(account: Account, schedule: Record) -> None:
    """Its last phase is over, and its subscription with it."""
    schedule.update(completed_at=account.now(schedule), current_phase=None, status="completed")
    account.emit("subscription_schedule.completed", schedule)


def end_with(account: Account, subscription: Record, aborted: bool) -> None:
    """Its subscription is over before its time."""
    schedule = account.tables["subscription_schedule"].get(subscription["schedule"] or "")
    if schedule and schedule["status"] in LIVE:
        schedule.update(canceled_at=account.now(schedule), current_phase=None, status="canceled")
        account.emit(f"subscription_schedule.{'aborted' if aborted else 'canceled'}", schedule)
