"""Money in: charging invoices, settling, voiding and giving them up, and what that means for the subscription."""

from local.stripe_simulator import balances, changes, invoices, payments, subscriptions
from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record
from local.stripe_simulator.errors import Refused, invalid
from local.stripe_simulator.periods import DAY


def collect(
    account: Account,
    invoice: Record,
    method: Record | None = None,
    authenticated: bool = False,
    retry: bool = False,
) -> Refused | None:
    """
    Charge what is due, to this payment method or the one on file. Answers why it stays unpaid.

    `retry`: by itself, on one of the account's days. After a hard decline that is counted and told, and charges
    nothing until there is another card (docs: Smart Retries; that it is told is inferred).
    """
    customer = account.tables["customer"][invoice["customer"]]
    subscription = invoices.subscription_of(account, invoice)
    intent = invoices.intent_of(account, invoice)
    if not intent:
        settle(account, invoice)
        return None
    own = account.tables["payment_method"].get(invoice["default_payment_method"] or "")
    method = method or own or subscriptions.payer(account, subscription, customer)
    if method:
        spent = payments.hard_decline(intent, method) if retry else None
        refusal = spent or payments.charge(account, intent, method, authenticated)
    else:
        refusal = payments.would_refuse(account, None)
    if refusal:
        asked = bool(method) and intent["status"] == "requires_action"
        _unpaid(account, invoice, subscription, retry, asked, again=bool(method) and not asked)
    else:
        settle(account, invoice, retry=retry)
    return refusal


def _counts(invoice: Record, retry: bool) -> bool:
    """Any attempt is the first; after it only Stripe's own are counted (docs: Invoice, `attempt_count`)."""
    return retry or not invoice["attempt_count"]


def settle(account: Account, invoice: Record, out_of_band: bool = False, retry: bool = False) -> None:
    """Paid: by a charge, by the customer's balance, or elsewhere."""
    now, amount = account.now(invoice), invoice["amount_due"]
    with account.changing(invoice):
        if not out_of_band and amount:
            invoice["attempt_count"] += _counts(invoice, retry)
        invoice.update(
            amount_paid=amount,
            amount_remaining=0,
            attempted=True,
            auto_advance=False,
            next_payment_attempt=None,
            status="paid",
        )
        invoice["status_transitions"]["paid_at"] = now
    for payment in invoice["payments"]["data"]:
        state = "canceled" if out_of_band else "paid"
        payment.update(status=state, amount_paid=None if out_of_band else payment["amount_requested"])
        payment["status_transitions"]["canceled_at" if out_of_band else "paid_at"] = now
        if not out_of_band:
            account.emit("invoice_payment.paid", payment)
    intent = invoices.intent_of(account, invoice)
    if intent and out_of_band:
        payments.cancel(account, intent, "automatic")
    account.emit("invoice.paid", invoice)
    account.emit("invoice.payment_succeeded", invoice)
    customer = account.tables["customer"][invoice["customer"]]
    _delinquent(account, customer)
    subscription = invoices.subscription_of(account, invoice)
    if subscription:
        _saved(subscription, intent)
        _settled(account, subscription, invoice)


def _saved(subscription: Record, intent: Record | None) -> None:
    asked = (subscription["payment_settings"] or {}).get("save_default_payment_method") == "on_subscription"
    if asked and intent and intent["payment_method"]:
        subscription["default_payment_method"] = intent["payment_method"]


def _settled(account: Account, subscription: Record, invoice: Record) -> None:
    """A paid or given-up invoice brings its subscription back, and applies the change that waited for it."""
    book = account.books[subscription["id"]]
    if book.held_invoice == invoice["id"] and book.held:
        changes.apply_held(account, subscription)
    is_latest = subscription["latest_invoice"] == invoice["id"]
    if is_latest and subscription["status"] in ("incomplete", "past_due", "unpaid"):
        with account.changing(subscription):
            subscription["status"] = "active"
        subscriptions.follow(account, subscription)
    elif book.resumption == invoice["id"]:
        changes.resumed(account, subscription)


def _unpaid(
    account: Account, invoice: Record, subscription: Record | None, retry: bool, asked: bool, again: bool
) -> None:
    """
    An attempt that failed: plan the next, if it is to be tried `again`, or draw the last consequence.

    None follows where the customer is `asked` to authenticate, or where there is nothing to pay with. What is tried
    by hand after the first attempt leaves the plan as it is. To be asked is told as a failure, too (docs: Using
    webhooks with subscriptions), but on the first invoice of a subscription, whose customer is there (inferred).
    """
    counts = _counts(invoice, retry)
    with account.changing(invoice):
        invoice["attempted"] = True
        if counts:
            invoice.update(attempt_count=invoice["attempt_count"] + 1, next_payment_attempt=None)
            if invoice["auto_advance"] and again:
                invoice["next_payment_attempt"] = _next_attempt(account, invoice)
                account.look_at(invoice, invoice["next_payment_attempt"])
    if not asked or invoice["billing_reason"] != "subscription_create":
        account.emit("invoice.payment_failed", invoice)
    if asked:
        account.emit("invoice.payment_action_required", invoice)
    _delinquent(account, account.tables["customer"][invoice["customer"]])
    if not subscription or subscription["status"] in subscriptions.ENDED:
        return
    book = account.books[subscription["id"]]
    if book.resumption == invoice["id"] and book.resumes_on_attempt:
        changes.resumed(account, subscription, "past_due")
        return
    exhausted = counts and invoice["auto_advance"] and invoice["attempt_count"] > len(account.settings.retry_days)
    waits = book.held_invoice == invoice["id"]
    if exhausted and subscription["status"] == "past_due":
        _give_up(account, subscription)
    elif (
        subscription["status"] in ("active", "trialing")
        and subscription["latest_invoice"] == invoice["id"]
        and not waits
    ):
        with account.changing(subscription):
            subscription["status"] = "past_due"


