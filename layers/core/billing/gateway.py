"""The door to Stripe. No other module imports its library, and none sees its objects or its errors."""

from __future__ import annotations  # or all that they name of Stripe's library would be loaded with it

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from random import uniform
from typing import Any, NamedTuple

import stripe
import urllib3

from billing import errors, secrets, translation
from billing.checkouts import Session
from billing.customers import Contact, Profile, TheirCustomer
from billing.holds import Change, digest
from billing.invoices import Invoice, Place, Upcoming
from billing.plans import Plan
from billing.prices import TheirPrice
from billing.proration import Proration
from billing.refunds import Ending, Paid
from billing.theirs import Theirs
from billing.translation import EXPAND, PAID_BY, PRICED
from billing.webhooks import API_VERSION

TRIES = 3
PERIODIC = ("subscription_create", "subscription_cycle")  # reasons of an invoice for a whole period
PORTAL = {  # plan, seats and pauses are changed here alone: with quotes, limits and holds
    "customer_update": {"enabled": False},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
    "subscription_pause": {"enabled": False},
    "subscription_update": {"enabled": False},
}

logging.getLogger("stripe").setLevel(logging.WARNING)  # it tells of every call; we tell of every outcome


class Wire(stripe.HTTPClient):
    """The library's calls go by urllib3, which botocore brings: requests would be a third of its time to load."""

    name = "urllib3"

    def __init__(self):
        super().__init__()
        patience = urllib3.Timeout(connect=2, read=8)
        self._pool = urllib3.PoolManager(timeout=patience, ca_certs=stripe.ca_bundle_path, maxsize=10)

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """APIConnectionError if there is no answer; what the library then tries again is not a bad certificate."""
        try:
            answer = self._pool.request(method, url, body=post_data, headers=headers, retries=False)
        except urllib3.exceptions.HTTPError as silent:
            again = not isinstance(silent, urllib3.exceptions.SSLError)
            raise stripe.APIConnectionError(type(silent).__name__, should_retry=again) from silent
        return answer.data, answer.status, answer.headers


def client() -> stripe.StripeClient:
    """Of the key that is in the secret now: one that is rolled is known within a minute."""
    key = secrets.stripe()["api_key"]
    if ("_live_" in key) != (os.environ["LIVE"] == "true"):
        raise errors.Misconfigured("the key in the secret is of Stripe's other mode")
    return connect(key)


@lru_cache(maxsize=2)
def connect(api_key: str) -> stripe.StripeClient:
    """Twice 8 s and a pause fit into the function's 25 s; the library's own 80 s do not."""
    elsewhere = os.environ.get("STRIPE_API_BASE")  # set only by the local stack and the tests
    return stripe.StripeClient(
        api_key,
        stripe_version=API_VERSION,
        base_addresses={"api": elsewhere} if elsewhere else {},
        http_client=Wire(),
        max_network_retries=1,
    )


def taxed() -> bool:
    """Whether new subscriptions have their taxes computed by Stripe Tax."""
    return os.environ["STRIPE_TAX"] == "true"


def register(customer: str, begun: str, profile: Profile) -> TheirCustomer:
    """The Stripe customer of ours, made once: always with the same parameters, under the key of what was begun."""
    params: Any = {"metadata": {"customer": customer}} | profile.made()
    return translation.their_customer(ask(client().v1.customers.create, params, key(f"customer:{begun}")))


def registered(customer: str) -> list[TheirCustomer]:
    """Whom Stripe finds by the metadata of ours; search is up to an hour behind (docs: Search)."""
    quoted = customer.replace("\\", "\\\\").replace("'", "\\'")
    found = ask(client().v1.customers.search, {"query": f"metadata['customer']:'{quoted}'", "limit": 10}).data
    return [translation.their_customer(each) for each in found]


def name(stripe_id: str, customer: str) -> None:
    """The Stripe customer says whose it is, so that it is found by that. No key: to say it twice is to say it once."""
    ask(client().v1.customers.update, stripe_id, {"metadata": {"customer": customer}})


def customer(id: str) -> TheirCustomer:
    expanded = {"expand": ["invoice_settings.default_payment_method"]}
    return translation.their_customer(ask(client().v1.customers.retrieve, id, expanded))


