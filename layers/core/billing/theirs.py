"""What Stripe said of a subscription when last asked. We record it whole and never compute a field of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from billing.discounts import Discount

# Stripe has eight statuses and may send a ninth.
STATUSES = {"incomplete", "incomplete_expired", "trialing", "active", "past_due", "unpaid", "paused", "canceled"}
ENDED = {"canceled", "incomplete_expired"}

DASHBOARD = "dashboard"  # the origin, in its metadata, of a schedule that somebody else has made and we have put back


@dataclass(frozen=True, slots=True)
class Awaited:
    """A change of ours that Stripe keeps pending until its invoice is paid."""

    change: str | None  # its mark
    price: str
    quantity: int
    invoice: str | None
    expires_at: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    What Stripe will make of the subscription later, as a subscription schedule. While one is attached, nothing else of
    the subscription may be changed (docs: Subscription schedules).
    """

    id: str  # sub_sched_...
    change: str | None  # mark of the change of ours that made it, or put it back
    price: str | None = None  # of the next phase; None: no change is to come
    quantity: int = 0
    starts_at: int | None = None  # when what is to come begins, be it the end; None: the schedule has done its work
    phases: list[dict] = field(default_factory=list)  # all that are to come, as Stripe takes them: to put them back
    end_behavior: str = "release"  # what comes after them: cancel, release
    foreign: bool = False  # made in Stripe's dashboard: it is put back as it was


@dataclass(frozen=True, slots=True)
class Theirs:
    id: str
    customer: str  # cus_...
    item: str  # si_...
    price: str
    quantity: int
    currency: str
    status: str
    created: int
    anchor: int  # where its billing periods are counted from
    current_period_start: int
    current_period_end: int
    cancel_at_period_end: bool = False
    cancel_at: int | None = None
    trial_ends_at: int | None = None
    trial_began_at: int | None = None
    cancelled_at: int | None = None
    ended_at: int | None = None
    interval: str | None = None  # month, year, of its price
    collection_paused: bool = False
    resumes_at: int | None = None  # when Stripe ends the pause by itself
    discounts: list[Discount] = field(default_factory=list)
    fingerprint: str | None = None  # of its card: the same card has the same at all customers
    payment_method: str | None = None  # its own; None: its customer's
    card_expires: str | None = None  # the last month that its card is good for, YYYY-MM
    schedule: Schedule | None = None
    change: str | None = None  # mark of the last change of ours that took effect
    trial: str | None = None  # mark of the change of ours that granted its trial; None: it has none, or the operator's
    awaited: Awaited | None = None
    latest_invoice: str | None = None
    open_invoice: str | None = None  # its newest, if that is not paid
    client_secret: str | None = field(default=None, compare=False)  # to confirm a payment with; never kept on record

    @property
    def cancelling(self) -> bool:
        """At the end of the period, or at some later date."""
        return self.cancel_at_period_end or self.cancel_at is not None

    @property
    def ends_with_period(self) -> bool:
        """Stripe's own portal writes the date and leaves the flag alone."""
        dated = self.cancel_at is not None and self.cancel_at <= self.current_period_end
        return self.cancel_at_period_end or dated

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def fills_slot(self) -> bool:
        """Whether it is the one live subscription that a customer may have; an unknown status is no end."""
        return not self.ended and self.status != "incomplete"

    @property
    def unpaid(self) -> bool:
        """Whether something waits for its payment, and may have got it by now."""
        return self.status in ("incomplete", "paused") or self.awaited is not None

    @property
    def scheduled(self) -> Schedule | None:
        """A change that is to come."""
        return self.schedule if self.schedule and self.schedule.price else None

    def released(self, have: list) -> bool:
        """Whether it has no schedule, and none has done its work since it had this price and quantity."""
        return self.schedule is None and [self.price, self.quantity] == have

    def paused(self, at: int) -> bool:
        """A pause that has an end is over by then, whether Stripe has told us or not."""
        return self.status == "paused" or (self.collection_paused and (self.resumes_at is None or at < self.resumes_at))

    def shows(self, mark: str) -> bool:
        """Whether a change of ours has taken effect, waits for its payment, or is to come."""
        return mark in {self.change, self.awaited and self.awaited.change, self.schedule and self.schedule.change}
