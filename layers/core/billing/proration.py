"""What a change in the middle of a period costs: a credit for what is given back, a charge for what is taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil

from billing.periods import rfc3339


@dataclass(frozen=True, slots=True)
class Line:
    description: str
    amount_cents: int  # negative: a credit
    discount_cents: int = 0  # taken off; what is prorated has its discounts in the amount
    tax_cents: int = 0  # put on

    @property
    def net_cents(self) -> int:
        return self.amount_cents - self.discount_cents


@dataclass(frozen=True, slots=True)
class Proration:
    """Lines as Stripe's preview of the change gives them; the instant is sent along with the change and so binds."""

    currency: str
    effective_at: int
    lines: list[Line] = field(default_factory=list)
    waiting: list[Line] = field(default_factory=list)  # of earlier changes: they go on the same invoice

    @property
    def credit_cents(self) -> int:
        """What is given back, as a positive number."""
        return -sum(line.net_cents for line in self.lines if line.net_cents < 0)

    @property
    def charge_cents(self) -> int:
        return sum(line.net_cents for line in self.lines if line.net_cents > 0)

    @property
    def net_cents(self) -> int:
        return self.charge_cents - self.credit_cents

    @property
    def waiting_cents(self) -> int:
        return sum(line.net_cents for line in self.waiting)

    @property
    def tax_cents(self) -> int:
        return sum(line.tax_cents for line in [*self.lines, *self.waiting])

    @property
    def total_cents(self) -> int:
        """Of the invoice that all of it is on."""
        return self.net_cents + self.waiting_cents + self.tax_cents

    def public(self) -> dict:
        return {
            "currency": self.currency,
            "credit_cents": self.credit_cents,
            "charge_cents": self.charge_cents,
            "net_cents": self.net_cents,
            "waiting_cents": self.waiting_cents,
            "tax_cents": self.tax_cents,
            "total_cents": self.total_cents,
            "effective_at": rfc3339(self.effective_at),
            "lines": [{name: getattr(line, name) for name in line.__slots__} for line in self.lines],
            "description": f"{self.charge_cents} charged less {self.credit_cents} credited ({self.currency})",
        }


def prorate(old_cents: int | Fraction, new_cents: int | Fraction, start: int, end: int, at: int) -> list[Line]:
    """
    What a change at an instant of the period [start, end) comes to, of what the whole period costs before and after.

    An estimate: Stripe's preview is the authority. First the credit for what is left of the old, then the charge for
    what is left of the new, by the second, each rounded alone; a line of 0 is a line too. The net is their sum.
    ValueError for an instant outside the period.
    Source: Stripe's docs, Prorations; what of it is inferred says docs/proration.md.
    """
    if not start <= at < end:
        raise ValueError(f"{at} is not in [{start}, {end})")

    def share(total: int | Fraction) -> int:
        exact = Fraction(total * (end - at), end - start)
        return ceil(exact - Fraction(1, 2))  # the nearest; ties go down, as on every invoice of Stripe's on record

    return [Line("Unused time", share(-old_cents)), Line("Remaining time", share(new_cents))]


def discounted(
    total_cents: int | Fraction, percent_off: str | float | Decimal | None = None, amount_off_cents: int | None = None
) -> Fraction:
    """
    What a coupon leaves of a total, never less than nothing; exact, for only lines are rounded. ValueError for both.

    Of several, one after the other: first those of the item, then those of the subscription.
    Source: Stripe's docs, Prorations and discounts; Coupons; that nothing is rounded before the line is inferred.
    """
    if percent_off is not None and amount_off_cents is not None:
        raise ValueError("a coupon takes off a percentage or an amount")
    percent = Fraction(str(percent_off or 0))  # Stripe's SDK gives a float: as it is written is what was meant
    return max(Fraction(0), total_cents * (1 - percent / 100) - (amount_off_cents or 0))
