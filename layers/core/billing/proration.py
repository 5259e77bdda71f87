"""What a change in the middle of a period costs: a credit for what is given back, a charge for what is taken."""

from __future__ import annotations

from dataclasses import dataclass, field

from billing.periods import rfc3339


@dataclass(frozen=True, slots=True)
class Line:
    description: str
    amount_cents: int  # negative: a credit


@dataclass(frozen=True, slots=True)
class Proration:
    """Lines as Stripe's preview of the change gives them; the instant is sent along with the change and so binds."""

    currency: str
    effective_at: int
    lines: list[Line] = field(default_factory=list)
    waiting_cents: int = 0  # of earlier changes: it goes on the same invoice

    @property
    def credit_cents(self) -> int:
        """What is given back, as a positive number."""
        return -sum(line.amount_cents for line in self.lines if line.amount_cents < 0)

    @property
    def charge_cents(self) -> int:
        return sum(line.amount_cents for line in self.lines if line.amount_cents > 0)

    @property
    def net_cents(self) -> int:
        return self.charge_cents - self.credit_cents

    def public(self) -> dict:
        return {
            "currency": self.currency,
            "credit_cents": self.credit_cents,
            "charge_cents": self.charge_cents,
            "net_cents": self.net_cents,
            "effective_at": rfc3339(self.effective_at),
            "lines": [{"description": line.description, "amount_cents": line.amount_cents} for line in self.lines],
            "waiting_cents": self.waiting_cents,
            "description": f"{self.charge_cents} charged less {self.credit_cents} credited ({self.currency})",
        }
