"""The door to Stripe. No other module imports its library, and none sees its objects or its errors."""

import logging
import os
import time
from collections.abc import Callable
from functools import cache
from random import uniform
from typing import NamedTuple

import stripe

from billing import errors, secrets
from billing.customers import TheirCustomer
from billing.holds import Change, Step, digest
from billing.invoices import Invoice
from billing.plans import Plan
from billing.proration import Line, Proration
from billing.subscriptions import Awaited, Theirs

VERSION = "2026-10-28.endive"
EXPAND = ["latest_invoice.confirmation_secret", "pending_setup_intent"]
TRIES = 3

Said = Theirs | TheirCustomer

logging.getLogger("stripe").setLevel(logging.WARNING)  # it tells of every call; we tell of every outcome


@cache
def client() -> stripe.StripeClient:
    """Twice 8 s and a pause fit into the function's 25 s; the library's own 80 s do not."""
    elsewhere = os.environ.get("STRIPE_API_BASE")  # set only by the local stack and the tests
    return stripe.StripeClient(
        secrets.stripe()["api_key"],
        stripe_version=VERSION,
        base_addresses={"api": elsewhere} if elsewhere else {},
        http_client=stripe.RequestsClient(timeout=(2, 8)),
        max_network_retries=1,
    )


def register(customer: str, number: int) -> TheirCustomer:
    """The Stripe customer of ours, made once: always with the same parameters, under the same key."""
    params = {"metadata": {"customer": customer}}
    return _their_customer(_ask(client().v1.customers.create, params, _key(f"customer:{customer}:{number}")))


def registered(customer: str) -> TheirCustomer | None:
    """One made long ago by someone who died before it was on record; search is up to an hour behind (docs: Search)."""
    quoted = customer.replace("\\", "\\\\").replace("'", "\\'")
    found = _ask(client().v1.customers.search, {"query": f"metadata['customer']:'{quoted}'", "limit": 1}).data
    return _their_customer(found[0]) if found else None


def customer(id: str) -> TheirCustomer:
    return _their_customer(_ask(client().v1.customers.retrieve, id))


def subscription(id: str) -> Theirs:
    return _theirs(_ask(client().v1.subscriptions.retrieve, id, {"expand": EXPAND}))


def invoice(id: str) -> Invoice:
    return _invoice(_ask(client().v1.invoices.retrieve, id))


def invoices(customer: str, most: int) -> list[Invoice]:
    """The newest first, with fresh links to Stripe's pages."""
    return [_invoice(each) for each in _ask(client().v1.invoices.list, {"customer": customer, "limit": most}).data]


def preview(theirs: Theirs, repricing: dict, at: int) -> Proration:
    """What a change would put on an invoice of its own, to the cent (docs: Prorations, preview)."""
    details = repricing | {"proration_behavior": "always_invoice"}
    asked = {"customer": theirs.customer, "subscription": theirs.id, "subscription_details": details}
    said = _ask(client().v1.invoices.create_preview, asked)
    lines = [Line(line.description or "", line.amount) for line in said.lines.data if _of_change(line)]
    return Proration(said.currency, repricing.get("proration_date", at), lines)


def publish(plan: Plan) -> str:
    """The Stripe price of a plan version, made once, under a product that is made once. The lookup key moves to it."""
    product = f"tollgate_{plan.slug}"
    try:
        _ask(client().v1.products.update, product, {"name": plan.name})
    except errors.NotFound:
        _ask(
            client().v1.products.create, {"id": product, "name": plan.name}, _key(f"product:{plan.slug}:{plan.version}")
        )
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
    known = _ask(client().v1.prices.list, {"lookup_keys": [plan.slug], "active": True}).data
    if known and known[0].metadata and known[0].metadata.to_dict() == mark:  # by someone who died before the record
        return known[0].id
    price = terms | {"lookup_key": plan.slug, "transfer_lookup_key": True, "metadata": mark}
    return _ask(client().v1.prices.create, price, _key(f"plan:{plan.slug}:{plan.version}:{mark['terms']}")).id


def apply(change: Change) -> Said | None:
    """Take the steps of a change, each under a key of its own: saying it twice makes it once. Answers what it sees."""
    said = None
    for number, step in enumerate(change.steps):
        said = CALLS[step.call].make(step, _key(change.key(number)))
    return said or look(change)