def contact(id: str) -> Contact:
    """Of a Stripe customer; one that is deleted, or gone, has none."""
    try:
        return translation.contact(ask(client().v1.customers.retrieve, id))
    except errors.NotFound:
        return Contact()


def subscription(id: str) -> Theirs:
    return translation.theirs(ask(client().v1.subscriptions.retrieve, id, {"expand": EXPAND}))


def subscriptions(customer: str) -> list[Theirs]:
    """
    The newest hundred first, among which is what was made within the life of a hold; then those older ones that live,
    however many have ended since. Stripe lists what is not canceled if no status is said. A deleted customer has none.
    """
    listed: Any = {"customer": customer, "limit": 100, "expand": [f"data.{path}" for path in EXPAND]}
    try:
        newest = ask(client().v1.subscriptions.list, listed | {"status": "all"})
        others = client().v1.subscriptions.list
        rest = ask(lambda: list(others(listed).auto_paging_iter())) if newest.has_more else []
    except errors.NotFound:
        return []
    known = {each.id for each in newest.data}
    older = [translation.theirs(each) for each in rest if each.id not in known]
    return [*map(translation.theirs, newest.data), *(theirs for theirs in older if not theirs.ended)]


def invoice(id: str) -> Invoice:
    """With what was the matter, if it could not be paid."""
    return translation.invoice(ask(client().v1.invoices.retrieve, id, {"expand": PAID_BY}))


def payment_methods(customer: str) -> list[str]:
    """The newest first, at most a hundred. A deleted customer has none."""
    try:
        return [each.id for each in ask(client().v1.payment_methods.list, {"customer": customer, "limit": 100}).data]
    except errors.NotFound:
        return []


def retry(invoice: str, payment_method: str, subscription: str | None, name: str) -> bool:
    """
    An invoice is tried once, by that name, with a payment method. Answers whether it is paid; then its subscription
    has that from now on: one of the customer alone is not looked at while the subscription has its own (docs:
    Subscriptions, payment methods).
    """
    with suppress(errors.PaymentDeclined, errors.StripeRefused, errors.NotFound):
        ask(client().v1.invoices.pay, invoice, {"payment_method": payment_method}, key(f"retry:{invoice}:{name}"))
    if translation.invoice(ask(client().v1.invoices.retrieve, invoice)).status != "paid":
        return False
    if subscription:
        with suppress(errors.StripeRefused, errors.NotFound):
            ask(client().v1.subscriptions.update, subscription, {"default_payment_method": payment_method})
    return True


def open_invoices(customer: str, most: int) -> list[Invoice]:
    """The newest of those that wait for their payment."""
    asked: Any = {"customer": customer, "status": "open", "limit": most}
    return [translation.invoice(each) for each in ask(client().v1.invoices.list, asked).data]


def invoices(customer: str, most: int, after: Place | None = None) -> list[Invoice]:
    """
    The newest first, of those that come after a place, with fresh links to Stripe's pages: `most`, or a few more.

    Stripe sorts by the second that an invoice was made in and has no word on the order within it (docs: List
    invoices), so the last second is read to its end. A deleted customer has none.
    """
    asked: Any = {"customer": customer, "limit": min(most + 1, 100)}
    asked |= {"created": {"lte": after.created}} if after else {}

    def read() -> list[Invoice]:
        found: list[Invoice] = []
        for invoice in map(translation.invoice, client().v1.invoices.list(asked).auto_paging_iter()):
            if len(found) >= most and invoice.created < found[-1].created:
                break
            if not after or invoice.place < after:
                found.append(invoice)
        return found

    try:
        return ask(read)
    except errors.NotFound:
        return []


def next_invoice(theirs: Theirs) -> Upcoming:
    """What the subscription's next invoice will be, if nothing changes (docs: Create a preview invoice)."""
    asked: Any = {"customer": theirs.customer, "subscription": theirs.id}
    asked |= {"expand": ["discounts.promotion_code", "discounts.source.coupon"]}
    said = ask(client().v1.invoices.create_preview, asked)
    return translation.upcoming(said, ask(lambda: list(said.lines.auto_paging_iter())))


