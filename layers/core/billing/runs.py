"""A run of the reconciliation: how far it has come, and what it found to differ between our records and Stripe's."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from billing.errors import Malformed
from billing.holds import digest
from billing.invoices import Invoice
from billing.periods import rfc3339
from billing.theirs import Theirs

DONE = "done"
STAGES = ("subscriptions", "customers", "invoices", "ours", DONE)  # Stripe's lists, then what is on record and in none
CLASSES = {  # of what differs, by the fields that show it
    "status": ("status", "collection_paused", "resumes_at"),
    "period": ("current_period_start", "current_period_end", "trial_ends_at"),
    "plan": ("price",),
    "quantity": ("quantity",),
    "cancel_at": ("cancel_at", "cancel_at_period_end"),
}
SHOWN = [name for names in CLASSES.values() for name in names]
OF_INVOICE = ("status", "number", "total_cents", "amount_due_cents", "amount_paid_cents", "attempt_count")
ABANDONED = 20 * 3600  # seconds: the next night's run begins anew
RUN = re.compile(r"[A-Za-z0-9-]{1,48}")


@dataclass(frozen=True, slots=True)
class Run:
    id: str
    dry_run: bool
    started_at: int
    stage: str = STAGES[0]
    after: Any = None  # the place within the stage: an id of Stripe's, or a key of ours
    compared: int = 0
    under_way: int = 0  # not judged, for it was just changing
    stuck: int = 0  # slices that have ended at this place because Stripe did not answer
    found: int = 0
    repaired: int = 0
    finished_at: int | None = None
    touched_at: int = 0
    version: int = 0

    def past(self, place: Any, outcome: str) -> Run:
        """The same, with one more object judged: same, under_way, found, repaired; foreign: it is none of ours."""
        counts = {
            "compared": self.compared + (outcome != "foreign"),
            "under_way": self.under_way + (outcome == "under_way"),
        }
        found, repaired = self.found + (outcome in ("found", "repaired")), self.repaired + (outcome == "repaired")
        return replace(self, after=place, found=found, repaired=repaired, **counts)

    def turns(self, after: Any) -> Run:
        """The same, at the beginning of the next page; of the next stage, if there is none."""
        return replace(self, after=after, stage=self.stage if after else STAGES[STAGES.index(self.stage) + 1])

    def abandoned(self, at: int) -> bool:
        return self.finished_at is None and at >= self.started_at + ABANDONED

    def public(self) -> dict:
        times = {name: rfc3339(getattr(self, name)) for name in ("started_at", "finished_at")}
        counts = {name: getattr(self, name) for name in ("compared", "under_way", "found", "repaired")}
        return {"run": self.id, "dry_run": self.dry_run, "stage": self.stage} | times | counts


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that our record and Stripe said differently, and what became of it."""

    object: str  # sub_..., cus_... or in_...
    customer: str  # ours
    classes: list[str]  # missing_here, missing_there, status, period, plan, quantity, cancel_at, invoice, other
    before: dict = field(default_factory=dict)  # what our record said; empty: nothing
    after: dict = field(default_factory=dict)  # what Stripe says; empty: nothing
    repaired: bool = False
    why_not: str | None = None

    def public(self) -> dict:
        return {name: getattr(self, name) for name in self.__slots__}

    def following(self, earlier: Drift | None) -> Drift:
        """Of two repairs in a run one is told: from what our record said first to what Stripe says last."""
        if not earlier or not earlier.repaired:
            return self
        further = [name for name in self.classes if name not in earlier.classes]
        return replace(self, classes=earlier.classes + further, before=earlier.before)


def subscription_drift(id: str, customer: str, before: Theirs | None, after: Theirs | None) -> Drift:
    """What the classes go by, and whatever else differs. Stripe's ids and numbers: no personal data is in them."""
    differ = _differ(before, after) if before and after else []
    said = [{name: _told(each, name) for name in [*SHOWN, *differ]} if each else {} for each in (before, after)]
    classes = [name for name, names in CLASSES.items() if set(names) & set(differ)]
    classes = classes or ["missing_there" if not after else "missing_here" if not before else "other"]
    return Drift(id, customer, classes, before=said[0], after=said[1])


def _told(theirs: Theirs, name: str) -> Any:
    value = asdict(theirs)[name]
    return digest(value)[:8] if name == "fingerprint" and value else value  # whether it is another card, not which


def customer_drift(stripe_id: str, customer: str, missing: str) -> Drift:
    named = {"stripe_customer": stripe_id}
    before, after = ({}, named) if missing == "missing_here" else (named, {})
    return Drift(stripe_id, customer, [missing], before, after)


def invoice_drift(id: str, customer: str, before: Invoice | None, after: Invoice | None) -> Drift:
    said = [{name: getattr(each, name) for name in OF_INVOICE} if each else {} for each in (before, after)]
    missing = "missing_there" if not after else "missing_here" if not before else None
    return Drift(id, customer, [missing, "invoice"] if missing else ["invoice"], before=said[0], after=said[1])


def named(run: str) -> str:
    """Malformed if it can be no run's name."""
    if not RUN.fullmatch(run):
        raise Malformed.of([("run", "1 to 48 letters, digits and dashes")])
    return run


def _differ(before: Theirs, after: Theirs) -> list[str]:
    compared = [each.name for each in fields(Theirs) if each.compare]
    return [name for name in compared if getattr(before, name) != getattr(after, name)]
