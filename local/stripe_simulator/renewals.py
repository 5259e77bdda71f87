"""What happens to a subscription by itself, as its time passes."""

from local.stripe_simulator import changes, collection, discounts, invoices, scheduling, subscriptions
from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record
from local.stripe_simulator.periods import HOUR


def advance(account: Account, subscription: Record) -> None:
    """Whatever is due by now, first things first. Looking again finds nothing left to do."""
    if subscription["schedule"]:
        scheduling.advance(account, account.tables["subscription_schedule"][subscription["schedule"]])
    if subscription["status"] in subscriptions.ENDED:
        return
    now = account.now(subscription)
    discounts.expire(account, subscription)
    if subscription["status"] == "incomplete" and subscription["created"] + subscriptions.EXPIRY <= now:
        collection.void(account, account.tables["invoice"][subscription["latest_invoice"]])
        return
    if subscription["pending_update"] and subscription["pending_update"]["expires_at"] <= now:
        collection.void(account, account.tables["invoice"][account.books[subscription["id"]].held_invoice])
    resumption = account.tables["invoice"].get(account.books[subscription["id"]].resumption or "")
    if resumption and not resumption["attempted"] and resumption["created"] + subscriptions.EXPIRY <= now:
        collection.void(account, resumption)
    paused = subscription["pause_collection"]
    if paused and (paused["resumes_at"] or now + 1) <= now:
        with account.changing(subscription):
            subscription["pause_collection"] = None
    if subscription["status"] == "trialing":
        _warn(account, subscription, now)
    if (subscription["cancel_at"] or now + 1) <= now:
        subscriptions.end(account, subscription, "canceled")
        invoices.last_by_date(account, subscription)
    elif subscription["status"] == "trialing" and subscription["trial_end"] <= now and _stranded(account, subscription):
        _end_without_payment_method(account, subscription)
    elif subscription["status"] not in ("incomplete", "paused") and subscriptions.next_end(subscription) <= now:
        _renew(account, subscription, now)


def _warn(account: Account, subscription: Record, now: int) -> None:
    """Three days before a trial ends; of a shorter trial, at once. Once per end."""
    book, end = account.books[subscription["id"]], subscription["trial_end"]
    if end - subscriptions.WARNING <= now < end and book.warned_of != end:
        book.warned_of = end
        account.emit("customer.subscription.trial_will_end", subscription)


def _stranded(account: Account, subscription: Record) -> bool:
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    customer = account.tables["customer"][subscription["customer"]]
    return behavior != "create_invoice" and not subscriptions.payer(account, subscription, customer)


def _end_without_payment_method(account: Account, subscription: Record) -> None:
    if subscription["trial_settings"]["end_behavior"]["missing_payment_method"] == "cancel":
        subscriptions.end(account, subscription, "canceled")
        return
    with account.changing(subscription):
        subscription["status"] = "paused"
        now = account.now(subscription)
        subscription["status_details"] = subscriptions.paused_by("trial_end_without_payment_method", now)
    account.emit("customer.subscription.paused", subscription)


def _renew(account: Account, subscription: Record, now: int) -> None:
    """New periods, and a draft that is paid an hour later. Those of an unpaid subscription stay drafts."""
    customer, book = account.tables["customer"][subscription["customer"]], account.books[subscription["id"]]
    due = [one for one in subscriptions.items(subscription) if one["current_period_end"] <= now]
    ended = min(one["current_period_start"] for one in due), max(one["current_period_end"] for one in due)
    with account.changing(subscription):
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
        for one in due:
            span = subscriptions.period(one["price"], subscription["billing_cycle_anchor"], now)
            one["current_period_start"], one["current_period_end"] = subscriptions.cut(subscription, span)
        lines = changes.full_lines(account, subscription, due, book.debits)
        charged = subscription["status"] != "unpaid"
        invoice = invoices.draft(
            account,
            customer,
            subscription,
            "subscription_cycle",
            lines,
            auto_advance=charged,
            automatically_finalizes_at=now + HOUR if charged else None,
            period_start=ended[0],
            period_end=ended[1],
        )
        changes.note_invoice(book.debits, invoice)
        subscription["latest_invoice"] = invoice["id"]
    subscriptions.follow(account, subscription)
