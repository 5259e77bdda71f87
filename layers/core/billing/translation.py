"""Stripe's objects in our words. Only the doors to Stripe see those."""

from __future__ import annotations  # or all that they name of Stripe's library would be loaded with it

import re
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import stripe

from billing.checkouts import Session
from billing.customers import Contact, TheirCustomer
from billing.discounts import Discount
from billing.holds import MARK
from billing.invoices import Invoice, Upcoming
from billing.prices import TheirPrice, Tier
from billing.proration import Line
from billing.theirs import DASHBOARD, Awaited, Schedule, Theirs

EXPAND = [  # of a subscription
    "default_payment_method",
    "discounts.promotion_code",
    "discounts.source.coupon",
    "latest_invoice.confirmation_secret",
    "pending_setup_intent",
    "schedule",
]
PRICED = ["currency_options", "product", "tiers"]  # of a price

PAID_BY = ["payments.data.payment.payment_intent"]  # of an invoice

# Stripe charges no more after these until there is another payment method (docs: Smart Retries, hard declines).
HARD = {
    "incorrect_number",
    "lost_card",
    "pickup_card",
    "stolen_card",
    "revocation_of_authorization",
    "revocation_of_all_authorizations",
    "highest_risk_level",
    "transaction_not_allowed",
    "expired_card",
}

PHASE = {  # of a schedule: what is sent again as it was; the shares of Stripe Connect are not
    "automatic_tax",
    "billing_cycle_anchor",
    "collection_method",
    "default_payment_method",
    "default_tax_rates",
    "description",
    "discounts",
    "invoice_settings",
    "items",
    "proration_behavior",
    "trial_end",
}
BEGINNING = {
    "add_invoice_items",
    "metadata",
}  # what a phase brings when it begins: of one that runs it has been brought


def theirs(said: stripe.Subscription) -> Theirs:
    items = said["items"].data
    item = next((each for each in items if "plan" in (each.price.metadata or ())), items[0])  # beside add-ons
    return Theirs(
        id=said.id,
        customer=id_of(said.customer),
        item=item.id,
        price=item.price.id,
        quantity=getattr(item, "quantity", None) or 0,  # a metered one has none
        currency=said.currency,
        status=said.status,
        created=said.created,
        anchor=said.billing_cycle_anchor,
        current_period_start=item.current_period_start,
        current_period_end=item.current_period_end,
        cancel_at_period_end=said.cancel_at_period_end,
        cancel_at=said.cancel_at,
        trial_ends_at=said.trial_end,
        trial_began_at=said.trial_start,
        cancelled_at=said.canceled_at,
        ended_at=said.ended_at,
        interval=item.price.recurring.interval if item.price.recurring else None,
        collection_paused=said.pause_collection is not None,
        resumes_at=said.pause_collection.resumes_at if said.pause_collection else None,
        discounts=_discounts(said.discounts),
        fingerprint=fingerprint(said.default_payment_method),
        card_expires=_card_expires(said.default_payment_method),
        payment_method=id_of(said.default_payment_method) if said.default_payment_method else None,
        schedule=_schedule(said.schedule) if isinstance(said.schedule, stripe.SubscriptionSchedule) else None,
        change=change_id(said.metadata),
        trial=_trial(said.metadata),
        awaited=_awaited(said, item.id),
        latest_invoice=id_of(said.latest_invoice) if said.latest_invoice else None,
        open_invoice=_open_invoice(said),
        client_secret=_client_secret(said),
    )


def _awaited(said: stripe.Subscription, item: str) -> Awaited | None:
    waiting = said.pending_update
    if not waiting:
        return None
    items = [each for each in waiting.subscription_items or [] if each.id == item] or said["items"].data
    invoice = id_of(said.latest_invoice) if said.latest_invoice else None
    return Awaited(change_id(waiting.metadata), items[0].price.id, items[0].quantity or 0, invoice, waiting.expires_at)


def _discounts(said: Iterable[object]) -> list[Discount]:
    return [_discount(each) for each in said if isinstance(each, stripe.Discount)]


def _discount(said: stripe.Discount) -> Discount:
    coupon, promotion = said.source.coupon, said.promotion_code
    known = coupon if isinstance(coupon, stripe.Coupon) else None
    return Discount(
        id=said.id,
        promotion=id_of(promotion) if promotion else None,
        code=promotion.code if isinstance(promotion, stripe.PromotionCode) else None,
        duration=known.duration if known else "unknown",
        coupon=id_of(coupon) if coupon else None,
        percent_off=str(known.percent_off) if known and known.percent_off is not None else None,
        amount_off_cents=known.amount_off if known else None,
        ends_at=said.end,
    )