def look(change: Change) -> Said | None:
    """What became of a change: what Stripe says now if its last step has been taken; None if nothing shows it."""
    last = change.steps[-1]
    seen = CALLS[last.call].look
    try:
        return seen(last, change.id) if seen else None
    except errors.NotFound:
        return None


class Call(NamedTuple):
    make: Callable[[Step, dict], Said | None]
    look: Callable[[Step, str], Said | None] | None = None  # None: never the last step


def _create_subscription(step: Step, options: dict) -> Theirs:
    return _theirs(_ask(client().v1.subscriptions.create, step.params | {"expand": EXPAND}, options))


def _find_subscription(step: Step, change_id: str) -> Theirs | None:
    """The newest come first: what was made within the life of a hold is among a hundred."""
    listed = {"customer": step.target, "status": "all", "limit": 100, "expand": [f"data.{path}" for path in EXPAND]}
    found = _ask(client().v1.subscriptions.list, listed).data
    return next((theirs for each in found if (theirs := _theirs(each)).shows(change_id)), None)


def _update_subscription(step: Step, options: dict) -> Theirs:
    return _theirs(_ask(client().v1.subscriptions.update, step.target, step.params | {"expand": EXPAND}, options))


def _see_subscription(step: Step, change_id: str) -> Theirs | None:
    theirs = subscription(step.target)
    return theirs if theirs.shows(change_id) else None


def _cancel_subscription(step: Step, options: dict) -> Theirs:
    """A DELETE, which takes no key: the look comes first, for to cancel twice is an error."""
    theirs = subscription(step.target)
    return theirs if theirs.ended else _theirs(_ask(client().v1.subscriptions.cancel, step.target, {"expand": EXPAND}))


def _see_cancelled(step: Step, change_id: str) -> Theirs | None:
    theirs = subscription(step.target)
    return theirs if theirs.ended else None


def _void_invoice(step: Step, options: dict) -> None:
    """The look comes first: meanwhile the invoice may have been paid, or voided by a call that died."""
    if invoice(step.target).status == "open":
        _ask(client().v1.invoices.void_invoice, step.target, step.params, options)


def _see_voided(step: Step, change_id: str) -> Theirs | None:
    said = invoice(step.target)
    return None if said.status == "open" or not said.subscription else subscription(said.subscription)


def _put_on_file(step: Step, options: dict) -> None:
    """What the customer's charges are tried on from now on. To do it twice changes nothing."""
    attach, default = (_key(f"{options['idempotency_key']}:{call}") for call in ("attach", "default"))
    method = _ask(client().v1.payment_methods.attach, step.params["payment_method"], {"customer": step.target}, attach)
    _ask(
        client().v1.customers.update, step.target, {"invoice_settings": {"default_payment_method": method.id}}, default
    )


def _update_customer(step: Step, options: dict) -> TheirCustomer:
    return _their_customer(_ask(client().v1.customers.update, step.target, step.params, options))


def _see_customer(step: Step, change_id: str) -> TheirCustomer | None:
    theirs = customer(step.target)
    return theirs if theirs.change == change_id else None


def _set_tax_id(step: Step, options: dict) -> None:
    """The one tax id of a customer; the look comes first, for Stripe takes the same one twice."""
    known = _ask(client().v1.customers.tax_ids.list, step.target).data
    if not any((each.type, each.value) == (step.params.get("type"), step.params.get("value")) for each in known):
        if step.params:
            _ask(client().v1.customers.tax_ids.create, step.target, step.params, options)
    for each in known:
        if (each.type, each.value) != (step.params.get("type"), step.params.get("value")):
            _ask(client().v1.customers.tax_ids.delete, step.target, each.id)


CALLS = {
    "create_subscription": Call(_create_subscription, _find_subscription),
    "update_subscription": Call(_update_subscription, _see_subscription),
    "cancel_subscription": Call(_cancel_subscription, _see_cancelled),
    "void_invoice": Call(_void_invoice, _see_voided),
    "put_on_file": Call(_put_on_file),
    "update_customer": Call(_update_customer, _see_customer),
    "set_tax_id": Call(_set_tax_id),
}


