"""What a change would cost, promised: until it is too old, and as long as nothing that it was reckoned on has moved."""

from __future__ import annotations

from dataclasses import dataclass, field

from billing.periods import rfc3339
from billing.proration import Proration

LIFE = 30 * 60  # seconds


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What a change comes to at an instant; nobody has been told of it, here or at Stripe."""

    basis: str  # digest of the subscription's state that it is reckoned on
    price: str
    quantity: int
    effective: str  # now, period_end
    resets: bool  # a new period begins with it
    proration: Proration
    billed: str | None  # now, next_invoice; None: nothing is prorated
    due_cents: int  # now, of the invoice that it makes
    repricing: dict = field(default_factory=dict)  # the parameters that the preview has had, and the change will have
    earlier: list[str] = field(default_factory=list)  # invoice items that wait from earlier changes


@dataclass(frozen=True, slots=True)
class Quote:
    id: str
    asked_at: int
    valid_until: int
    reckoned: Reckoning
    next_invoice_cents: int | None  # None: none is to come
    used: bool = False

    def holds(self, fresh: Reckoning, at: int) -> bool:
        """
        Whether a change may be made as quoted: `fresh` is the same one reckoned again, at the same instant.

        Where a new period begins there is no such instant, Stripe reckons the credit when the change is made: then
        the charges and what waits must be the same, and what the credit has lost by then is made good. The customer's
        balance may move, and with it what is due: it is money, not a price.
        """
        given = self.reckoned
        if at >= self.valid_until or (given.basis, given.billed) != (fresh.basis, fresh.billed):
            return False
        if given.resets:
            told, now = given.proration, fresh.proration
            return (told.charge_cents, told.waiting) == (now.charge_cents, now.waiting)
        return given.proration == fresh.proration

    def public(self, plan: str) -> dict:
        given = self.reckoned
        return {
            "quote_id": self.id,
            "valid_until": rfc3339(self.valid_until),
            "plan": plan,
            "seats": given.quantity,
            "effective": given.effective,
            "billed": given.billed,
            "due_now_cents": given.due_cents,
            "next_invoice_cents": self.next_invoice_cents,
        } | given.proration.public()
