"""What is given back of the rest of a period when a subscription is cancelled now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from billing.holds import Step


@dataclass(frozen=True, slots=True)
class Ending:
    """What a cancellation now would leave open, in minor units and with taxes, by Stripe's preview of it."""

    unused_cents: int = 0  # of the rest of the period, what would be credited
    waiting_cents: int = 0  # what earlier changes have left for the next invoice; negative: a credit
    waiting: list[str] = field(default_factory=list)  # the invoice items that this is, charges first
    credits: dict[str | None, int] = field(default_factory=dict)  # in both, by the invoice that is credited

    @property
    def owed_cents(self) -> int:
        """To the customer; negative: what is still to be charged."""
        return self.unused_cents - self.waiting_cents


class Paid(NamedTuple):
    """What has been paid of an invoice, and is to be given back of it, in minor units."""

    invoice: str
    cents: int
    by_card_cents: int  # what the card has paid of the invoice and has not had back


class Due(NamedTuple):
    """What is given back, and how."""

    refunded_cents: int
    credited_cents: int
    steps: list[Step]

    def public(self, unused_time: str, currency: str) -> dict:
        told = {"unused_time": unused_time, "currency": currency}
        return told | {"refunded_cents": self.refunded_cents, "credited_cents": self.credited_cents}


def give_back(cents: int, paid: list[Paid], unused_time: str, mark: str) -> Due:
    """
    So much, off the invoices it was paid with, the newest first: a credit note each, so books and taxes follow (docs:
    Credit notes). A refund goes back to the card as far as the card has paid, the rest of it is credit.

    Never more than has been paid: what is left over then is owed by nobody.
    """
    refunded, credited, steps = 0, 0, []
    for invoice in paid:
        amount = min(cents, invoice.cents)
        if amount <= 0:
            continue
        refund = min(amount, invoice.by_card_cents) if unused_time == "refund" else 0
        parts = {"refund_amount": refund, "credit_amount": amount - refund}
        params = {"amount": amount, "metadata": {"change_id": mark}} | {name: n for name, n in parts.items() if n}
        steps.append(Step("credit_note", invoice.invoice, params))
        refunded, credited, cents = refunded + refund, credited + amount - refund, cents - amount
    return Due(refunded, credited, steps)