def waiting(theirs: Theirs) -> dict[str, int]:
    """
    What waits for the next invoice, invoice item to amount: what earlier changes have left, and what is of no
    subscription, which goes on any.
    """
    return {item.id: item.amount for item in _pending(theirs)}


def _pending(theirs: Theirs) -> list[stripe.InvoiceItem]:
    asked: Any = {"customer": theirs.customer, "pending": True, "limit": 100}
    items = ask(lambda: list(client().v1.invoice_items.list(asked).auto_paging_iter()))
    return [item for item in items if translation.of(item.parent) in (theirs.id, None)]


def invoiced(item: str) -> bool:
    """Whether it waits no more, for an invoice has taken it; what is gone has not been."""
    try:
        return ask(client().v1.invoice_items.retrieve, item).invoice is not None
    except errors.NotFound:
        return False


class Preview(NamedTuple):
    proration: Proration
    due_cents: int  # of its total, what the customer's balance does not cover


def preview(theirs: Theirs, at: int, earlier: Container[str | None], **details) -> Preview:
    """
    What a change would put on an invoice, to the cent (docs: Prorations, preview).

    What waits from `earlier` changes is on that invoice too, and is told apart.
    """
    asked = {"customer": theirs.customer, "subscription": theirs.id, "subscription_details": details}
    said = ask(client().v1.invoices.create_preview, asked)
    lines = ask(lambda: list(said.lines.auto_paging_iter()))
    own = [line for line in lines if translation.invoice_item(line) not in earlier]
    waits = [line for line in lines if translation.invoice_item(line) in earlier]
    effective_at = details.get("proration_date", at)
    proration = Proration(said.currency, effective_at, translation.lines(own), translation.lines(waits))
    return Preview(proration, said.amount_due)


def recurring(theirs: Theirs, price: str, quantity: int, resets: bool) -> int:
    """
    What a whole period will cost after a change, with the discounts and taxes of the next one.

    What has a schedule is asked about as if it were new: the change would do away with the schedule, and a preview of
    the subscription would show what that brings.
    """
    asked: Any = {"customer": theirs.customer, "preview_mode": "recurring"}
    item = {"price": price, "quantity": quantity}
    if theirs.schedule:
        lasting = [{"coupon": each.coupon} for each in theirs.discounts if each.coupon and each.duration != "once"]
        asked |= {"subscription_details": {"items": [item]}, "automatic_tax": {"enabled": taxed()}}
        asked |= {"discounts": lasting} if lasting else {}
    else:
        details = {"items": [item | {"id": theirs.item}]}
        details |= {"billing_cycle_anchor": {"type": "now"}} if resets else {}
        asked |= {"subscription": theirs.id, "subscription_details": details}
    return ask(client().v1.invoices.create_preview, asked).total


def upcoming(theirs: Theirs, **details) -> int:
    """What the next renewal will cost after a change that waits for it."""
    asked = {"customer": theirs.customer, "subscription": theirs.id, "subscription_details": details}
    return ask(client().v1.invoices.create_preview, asked).total


def session(id: str) -> Session:
    return translation.session(ask(client().v1.checkout.sessions.retrieve, id))


def sessions(customer: str) -> list[Session]:
    """The newest first."""
    return [
        translation.session(each)
        for each in ask(client().v1.checkout.sessions.list, {"customer": customer, "limit": 100}).data
    ]


def portal(customer: str, return_url: str, flow: dict | None) -> str:
    """A link to the customer's pages at Stripe; it opens them to anyone, for some minutes (docs: Portal sessions)."""
    params: Any = {"customer": customer, "return_url": return_url} | ({"flow_data": flow} if flow else {})

    def opened() -> str:
        visit = params | {"configuration": portal_configuration()}
        return ask(client().v1.billing_portal.sessions.create, visit).url

    try:
        return opened()
    except errors.StripeRefused:  # the configuration that is remembered may have been switched off in the dashboard
        portal_configuration.cache_clear()
        return opened()