def _next_attempt(account: Account, invoice: Record) -> int | None:
    """Counted from the first attempt, which is made when the invoice is finalized."""
    days, tried = account.settings.retry_days, invoice["attempt_count"]
    if tried > len(days) or not invoice["parent"]:
        return None
    return invoice["status_transitions"]["finalized_at"] + days[tried - 1] * DAY


def _give_up(account: Account, subscription: Record) -> None:
    if account.settings.after_retries == "cancel":
        subscriptions.end(account, subscription, "canceled", "payment_failed")
    elif account.settings.after_retries == "unpaid":
        with account.changing(subscription):
            subscription["status"] = "unpaid"


def _delinquent(account: Account, customer: Record) -> None:
    """Whether an attempt on an open invoice of the customer has failed."""
    owes = any(one["status"] == "open" and one["attempted"] for one in account.of("invoice", customer["id"]))
    if customer["delinquent"] != owes:
        with account.changing(customer):
            customer["delinquent"] = owes


def void(account: Account, invoice: Record) -> None:
    """As if it had never been: the balance it used is given back, the change that waited for it is dropped."""
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(
            "You can only pass in open or uncollectible invoices. This invoice isn't.", code="invoice_not_editable"
        )
    customer = account.tables["customer"][invoice["customer"]]
    _close(account, invoice, "void", "voided_at", "void_invoice")
    given = invoice["starting_balance"] - invoice["ending_balance"]
    if given:
        balances.book(account, customer, given, "unapplied_from_invoice", invoice=invoice["id"])
    account.emit("invoice.voided", invoice)
    _delinquent(account, customer)
    subscription = invoices.subscription_of(account, invoice)
    if not subscription:
        return
    book = account.books[subscription["id"]]
    if book.held and book.held_invoice == invoice["id"]:
        changes.drop_held(account, subscription)
    if book.resumption == invoice["id"]:
        book.resumption = None
        changes.forget(book.debits, invoice)
    if subscription["status"] == "incomplete" and subscription["latest_invoice"] == invoice["id"]:
        subscriptions.end(account, subscription, "incomplete_expired")


def write_off(account: Account, invoice: Record, reason: str = "user_forgiven") -> None:
    """Given up. The subscription goes on all the same."""
    if invoice["status"] != "open":
        raise invalid("You can only mark open invoices as uncollectible.", code="invoice_not_editable")
    _close(account, invoice, "uncollectible", "marked_uncollectible_at", None)
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    account.emit("invoice.marked_uncollectible", invoice)
    _delinquent(account, account.tables["customer"][invoice["customer"]])
    subscription = invoices.subscription_of(account, invoice)
    if subscription and subscription["status"] != "incomplete":
        _settled(account, subscription, invoice)


def _close(account: Account, invoice: Record, status: str, moment: str, cancels: str | None) -> None:
    now = account.now(invoice)
    with account.changing(invoice):
        invoice.update(status=status, auto_advance=False, next_payment_attempt=None)
        invoice["status_transitions"][moment] = now
    intent = invoices.intent_of(account, invoice)
    if cancels and intent and intent["status"] != "canceled":
        payments.cancel(account, intent, cancels)
        for payment in invoice["payments"]["data"]:
            payment["status"] = "canceled"
            payment["status_transitions"]["canceled_at"] = now


def advance(account: Account, invoice: Record) -> None:
    """What is due for an invoice by now: finalize the draft after its hour, or try again."""
    now = account.now(invoice)
    if invoice["status"] == "draft" and (invoice["automatically_finalizes_at"] or now + 1) <= now:
        finalize_and_collect(account, invoice)
    elif invoice["status"] == "open" and (invoice["next_payment_attempt"] or now + 1) <= now:
        collect(account, invoice, retry=True)


def finalize_and_collect(account: Account, invoice: Record) -> None:
    """By itself: a paused collection and a cancelled subscription's credit have ends of their own."""
    subscription = invoices.subscription_of(account, invoice)
    paused = (subscription or {}).get("pause_collection")
    if paused and paused["behavior"] == "keep_as_draft":
        with account.changing(invoice):
            invoice.update(auto_advance=False, automatically_finalizes_at=None)
        return
    lost = bool(subscription and subscription["status"] == "canceled" and invoice["total"] < 0)
    invoices.finalize(account, invoice, credits=not lost)
    if lost:
        write_off(account, invoice, "subscription_canceled")
    elif paused and paused["behavior"] == "void":
        void(account, invoice)
    elif paused:
        write_off(account, invoice, "subscription_paused")
    elif invoice["collection_method"] == "charge_automatically" or not invoice["amount_due"]:
        collect(account, invoice)
