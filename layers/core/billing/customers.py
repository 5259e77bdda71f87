"""
A customer: the one thing that is versioned. Its subscription, its invoices, a change in flight and the answer of a
settled one are written together with it, and only if its version is still the one they grew from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from billing.checkouts import LIFE, Checkout, Session
from billing.closings import Closing
from billing.discounts import same_code
from billing.domain_events import Happened
from billing.dunning import Case
from billing.errors import AlreadyLinked, AlreadySubscribed, ChangeInFlight, NotFound
from billing.holds import EXPIRY, PATIENCE, Change, Settled, Step, Wish, digest
from billing.invoices import Billing
from billing.periods import rfc3339
from billing.plans import Plan
from billing.subscriptions import Subscription, taken_up
from billing.theirs import Theirs

MOST_REMINDED = 20
ASKEW = 300  # seconds that our clock and Stripe's may differ by


@dataclass(frozen=True, slots=True)
class Profile:
    """Who pays, as Stripe prints it on invoices. Personal data: never logged."""

    email: str | None = None
    name: str | None = None
    phone: str | None = None
    address: dict | None = None  # line1, line2, city, state, postal_code, country
    tax_id: dict | None = None  # type, value (docs: Customer tax IDs)
    locale: str | None = None

    def made(self) -> dict:
        """As Stripe takes it when its customer is made: the one before may have been deleted there."""
        said = {name: told for name in ("email", "name", "phone") if (told := getattr(self, name))}
        if self.address:
            said["address"] = {part: value for part, value in self.address.items() if value}
        if self.locale:
            said["preferred_locales"] = [self.locale]
        return said | ({"tax_id_data": [self.tax_id]} if self.tax_id else {})


@dataclass(frozen=True, slots=True)
class Contact:
    """Where and how a customer is written to. Personal data: never logged."""

    email: str | None = None
    locales: list[str] = field(default_factory=list)  # the preferred one first


@dataclass(frozen=True, slots=True)
class TheirCustomer:
    """What Stripe said of its customer when last asked."""

    id: str  # cus_...
    deleted: bool = False
    created: int = 0
    names: str | None = None  # the customer of ours that its metadata names
    change: str | None = None  # mark of the last change of ours to its profile
    payment_method: str | None = None  # the one on file
    fingerprint: str | None = None  # of its card


@dataclass(frozen=True, slots=True)
class Customer:
    id: str  # the claim that the product's tokens carry
    created_at: int
    updated_at: int
    version: int = 0  # 0: not on record yet
    stripe_id: str | None = None  # cus_...
    registrations: int = 0  # Stripe customers begun for it: one may be deleted at Stripe
    registering_since: int | None = None
    profile: Profile = field(default_factory=Profile)
    subscription: Subscription | None = None  # the live one; else the last
    payment_method: str | None = None  # the one it subscribed with
    checkout: Checkout | None = None  # the page on which it may be subscribing
    trialed: bool = False
    trial_card: str | None = None  # fingerprint of the card that its one trial is on; None: it has shown none
    pending: Change | None = None
    attempt: int = 0  # counts released holds: the next one speaks to Stripe under new keys
    terms: int = 0  # moves with whatever a limit depends on; totals of usage name it
    limits: dict = field(default_factory=dict)  # limit to number, or None for unlimited: in place of its plan's
    ending: Closing | None = None  # the last period that ended and is billed by usage
    cases: list[Case] = field(default_factory=list)  # of dunning: those that are open, and debts that stand
    reminded: list[str] = field(default_factory=list)  # the timers that have done their work, the last ones
    timers: list[str] = field(default_factory=list)  # those that are on record, by name
    access: list | None = None  # [whether, why] as it was told last
    told: int = 0  # the sequence of its last domain event
    bounced: str | None = None  # digest of the address that was refused last: nothing is sent there

    def dunning(self, plan: Plan | None) -> dict | None:
        """What is owed, and what becomes of it; None: nothing is. `plan`: of its subscription."""
        if not self.cases:
            return None
        grace_ends = self.subscription.grace_ends_at(plan) if self.subscription else None
        attempts = [case.next_attempt_at for case in self.cases if case.next_attempt_at and not case.outcome]
        steps = [case.due for case in self.cases if case.due is not None]
        return {
            "invoices": [case.public() for case in self.cases],
            "grace_ends_at": rfc3339(grace_ends),
            "next_attempt_at": rfc3339(min(attempts, default=None)),
            "next_step_at": rfc3339(min(steps, default=None)),
        }

    def case(self, invoice: str) -> Case | None:
        return next((each for each in self.cases if each.invoice == invoice), None)

    def lives(self) -> bool:
        return self.subscription is not None and not self.subscription.theirs.ended

    def live(self) -> Subscription:
        if not self.subscription or self.subscription.theirs.ended:
            raise NotFound("no subscription")
        return self.subscription

    def bought(self) -> Subscription:
        """The live subscription, or the last one."""
        if not self.subscription:
            raise NotFound("no subscription")
        return self.subscription

    def subscribe(
        self, plan: Plan, quantity: int, payment_method: str | None = None, code: str | None = None
    ) -> Wish | None:
        """
        One live subscription per customer; None if it already is the wished one.

        One that was never paid does not fill the slot: the same wish may still pay it, another one replaces it. The
        code is compared as it was typed: Stripe no longer lists one that the wish itself has used up.
        """
        plan.seat(quantity)
        code = same_code(code)
        if self.subscription and not self.subscription.theirs.ended:
            theirs = self.subscription.theirs
            same = (theirs.price, theirs.quantity) == (plan.price, quantity)
            same &= code in (None, self.subscription.bought_with, *self.subscription.codes())
            same &= theirs.fills_slot or not self.checkout  # what is paid here, and on the page, is paid twice
            if same and payment_method in ((None, self.payment_method) if theirs.fills_slot else (None,)):
                return None
        self._need_free_slot()
        terms = {"price": plan.price, "quantity": quantity, "payment_method": payment_method, "code": code}
        return Wish("subscribe", terms)

    def check_out(self, plan: Plan, quantity: int, code: str | None, codes: bool, urls: dict) -> Wish | None:
        """To subscribe on a page of Stripe's; None if that page is open."""
        plan.seat(quantity)
        self._need_free_slot()
        terms = {"price": plan.price, "quantity": quantity, "code": same_code(code), "codes": codes}
        wish = Wish("checkout", terms | urls)
        return None if self.checkout and self.checkout.wish == digest(wish) else wish

    def subscribe_steps(
        self, plan: Plan, wish: Wish, mark: str, on_file: bool, trial: bool, taxed: bool, promotion: str | None = None
    ) -> list[Step]:
        """
        With a payment method, given or on file, Stripe charges at once; without, the client confirms the first payment.
        `promotion` is what Stripe has under the wished code.

        What is given goes on file first: if it is declined there, nothing has changed.
        """
        stripe_id, given = self.stripe_id or "", wish.terms["payment_method"]
        params: dict = {
            "customer": stripe_id,
            "items": [{"price": plan.price, "quantity": wish.terms["quantity"]}],
            "payment_behavior": "allow_incomplete" if given or on_file else "default_incomplete",
            "payment_settings": {"save_default_payment_method": "on_subscription"},
            "billing_mode": {"type": "flexible"},
            "metadata": {"change_id": mark, "customer": self.id},
        }
        if promotion:
            params["discounts"] = [{"promotion_code": promotion}]
        if taxed:
            params["automatic_tax"] = {"enabled": True}
        if trial:
            params |= plan.trial()
            params["metadata"]["trial"] = mark
        steps = [Step("put_on_file", stripe_id, {"payment_method": given})] if given else []
        return [*steps, *self._make_way(mark), Step("create_subscription", stripe_id, params)]

    def checkout_steps(
        self, plan: Plan, wish: Wish, mark: str, trial: bool, taxed: bool, at: int, promotion: str | None = None
    ) -> list[Step]:
        """
        A card is always asked for, also where there is nothing to pay yet: it is what one trial per card is told by.

        What is in the page's own metadata does not reach the subscription (docs: Checkout Sessions, metadata).
        """
        stripe_id, metadata = self.stripe_id or "", {"change_id": mark, "customer": self.id}
        granted = {"trial": mark} if trial else {}
        subscription: dict = {"billing_mode": {"type": "flexible"}, "metadata": metadata | granted}
        params: dict = {
            "mode": "subscription",
            "customer": stripe_id,
            "line_items": [{"price": plan.price, "quantity": wish.terms["quantity"]}],
            "payment_method_collection": "always",
            "success_url": wish.terms["success_url"],
            "cancel_url": wish.terms["cancel_url"],
            "expires_at": at + LIFE,
            "metadata": metadata,
            "subscription_data": subscription | (plan.trial() if trial else {}),
        }
        if promotion:
            params["discounts"] = [{"promotion_code": promotion}]
        if wish.terms["codes"]:
            params["allow_promotion_codes"] = True
        if taxed:
            params |= {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
        return [*self._make_way(mark), Step("create_checkout", stripe_id, params)]

    def describe(self, profile: dict) -> Wish:
        return Wish("profile", profile)

    def profile_steps(self, wish: Wish, mark: str) -> list[Step]:
        """The tax id goes first: if Stripe does not take it, nothing has changed. To Stripe "" empties what it has."""
        stripe_id, before, after = self.stripe_id or "", self.profile, Profile(**wish.terms)
        params: dict = {"metadata": {"change_id": mark}}
        for name in ("email", "name", "phone", "address"):
            if said := getattr(after, name):
                params[name] = said if name != "address" else {part: value or "" for part, value in said.items()}
            elif getattr(before, name):
                params[name] = ""
        if after.locale or before.locale:
            params["preferred_locales"] = [after.locale] if after.locale else ""
        return [Step("set_tax_id", stripe_id, after.tax_id or {}), Step("update_customer", stripe_id, params)]

    def begins_registration(self, at: int) -> Revision:
        return self._revise(at, registrations=self.registrations + 1, registering_since=at)

    def registered(self, stripe_id: str, at: int) -> Revision:
        return replace(self._revise(at, stripe_id=stripe_id, registering_since=None), names=stripe_id)

    def linked(self, stripe_id: str, had_trial: bool, at: int) -> Revision:
        """
        It is a Stripe customer that was there before. A trial it has had there is the one that it may have.

        Not while another may be being made for it: whoever began that within `PATIENCE` may be alive.
        """
        if self.stripe_id not in (None, stripe_id):
            raise AlreadyLinked(f"this customer is {self.stripe_id} at Stripe")
        if self.registering(at):
            raise ChangeInFlight("a Stripe customer is being made for this customer")
        trialed = self.trialed or had_trial
        if (self.stripe_id, self.trialed) == (stripe_id, trialed):
            return Revision(self)
        linked = self._revise(at, stripe_id=stripe_id, registering_since=None, trialed=trialed)
        return replace(linked, names=stripe_id)

    def registering(self, at: int) -> bool:
        """Whether someone may be making a Stripe customer for it right now."""
        return self.registering_since is not None and at < self.registering_since + PATIENCE

    def was_to_be(self, theirs: TheirCustomer) -> bool:
        """Whether that may have been made for it by someone who died; one that was there before was not."""
        since = self.registering_since
        return self.stripe_id is None and since is not None and theirs.created >= since - ASKEW

    def hold(self, change: Change, at: int) -> Revision:
        """A hold that is in the way has to be settled or released first."""
        if self.pending:
            raise ChangeInFlight("another change is waiting for Stripe")
        subscription = self.subscription
        if subscription and change.draft.invoices:
            subscription = subscription.invoiced(at)
        held = self._revise(at, pending=replace(change, attempt=self.attempt), subscription=subscription)
        return replace(held, uses=change.draft.quote, claims=change.draft.claim)

    def take(self, at: int, id: str | None = None, fingerprint: str = "") -> Revision:
        """
        An overdue hold is sent again, by someone who is alive: to the others it is young once more. Who asks for it
        under another key is told under that one, too.
        """
        assert self.pending is not None
        also = [{"id": id, "fingerprint": fingerprint}] if id and id != self.pending.id else []
        return self._revise(at, pending=replace(self.pending, sent_at=at, also=[*self.pending.also, *also]))

    def release(self, change: Change, at: int) -> Revision:
        """
        Nothing has come of it: its quote is not used up (one so old that it may be gone is left alone), and the card
        that was to have its trial by it has had none, unless it is the one of a trial that was begun elsewhere.
        """
        if not self.holds(change):
            return Revision(self)
        frees = change.draft.quote if at < change.held_at + EXPIRY else None
        disclaims = change.draft.claim if change.draft.claim != self.trial_card else None
        return replace(self._revise(at, pending=None, attempt=self.attempt + 1), frees=frees, disclaims=disclaims)

    def restored(self, at: int) -> Revision:
        """What a change that was never paid had put aside is to come again."""
        return self._revise(at, subscription=self.subscription and replace(self.subscription, awaiting=None))

    def doubt(self, change: Change, at: int) -> Revision:
        """Stripe failed and shows no trace. The second time it is repeating itself."""
        counted, subscription = replace(change, failures=change.failures + 1), self.subscription
        if self.holds(change):
            return self._revise(at, pending=counted)
        if subscription and subscription.awaiting == change:
            return self._revise(at, subscription=replace(subscription, awaiting=counted))
        return Revision(self)

    def absorb(
        self,
        theirs: Theirs,
        plan: Plan | None,
        at: int,
        aside: Subscription | None = None,
        coming: Plan | None = None,
        done: bool = False,
    ) -> Revision:
        """
        Record what Stripe says of a subscription. A held change that it shows is settled, unless something follows it
        that does not show (`done`: all of it is known to be done); one that it does not stays.

        It becomes the customer's one if that place is free; else it stands aside (`aside`, if it stood there before):
        ended long ago, or made elsewhere beside the live one.
        """
        before, held, ended = self.subscription, self.pending, []
        if before and before.theirs.id == theirs.id:
            after, gone = before.follow(theirs, plan, at, coming), ()
            ended = before.closed(after, at)
        elif self._takes_over(theirs):
            after, gone = taken_up(theirs, plan, at, coming), (before,) if before else ()
        else:
            after = aside.follow(theirs, plan, at) if aside else taken_up(theirs, plan, at)
            return Revision(self) if after == aside else replace(self._revise(at, aside=(after,)), stood_aside=aside)

        fields: dict = {"subscription": after, "trialed": self.trialed or theirs.trial_ends_at is not None}
        if not before or before.terms() != after.terms():
            fields["terms"] = self.terms + 1
        if ended:
            fields["ending"] = ended[-1]
        if held and (done or (not held.draft.follow and self._shows(theirs, held))):
            waits = theirs.awaited is not None and theirs.awaited.change == held.mark and held.draft.restore
            bought_with = held.wish.terms.get("code") if held.wish.action == "subscribe" else after.bought_with
            fields["subscription"] = after = replace(after, awaiting=held if waits else None, bought_with=bought_with)
            answer = _answer(held, after.public(plan, at))
            fields["payment_method"] = held.wish.terms.get("payment_method") or self.payment_method
            fields["trial_card"] = held.draft.claim or self.trial_card
            if held.wish.action == "subscribe":
                fields["checkout"] = None  # a step of it was to expire the page
            settled = self._revise(at, aside=gone, settled=answer, pending=None, **fields)
            settled = replace(settled, closings=tuple(ended))
            return replace(settled, answers=tuple(replace(answer, **each) for each in held.also))
        if all(getattr(self, name) == value for name, value in fields.items()):
            return Revision(replace(self, subscription=after))
        return replace(self._revise(at, aside=gone, **fields), closings=tuple(ended))

    def profiled(self, profile: Profile, at: int) -> Revision:
        """Stripe has the new profile: the change that held it is settled."""
        after = replace(self, profile=profile)
        settled = _answer(self.pending, after.public()) if self.pending else None
        return self._revise(at, settled=settled, profile=profile, pending=None)

    def opened(self, session: Session, plan: Plan, at: int) -> Revision:
        """Stripe has the page: the change that held it is settled."""
        held = self.pending
        assert held is not None
        quantity = held.wish.terms["quantity"]
        checkout = Checkout(session.id, digest(held.wish), held.wish.terms["price"], quantity, session.expires_at)
        settled = _answer(held, checkout.public(plan.slug))
        return self._revise(at, settled=settled, checkout=checkout, pending=None)

    def limited(self, limits: dict[str, int | None], at: int) -> Revision:
        """Limits of its own in place of its plan's, all of them; whoever counts on the older ones is shut out."""
        if limits == self.limits:
            return Revision(self)
        return self._revise(at, limits=limits, terms=self.terms + 1)

    def bounces(self, address: str, reason: str, at: int) -> Revision:
        """Mail to an address, of which this is the digest, has come back, or was not wanted there."""
        if address == self.bounced:
            return Revision(self)
        told = Happened("customer.email_bounced", {"reason": reason})
        return self._revise(at, bounced=address).telling(at, told)

    def answered(self, change_id: str, fingerprint: str, answer: dict, at: int) -> Revision:
        """Told without a change of its own: the wish was true already, or someone else's was the same."""
        return self._revise(at, settled=Settled(change_id, fingerprint, answer))

    def basis(self) -> str:
        """What a change is drafted on."""
        return self.subscription.basis() if self.subscription else ""

    def overdue(self, at: int) -> bool:
        """Whether a change is held by someone who is dead."""
        return self.pending is not None and self.pending.overdue(at)

    def holds(self, change: Change) -> bool:
        """Whether it is this one still: if someone alive has taken it up meanwhile, it is theirs."""
        held = self.pending
        return held is not None and (held.mark, held.attempt, held.sent_at) == (
            change.mark,
            change.attempt,
            change.sent_at,
        )

    def public(self) -> dict:
        return {"id": self.id} | {name: getattr(self.profile, name) for name in self.profile.__slots__}

    def at_stripe(self) -> dict:
        """Which Stripe customer it is, and what of it is on record: for operators."""
        bought = self.subscription
        told = bought and {
            "id": bought.theirs.id,
            "status": bought.theirs.status,
            "seats": bought.theirs.quantity,
            "plan": bought.plan,
            "plan_version": bought.plan_version,
        }
        return {"customer": self.id, "stripe_customer": self.stripe_id, "subscription": told}

    def _need_free_slot(self) -> None:
        if self.subscription and self.subscription.theirs.fills_slot:
            raise AlreadySubscribed("one subscription per customer: change the plan or the seats of this one")

    def _make_way(self, mark: str) -> list[Step]:
        """For the one subscription: the page on which another could be bought, and one that was never paid."""
        steps = [self.checkout.expire()] if self.checkout else []
        if self.subscription and not self.subscription.theirs.ended:
            steps += self.subscription.cancel_steps(mark, immediately=True)
        return steps

    def _takes_over(self, theirs: Theirs) -> bool:
        if not self.subscription or (self.pending and theirs.shows(self.pending.mark)):
            return True
        ours = self.subscription.theirs
        return not ours.fills_slot and (theirs.fills_slot or theirs.created > ours.created)

    def _shows(self, theirs: Theirs, held: Change) -> bool:
        """By the change's mark; where the last call takes no metadata, by what it leaves behind."""
        main = held.main
        if main.call == "create_checkout":
            return False  # it is the page that shows it, not what is bought there
        if main.call == "cancel_subscription":
            return main.target == theirs.id and theirs.ended
        if main.call == "void_invoice":
            return False  # it may have been paid
        if main.call == "release_schedule":
            return main.target == theirs.id and theirs.released(main.params["have"])
        if main.call == "resume_subscription":
            return theirs.shows(held.mark) and (theirs.status != "paused" or theirs.open_invoice is not None)
        return theirs.shows(held.mark)

    def _revise(self, at: int, aside: tuple = (), settled: Settled | None = None, **fields) -> Revision:
        return Revision(_next(self, at, **fields), moved=True, aside=aside, settled=settled)


@dataclass(frozen=True, slots=True)
class Revision:
    """What a customer becomes, and all that is written in the same transaction. Not moved: nothing is to be written."""

    customer: Customer
    moved: bool = False
    names: str | None = None  # the Stripe customer that is this one from now on
    aside: tuple[Subscription, ...] = ()
    settled: Settled | None = None
    invoices: tuple[Billing, ...] = ()
    answers: tuple[Settled, ...] = ()  # the same, for others who have asked for it under keys of their own
    uses: str | None = None  # a quote, which is used up
    frees: str | None = None  # a quote, which is not
    claims: str | None = None  # a card, which has its one trial
    disclaims: str | None = None  # a card, which has not
    closings: tuple[Closing, ...] = ()  # periods that have ended, to be billed by usage
    closed: tuple[Case, ...] = ()  # of dunning, for good
    stood_aside: Subscription | None = None  # what the one that stands aside was before
    tells: tuple[Happened, ...] = ()  # what does not show by what the customer becomes

    def billing(self, invoices: tuple[Billing, ...], at: int) -> Revision:
        """The same, with invoices: they are the customer's, so its version moves."""
        return replace(self._moving(at), invoices=invoices) if invoices else self

    def dunning(self, cases: list[Case], at: int) -> Revision:
        """The same, with these cases of dunning, and what they make of the access."""
        customer = self.customer
        standing = [case for case in cases if case.stands]
        bought = customer.subscription
        owing = bought and bought.owing(cases)
        if (standing, owing) == (customer.cases, bought):
            return self
        moving = self._moving(at)
        others = bought is not None and owing is not None and bought.terms() != owing.terms()
        fields = {"cases": standing, "subscription": owing, "terms": customer.terms + others}
        closed = [case for case in cases if case.outcome and case != customer.case(case.invoice)]
        return replace(moving, customer=replace(moving.customer, **fields), closed=(*self.closed, *closed))

    def abandoning(self, subscription: str, at: int) -> Revision:
        """The same, and the subscription has ended: what was owed for it is asked for no longer."""
        cases = self.customer.cases
        return self.dunning([each.abandoned() if each.subscription == subscription else each for each in cases], at)

    def telling(self, at: int, *happened: Happened) -> Revision:
        """The same, and what is told of it."""
        return replace(self._moving(at), tells=(*self.tells, *happened))

    def reminding(self, name: str, at: int) -> Revision:
        """The same, and a timer has done its work."""
        moving = self._moving(at)
        reminded = [*moving.customer.reminded, name][-MOST_REMINDED:]
        return replace(moving, customer=replace(moving.customer, reminded=reminded))

    def then(self, later: Revision) -> Revision:
        """Both in one transaction: `later` grew from what this one makes of the customer."""
        if not later.moved:
            return replace(self, customer=later.customer)
        version = self.customer.version if self.moved else later.customer.version
        return replace(
            later,
            customer=replace(later.customer, version=version),
            names=self.names,
            aside=(*self.aside, *later.aside),
            settled=self.settled or later.settled,
            answers=(*self.answers, *later.answers),
            closings=(*self.closings, *later.closings),
            closed=(*self.closed, *later.closed),
            tells=(*self.tells, *later.tells),
        )

    def deregistering(self, at: int) -> Revision:
        """The same, and Stripe has deleted its customer."""
        moving = self._moving(at)
        return replace(moving, customer=replace(moving.customer, stripe_id=None, checkout=None))

    def closing(self, at: int) -> Revision:
        """The same, and the page is no longer open."""
        moving = self._moving(at)
        return replace(moving, customer=replace(moving.customer, checkout=None))

    def claiming(self, fingerprint: str, at: int) -> Revision:
        """The same, and a card has its one trial by it."""
        moving = self._moving(at)
        return replace(moving, customer=replace(moving.customer, trial_card=fingerprint), claims=fingerprint)

    def _moving(self, at: int) -> Revision:
        return self if self.moved else Revision(_next(self.customer, at), moved=True)


def _answer(change: Change, answer: dict) -> Settled:
    return Settled(change.id, change.fingerprint, answer | change.draft.told)


def _next(customer: Customer, at: int, **fields) -> Customer:
    return replace(customer, version=customer.version + 1, updated_at=at, **fields)
