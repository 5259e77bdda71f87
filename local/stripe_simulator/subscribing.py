"""The calls on subscriptions: create, update, cancel, and looking them up."""

from typing import Any

from local.stripe_simulator import (
    changes,
    collection,
    discounts,
    invoices,
    limits,
    payments,
    proration,
    subscriptions,
    taxes,
)
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import Refused, absent, invalid, missing
from local.stripe_simulator.forms import SPAN, Shape, choice, clearable, flag, free, inside, merged, need, text, whole
from local.stripe_simulator.periods import DAY
from local.stripe_simulator.routes import route

BEHAVIORS = ("allow_incomplete", "default_incomplete", "error_if_incomplete")
WAYS_OUT = choice("cancel", "create_invoice", "pause")
DETAILS: dict[str, Shape] = {"comment": text, "feedback": text}
SETTINGS: dict[str, Shape] = {
    "automatic_tax": {"enabled": flag},
    "cancel_at_period_end": flag,
    "collection_method": choice("charge_automatically", "send_invoice"),
    "days_until_due": whole,
    "default_payment_method": text,
    "description": text,
    "discounts": discounts.SHAPE,
    "metadata": free,
    "off_session": flag,
    "payment_settings": {
        "payment_method_types": [text],
        "save_default_payment_method": choice("off", "on_subscription"),
    },
    "trial_settings": {"end_behavior": {"missing_payment_method": WAYS_OUT}},
}
FLEXIBLE: dict[str, Shape] = {"proration_discounts": choice("included")}
CREATE: dict[str, Shape] = SETTINGS | {
    "billing_mode": {"type": choice("classic", "flexible"), "flexible": FLEXIBLE},
    "cancel_at": whole,
    "currency": text,
    "customer": text,
    "items": [{"price": text, "quantity": whole, "metadata": free}],
    "payment_behavior": choice(*BEHAVIORS),
    "trial_end": changes.TRIAL_END,
    "trial_period_days": whole,
}
PAUSE: dict[str, Shape] = {"behavior": choice("keep_as_draft", "mark_uncollectible", "void"), "resumes_at": whole}
UPDATE: dict[str, Shape] = SETTINGS | changes.SHAPE | {
    "cancel_at": text,
    "cancellation_details": DETAILS,
    "pause_collection": clearable(PAUSE),
    "payment_behavior": choice(*BEHAVIORS, "pending_if_incomplete"),
}  # fmt: skip
CANCELLING = ("cancel_at", "cancel_at_period_end")
CHANGES = ("billing_cycle_anchor", "items", "trial_end")
HOLDABLE = (
    *CHANGES,
    "cancel_at_period_end",
    "discounts",
    "metadata",
    "payment_behavior",
    "proration_behavior",
    "proration_date",
)


