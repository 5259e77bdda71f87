"""What a customer has bought: what Stripe says of it, what that gives access to, and the changes it allows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from billing.errors import NotCancelling, NotChangeable, NotFound, OtherCurrency
from billing.holds import Step, Wish
from billing.periods import rfc3339
from billing.plans import Plan

DAY = 86_400

# Stripe has eight statuses and may send a ninth.
STATUSES = {"incomplete", "incomplete_expired", "trialing", "active", "past_due", "unpaid", "paused", "canceled"}
ENDED = {"canceled", "incomplete_expired"}
CHANGEABLE = {"trialing", "active"}

# Invoices of one subscription; Stripe refuses the 11th and the 21st (docs: Rate limits).
MOST_A_MINUTE, MOST_A_DAY = 8, 15


@dataclass(frozen=True, slots=True)
class Awaited:
    """A change of ours that Stripe keeps pending until its invoice is paid."""

    change: str | None  # its mark
    price: str
    quantity: int
    invoice: str | None
    expires_at: int


@dataclass(frozen=True, slots=True)
class Theirs:
    """What Stripe said of a subscription when last asked. We record it whole and never compute a field of it."""

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
    cancelled_at: int | None = None
    collection_paused: bool = False
    change: str | None = None  # mark of the last change of ours that took effect
    awaited: Awaited | None = None
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
        return self.status == "incomplete" or self.awaited is not None

    def shows(self, mark: str) -> bool:
        return mark == self.change or (self.awaited is not None and mark == self.awaited.change)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Stripe's word, and what we remember beside it."""

    theirs: Theirs
    plan: str | None  # None: a price that is not of our catalogue
    plan_version: int | None
    created_at: int
    updated_at: int
    known_status: str | None = None  # the last that was one of the eight
    past_due_since: int | None = None
    invoiced_at: list[int] = field(default_factory=list)  # when our changes made Stripe invoice, of the last day

    def access(self, plan: Plan | None, at: int) -> tuple[bool, str]:
        """Whether it gives access now, and why. An unknown status: as the last known one."""
        status = self.known_status
        if status is None or plan is None:
            return False, "unknown_status" if plan else "unknown_plan"
        if status == "past_due":
            in_grace = at < (self.past_due_since or 0) + plan.grace_days * DAY
            return in_grace, "grace" if in_grace else "past_due"
        return status in CHANGEABLE, status

    def terms(self) -> tuple:
        """All that a limit depends on; when it changes, what was promised on the old terms is void."""
        return self.theirs.id, self.plan, self.plan_version, self.theirs.anchor, self.known_status, self.past_due_since

    def changeable(self) -> Theirs:
        if self.theirs.status not in CHANGEABLE or self.plan is None:
            raise NotChangeable(f"not while the subscription is {self.theirs.status}")
        return self.theirs

    def change(self, plan: Plan, quantity: int) -> Wish | None:
        """Other seats or another plan; None if that is what it is, or waits for its payment."""
        theirs = self.changeable()
        plan.seat(quantity)
        if plan.currency != theirs.currency:
            raise OtherCurrency(f"this subscription is paid in {theirs.currency}")
        target = (theirs.awaited.price, theirs.awaited.quantity) if theirs.awaited else (theirs.price, theirs.quantity)
        return None if target == (plan.price, quantity) else Wish("change", {"price": plan.price, "quantity": quantity})

    def cancel(self, immediately: bool) -> Wish | None:
        """A subscription that was never paid has no period to wait for: it is cancelled now."""
        theirs = self._known()
        if theirs.ends_with_period and not immediately:
            return None
        return Wish("cancel", {"immediately": immediately or theirs.status == "incomplete"})

    def resume(self) -> Wish:
        theirs = self._known()
        if not theirs.cancelling:
            raise NotCancelling("this subscription is not going to be cancelled")
        return Wish("resume")

    def withdraw(self) -> Wish:
        awaited = self.theirs.awaited
        if not awaited or not awaited.invoice:
            raise NotFound("no change waits for its payment")
        return Wish("withdraw", {"invoice": awaited.invoice})

    def void(self) -> list[Step]:
        """
        What waits for its payment gives way before another change is made: a change, or the first payment of all.

        Stripe voids nothing that is paid, so nobody who has just paid is taken for one who has not.
        """
        theirs = self.theirs
        unpaid = theirs.awaited.invoice if theirs.awaited else theirs.open_invoice if theirs.unpaid else None
        return [Step("void_invoice", unpaid)] if unpaid else []

    def cancel_steps(self, mark: str, immediately: bool, invoice_now: bool = False) -> list[Step]:
        """`invoice_now`: what earlier changes have left for the next invoice is charged, for there will be none."""
        if immediately:
            return [*self.void(), Step("cancel_subscription", self.theirs.id, {"invoice_now": invoice_now})]
        return [*self.void(), self._update(mark, {"cancel_at_period_end": True})]

    def resume_steps(self, mark: str) -> list[Step]:
        ours = self.theirs.cancel_at_period_end
        return [*self.void(), self._update(mark, {"cancel_at_period_end": False} if ours else {"cancel_at": ""})]

    def repricing(self, price: str | None, quantity: int, at: int, resets: bool) -> dict:
        """
        The parameters that a preview and its change share, so that both say the same.

        The quantity is always sent: Stripe takes a price without one for one seat. A change of the interval starts a
        new period; Stripe then takes no date (docs: Prorations). The instant is kept within the period: a subscription
        on a test clock lives in another time than we do.
        """
        theirs = self.theirs
        shared: dict = {"items": [{"id": theirs.item, "price": price, "quantity": quantity}]}
        if resets:
            return shared | {"billing_cycle_anchor": {"type": "now"}}
        return shared | {"proration_date": min(max(at, theirs.current_period_start), theirs.current_period_end - 1)}

    def change_steps(self, mark: str, repricing: dict, collect: bool) -> list[Step]:
        update = repricing | {"proration_behavior": "always_invoice" if collect else "create_prorations"}
        if collect:  # nothing is granted before it is paid
            update |= {"payment_behavior": "pending_if_incomplete"}
        return [*self.void(), self._update(mark, update)]

    def may_invoice(self, at: int) -> bool:
        recent = [then for then in self.invoiced_at if then > at - 60]
        return len(recent) < MOST_A_MINUTE and len(self._of_last_day(at)) < MOST_A_DAY

    def invoiced(self, at: int) -> Subscription:
        return replace(self, invoiced_at=[*self._of_last_day(at), at])

    def follow(self, theirs: Theirs, plan: Plan | None, at: int) -> Subscription:
        """The same subscription, as Stripe tells of it now."""
        known = theirs.status if theirs.status in STATUSES else self.known_status
        since = (self.past_due_since or at) if known == "past_due" else None
        named = (plan.slug, plan.version) if plan else (None, None)
        after = replace(
            self, theirs=theirs, plan=named[0], plan_version=named[1], known_status=known, past_due_since=since
        )
        return after if after == self else replace(after, updated_at=at)

    def public(self, plan: Plan | None, at: int) -> dict:
        """What its owner may see; times in RFC 3339, UTC."""
        theirs = self.theirs
        access, reason = self.access(plan, at)
        return {
            "id": theirs.id,
            "plan": self.plan,
            "plan_version": self.plan_version,
            "status": theirs.status,
            "access": access,
            "access_reason": reason,
            "seats": theirs.quantity,
            "collection_paused": theirs.collection_paused,
            "current_period_start": rfc3339(theirs.current_period_start),
            "current_period_end": rfc3339(theirs.current_period_end),
            "cancel_at_period_end": theirs.ends_with_period,
            "cancel_at": rfc3339(theirs.cancel_at),
            "trial_ends_at": rfc3339(theirs.trial_ends_at),
            "cancelled_at": rfc3339(theirs.cancelled_at),
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "pending_change": self._awaited(),
        }

    def _awaited(self) -> dict | None:
        awaited = self.theirs.awaited
        if not awaited:
            return None
        return {"status": "awaiting_payment", "seats": awaited.quantity, "expires_at": rfc3339(awaited.expires_at)}

    def _known(self) -> Theirs:
        """An unknown status allows no change."""
        if self.known_status != self.theirs.status:
            raise NotChangeable(f"not while the subscription is {self.theirs.status}")
        return self.theirs

    def _update(self, mark: str, params: dict) -> Step:
        return Step("update_subscription", self.theirs.id, params | {"metadata": {"change_id": mark}})

    def _of_last_day(self, at: int) -> list[int]:
        return [then for then in self.invoiced_at if then > at - DAY]


def taken_up(theirs: Theirs, plan: Plan | None, at: int) -> Subscription:
    """A subscription met for the first time: made by a change of ours, in checkout, or in Stripe's dashboard."""
    return Subscription(theirs, None, None, created_at=at, updated_at=at).follow(theirs, plan, at)