@cache
def portal_configuration() -> str:
    """
    What customers may do on those pages: made once in an account, and anew when what it says is another, or when it
    has been switched off. The key counts those: Stripe would answer an older one with what is switched off by now.
    """
    says = {"tollgate": digest(PORTAL)}
    known = ask(lambda: list(client().v1.billing_portal.configurations.list({"limit": 100}).auto_paging_iter()))
    ours = [each for each in known if each.metadata and each.metadata.to_dict() == says]
    found = next((each.id for each in ours if each.active), None)
    params: Any = {"features": PORTAL, "metadata": says}
    begun = key(f"portal:{says['tollgate']}:{len(ours)}")
    return found or ask(client().v1.billing_portal.configurations.create, params, begun).id


def given_up(theirs: Theirs) -> Invoice | None:
    """
    The invoice of the period that runs, if that was given up: it is void, for it fell into a pause, or uncollectible,
    or a draft that nothing will finalize, as a pause made in Stripe's dashboard may leave (docs: Pause payment
    collection).
    """
    asked: Any = {"subscription": theirs.id, "limit": 100, "created": {"gte": theirs.current_period_start}}
    made = [each for each in ask(client().v1.invoices.list, asked).data if each.billing_reason in PERIODIC]
    newest = made[0] if made else None
    kept = newest is not None and newest.status == "draft" and not newest.auto_advance
    return translation.invoice(newest) if newest and (kept or newest.status in ("void", "uncollectible")) else None


def promotion(code: str | None, customer: str) -> str | None:
    """
    What a customer of Stripe's means by a code: its own, else the one that is nobody's; never another customer's.

    A code is unique among those that a customer may use, not in the account (docs: Promotion codes). Whether this
    customer may use it now, beyond that, Stripe says.
    """
    if not code:
        return None
    wanted: Any = {"code": code, "active": True, "limit": 100}

    def find() -> str | None:
        own = client().v1.promotion_codes.list(wanted | {"customer": customer}).data
        if own:
            return own[0].id
        every = client().v1.promotion_codes.list(wanted).auto_paging_iter()
        return next((each.id for each in every if not (each.customer or each.customer_account)), None)

    found = ask(find)
    if not found:
        raise errors.NoSuchPromotion("there is no such promotion code, or it can no longer be used")
    return found


def card(payment_method: str) -> str | None:
    """The fingerprint of a payment method's card."""
    return translation.fingerprint(ask(client().v1.payment_methods.retrieve, payment_method))


def ending(theirs: Theirs, unused: bool) -> Ending:
    """
    What a cancellation now would leave open; `unused`: with the rest of the period. What an operator bills beside the
    subscription is no money of its own.
    """
    pending = _pending(theirs)
    falling = sorted(pending, key=lambda item: -item.amount)
    own = [item.id for item in falling if translation.of(item.parent) == theirs.id]
    others = {item.id for item in pending}.difference(own)
    if not own and not unused:
        return Ending()
    details = {"cancel_now": True, "proration_behavior": "always_invoice" if unused else "none"}
    asked: Any = {"customer": theirs.customer, "subscription": theirs.id, "subscription_details": details}
    try:
        said = ask(client().v1.invoices.create_preview, asked)
    except errors.NothingUpcoming:
        return Ending()
    lines = ask(lambda: list(said.lines.auto_paging_iter()))
    waits = [line for line in lines if translation.invoice_item(line) in own]
    rest = [line for line in lines if translation.invoice_item(line) not in others.union(own)]
    credits = translation.credits([*rest, *waits])
    charged = _total(waits) + _total(rest) + credits.total()
    credits[None] -= min(credits[None], charged)  # what was not invoiced yet is charged and credited here
    return Ending(max(0, -_total(rest)), _total(waits), own, +credits)


def _total(lines: list[stripe.InvoiceLineItem]) -> int:
    return sum(line.net_cents + line.tax_cents for line in translation.lines(lines))


