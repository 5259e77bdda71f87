"""What Stripe has billed: its word, kept. The links to its pages are never kept: they expire, and open to anyone."""

from dataclasses import dataclass, field

from billing.periods import rfc3339


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
    links: dict = field(default_factory=dict, compare=False)  # hosted_invoice_url, invoice_pdf

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
        } | self.links
