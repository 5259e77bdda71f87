"""The door to Stripe. No other module imports its library, and none sees its objects or its errors."""

import logging
import os
import time
from collections.abc import Callable
from functools import lru_cache
from random import uniform
from typing import Any, NamedTuple

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
        stripe_version=VERSION,
        base_addresses={"api": elsewhere} if elsewhere else {},
        http_client=stripe.RequestsClient(timeout=(2, 8)),
        max_network_retries=1,
    )


def register(customer: str, begun: str) -> TheirCustomer:
    """The Stripe customer of ours, made once: always with the same parameters, under the key of what was begun."""
    params = {"metadata": {"customer": customer}}
    return _their_customer(_ask(client().v1.customers.create, params, _key(f"customer:{begun}")))


def registered(customer: str) -> TheirCustomer | None:
    """One made long ago by someone who died before it was on record; search is up to an hour behind (docs: Search)."""
    quoted = customer.replace("\\", "\\\\").replace("'", "\\'")
    found = _ask(client().v1.customers.search, {"query": f"metadata['customer']:'{quoted}'", "limit": 1}).data
    return _their_customer(found[0]) if found else None


def customer(id: str) -> TheirCustomer:
    return _their_customer(_ask(client().v1.customers.retrieve, id))


def subscription(id: str) -> Theirs:
    return _theirs(_ask(client().v1.subscriptions.retrieve, id, {"expand": EXPAND}))


def subscriptions(customer: str) -> list[Theirs]:
    """The newest first: what was made within the life of a hold is among a hundred. A deleted customer has none."""
    listed = {"customer": customer, "status": "all", "limit": 100, "expand": [f"data.{path}" for path in EXPAND]}
    try:
        return [_theirs(each) for each in _ask(client().v1.subscriptions.list, listed).data]
    except errors.NotFound:
        return []


def invoice(id: str) -> Invoice:
    return _invoice(_ask(client().v1.invoices.retrieve, id))


def invoices(customer: str, most: int) -> list[Invoice]:
    """The newest first, with fresh links to Stripe's pages."""
    return [_invoice(each) for each in _ask(client().v1.invoices.list, {"customer": customer, "limit": most}).data]


def waiting(theirs: Theirs) -> dict[str, int]:
    """What earlier changes have left for the next invoice: invoice item to amount."""
    asked: Any = {"customer": theirs.customer, "pending": True, "limit": 100}
    items = _ask(lambda: list(client().v1.invoice_items.list(asked).auto_paging_iter()))
    return {item.id: item.amount for item in items if _of(item.parent) in (theirs.id, None)}


def preview(theirs: Theirs, repricing: dict, at: int) -> Proration:
    """
    What a change would put on an invoice of its own, to the cent (docs: Prorations, preview).

    What waits from earlier changes is on that invoice too, and is told apart.
    """
    details = repricing | {"proration_behavior": "always_invoice"}
    asked = {"customer": theirs.customer, "subscription": theirs.id, "subscription_details": details}
    said, earlier = _ask(client().v1.invoices.create_preview, asked), waiting(theirs)
    lines = _ask(lambda: list(said.lines.auto_paging_iter()))
    own = [Line(line.description or "", line.amount) for line in lines if _invoice_item(line) not in earlier]
    return Proration(said.currency, repricing.get("proration_date", at), own, sum(earlier.values()))


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


def apply(change: Change) -> None:
    """Take the steps of a change, each under a key of its own: saying it twice makes it once."""
    for number, step in enumerate(change.steps):
        CALLS[step.call].make(step, _key(change.key(number)))


def look(change: Change) -> Said | None:
    """What became of a change: what Stripe says now if its last step has been taken; None if nothing shows it."""
    last = change.steps[-1]
    seen = CALLS[last.call].look
    try:
        return seen(last, change.mark) if seen else None
    except errors.NotFound:
        return None


class Call(NamedTuple):
    make: Callable[[Step, dict], object]
    look: Callable[[Step, str], Said | None] | None = None  # None: never the last step


def _create_subscription(step: Step, options: dict) -> None:
    _ask(client().v1.subscriptions.create, step.params, options)


def _find_subscription(step: Step, mark: str) -> Theirs | None:
    return next((theirs for theirs in subscriptions(step.target) if theirs.shows(mark)), None)


