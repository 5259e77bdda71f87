"""What a customer has bought: what that gives access to, and the changes it allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from billing.closings import Closing, boundary, closings
from billing.discounts import same_code
from billing.dunning import DENYING, Case
from billing.errors import NotChangeable, NotFound, NothingToResume, NotPausable, OtherCurrency
from billing.holds import Change, Draft, Step, Wish, digest
from billing.periods import rfc3339
from billing.plans import Plan
from billing.theirs import DASHBOARD, STATUSES, Theirs

DAY = 86_400

CHANGEABLE = {"trialing", "active"}
GIVING = CHANGEABLE | {"past_due", "unpaid"}  # statuses that may give access

# A period that is paid in full, and nothing is given back of the one that ran.
BEGINS_ANEW: dict = {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none"}

# Invoices of one subscription; Stripe refuses the 11th and the 21st (docs: Rate limits).
MOST_A_MINUTE, MOST_A_DAY = 8, 15


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
    coming: str | None = None  # the plan of a change that waits for its payment, or is to come
    coming_version: int | None = None
    awaiting: Change | None = None  # the one that waits, if it has put aside what was to come
    bought_with: str | None = None  # the promotion code: what it takes off once is no discount of Stripe's afterwards
    trial_until: int | None = None  # the end of the trial that we granted; None: we granted none
    metered_from: int | None = None  # where the first period begins whose usage is not on its way to be billed
    anchored_at: int = 0  # since when its periods are counted from this anchor
    usage_priced: bool = False  # whether a plan that it has had since then bills by usage
    had: list[list] = field(default_factory=list)  # [slug, version] of the plans since then, without the one it has
    excused: bool = False  # what it is past due with has been voided: Stripe says so until the next is paid
    owes: str | None = None  # an invoice that was given up unpaid: no access, whatever Stripe says of the subscription

    @property
    def on_trial_of_ours(self) -> bool:
        """As long as it is the one that we granted: other free days are given in Stripe's dashboard."""
        theirs = self.theirs
        granted = theirs.trial is not None and theirs.trial_ends_at == self.trial_until
        return theirs.status == "trialing" and granted

    @property
    def plans(self) -> list[list]:
        """Slug and version of all in the period that runs, the last one last."""
        return [*self.had, [self.plan, self.plan_version]] if self.plan else self.had

    def access(self, plan: Plan | None, at: int) -> tuple[bool, str]:
        """Whether it gives access now, and why. An unknown status: as the last known one."""
        status = self.known_status
        if status is None or plan is None:
            return False, "unknown_status" if plan else "unknown_plan"
        if self.owes and status in GIVING:
            return False, "unpaid_invoice"
        if status == "past_due" and self.excused:
            return True, "past_due"
        if status == "past_due":
            in_grace = at < (self.grace_ends_at(plan) or 0)
            return in_grace, "grace" if in_grace else "past_due"
        if status in ("unpaid", "incomplete"):
            return plan.access_while_unpaid if status == "unpaid" else plan.access_while_incomplete, status
        if status in CHANGEABLE and self.theirs.paused(at):
            return plan.access_while_paused, "paused"
        return status in CHANGEABLE, status

    def grace_ends_at(self, plan: Plan | None) -> int | None:
        """Counted from the first failure of the oldest invoice that it is past due with; None: it is not."""
        if self.known_status != "past_due" or self.excused or plan is None:
            return None
        return (self.past_due_since or 0) + plan.grace_days * DAY

    def owing(self, cases: Sequence[Case]) -> Subscription:
        """The same, with what is owed for it by these dunning cases, the closed ones of just now among them."""
        mine = [case for case in cases if case.subscription == self.theirs.id]
        failed = [case.begun for case in mine if case.outcome is None]
        owes = next((case.invoice for case in mine if case.outcome in DENYING), None)
        voided, past_due = any(case.outcome == "voided" for case in mine), self.known_status == "past_due"
        since = min(failed) if failed and past_due else self.past_due_since
        excused = past_due and not failed and not owes and (voided or self.excused)
        same = (since, owes, excused) == (self.past_due_since, self.owes, self.excused)
        return self if same else replace(self, past_due_since=since, owes=owes, excused=excused)

    def terms(self) -> tuple:
        """All that a limit depends on; when it changes, what was promised on the old terms is void."""
        theirs = self.theirs
        paused = theirs.collection_paused, theirs.resumes_at
        paying = self.known_status, self.past_due_since, self.excused, self.owes
        return theirs.id, self.plan, self.plan_version, theirs.anchor, *paying, paused

    def changeable(self) -> Theirs:
        if self.theirs.status not in CHANGEABLE or self.plan is None:
            raise NotChangeable(f"not while the subscription is {self.theirs.status}")
        return self.theirs

    def change(self, sold: Plan, plan: Plan, quantity: int, effective: str | None) -> Wish | None:
        """
        Other seats or another plan; None if that is what it is, or waits for its payment, or is to come.

        `sold` is the plan it has now, whose policy says when the change takes effect unless the wish does. On trial
        there is no paid period to wait for the end of. Whoever wishes what there is already has changed their mind
        about what is to come: that is withdrawn.
        """
        theirs = self.changeable()
        plan.seat(quantity)
        if plan.currency != theirs.currency:
            raise OtherCurrency(f"this subscription is paid in {theirs.currency}")
        wished, have = (plan.price, quantity), (theirs.price, theirs.quantity)
        awaited, to_come = theirs.awaited, theirs.scheduled
        if wished == ((awaited.price, awaited.quantity) if awaited else have):
            return Wish("withdraw", {"schedule": to_come.id}) if to_come else None
        if wished == have and awaited and awaited.invoice:
            return Wish("withdraw", {"invoice": awaited.invoice})
        policy = "now" if theirs.status == "trialing" else sold.becomes(theirs.quantity, plan, quantity)
        effective = effective or policy
        if effective == "period_end":
            if theirs.cancelling:
                raise NotChangeable("not for a period after the last: resume the subscription first")
            if to_come and wished == (to_come.price, to_come.quantity):
                return None
        return Wish("change", {"price": plan.price, "quantity": quantity, "effective": effective})

    def codes(self) -> list[str | None]:
        """Of its discounts; None: of a coupon, by someone with Stripe's dashboard."""
        return [same_code(each.code) for each in self.theirs.discounts]

    def discount(self, code: str | None) -> Wish | None:
        """
        A promotion code in place of what discounts there are; or none. It counts from the next invoice on.

        Not while a change waits for its payment: that was reckoned with the discounts there are, and would be void
        before Stripe says whether it takes the code.
        """
        theirs, code = self.changeable(), same_code(code)
        if self.codes() == ([code] if code else []):
            return None
        if theirs.awaited:
            raise NotChangeable("not while a change waits for its payment: pay or withdraw that first")
        return Wish("discount", {"code": code})

    def cancel(self, immediately: bool, unused_time: str) -> Wish | None:
        """A subscription that was never paid has no period to wait for: it is cancelled now."""
        theirs = self._known()
        if theirs.ends_with_period and not immediately:
            return None
        now = immediately or theirs.status == "incomplete"
        return Wish("cancel", {"immediately": now} | ({"unused_time": unused_time} if now else {}))

    def pause(self, resumes_at: int | None) -> Wish | None:
        """No money is taken until then, or until it is resumed; None if it is so already."""
        theirs = self.theirs
        if theirs.status not in CHANGEABLE or theirs.cancelling:
            raise NotPausable(f"not while it is {'going to be cancelled' if theirs.cancelling else theirs.status}")
        if theirs.collection_paused and theirs.resumes_at == resumes_at:
            return None
        return Wish("pause", {"resumes_at": resumes_at})

    def resume(self) -> Wish:
        """Go on, as if it had been neither cancelled nor paused."""
        theirs = self._known()
        if theirs.ended:
            raise NothingToResume("this subscription has ended: subscribe again")
        if not (theirs.cancelling or theirs.collection_paused or theirs.status == "paused"):
            raise NothingToResume("this subscription is neither paused nor going to be cancelled")
        return Wish("resume")

    def withdraw(self) -> Wish:
        awaited, to_come = self.theirs.awaited, self.theirs.scheduled
        if awaited and awaited.invoice:
            return Wish("withdraw", {"invoice": awaited.invoice})
        if to_come:
            return Wish("withdraw", {"schedule": to_come.id})
        raise NotFound("no change waits for its payment, and none is to come")

    def withdraw_draft(self) -> Draft:
        """First what waits for its payment, and what it had put aside is to come again; by the next wish that, too."""
        return Draft(self.void(), follow=self.put_back()) if self.theirs.awaited else Draft(self.release())

    def lost(self) -> Change | None:
        """A change that was never paid, and had put aside what was to come."""
        return None if self.theirs.awaited or self.theirs.scheduled or self.theirs.ended else self.awaiting

    def void(self) -> list[Step]:
        """
        What waits for its payment gives way before another change is made: a change, or the first payment of all.

        Stripe voids nothing that is paid, so nobody who has just paid is taken for one who has not.
        """
        theirs = self.theirs
        unpaid = theirs.awaited.invoice if theirs.awaited else theirs.open_invoice if theirs.unpaid else None
        return [Step("void_invoice", unpaid)] if unpaid else []

    def release(self) -> list[Step]:
        """Stripe changes nothing of what has a schedule; the change that it brings is then put back, or superseded."""
        schedule = self.theirs.schedule
        have = [self.theirs.price, self.theirs.quantity]
        return [Step("release_schedule", self.theirs.id, {"schedule": schedule.id, "have": have})] if schedule else []

    def put_back(self, mark: str | None = None, discounted: bool = False) -> list[Step]:
        """
        What is to come is to come again: after a change that leaves it standing, or one that has failed.

        What is ours has the discounts that the subscription has by then. What was made in Stripe's dashboard has its
        own, unless they are what is changed (`discounted`).
        """
        schedule = self.theirs.schedule
        if self.awaiting:
            return self.awaiting.draft.restore
        if not schedule or not schedule.starts_at:
            return []
        left = () if schedule.foreign and not discounted else ("discounts",)
        phases = [{name: value for name, value in each.items() if name not in left} for each in schedule.phases]
        end, origin = schedule.end_behavior, DASHBOARD if schedule.foreign else ""
        return [self._schedule(mark or schedule.change or "", phases, schedule.starts_at, end, origin)]

    def unschedule(self) -> list[Step]:
        """What is to come as it was, if a change of it comes to nothing half way; or nothing."""
        return self.put_back() or [Step("release_blank", self.theirs.id)]

    def cancel_steps(self, mark: str, immediately: bool, invoice_now: bool = False) -> list[Step]:
        """`invoice_now`: what earlier changes have left for the next invoice is charged, for there will be none."""
        if immediately:
            return [*self.void(), Step("cancel_subscription", self.theirs.id, {"invoice_now": invoice_now})]
        return [*self.void(), *self.release(), self._update(mark, {"cancel_at_period_end": True})]

    def pause_steps(self, mark: str, resumes_at: int | None) -> list[Step]:
        """Invoices of a pause are voided: what was not provided is never owed (docs: Pause payment collection)."""
        paused = {"behavior": "void"} | ({"resumes_at": resumes_at} if resumes_at else {})
        return [*self.void(), *self.release(), self._update(mark, {"pause_collection": paused})]

    def resume_steps(self, mark: str, anew: bool) -> list[Step]:
        """
        One whose period was void begins a new one (`anew`), else whoever pauses for an hour at its end has it for
        nothing; if that is declined, it stays paused. So does one that Stripe itself has paused, until it is paid.
        """
        theirs, params = self.theirs, dict(BEGINS_ANEW) | {"payment_behavior": "error_if_incomplete"} if anew else {}
        if theirs.cancel_at_period_end:
            params["cancel_at_period_end"] = False
        elif theirs.cancel_at is not None:
            params["cancel_at"] = ""
        if theirs.collection_paused:
            params["pause_collection"] = ""
        steps = [*self.void(), *self.release(), self._update(mark, params)]
        if theirs.status != "paused":
            return steps
        paid = {"billing_cycle_anchor": {"type": "now"}, "payment_behavior": "resume_on_payment_success"}
        return [*steps, Step("resume_subscription", theirs.id, paid)]

    def end_trial_steps(self, mark: str) -> list[Step]:
        """It is charged at once; what was to come when the trial ends is of a period that there is not."""
        return [*self.void(), *self.release(), self._update(mark, {"trial_end": "now"})]

    def discount_steps(self, mark: str, promotion: str | None) -> list[Step]:
        discounts = [{"promotion_code": promotion}] if promotion else ""
        return [*self.release(), self._update(mark, {"discounts": discounts})]

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

    def unprorated(self, price: str, quantity: int, anew: bool) -> dict:
        """
        The parameters of a change in a period that nobody has paid for: nothing is given back of it (docs:
        Prorations, unpaid invoices). What costs more begins a new one.
        """
        items = {"items": [{"id": self.theirs.item, "price": price, "quantity": quantity}]}
        return items | (BEGINS_ANEW if anew else {"proration_behavior": "none"})

    def change_steps(self, mark: str, repricing: dict, collect: bool) -> list[Step]:
        update = {"proration_behavior": "always_invoice" if collect else "create_prorations"} | repricing
        if collect:  # nothing is granted before it is paid
            update |= {"payment_behavior": "pending_if_incomplete"}
        return [*self.void(), *self.release(), self._update(mark, update)]

    def schedule_steps(self, mark: str, plan: Plan, quantity: int, resets: bool) -> list[Step]:
        """
        From the end of the period on; in place of what was to come before.

        A price of another interval begins its own period then: a flexible subscription does not do so by itself.
        """
        phase = {
            "items": [{"price": plan.price, "quantity": quantity}],
            "duration": {"interval": plan.billing_interval, "interval_count": 1},
        }
        anew = {"billing_cycle_anchor": "phase_start"} if resets else {}
        return [*self.void(), self._schedule(mark, [phase | anew], self.theirs.current_period_end)]

    def may_invoice(self, at: int) -> bool:
        recent = [then for then in self.invoiced_at if then > at - 60]
        return len(recent) < MOST_A_MINUTE and len(self._of_last_day(at)) < MOST_A_DAY

    def invoiced(self, at: int) -> Subscription:
        return replace(self, invoiced_at=[*self._of_last_day(at), at])

    def follow(self, theirs: Theirs, plan: Plan | None, at: int, coming: Plan | None = None) -> Subscription:
        """The same subscription, as Stripe tells of it now."""
        known = theirs.status if theirs.status in STATUSES else self.known_status
        begun = self.metered_from or self.theirs.current_period_start
        metered_from = max(begun, boundary(theirs, at))
        sold, now = [self.plan, self.plan_version], [plan and plan.slug, plan and plan.version]
        earlier = [each for each in self.had if each not in (sold, now)]
        had = earlier if sold == now or self.plan is None else [*earlier, sold]
        priced = plan is not None and plan.bills_usage
        since = (self.past_due_since or at) if known == "past_due" else None
        after = replace(
            self,
            theirs=theirs,
            plan=plan and plan.slug,
            plan_version=plan and plan.version,
            known_status=known,
            past_due_since=since,
            excused=self.excused and known == "past_due",
            metered_from=metered_from,
            anchored_at=self.anchored_at if theirs.anchor == self.theirs.anchor else metered_from,
            usage_priced=priced or (self.usage_priced and metered_from == begun),
            had=had if metered_from == begun else [],
            coming=coming and coming.slug,
            coming_version=coming and coming.version,
            awaiting=None
            if theirs.scheduled or (self.awaiting and theirs.change == self.awaiting.mark)
            else self.awaiting,
        )
        return after if after == self else replace(after, updated_at=at)

    def closed(self, after: Subscription, at: int) -> list[Closing]:
        """The periods that have ended between this and what it has become, if something is to be billed for them."""
        if not self.usage_priced or not self.plans:
            return []
        begun = self.metered_from or self.theirs.current_period_start
        *had, (slug, version) = self.plans
        unpaid = self.known_status in (None, "incomplete") and after.theirs.ended
        return closings(
            self.theirs, (slug, version), had, begun, after.metered_from or begun, unpaid, at, self.anchored_at
        )

    def public(self, plan: Plan | None, at: int, dunning: dict | None = None) -> dict:
        """What its owner may see, with what is owed; times in RFC 3339, UTC."""
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
            "resumes_at": rfc3339(theirs.resumes_at),
            "current_period_start": rfc3339(theirs.current_period_start),
            "current_period_end": rfc3339(theirs.current_period_end),
            "cancel_at_period_end": theirs.ends_with_period,
            "cancel_at": rfc3339(theirs.cancel_at),
            "trial_ends_at": rfc3339(theirs.trial_ends_at),
            "cancelled_at": rfc3339(theirs.cancelled_at),
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "discounts": [discount.public() for discount in theirs.discounts],
            "pending_change": self._awaited(),
            "scheduled_change": self._to_come(),
            "dunning": dunning,
        }

    def _awaited(self) -> dict | None:
        awaited = self.theirs.awaited
        if not awaited:
            return None
        return {"status": "awaiting_payment", "expires_at": rfc3339(awaited.expires_at)} | self._coming(
            awaited.quantity
        )

    def _to_come(self) -> dict | None:
        to_come = None if self.theirs.ended else self.theirs.scheduled
        return {"effective_at": rfc3339(to_come.starts_at)} | self._coming(to_come.quantity) if to_come else None

    def _coming(self, seats: int) -> dict:
        return {"plan": self.coming, "plan_version": self.coming_version, "seats": seats}

    def _known(self) -> Theirs:
        """An unknown status allows no change."""
        if self.known_status != self.theirs.status:
            raise NotChangeable(f"not while the subscription is {self.theirs.status}")
        return self.theirs

    def basis(self) -> str:
        """What a price is reckoned on; a quote is void when it moves."""
        theirs = self.theirs
        period = theirs.current_period_start, theirs.current_period_end
        discounts = [discount.id for discount in theirs.discounts]
        return digest(
            theirs.id, theirs.status, theirs.price, theirs.quantity, period, discounts, theirs.collection_paused
        )

    def _schedule(self, mark: str, phases: list[dict], starts_at: int, end: str = "release", origin: str = "") -> Step:
        params = {"phases": phases, "starts_at": starts_at, "end_behavior": end}
        return Step("schedule_change", self.theirs.id, params | {"metadata": {"change_id": mark, "origin": origin}})

    def _update(self, mark: str, params: dict) -> Step:
        return Step("update_subscription", self.theirs.id, params | {"metadata": {"change_id": mark}})

    def _of_last_day(self, at: int) -> list[int]:
        return [then for then in self.invoiced_at if then > at - DAY]


def taken_up(theirs: Theirs, plan: Plan | None, at: int, coming: Plan | None = None) -> Subscription:
    """A subscription met for the first time: made by a change of ours, in checkout, or in Stripe's dashboard."""
    granted = theirs.trial_ends_at if theirs.trial else None
    began = theirs.current_period_start
    new = Subscription(theirs, None, None, created_at=at, updated_at=at, trial_until=granted, anchored_at=began)
    return new.follow(theirs, plan, at, coming)