def paid_for(theirs: Theirs, credits: dict[str | None, int], cents: int) -> list[Paid]:
    """
    What has paid for what is credited, the newest first, until it is so much.

    Stripe credits what it has debited, be it paid or not, and names the invoice (docs: Prorations, credited items).
    What an invoice was charged beyond its total its own credits have paid, so that was paid by the invoices that those
    name; of one that was not paid at all, only that. What was below zero is on the customer's balance. A credit that
    names no invoice is of those of the current period.
    """
    owing, unnamed, beyond = Counter(credits), credits.get(None, 0), 0
    del owing[None]
    found = []
    for each in _invoices(theirs) if cents > 0 else ():
        unnamed = unnamed if each.created >= theirs.current_period_start else 0
        if cents <= 0 or not (owing or unnamed):
            break
        named = owing.pop(each.id, 0)
        if not named and not unnamed:
            continue
        left, by_card = _kept(each)
        left, beyond = max(0, left - beyond), max(0, beyond - left)
        own = min(named, left)
        other = min(unnamed, left - own)
        unnamed -= other
        if own + other:
            found.append(Paid(each.id, own + other, by_card))
            cents -= own + other
        owing.update(_credited(each, named))
    return found


def _credited(invoice: stripe.Invoice, named: int) -> dict[str, int]:
    """What other invoices have paid of so much of what this one charged: what it has paid itself comes first."""
    rest = named - max(0, invoice.total - invoice.pre_payment_credit_notes_amount)
    if invoice.status == "paid" and rest <= 0:
        return {}
    credits = translation.credits(ask(lambda: list(invoice.lines.auto_paging_iter())))
    if invoice.status != "paid":
        rest = named * credits.total() // max(1, invoice.total + credits.total())
    found = {}
    for other, amount in credits.items():
        if other and rest > 0:
            found[other] = min(rest, amount)
            rest -= found[other]
    return found


def _invoices(theirs: Theirs) -> Iterator[stripe.Invoice]:
    """Of a subscription, the newest first."""
    asked: Any = {"subscription": theirs.id, "customer": theirs.customer, "limit": 100}
    page = ask(client().v1.invoices.list, asked)
    yield from page.data
    while page.has_more:
        page = ask(client().v1.invoices.list, asked | {"starting_after": page.data[-1].id})
        yield from page.data


def _kept(invoice: stripe.Invoice) -> tuple[int, int]:
    """
    What we still have of what was paid of an invoice, and what of it can go back to the card.

    A refund in Stripe's dashboard is on the charge alone; one that came with a credit note is on both.
    """
    if invoice.status != "paid":
        return 0, 0
    asked: Any = {"invoice": invoice.id, "status": "paid", "limit": 100}
    asked |= {"expand": ["data.payment.payment_intent.latest_charge"]}
    payments = ask(client().v1.invoice_payments.list, asked).data if invoice.amount_paid else []
    by_card = refunded = 0
    for payment in payments:
        intent = payment.payment.payment_intent
        charge = intent.latest_charge if isinstance(intent, stripe.PaymentIntent) else None
        if isinstance(charge, stripe.Charge):
            by_card += min(payment.amount_paid or 0, charge.amount - charge.amount_refunded)
            refunded += charge.amount_refunded
    noted = invoice.post_payment_credit_notes_amount
    if noted and refunded:
        refunded -= sum(_refunded(note) for note in _credit_notes(invoice.id))
    left = invoice.total - invoice.pre_payment_credit_notes_amount - noted - max(0, refunded)
    return left, by_card


def _credit_notes(invoice: str) -> list[stripe.CreditNote]:
    return ask(lambda: list(client().v1.credit_notes.list({"invoice": invoice, "limit": 100}).auto_paging_iter()))


def _refunded(note: stripe.CreditNote) -> int:
    return sum(refund.amount_refunded for refund in note.refunds)


def given_back(change: Change) -> dict:
    """What has really been given back by what followed a change, by its mark: Stripe may have refused some of it."""
    refunded = credited = 0
    for step in change.draft.follow:
        if step.call == "credit_note":
            notes = [each for each in _credit_notes(step.target) if translation.change_id(each.metadata) == change.mark]
            refunds = sum(map(_refunded, notes))
            refunded += refunds
            credited += sum(note.post_payment_amount for note in notes) - refunds
        elif step.call == "credit_waiting":
            credited -= sum(each.amount for each in booked(step.target, change.mark))
    return {"refunded_cents": refunded, "credited_cents": credited}