def _schedule(said: stripe.SubscriptionSchedule) -> Schedule:
    mark, ends = change_id(said.metadata), said.current_phase.end_date if said.current_phase else 0
    coming = [each for each in said.phases if each.start_date >= ends]
    attached = Schedule(said.id, mark, foreign=not mark or origin(said.metadata) == DASHBOARD)
    if not ends or (not coming and said.end_behavior == "release"):
        return attached
    whole = replace(
        attached,
        starts_at=ends,
        phases=[phase(each, PHASE | BEGINNING) | {"end_date": each.end_date} for each in coming],
        end_behavior=said.end_behavior,
    )
    item = coming[0]["items"][0] if coming else None
    return replace(whole, price=id_of(item.price), quantity=item.quantity or 0) if item else whole


def phase(said: stripe.SubscriptionSchedule.Phase, names: Container[str] = PHASE) -> dict:
    """As Stripe takes it again, without when: what of a phase is not sent again is dropped."""
    told = {name: value for name, value in _again(said.to_dict(for_json=True)).items() if name in names}
    for item in told["items"]:
        item.pop("plan", None)  # the price once more
    told["discounts"] = told.get("discounts", "")  # else it takes on those of the customer
    return told


def _again(said) -> Any:
    """As Stripe takes it: without what is not set, and what it computes; objects are named by their ids."""
    if isinstance(said, list):
        return [_again(each) for each in said]
    if not isinstance(said, dict):
        return said
    if "object" in said:
        return said["id"]
    told = {name: _again(value) for name, value in said.items() if name != "disabled_reason"}
    if "discounts" in told:
        told["discounts"] = [_one(each) for each in told["discounts"]]
    return {name: value for name, value in told.items() if value not in (None, [], {})}


def _one(discount: dict) -> dict:
    """By one of its names: what it is already, else what it would be made of."""
    return next({kind: discount[kind]} for kind in ("discount", "promotion_code", "coupon") if kind in discount)


def lines(said: list[stripe.InvoiceLineItem]) -> list[Line]:
    return [
        Line(
            description=line.description or "",
            amount_cents=line.amount,
            discount_cents=sum(each.amount for each in line.discount_amounts or []),
            tax_cents=sum(each.amount for each in line.taxes or [] if each.tax_behavior == "exclusive"),
        )
        for line in said
    ]


def credits(said: list[stripe.InvoiceLineItem]) -> Counter[str | None]:
    """What the credits among lines come to, with taxes, by the invoice that they credit; None: none is named."""
    found: Counter[str | None] = Counter()
    for line, told in zip(said, lines(said), strict=True):
        cents = told.net_cents + told.tax_cents
        if cents < 0:
            found[_credited(line)] -= cents
    return found


def _credited(line: stripe.InvoiceLineItem) -> str | None:
    about = _about(line)
    details = about and about.proration_details
    return details.credited_items.invoice if details and details.credited_items else None


def fingerprint(said: stripe.PaymentMethod | str | None) -> str | None:
    """Of a card or a bank account; Link, PayPal and the like have none (docs: PaymentMethod, the field of its type)."""
    details = getattr(said, said.type, None) if isinstance(said, stripe.PaymentMethod) else None
    return getattr(details, "fingerprint", None)


def _card_expires(said: stripe.PaymentMethod | str | None) -> str | None:
    card = said.card if isinstance(said, stripe.PaymentMethod) and said.type == "card" else None
    return f"{card.exp_year:04}-{card.exp_month:02}" if card else None


def _open_invoice(said: stripe.Subscription) -> str | None:
    invoice = said.latest_invoice
    return invoice.id if isinstance(invoice, stripe.Invoice) and invoice.status == "open" else None


def _client_secret(said: stripe.Subscription) -> str | None:
    """Of what a browser has to confirm: the open invoice, or the card for after a trial."""
    invoice, setup = said.latest_invoice, said.pending_setup_intent
    if isinstance(invoice, stripe.Invoice) and invoice.status == "open" and invoice.confirmation_secret:
        return invoice.confirmation_secret.client_secret
    return setup.client_secret if isinstance(setup, stripe.SetupIntent) else None


def their_customer(said: stripe.Customer) -> TheirCustomer:
    if getattr(said, "deleted", False):
        return TheirCustomer(said.id, deleted=True)
    on_file = said.invoice_settings.default_payment_method if said.invoice_settings else None
    return TheirCustomer(
        said.id,
        change=change_id(said.metadata),
        created=said.created,
        names=_noted(said.metadata, "customer"),
        payment_method=id_of(on_file) if on_file else None,
        fingerprint=fingerprint(on_file),
    )


def contact(said: stripe.Customer) -> Contact:
    if getattr(said, "deleted", False):
        return Contact()
    return Contact(said.email, said.preferred_locales or [])


