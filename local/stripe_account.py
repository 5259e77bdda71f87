"""
The door to an existing Stripe account: whom and what it has, page by page, a hundred an answer.

It only reads, but for a migration that is asked for. What Stripe is too busy for is waited for.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import stripe

from local.contract import ENDED, errors, gateway, prices, translation
from local.tollgate import HERE, TRIES, Wrong


class Unanswered(Wrong):
    """Stripe has not answered, and asking again has not changed that."""


@dataclass(frozen=True)
class Customer:
    id: str  # cus_...
    email: str | None = field(repr=False)
    metadata: dict[str, str] = field(repr=False)
    on_test_clock: bool


@dataclass(frozen=True)
class Living:
    """A subscription that has not ended, as far as it matters whether it can be carried."""

    id: str
    customer: str
    status: str
    prices: list[str]  # of its items
    seats: int
    currency: str
    classic: bool  # its billing mode
    metered: bool
    by_invoice: bool  # it is sent, not charged
    connect: bool  # others share in it
    threshold: bool  # it is billed before the period ends, when so much has come together


class Account:
    def __init__(self, client: stripe.StripeClient, pause: Callable[[float], None] = time.sleep):
        self.v1: Any = client.v1
        self.pause = pause

    def customers(self) -> Iterator[Customer]:
        """All of them, the newest first; Stripe leaves out those on test clocks (docs: List customers)."""
        yield from map(_customer, self._pages(self.v1.customers.list, {}))

    def customer(self, id: str) -> Customer | None:
        """None: there is none, or it has been deleted."""
        try:
            found = self._ask(self.v1.customers.retrieve, id)
        except errors.NotFound:
            return None
        return None if getattr(found, "deleted", False) else _customer(found)

    def living(self) -> Iterator[Living]:
        """All that have not ended; those on test clocks are left out, too (docs: List subscriptions)."""
        for each in self._pages(self.v1.subscriptions.list, {}):
            if each.status not in ENDED:
                yield _living(each)

    def price(self, id: str) -> prices.TheirPrice | None:
        try:
            return translation.price(self._ask(self.v1.prices.retrieve, id, {"expand": translation.PRICED}))
        except errors.NotFound:
            return None

    def migrate(self, subscription: str) -> None:
        """Its billing mode is flexible from now on, for good. Refused by Stripe: errors.StripeRefused."""
        self._ask(self.v1.subscriptions.migrate, subscription, {"billing_mode": {"type": "flexible"}})

    def _pages(self, call: Callable, wanted: dict) -> Iterator[Any]:
        after: dict = {}
        while True:
            page = self._ask(call, wanted | after | {"limit": 100})
            yield from page.data
            if not page.has_more:
                return
            after = {"starting_after": page.data[-1].id}

    def _ask(self, call: Callable, *args) -> Any:
        for patience in range(TRIES):
            try:
                return gateway.ask(call, *args)
            except errors.Misconfigured as refused:
                raise Wrong(f"STRIPE_API_KEY: {refused}") from refused
            except errors.Unavailable as busy:
                if patience == TRIES - 1:
                    raise Unanswered(f"Stripe: {busy}") from busy
                self.pause(2**patience)


def reached(key: str, base: str) -> Account:
    """`base` is another host than Stripe's; the key is sent nowhere in the clear but to this machine."""
    where = urlsplit(base)
    if base and where.scheme != "https" and where.hostname not in HERE:
        raise Wrong("STRIPE_API_BASE is not https, and a key is not sent in the clear")
    if not key.startswith(("sk_", "rk_")) or not key.isascii() or not key.isprintable() or " " in key:
        raise Wrong("STRIPE_API_KEY is missing, or is no secret or restricted key of Stripe's: sk_... or rk_...")
    return Account(gateway.connect(key))


def _customer(said: stripe.Customer) -> Customer:
    metadata = said.metadata.to_dict() if said.metadata else {}
    return Customer(said.id, said.email, metadata, said.test_clock is not None)


def _living(said: stripe.Subscription) -> Living:
    items = said["items"].data
    usages = {each.price.recurring.usage_type for each in items if each.price.recurring}
    return Living(
        id=said.id,
        customer=translation.id_of(said.customer),
        status=said.status,
        prices=[each.price.id for each in items],
        seats=items[0].quantity or 0,
        currency=said.currency,
        classic=said.billing_mode.type != "flexible",
        metered=usages != {"licensed"},
        by_invoice=said.collection_method != "charge_automatically",
        connect=bool(said.transfer_data or said.on_behalf_of or said.application_fee_percent),
        threshold=said.billing_thresholds is not None,
    )
