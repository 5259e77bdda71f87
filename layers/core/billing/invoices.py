"""What Stripe has billed: its word, kept. The links to its pages are never kept: they expire, and open to anyone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from billing.discounts import Discount
from billing.errors import Malformed
from billing.periods import rfc3339
from billing.proration import Line

CURSOR = re.compile(r"([0-9]{1,12})\.(in_[A-Za-z0-9]{1,250})")


class Place(NamedTuple):
    """Where an invoice stands among its customer's, the later the greater. What is made in one second, by its id."""

    created: int
    id: str

    def cursor(self) -> str:
        return f"{self.created}.{self.id}"


@dataclass(frozen=True, slots=True)
class Invoice:
    id: str
    customer: str  # cus_...
    subscription: str | None
    status: str  # draft, open, paid, void, uncollectible
    reason: str  # Stripe's billing_reason
    currency: str
    created: int
    total_cents: int
    amount_due_cents: int
    amount_paid_cents: int
    attempt_count: int
    number: str | None = None  # None until it is finalized, and so are the links
    next_attempt_at: int | None = None
    finalized_at: int | None = None
    remaining_cents: int = 0  # to be paid: less than was due once a part of it is, or is credited
    automatic: bool = True  # Stripe collects it; False: it is sent to be paid
    problem: str | None = field(default=None, compare=False)  # of its last attempt; not told by Stripe's lists
    links: dict = field(default_factory=dict, compare=False)  # hosted_invoice_url, invoice_pdf

    @property
    def place(self) -> Place:
        return Place(self.created, self.id)

    def public(self) -> dict:
        return {
            "id": self.id,
            "number": self.number,
            "subscription": self.subscription,
            "status": self.status,
            "reason": self.reason,
            "currency": self.currency,
            "total_cents": self.total_cents,
            "amount_due_cents": self.amount_due_cents,
            "amount_paid_cents": self.amount_paid_cents,
            "attempt_count": self.attempt_count,
            "created_at": rfc3339(self.created),
            "next_attempt_at": rfc3339(self.next_attempt_at),
            "hosted_invoice_url": self.links.get("hosted_invoice_url"),
            "invoice_pdf": self.links.get("invoice_pdf"),
        }


class Billing(NamedTuple):
    """What was on record of an invoice, and what is to be."""

    before: Invoice | None
    after: Invoice

    @property
    def news(self) -> bool:
        """Stripe's lists do not tell of problems: that one is over is none."""
        failed = self.before is not None and self.before.problem is None and self.after.problem is not None
        return failed or self.before != self.after


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The next invoice, as Stripe would make it if nothing changed. Taxes that are in a price already are not told."""

    currency: str
    at: int  # when it will be made
    lines: list[Line]
    subtotal_cents: int
    discount_cents: int  # taken off
    tax_cents: int  # put on
    total_cents: int
    starting_balance_cents: int  # the customer's; negative: a credit
    amount_due_cents: int  # of the total, what the balance does not cover
    discounts: list[Discount]

    def public(self) -> dict:
        return {
            "currency": self.currency,
            "at": rfc3339(self.at),
            "lines": [{name: getattr(line, name) for name in line.__slots__} for line in self.lines],
            "subtotal_cents": self.subtotal_cents,
            "discount_cents": self.discount_cents,
            "tax_cents": self.tax_cents,
            "total_cents": self.total_cents,
            "starting_balance_cents": self.starting_balance_cents,
            "amount_due_cents": self.amount_due_cents,
            "discounts": [discount.public() for discount in self.discounts],
        }


def place_of(cursor: str) -> Place:
    """Malformed if it is none that a page has given."""
    found = CURSOR.fullmatch(cursor)
    if not found:
        raise Malformed.of([("cursor", "the `next` of a page before")])
    return Place(int(found[1]), found[2])


def page(known: Iterable[Invoice], most: int) -> tuple[list[Invoice], str | None]:
    """
    Each once, the newest first, and the cursor of the next page; None: no more. Of one that is told twice the later
    word counts.
    """
    newest = sorted({each.id: each for each in known}.values(), key=lambda each: each.place, reverse=True)
    shown = newest[:most]
    return shown, shown[-1].place.cursor() if len(newest) > most else None