def _update_subscription(step: Step, options: dict) -> None:
    _ask(client().v1.subscriptions.update, step.target, step.params, options)


def _see_subscription(step: Step, mark: str) -> Theirs | None:
    theirs = subscription(step.target)
    return theirs if theirs.shows(mark) else None


def _cancel_subscription(step: Step, options: dict) -> None:
    """A DELETE takes no key, and to cancel twice is an error: whoever is told so looks whether it is cancelled."""
    if subscription(step.target).ended:
        return
    try:
        _ask(client().v1.subscriptions.cancel, step.target, step.params)
    except (errors.NotFound, errors.StripeRefused):
        if not subscription(step.target).ended:
            raise


def _see_cancelled(step: Step, mark: str) -> Theirs | None:
    theirs = subscription(step.target)
    return theirs if theirs.ended else None


def _void_invoice(step: Step, options: dict) -> None:
    """Stale if it has been paid meanwhile: then what was decided was decided on something else."""
    status = invoice(step.target).status
    if status == "open":
        try:
            _ask(client().v1.invoices.void_invoice, step.target, step.params, options)
            return
        except errors.StripeRefused:
            status = invoice(step.target).status
    if status != "void":
        raise errors.Stale(f"the invoice is {status} meanwhile")


def _see_voided(step: Step, mark: str) -> Theirs | None:
    said = invoice(step.target)
    return subscription(said.subscription) if said.status == "void" and said.subscription else None


def _put_on_file(step: Step, options: dict) -> None:
    """What the customer's charges are tried on from now on. To do it twice changes nothing."""
    attach, default = (_key(f"{options['idempotency_key']}:{call}") for call in ("attach", "default"))
    method = _ask(client().v1.payment_methods.attach, step.params["payment_method"], {"customer": step.target}, attach)
    _ask(
        client().v1.customers.update, step.target, {"invoice_settings": {"default_payment_method": method.id}}, default
    )


def _update_customer(step: Step, options: dict) -> None:
    _ask(client().v1.customers.update, step.target, step.params, options)


def _see_customer(step: Step, mark: str) -> TheirCustomer | None:
    theirs = customer(step.target)
    return theirs if theirs.change == mark else None


def _set_tax_id(step: Step, options: dict) -> None:
    """The one tax id of a customer; the look comes first, for Stripe takes the same one twice."""
    known = _ask(client().v1.customers.tax_ids.list, step.target).data
    others = [each for each in known if {"type": each.type, "value": each.value} != step.params]
    if step.params and len(others) == len(known):
        _ask(client().v1.customers.tax_ids.create, step.target, step.params, options)
    for each in others:
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
    items = said["items"].data
    item = next((each for each in items if "plan" in (each.price.metadata or ())), items[0])  # beside add-ons
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
        awaited=_awaited(said, item.id),
        open_invoice=_open_invoice(said),
        client_secret=_client_secret(said),
    )


def _awaited(said: stripe.Subscription, item: str) -> Awaited | None:
    waiting = said.pending_update
    if not waiting:
        return None
    items = [each for each in waiting.subscription_items or [] if each.id == item] or said["items"].data
    invoice = _id(said.latest_invoice) if said.latest_invoice else None
    return Awaited(_change_id(waiting.metadata), items[0].price.id, items[0].quantity or 0, invoice, waiting.expires_at)


def _open_invoice(said: stripe.Subscription) -> str | None:
    invoice = said.latest_invoice
    return invoice.id if isinstance(invoice, stripe.Invoice) and invoice.status == "open" else None


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


def _invoice_item(line: stripe.InvoiceLineItem) -> str | None:
    parent = line.parent
    about = parent and (parent.subscription_item_details or parent.invoice_item_details)
    return about.invoice_item if about else None


def _of(parent) -> str | None:
    """The subscription that an invoice item is of."""
    about = parent.subscription_details if parent else None
    return about.subscription if about else None


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
            reason = declined.error.decline_code if declined.error else None
            raise errors.PaymentDeclined(reason or declined.code or "card_declined") from declined
        except stripe.IdempotencyError as spent:
            raise errors.KeySpent("Stripe holds other parameters under this key") from spent
        except stripe.InvalidRequestError as refused:
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
