"""One trial for a customer, and for a card: the same card has the same fingerprint at all customers of the account."""

from typing import NamedTuple

from billing import changes, customer_table, gateway, log, plan_table, pricing
from billing.api import Request
from billing.customers import Customer, Revision, TheirCustomer
from billing.holds import Draft, Wish
from billing.plans import Plan


class Trial(NamedTuple):
    granted: bool
    card: str | None  # fingerprint of the card that has its one trial by this


def first(ours: Customer, plan: Plan, payment_method: str | None, theirs: TheirCustomer) -> Trial:
    """Whether a customer who subscribes has a trial, by what is known of the card it will pay with."""
    if not plan.trial_days or ours.trialed:
        return Trial(False, None)
    card = gateway.card(payment_method) if payment_method else theirs.fingerprint
    return Trial(False, None) if _had_by_another(ours, card) else Trial(True, card)


def claiming(revision: Revision, at: int) -> Revision:
    """
    The same; and the card that a trial of ours shows has its one trial by it, if it has had none.

    It may have been given on Stripe's pages, or long after the trial began.
    """
    ours = revision.customer
    card = _unclaimed(ours)
    return revision.claiming(card, at) if card and not _had_by_another(ours, card) else revision


def second(ours: Customer) -> bool:
    """Whether it is on a trial of ours, on a card that has had its trial with another customer."""
    return _had_by_another(ours, _unclaimed(ours))


def end_second(ours: Customer, at: int) -> None:
    """
    A trial of ours on a card that has had its trial with another customer is charged now, or cancelled, as its plan
    says; one that is going to be cancelled is cancelled. To be called with a record that says what Stripe says.

    It is a change like any other: none is made beside it, and whoever dies in the middle of it leaves a hold.
    """

    def decide(ours: Customer) -> Wish | None:
        if not second(ours):
            return None
        subscription = ours.live()
        if subscription.theirs.cancelling or plan_table.of(subscription).second_trial == "cancel":
            return subscription.cancel(immediately=True, unused_time="none")
        return Wish("end_trial")

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        subscription = ours.live()
        log.warning("second_trial", subscription=subscription.theirs.id, action=wish.action)
        if wish.action == "cancel":
            return pricing.cancellation(ours, wish, mark)
        return Draft(subscription.end_trial_steps(mark), restore=subscription.put_back())

    if second(ours):
        request = Request(ours.id, key=None, fingerprint="", path={}, query={}, at=at)
        changes.carry_out(request, decide, draft, stands=Customer.public)


def _unclaimed(ours: Customer) -> str | None:
    """
    Fingerprint of the card that a trial of ours will be charged on, if it has not had it on another: whoever puts a
    colleague's card on file later goes on. Free days given in Stripe's dashboard are not ours.
    """
    subscription = ours.subscription
    if ours.trial_card or not subscription or not subscription.plan or not subscription.on_trial_of_ours:
        return None
    theirs = subscription.theirs
    return theirs.fingerprint or gateway.customer(theirs.customer).fingerprint


def _had_by_another(ours: Customer, card: str | None) -> bool:
    return card is not None and customer_table.trialed(card) not in (None, ours.id)
