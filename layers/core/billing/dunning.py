"""
Dunning: an invoice that could not be paid, and what is said about it, when. Stripe's retries charge; our steps speak.

A case is opened by the first failure of an invoice, takes its steps one after the other, and is closed by what becomes
of the invoice, by the end of its subscription, or by its last step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from billing.invoices import Invoice
from billing.periods import rfc3339
from billing.plans import Plan

DAY = 86_400
CLOSED_BY = {"paid": "paid", "void": "voided", "uncollectible": "uncollectible"}  # status of the invoice, outcome
DENYING = {"uncollectible", "access_ended"}  # outcomes of a debt that stands, whatever Stripe says of the subscription
DONE = {"end_access": "access_ended", "cancel": "canceled", "free_plan": "free_plan"}  # last step, outcome
PERIODIC = {"subscription_cycle", "subscription_update", "subscription_threshold", "subscription_create"}
LATE = DAY  # after an invoice has failed: whoever hears of it only then begins with the first step all the same


@dataclass(frozen=True, slots=True)
class Case:
    """One per invoice. What the plan said when it was opened holds until it is closed."""

    invoice: str
    subscription: str | None
    reason: str  # Stripe's billing_reason of the invoice
    created: int  # the invoice
    since: (
        int  # when it first could not be paid: Stripe tries when it finalizes (docs: Invoicing, automatic collection)
    )
    begun: int  # where its steps are counted from: there, or much later, when we heard of it
    days: list[int]  # after that, of the steps
    ends: str  # what the last step does: end_access, cancel, free_plan
    amount_due_cents: int
    currency: str
    problem: str  # declined, hard_decline, action_required
    next_attempt_at: int | None  # Stripe's; None: it will not try again by itself
    free_plan: str | None = None  # subscribed to by the last step
    known: list[str] = field(default_factory=list)  # ways to pay that there were, or that have been tried since
    taken: int = 0  # steps
    ending: bool = False  # its last step is under way
    outcome: str | None = None  # None: it is open

    @property
    def due(self) -> int | None:
        """When the next step is; None: there is none."""
        return None if self.outcome or self.taken >= len(self.days) else self.begun + self.days[self.taken] * DAY

    @property
    def last(self) -> bool:
        """Whether the next step is the last."""
        return self.taken == len(self.days) - 1

    @property
    def stands(self) -> bool:
        """Whether something is owed that matters to what the customer may do."""
        return self.outcome is None or self.outcome in DENYING

    def following(self, invoice: Invoice) -> Case:
        """As Stripe tells of its invoice now. A debt that stands may still be paid."""
        due = invoice.remaining_cents if invoice.status == "open" else self.amount_due_cents
        same = replace(self, amount_due_cents=due, next_attempt_at=invoice.next_attempt_at)
        same = replace(same, problem=invoice.problem or self.problem)
        outcome = CLOSED_BY.get(invoice.status)
        if outcome == "voided" and self.ending:  # by us, on the way to the free plan
            return same
        return replace(same, outcome=outcome) if outcome and outcome != self.outcome else same

    def abandoned(self) -> Case:
        """Its subscription has ended: an invoice of a period is asked for no longer. One of its own still is."""
        left = self.outcome is None and self.reason in PERIODIC and not self.ending
        return replace(self, outcome="subscription_ended") if left else self

    def superseded(self, paid: Invoice) -> Case | None:
        """
        A later period that is paid gives access again, whatever is owed of before; None: this stands no longer. A
        period that a change has begun shows by what it came to: another seat for the rest of one is less.
        """
        later = paid.subscription == self.subscription and paid.created > self.created and paid.status == "paid"
        begun = paid.reason == "subscription_update" and paid.amount_paid_cents >= self.amount_due_cents
        renewed = later and (paid.reason == "subscription_cycle" or begun)
        return None if self.outcome in DENYING and renewed else self

    def step(self) -> Case:
        """The next is taken; the last one closes it."""
        return replace(self, taken=self.taken + 1, outcome=DONE[self.ends] if self.last else None, ending=False)

    def public(self) -> dict:
        day = self.days[self.taken - 1] if self.taken else None
        return {
            "invoice": self.invoice,
            "subscription": self.subscription,
            "since": rfc3339(self.since),
            "amount_due_cents": self.amount_due_cents,
            "currency": self.currency,
            "problem": self.problem,
            "step": self.taken - 1 if self.taken else None,
            "steps": len(self.days),
            "day": day,
            "ends": self.ends,
            "next_step_at": rfc3339(self.due),
            "next_attempt_at": rfc3339(self.next_attempt_at),
            "outcome": self.outcome,
        }


def opened(invoice: Invoice, plan: Plan | None, known: list[str], days: list[int], at: int) -> Case:
    """
    Its first step is taken at once if it is of day 0 and not the last. `days` are those of a price that is not in our
    catalogue: then access ends with the last.
    """
    since = invoice.finalized_at or invoice.created
    case = Case(
        invoice=invoice.id,
        subscription=invoice.subscription,
        reason=invoice.reason,
        created=invoice.created,
        since=since,
        begun=since if at < since + LATE else at,
        days=plan.dunning_days if plan else days,
        ends=plan.dunning_ends if plan else "end_access",
        free_plan=plan.dunning_plan if plan else None,
        amount_due_cents=invoice.remaining_cents,
        currency=invoice.currency,
        problem=invoice.problem or "declined",
        next_attempt_at=invoice.next_attempt_at,
        known=known,
    )
    if outcome := CLOSED_BY.get(invoice.status):
        return replace(case, outcome=outcome)
    return replace(case, taken=1) if case.days[0] == 0 and not case.last else case
