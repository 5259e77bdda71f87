"""
What has happened, as the product's own systems are told: derived from what a customer was and what it has become, so
that nothing changes without its event and no event tells of nothing. The types, and what each says: docs/events.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from billing.dunning import Case
from billing.invoices import Billing
from billing.periods import rfc3339

if TYPE_CHECKING:
    from billing.customers import Customer, Revision
    from billing.plans import Plan
    from billing.subscriptions import Subscription

ASIDE = {"access", "access_reason", "updated_at"}  # of a subscription: access has its own event
OLD = 3 * 86_400  # seconds: an invoice that is met only then is no news to its customer
BY_STATUS = {"paid": "invoice.paid", "void": "invoice.voided", "uncollectible": "invoice.marked_uncollectible"}


@dataclass(frozen=True, slots=True)
class Happened:
    type: str
    data: dict
    silent: bool = False  # no mail is sent of it: its customer has been told, or is told otherwise


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """The `sequence` of a customer's has no gaps, from 1 on: by it doubles are dropped, and order is restored."""

    customer: str
    sequence: int
    type: str
    data: dict
    at: int
    mail: str | None = None  # the kind that is sent of it

    @property
    def id(self) -> str:
        return f"{self.customer}:{self.sequence}"

    def public(self) -> dict:
        about = {"id": self.id, "customer": self.customer, "sequence": self.sequence, "type": self.type}
        return about | {"at": rfc3339(self.at), "data": self.data}

    def on_bus(self) -> dict:
        """With the mail that is sent of it: our own rule goes by that."""
        return self.public() | ({"mail": self.mail} if self.mail else {})


def between(before: Customer, revision: Revision, plan: Plan | None, at: int) -> list[Happened]:
    """All that a revision changes, and what it tells by itself. `plan`: of the subscription that it leads to."""
    after = revision.customer
    dunned = any(case.ending for case in before.cases)  # whose last mail says what becomes of the subscription
    found = [replace(each, silent=dunned) for each in _subscription(before.subscription, after.subscription, plan, at)]
    if revision.stood_aside:
        found += _subscription(revision.stood_aside, revision.aside[0], None, at)
    for billing in revision.invoices:
        found += _invoice(billing, at)
    for case in {each.invoice: each for each in (*after.cases, *revision.closed)}.values():
        found += _case(before.case(case.invoice), case)
    return [*found, *revision.tells, *_access(before, after)]


def _subscription(before: Subscription | None, after: Subscription | None, plan: Plan | None, at: int):
    if after is None:
        return
    now = told(after, plan, at)
    if before is None or before.theirs.id != after.theirs.id:
        yield Happened("subscription.created", now)
        return
    then = told(before, plan, at)
    changed = [name for name in now if name not in ASIDE and now[name] != then[name]]
    if changed:
        type = "subscription.ended" if after.theirs.ended and not before.theirs.ended else "subscription.updated"
        yield Happened(type, now | {"changed": changed, "was": {name: then[name] for name in changed}})


def told(subscription: Subscription, plan: Plan | None, at: int) -> dict:
    """Without what is owed: that has events of its own."""
    return {name: value for name, value in subscription.public(plan, at).items() if name != "dunning"}


def _access(before: Customer, after: Customer):
    """As it was told last, not as it was: it may have ended by time alone."""
    if after.access and after.access != before.access:
        told = _reasoned(after.access) | {"plan": after.subscription.plan if after.subscription else None}
        yield Happened("access.changed", told | {"was": before.access and _reasoned(before.access)})


def _reasoned(access: list) -> dict:
    return {"access": access[0], "reason": access[1]}


def _invoice(billing: Billing, at: int):
    """A payment that takes a bank some days has not failed: its invoice has no problem."""
    before, after = billing
    if not billing.news:
        return
    failed = after.status == "open" and after.problem is not None
    again = before is not None and (after.attempt_count > before.attempt_count or before.problem is None)
    if failed and (again or before is None):
        type = "invoice.payment_failed"
    elif before is None or after.status != before.status:
        type = BY_STATUS.get(after.status, "invoice.finalized")
    else:
        type = "invoice.updated"
    told = {name: value for name, value in after.public().items() if not name.endswith(("_url", "_pdf"))}
    yield Happened(type, told | {"new": before is None}, silent=after.created <= at - OLD)


def _case(before: Case | None, after: Case):
    if before is None:
        yield Happened("dunning.started", after.public())
    if after.taken > (before.taken if before else 0):
        yield Happened("dunning.step_taken", after.public())
    if after.outcome and after.outcome != (before.outcome if before else None):
        yield Happened("dunning.ended", after.public())