def _theirs(said: stripe.Subscription) -> Theirs:
    item = said["items"].data[0]  # the plan's own; it is the only one we make
    return Theirs(
        id=said.id,
        customer=_id(said.customer),
        item=item.id,
        price=item.price.id,
        quantity=item.quantity or 0,
        currency=said.currency,
        status=said.status,
        created=said.created,
        anchor=said.billing_cycle_anchor,
        current_period_start=item.current_period_start,
        current_period_end=item.current_period_end,
        cancel_at_period_end=said.cancel_at_period_end,
        cancel_at=said.cancel_at,
        trial_ends_at=said.trial_end,
        cancelled_at=said.canceled_at,
        collection_paused=said.pause_collection is not None,
        change=_change_id(said.metadata),
        awaited=_awaited(said),
        client_secret=_client_secret(said),
    )


def _awaited(said: stripe.Subscription) -> Awaited | None:
    waiting = said.pending_update
    if not waiting:
        return None
    item = (waiting.subscription_items or said["items"].data)[0]
    invoice = _id(said.latest_invoice) if said.latest_invoice else None
    return Awaited(_change_id(waiting.metadata), item.price.id, item.quantity or 0, invoice, waiting.expires_at)


def _client_secret(said: stripe.Subscription) -> str | None:
    """Of what a browser has to confirm: the open invoice, or the card for after a trial."""
    invoice, setup = said.latest_invoice, said.pending_setup_intent
    if isinstance(invoice, stripe.Invoice) and invoice.status == "open" and invoice.confirmation_secret:
        return invoice.confirmation_secret.client_secret
    return setup.client_secret if isinstance(setup, stripe.SetupIntent) else None


def _their_customer(said: stripe.Customer) -> TheirCustomer:
    if getattr(said, "deleted", False):
        return TheirCustomer(said.id, deleted=True)
    on_file = said.invoice_settings.default_payment_method if said.invoice_settings else None
    return TheirCustomer(said.id, change=_change_id(said.metadata), payment_method=_id(on_file) if on_file else None)


def _invoice(said: stripe.Invoice) -> Invoice:
    of = said.parent.subscription_details if said.parent else None
    return Invoice(
        id=said.id,
        customer=_id(said.customer),
        subscription=_id(of.subscription) if of else None,
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
        links={"hosted_invoice_url": said.hosted_invoice_url, "invoice_pdf": said.invoice_pdf},
    )


def _of_change(line: stripe.InvoiceLineItem) -> bool:
    """Of an invoice made at once all lines are the change's own: prorations, or the new period where it starts now."""
    return line.parent is not None and line.parent.subscription_item_details is not None


def _change_id(metadata) -> str | None:
    return metadata["change_id"] if metadata and "change_id" in metadata else None


def _id(said) -> str:
    return said if isinstance(said, str) else said.id


def _key(text: str) -> dict:
    return {"idempotency_key": text}


def _ask(call: Callable, *args):
    """Ask Stripe, in our own errors. Only 429 and 409 are asked again: it turned us away before it began."""
    for attempt in range(TRIES):
        try:
            return call(*args)
        except stripe.RateLimitError as busy:  # too many calls, or another one holds this object
            refusal = errors.Busy("Stripe is busy"), busy
        except stripe.CardError as declined:
            raise errors.PaymentDeclined(declined.code or "card_declined") from declined
        except stripe.IdempotencyError as spent:
            raise errors.KeySpent("Stripe holds other parameters under this key") from spent
        except stripe.InvalidRequestError as refused:
            if refused.http_status == 404:
                raise errors.NotFound(f"Stripe knows no such {refused.param or 'thing'}") from refused
            raise errors.StripeRefused(f"Stripe refused: {refused.code or refused.param}") from refused
        except stripe.APIConnectionError as silent:
            raise errors.Unavailable("Stripe did not answer") from silent
        except stripe.APIError as failed:
            if failed.http_status != 409:
                raise errors.Failed("Stripe failed") from failed
            refusal = errors.Busy("Stripe is at it"), failed  # the same key is being worked on right now
        time.sleep(uniform(0.1, 0.5) * 2**attempt)
    raise refusal[0] from refusal[1]