def booked(customer: str, mark: str) -> list[stripe.CustomerBalanceTransaction]:
    """What a change has put on the customer's balance."""
    listed = client().v1.customers.balance_transactions.list
    made = ask(lambda: list(listed(customer, {"limit": 100}).auto_paging_iter()))
    return [each for each in made if translation.change_id(each.metadata) == mark]


def price(id: str) -> TheirPrice:
    return translation.price(ask(client().v1.prices.retrieve, id, {"expand": PRICED}))


def product_of(slug: str) -> str:
    """The Stripe product of what is published under a slug."""
    return f"tollgate_{slug}"


def publish(plan: Plan) -> str:
    """
    The Stripe price of a plan version, made once, under a product that is made once. The lookup key moves to it: it has
    the product's name, for the account may hold prices of others under the bare one.
    """
    product = product_of(plan.slug)
    try:
        ask(client().v1.products.update, product, {"name": plan.name})
    except errors.NotFound:
        made = {"id": product, "name": plan.name}
        ask(client().v1.products.create, made, key(f"product:{plan.slug}:{plan.version}"))
    terms = {
        "product": product,
        "currency": plan.currency,
        "recurring": {"interval": plan.billing_interval},
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": plan.tiers(),
    }
    # What a price costs is in its mark: records that begin anew meet Stripe's older prices under the same numbers.
    mark = {"plan": plan.slug, "version": str(plan.version), "terms": digest(terms)}
    known = ask(client().v1.prices.list, {"lookup_keys": [product], "active": True}).data
    if known and known[0].metadata and known[0].metadata.to_dict() == mark:  # by someone who died before the record
        return known[0].id
    price = terms | {"lookup_key": product, "transfer_lookup_key": True, "metadata": mark}
    return ask(client().v1.prices.create, price, key(f"plan:{plan.slug}:{plan.version}:{mark['terms']}")).id


def archived(product: str) -> bool:
    """Whether nobody new can be sold what is of it. One that has prices cannot be deleted (docs: Delete a product)."""
    try:
        return not ask(client().v1.products.retrieve, product).active
    except errors.NotFound:
        return False


def sellable(id: str) -> bool:
    """Whether a new subscription can be made to it: neither it nor its product was archived or deleted."""
    try:
        return price(id).active
    except errors.NotFound:
        return False


def key(text: str) -> dict:
    return {"idempotency_key": text}


def ask(call: Callable, *args):
    """Ask Stripe, in our own errors. Only 429 and 409 are asked again: it turned us away before it began."""
    for attempt in range(TRIES):
        try:
            return call(*args)
        except stripe.RateLimitError as busy:  # too many calls, or another one holds this object
            refusal = errors.Busy("Stripe is busy"), busy
        except stripe.CardError as declined:
            reason = declined.error.decline_code if declined.error else None
            raise errors.PaymentDeclined(reason or declined.code or "card_declined") from declined
        except stripe.IdempotencyError as spent:
            raise errors.KeySpent("Stripe holds other parameters under this key") from spent
        except stripe.InvalidRequestError as refused:
            if refused.code == "invoice_upcoming_none":
                raise errors.NothingUpcoming("no invoice is to come") from refused
            if refused.http_status == 404 or refused.code == "resource_missing":
                raise errors.NotFound(f"Stripe knows no such {refused.param or 'thing'}") from refused
            what = " ".join(filter(None, (refused.code, refused.param))) or "no reason given"
            raise errors.StripeRefused(f"Stripe refused: {what}") from refused
        except stripe.APIConnectionError as silent:
            raise errors.Unavailable("Stripe did not answer") from silent
        except stripe.APIError as failed:
            if failed.http_status != 409:
                raise errors.Failed("Stripe failed") from failed
            refusal = errors.Busy("Stripe is at it"), failed  # the same key is being worked on right now
        except stripe.StripeError as other:  # our key is wrong, or may not do this
            raise errors.Misconfigured(f"Stripe does not let us in: {type(other).__name__}") from other
        time.sleep(uniform(0.1, 0.5) * 2**attempt)
    raise refusal[0] from refusal[1]
