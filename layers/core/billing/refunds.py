"""What is given back of the rest of a period when a subscription is cancelled now."""

from __future__ import annotations

from typing import NamedTuple

from billing.holds import Step


class Paid(NamedTuple):
    """An invoice that has been paid, in minor units."""

    invoice: str
    total_cents: int
    by_card_cents: int  # the rest of it was paid from the customer's balance
    given_back_cents: int  # by earlier credit notes


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
        amount = min(cents, invoice.total_cents - invoice.given_back_cents)
        if amount <= 0:
            continue
        by_card = max(0, invoice.by_card_cents - invoice.given_back_cents)
        refund = min(amount, by_card) if unused_time == "refund" else 0
        parts = {"refund_amount": refund, "credit_amount": amount - refund}
        params = {"amount": amount, "metadata": {"change_id": mark}} | {name: n for name, n in parts.items() if n}
        steps.append(Step("credit_note", invoice.invoice, params))
        refunded, credited, cents = refunded + refund, credited + amount - refund, cents - amount
    return Due(refunded, credited, steps)