def price(said: stripe.Price) -> TheirPrice:
    """With its tiers, its other currencies and whether its product is archived, if they have been asked for."""
    recurring, product = said.recurring, said.product
    currencies = said.currency_options.to_dict() if said.currency_options else {}
    return TheirPrice(
        id=said.id,
        active=said.active and (isinstance(product, str) or bool(getattr(product, "active", False))),
        currency=said.currency,
        interval=recurring.interval if recurring else None,
        interval_count=recurring.interval_count if recurring else 1,
        usage=recurring.usage_type if recurring else "licensed",
        unit=said.unit_amount_decimal,
        tiers=[_tier(each) for each in said.tiers or []],
        mode=said.tiers_mode,
        packaged=said.transform_quantity is not None,
        custom=said.custom_unit_amount is not None,
        product=id_of(product),
        others=sorted(currencies.keys() - {said.currency}),
    )


def _tier(said: stripe.Price.Tier) -> Tier:
    return Tier(said.up_to, said.flat_amount_decimal or Decimal(0), said.unit_amount_decimal or Decimal(0))


def session(said: stripe.checkout.Session) -> Session:
    return Session(
        id=said.id,
        status=said.status or "unknown",
        expires_at=said.expires_at,
        change=change_id(said.metadata),
        subscription=id_of(said.subscription) if said.subscription else None,
        url=said.url,
    )


def invoice(said: stripe.Invoice) -> Invoice:
    of = said.parent.subscription_details if said.parent else None
    return Invoice(
        id=said.id,
        customer=id_of(said.customer),
        subscription=id_of(of.subscription) if of else None,
        status=said.status or "draft",
        reason=said.billing_reason or "",
        currency=said.currency,
        created=said.created,
        total_cents=said.total,
        amount_due_cents=said.amount_due,
        amount_paid_cents=said.amount_paid,
        attempt_count=said.attempt_count,
        number=said.number,
        next_attempt_at=said.next_payment_attempt,
        remaining_cents=said.amount_remaining,
        finalized_at=said.status_transitions.finalized_at if said.status_transitions else None,
        automatic=said.collection_method == "charge_automatically",
        problem=_problem(said),
        links={"hosted_invoice_url": said.hosted_invoice_url, "invoice_pdf": said.invoice_pdf},
    )


def _problem(said: stripe.Invoice) -> str | None:
    """
    Of the last attempt to pay it, if its payments have been asked for along with it (PAID_BY); None: it has not been
    tried, or is being paid right now, which takes a bank some days.
    """
    payments = getattr(said, "payments", None)
    if payments is None or said.status != "open" or not said.attempt_count:
        return None
    intents = [each.payment.payment_intent for each in payments.data]
    intent = next((each for each in reversed(intents) if isinstance(each, stripe.PaymentIntent)), None)
    error = intent.last_payment_error if intent else None
    if intent and intent.status == "processing":
        return None
    if (intent and intent.status == "requires_action") or (error and error.code == "authentication_required"):
        return "action_required"
    unpayable = error is None and said.next_payment_attempt is None  # there is nothing to try it with
    return "hard_decline" if unpayable or (error and error.decline_code in HARD) else "declined"


def upcoming(said: stripe.Invoice, all_lines: list[stripe.InvoiceLineItem]) -> Upcoming:
    """A preview begins no sooner than its period has ended."""
    return Upcoming(
        currency=said.currency,
        at=said.period_end,
        lines=lines(all_lines),
        subtotal_cents=said.subtotal,
        discount_cents=sum(each.amount for each in said.total_discount_amounts or []),
        tax_cents=sum(each.amount for each in said.total_taxes or [] if each.tax_behavior == "exclusive"),
        total_cents=said.total,
        starting_balance_cents=said.starting_balance,
        amount_due_cents=said.amount_due,
        discounts=_discounts(said.discounts),
    )


def invoice_item(line: stripe.InvoiceLineItem) -> str | None:
    about = _about(line)
    return about.invoice_item if about else None


def _about(line: stripe.InvoiceLineItem):
    parent = line.parent
    return parent and (parent.subscription_item_details or parent.invoice_item_details)


def of(parent) -> str | None:
    """The subscription that an invoice item is of."""
    about = parent.subscription_details if parent else None
    return about.subscription if about else None


def change_id(metadata) -> str | None:
    return _noted(metadata, "change_id")


def usage(metadata) -> str | None:
    """The mark of the statement that is billed by it."""
    return _noted(metadata, "usage")


def _noted(metadata, name: str) -> str | None:
    return metadata[name] if metadata and name in metadata else None


def _trial(metadata) -> str | None:
    """The mark of the change that granted it. Another system's metadata may have a word of that name, too."""
    said = _noted(metadata, "trial") if change_id(metadata) and _noted(metadata, "customer") else None
    return said if said and re.fullmatch(MARK, said) else None


def origin(metadata) -> str | None:
    return metadata["origin"] if metadata and "origin" in metadata else None


def id_of(said) -> str:
    return said if isinstance(said, str) else said.id