@route("POST", "/v1/subscriptions", "subscription", CREATE)
def create(account: Account, params: dict[str, Any]) -> Record:
    customer = account.get("customer", need(params, "customer"), "customer", 400)
    id, now = new_id("subscription"), account.now(customer)
    trial_end = _trial_end(params, now)
    anchor = trial_end or now
    items = [_new_item(account, id, wish, now, anchor, trial_end) for wish in need(params, "items")]
    if len({one["price"]["currency"] for one in items}) > 1:
        raise invalid("All items of a subscription must have the same currency.", "items")
    fields = {"trial_start": now, "trial_end": trial_end, "status": "trialing"} if trial_end else {}
    subscription = subscriptions.record(id, customer, now, items, billing_cycle_anchor=anchor, **fields)
    if _taxed(subscription, params)["automatic_tax"]["enabled"]:
        taxes.need_location(customer)
    _configure(account, subscription, customer, params)
    currency, subtotal = subscription["currency"], sum(proration.total(one["price"], one["quantity"]) for one in items)
    wished = discounts.wished(account, customer, None, params.get("discounts"), currency, subtotal)
    behavior = params.get("payment_behavior", "allow_incomplete")
    automatic = subscription["collection_method"] == "charge_automatically"
    if not automatic and not subscription["days_until_due"]:
        raise absent("days_until_due")
    debits: dict[str, list[subscriptions.Debit]] = {}
    if params.get("cancel_at"):
        _cancel_at(account, subscription, _date(account, subscription, str(params["cancel_at"])))
        for one in items:
            span = one["current_period_start"], one["current_period_end"]
            one["current_period_end"] = subscriptions.cut(subscription, span)[1]
    lines = changes.full_lines(account, subscription, items, debits)
    if params.get("cancel_at_period_end"):
        changes.schedule_end(account, subscription, True)
    refusal = _foreseen(account, subscription, customer, lines, wished) if automatic else None
    no_card = refusal is not None and refusal.status == 400
    if refusal and (behavior == "error_if_incomplete" or (behavior == "allow_incomplete" and no_card)):
        raise refusal
    account.add(subscription)
    account.books[id] = subscriptions.Book(debits)
    discounts.put(account, subscription, wished)
    invoice = invoices.draft(account, customer, subscription, "subscription_create", lines, auto_advance=not automatic)
    changes.note_invoice(debits, invoice)
    subscription["latest_invoice"] = invoice["id"]
    if trial_end and not subscriptions.payer(account, subscription, customer):
        subscription["pending_setup_intent"] = payments.set_up(account, customer)["id"]
    if not automatic:
        subscription["status"] = "trialing" if trial_end else "active"
    account.emit("customer.subscription.created", subscription)
    invoices.finalize(account, invoice)
    if not invoice["amount_due"] or (automatic and behavior != "default_incomplete"):
        collection.collect(account, invoice)
    subscriptions.follow(account, subscription)
    return subscription


def _trial_end(params: dict[str, Any], now: int) -> int | None:
    if params.get("trial_end") == "now":
        return None
    days = params.get("trial_period_days")
    end = params.get("trial_end") or (now + days * DAY if days else None)
    if end and end <= now:
        raise invalid("The trial end must be in the future.", "trial_end")
    return end


def _new_item(
    account: Account, subscription: str, wish: dict[str, Any], now: int, anchor: int, trial_end: int | None
) -> Record:
    price = account.get("price", need(wish, "price"), "items[0][price]", 400)
    if not price["active"]:
        raise invalid(f"The price specified is inactive: {price['id']}.", "items[0][price]")
    quantity = wish.get("quantity", 1)
    if quantity < 0:
        raise invalid("This value must be greater than or equal to 0.", "items[0][quantity]")
    one = subscriptions.item(subscription, price, quantity, now, (now, now), metadata=wish.get("metadata") or {})
    span = (now, trial_end) if trial_end else (now, subscriptions.period(price, anchor, now)[1])
    one["current_period_start"], one["current_period_end"] = span
    return one


def _configure(account: Account, subscription: Record, customer: Record, params: dict[str, Any]) -> None:
    """The settings that cost nothing and are never held back."""
    if "default_payment_method" in params:
        said = params["default_payment_method"]
        subscription["default_payment_method"] = payments.owned(account, customer, said)["id"] if said else None
    for name in ("collection_method", "days_until_due", "description"):
        if name in params:
            subscription[name] = params[name] or None
    if params.get("billing_mode", {}).get("type") == "classic":
        subscription["billing_mode"] = {"flexible": None, "type": "classic", "updated_at": None}
    for name in ("automatic_tax", "billing_mode", "payment_settings", "trial_settings", "cancellation_details"):
        subscription[name].update(params.get(name, {}))
    if "metadata" in params:
        subscription["metadata"] = merged(subscription["metadata"], params["metadata"])


@route("GET", "/v1/subscriptions/{subscription}", "subscription")
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("subscription", id)


STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")
FILTERS: dict[str, Shape] = {
    "collection_method": text,
    "current_period_end": SPAN,
    "current_period_start": SPAN,
    "customer": text,
    "price": text,
    "status": choice(*STATUSES, "all", "ended"),
    "test_clock": text,
}


