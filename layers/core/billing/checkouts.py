"""Checkout: the page of Stripe's on which a customer subscribes. As long as it is open, it is a hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from billing.holds import GOOD_FOR, PATIENCE, Step
from billing.periods import rfc3339

SHORTEST = 1800  # Stripe opens none for less (docs: Checkout Sessions, expires_at)
LIFE = (
    SHORTEST + GOOD_FOR + PATIENCE
)  # seconds that a page is open, from the hold; one sent again late has its way to go


@dataclass(frozen=True, slots=True)
class Session:
    """What Stripe said of a page when last asked."""

    id: str  # cs_...
    status: str  # open, complete, expired
    expires_at: int
    change: str | None  # mark of the change of ours that opened it
    subscription: str | None  # the one that was made there
    url: str | None = field(default=None, repr=False)  # opens it to anyone; never kept on record, never logged

    @property
    def over(self) -> bool:
        """Nobody can subscribe there any more. With a status that we do not know someone may."""
        return self.status in ("complete", "expired")


@dataclass(frozen=True, slots=True)
class Checkout:
    """The page that is open, as far as our record knows."""

    id: str  # cs_...
    wish: str  # digest of all that was wished for
    price: str
    quantity: int
    expires_at: int

    def public(self, plan: str) -> dict:
        return {"id": self.id, "plan": plan, "seats": self.quantity, "expires_at": rfc3339(self.expires_at)}

    def expire(self) -> Step:
        """Stripe expires none that is complete, so nobody who has just paid there pays twice."""
        return Step("expire_checkout", self.id)
