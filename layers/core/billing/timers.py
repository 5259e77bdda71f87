"""What is to be done of a customer later, when: all of it follows from what is on record, so none can be forgotten."""

from __future__ import annotations

from typing import NamedTuple

from billing.customers import Customer
from billing.periods import month_end
from billing.plans import Plan

DAY = 86_400
TRIAL = 3 * DAY  # before it ends (docs: Configure trial offers)
CARD = (30, 7)  # days before the last one of the month that a card is good for


class Timer(NamedTuple):
    kind: str  # dunning, trial, card, access
    subject: str  # the invoice, the subscription
    step: str
    due: int

    @property
    def name(self) -> str:
        """Of what has been done by it."""
        return f"{self.kind}#{self.subject}#{self.step}"


def of(customer: Customer, plan: Plan | None) -> dict[str, Timer]:
    """All that wait, by name. `plan`: of its subscription."""
    found = [Timer("dunning", case.invoice, str(case.taken), case.due) for case in customer.cases if case.due]
    bought = customer.subscription
    if bought and not bought.theirs.ended:
        theirs = bought.theirs
        if theirs.status == "trialing" and theirs.trial_ends_at:
            found.append(Timer("trial", theirs.id, str(theirs.trial_ends_at), theirs.trial_ends_at - TRIAL))
        if theirs.card_expires and not theirs.cancelling:
            end = month_end(theirs.card_expires)
            found += [Timer("card", theirs.id, f"{theirs.card_expires}:{days}", end - days * DAY) for days in CARD]
        grace_ends = bought.grace_ends_at(plan)
        if grace_ends and customer.access == [True, "grace"]:
            found.append(Timer("access", theirs.id, str(grace_ends), grace_ends))
    return {timer.name: timer for timer in found if timer.name not in customer.reminded}