@route("GET", "/v1/subscriptions", "subscription", FILTERS, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    """Without a status, those that are not canceled."""
    status, clock, customer = params.get("status"), params.get("test_clock"), params.get("customer")

    def fits(subscription: Record) -> bool:
        items, at = subscriptions.items(subscription), subscription["status"]
        asked = (
            at != "canceled"
            if status is None
            else status in ("all", at) or (status == "ended" and at in subscriptions.ENDED)
        )
        in_time = customer or subscription["test_clock"] == clock
        priced = params.get("price") in (None, *(one["price"]["id"] for one in items))
        spans = ("current_period_start", "current_period_end")
        timely = all(inside(items[0][name], params.get(name)) for name in spans)
        return bool(asked and in_time and priced and timely) and customer in (None, subscription["customer"])

    of = account.of("subscription", customer) if customer else account.all("subscription")
    return page("/v1/subscriptions", of, params, fits)


@route("POST", "/v1/subscriptions/{subscription}", "subscription", UPDATE)
def update(account: Account, id: str, params: dict[str, Any]) -> Record:
    subscription = account.get("subscription", id)
    _refuse_by_status(subscription, params)
    _refuse_scheduled(subscription, params)
    return change(account, subscription, params)


def change(account: Account, subscription: Record, params: dict[str, Any]) -> Record:
    """Make it so, by whoever may: a caller, or the phase of a schedule."""
    customer = account.tables["customer"][subscription["customer"]]
    behavior = params.get("payment_behavior", "allow_incomplete")
    holds, automatic = behavior == "pending_if_incomplete", subscription["collection_method"] == "charge_automatically"
    if holds and not automatic:
        raise invalid("Pending updates need `collection_method=charge_automatically`.", "payment_behavior")
    if holds and set(params) - set(HOLDABLE):
        name = sorted(set(params) - set(HOLDABLE))[0]
        raise invalid(f"`{name}` cannot be used with `payment_behavior=pending_if_incomplete`.", name)
    charges = any(name in params for name in ("automatic_tax", *CHANGES))
    if charges and _taxed(subscription, params)["automatic_tax"]["enabled"]:
        taxes.need_location(customer)
    if not any(name in params for name in CHANGES):
        said, currency = params.get("discounts"), subscription["currency"]
        wished = discounts.wished(account, customer, subscription, said, currency)
        proposal = _reach(account, subscription, params)
        if proposal.bills_now:
            limits.new_invoice(account, subscription)
        with account.changing(subscription):
            proposal.discounts = wished
            changes.apply(account, subscription, proposal)
            _write(account, subscription, customer, params)
            due = bill(account, subscription, customer, proposal, auto_advance=True) if proposal.bills_now else None
        if due:
            collection.collect(account, due)
        for line in [] if due else proposal.lines:
            invoices.waiting_item(account, customer, line)
        return subscription
    if _moves(subscription, _reach(account, subscription, params).items):
        raise invalid("The simulator does not change the items and the date to cancel at in one call.", "cancel_at")
    proposal = changes.propose(account, subscription, params)
    if proposal.bills_now:
        limits.new_invoice(account, subscription)
    limits.new_quantities(account, subscription, proposal.items)
    if holds or subscription["pending_update"]:
        _abandon_held(account, subscription)
    if holds:
        proposal.metadata = params.pop("metadata", None) or {}
        proposal.cancel_at_period_end = params.pop("cancel_at_period_end", None)
    if not proposal.bills_now:
        with account.changing(subscription):
            _write(account, subscription, customer, params)
            changes.apply(account, subscription, proposal)
        if params.get("proration_behavior") != "none":
            for line in proposal.lines:
                invoices.waiting_item(account, customer, line)
        return subscription
    refusal = None
    if automatic:
        refusal = _foreseen(account, _taxed(subscription, params), customer, proposal.lines, proposal.discounts)
    if refusal and behavior == "error_if_incomplete":
        raise refusal
    if holds and refusal:
        with account.changing(subscription):
            invoice = bill(account, subscription, customer, proposal, auto_advance=False)
            changes.hold(account, subscription, proposal, invoice, proposal.restarts)
    else:
        with account.changing(subscription):
            _write(account, subscription, customer, params)
            changes.apply(account, subscription, proposal)
            invoice = bill(account, subscription, customer, proposal, auto_advance=behavior != "default_incomplete")
    if not invoice["amount_due"] or (automatic and behavior != "default_incomplete"):
        collection.collect(account, invoice)
    elif automatic and subscription["status"] == "active":
        with account.changing(subscription):
            subscription["status"] = "past_due"
    return subscription


@route(
    "POST",
    "/v1/subscriptions/{subscription}/migrate",
    "subscription",
    {"billing_mode": {"type": choice("flexible"), "flexible": FLEXIBLE}},
)
def migrate(account: Account, id: str, params: dict[str, Any]) -> Record:
    """For good. Stripe has no word on one that is flexible already, or has ended; here both are refused."""
    subscription = account.get("subscription", id)
    need(need(params, "billing_mode"), "type")
    if subscription["billing_mode"]["type"] == "flexible":
        raise invalid("This subscription is already in flexible billing mode.", "billing_mode")
    _refuse_by_status(subscription, params)
    with account.changing(subscription):
        flexible = {"proration_discounts": "included"}
        now = account.now(subscription)
        subscription["billing_mode"] = {"flexible": flexible, "type": "flexible", "updated_at": now}
    return subscription


def _refuse_by_status(subscription: Record, params: dict[str, Any]) -> None:
    allowed = {
        "canceled": {"cancellation_details", "metadata"},
        "incomplete_expired": {"metadata"},
        "incomplete": {"default_payment_method", "metadata"},
    }.get(subscription["status"])
    refused = sorted(set(params) - allowed) if allowed else []
    if refused:
        status = subscription["status"]
        raise invalid(
            f"This subscription is {status}: only {', '.join(sorted(allowed or ()))} can be updated.", refused[0]
        )


def _refuse_scheduled(subscription: Record, params: dict[str, Any]) -> None:
    """Stricter than Stripe, which lets some of these pass and changes the schedule with them."""
    refused = sorted(set(params) & {*CHANGES, *CANCELLING, "discounts", "pause_collection"})
    if subscription["schedule"] and refused:
        what = "any cancelation behavior" if refused[0] in CANCELLING else f"`{refused[0]}`"
        raise invalid(
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating "
            f"{what} directly is not allowed. Please update the schedule instead.",
            refused[0],
        )


def _write(account: Account, subscription: Record, customer: Record, params: dict[str, Any]) -> None:
    _configure(account, subscription, customer, params)
    if "cancel_at" in params:
        _cancel_at(account, subscription, _date(account, subscription, params["cancel_at"]))
    if "cancel_at_period_end" in params:
        changes.schedule_end(account, subscription, params["cancel_at_period_end"])
    if "pause_collection" in params:
        said = params["pause_collection"]
        subscription["pause_collection"] = {"resumes_at": None, **said} if said else None
    subscriptions.follow(account, subscription)


def _date(account: Account, subscription: Record, said: str) -> int | None:
    ends = [subscriptions.whole(subscription, one)[1] for one in subscriptions.items(subscription)]
    named: dict[str, int | None] = {"": None, "max_period_end": max(ends), "min_period_end": min(ends)}
    if said not in named and not said.isdigit():
        raise invalid("Invalid cancel_at: must be a timestamp, min_period_end or max_period_end.", "cancel_at")
    at = named[said] if said in named else int(said)
    if at is not None and at <= account.now(subscription):
        raise invalid("`cancel_at` must be in the future.", "cancel_at")
    return at


def _cancel_at(account: Account, subscription: Record, at: int | None) -> None:
    now = account.now(subscription)
    subscription.update(cancel_at=at, cancel_at_period_end=False, canceled_at=now if at else None)
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if at else None


def _reach(account: Account, subscription: Record, params: dict[str, Any]) -> changes.Proposal:
    """What the date to cancel at that is asked for does to the periods, and costs."""
    date = None if subscription["cancel_at_period_end"] else subscription["cancel_at"]
    if "cancel_at_period_end" in params:
        date = None
    if "cancel_at" in params:
        date = _date(account, subscription, params["cancel_at"])
    return changes.reach(account, subscription, date, params.get("proration_behavior", "create_prorations"))


def _moves(subscription: Record, items: list[Record]) -> bool:
    pairs = zip(subscriptions.items(subscription), items, strict=True)
    return any(one["current_period_end"] != other["current_period_end"] for one, other in pairs)


def _abandon_held(account: Account, subscription: Record) -> None:
    """A new change replaces one that was never paid."""
    book = account.books[subscription["id"]]
    if book.held and book.held_invoice:
        collection.void(account, account.tables["invoice"][book.held_invoice])


def _taxed(subscription: Record, params: dict[str, Any]) -> Record:
    return subscription | {"automatic_tax": subscription["automatic_tax"] | params.get("automatic_tax", {})}


def _foreseen(
    account: Account, subscription: Record, customer: Record, lines: list[Record], wished: list[str]
) -> Refused | None:
    """Why an immediate invoice of these lines, and of what waits, would stay unpaid."""
    waiting = [invoices.line_of(one) for one in invoices.pending(account, customer["id"], subscription["id"])]
    in_force = discounts.in_force(account, wished, account.now(customer))
    foreseen = invoices.record(account, customer, subscription, "upcoming", [*waiting, *lines], discounts=in_force)
    if not foreseen["amount_due"]:
        return None
    return payments.would_refuse(account, subscriptions.payer(account, subscription, customer))


def bill(
    account: Account, subscription: Record, customer: Record, proposal: changes.Proposal, auto_advance: bool
) -> Record:
    """The immediate invoice of a change, finalized."""
    at = account.now(subscription)
    invoice = invoices.draft(
        account,
        customer,
        subscription,
        "subscription_update",
        proposal.lines,
        auto_advance=auto_advance,
        discounts=discounts.in_force(account, proposal.discounts, at),
        period_start=at,
    )
    changes.note_invoice(proposal.debits, invoice)
    invoices.finalize(account, invoice)
    subscription["latest_invoice"] = invoice["id"]
    return invoice


CANCEL: dict[str, Shape] = {"cancellation_details": DETAILS, "invoice_now": flag, "prorate": flag}


@route("DELETE", "/v1/subscriptions/{subscription}", "subscription", CANCEL)
def cancel(account: Account, id: str, params: dict[str, Any]) -> Record:
    """
    At once and for good. Nothing is refunded: a credit waits, or is on a draft, and never reaches the balance.

    With neither `invoice_now` nor `prorate` the prorations that wait are dropped, and all else waits on: no invoice
    of another subscription takes it.
    """
    subscription = account.get("subscription", id)
    if subscription["status"] in subscriptions.ENDED:
        raise missing("subscription", id)
    customer, now = account.tables["customer"][subscription["customer"]], account.now(subscription)
    was_incomplete = subscription["status"] == "incomplete"
    credits = changes.all_credits(account, subscription, now) if params.get("prorate") else []
    if params.get("invoice_now") and (credits or invoices.waiting_for(account, subscription)):
        limits.new_invoice(account, subscription)
    _abandon_held(account, subscription)
    for line in credits:
        invoices.waiting_item(account, customer, line)
    subscriptions.end(account, subscription, "canceled", "cancellation_requested", params.get("cancellation_details"))
    if was_incomplete:
        collection.void(account, account.tables["invoice"][subscription["latest_invoice"]])
    waiting = invoices.waiting_for(account, subscription)
    if params.get("invoice_now") and waiting:
        invoices.last(account, subscription)
    elif not params.get("prorate"):
        for item in waiting:
            if item["proration"]:
                account.emit("invoiceitem.deleted", item)
                account.remove(item)
    return subscription


@route("DELETE", "/v1/subscriptions/{subscription}/discount", "discount")
def delete_discount(account: Account, id: str, params: dict[str, Any]) -> Record:
    """All of them end, where there are several."""
    subscription = account.get("subscription", id)
    _refuse_scheduled(subscription, {"discounts": ""})
    if subscription["status"] in subscriptions.ENDED or not subscription["discounts"]:
        raise Refused(404, f"No active discount for subscription: {id}", code="resource_missing")
    last = subscription["discounts"][-1]
    with account.changing(subscription):
        discounts.put(account, subscription, [])
    return {"id": last, "object": "discount", "deleted": True}
