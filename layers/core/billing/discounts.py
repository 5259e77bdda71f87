"""What is taken off a subscription's invoices, as Stripe says it (docs: Coupons and promotion codes)."""

from __future__ import annotations

from dataclasses import dataclass

from billing.periods import rfc3339

CODE = r"^[A-Za-z0-9-]{1,100}$"  # what a customer may type


def same_code(typed: str | None) -> str | None:
    """To Stripe a code is the same in any case (docs: Promotion codes)."""
    return typed and typed.upper()


@dataclass(frozen=True, slots=True)
class Discount:
    id: str  # di_...
    promotion: str | None  # promo_...; None: of a coupon, by someone with Stripe's dashboard
    code: str | None  # as the customer knows it
    duration: str  # once, repeating, forever
    coupon: str | None = None
    percent_off: str | None = None  # a decimal, as text: of every line
    amount_off_cents: int | None = None  # of an invoice
    ends_at: int | None = None

    def public(self) -> dict:
        return {
            "promotion_code": self.code,
            "percent_off": self.percent_off,
            "amount_off_cents": self.amount_off_cents,
            "duration": self.duration,
            "ends_at": rfc3339(self.ends_at),
        }
