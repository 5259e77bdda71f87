"""What a period of a metric was billed as. A statement never changes: what is corrected later is in the next one."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from billing.periods import rfc3339
from billing.plans import counter_of
from billing.rating import Rate

NOTHING = "nothing"  # where a statement is billed that there is nothing to be billed for
NOBODY = "nobody"  # and one that nobody can be billed


@dataclass(frozen=True, slots=True)
class Statement:
    customer: str
    metric: str
    subscription: str
    start: int
    end: int
    number: int  # 0: at the close; each later one is an adjustment
    plan: str
    version: int
    aggregation: str
    quantity: int
    n: int  # events
    digest: int  # of them: the sum of what each says, hashed
    currency: str
    amount_cents: int  # of the whole period
    before_cents: int  # what the statement before came to
    free: bool
    made_at: int
    billed: str | None = None  # in_...; ii_... without an invoice; balance; nothing; nobody; None: not yet

    @property
    def counter(self) -> str:
        """What its total is called."""
        return counter_of(self.metric, aggregation=self.aggregation)

    @property
    def due_cents(self) -> int:
        return self.amount_cents - self.before_cents

    @property
    def mark(self) -> str:
        """What Stripe knows it by."""
        return f"{self.subscription}:{self.counter}:{self.start}:{self.number}"

    def charge(self, rate: Rate | None) -> tuple[int, list[dict]]:
        """What it comes to, worked out anew, and line by line."""
        if self.free or not rate:
            return 0, []
        charge = rate.charge(self.quantity, self.currency)
        return charge.amount_cents, [asdict(line) for line in charge.lines]

    def summary(self) -> dict:
        told = {name: getattr(self, name) for name in ("metric", "number", "quantity", "amount_cents", "due_cents")}
        return told | {"free": self.free}

    def public(self) -> dict:
        return {
            "number": self.number,
            "subscription": self.subscription,
            "period_start": rfc3339(self.start),
            "period_end": rfc3339(self.end),
            "plan": self.plan,
            "plan_version": self.version,
            "aggregation": self.aggregation,
            "quantity": self.quantity,
            "events": self.n,
            "hash": f"{self.digest:x}",
            "currency": self.currency,
            "amount_cents": self.amount_cents,
            "due_cents": self.due_cents,
            "free": self.free,
            "billed": self.billed,
            "made_at": rfc3339(self.made_at),
        }
