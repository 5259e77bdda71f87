"""A Stripe customer that was there before us becomes one of ours, with what it has."""

from collections.abc import Iterable

from billing import changes, customer_table, gateway, log, records
from billing.api import Request
from billing.customers import Customer, Revision, TheirCustomer
from billing.errors import NoSuchStripeCustomer, NotFound, Stale, StripeCustomerTaken
from billing.invoices import Billing, Invoice
from billing.theirs import Theirs

# A transaction has a hundred writes, and the totals of usage may take sixty of them. What else a customer has is heard
# of when it changes.
MOST_SUBSCRIPTIONS, MOST_INVOICES = 10, 10


def link(request: Request, stripe_id: str) -> Customer:
    """
    From now on our customer is that Stripe customer; its subscriptions, and its open and newest invoices, come on
    record along with that. Whoever has been linked to it already is brought up to what Stripe has now.

    Stripe is asked once more after it is on record: what it tells before, its events included, is of nobody's customer.
    The name at Stripe comes last, so that none is there of a link that was refused.
    """
    theirs = _found(stripe_id)
    for _ in range(records.TRIES):
        before = customer_table.find(request.customer, request.at)
        try:
            if before.pending:
                before = changes.caught_up(request)
            revision = _linked(before, theirs, request.at)
            if before.registering_since:
                _tell(stripe_id, gateway.registered(before.id))
            linked = records.commit(before, revision).customer
        except Stale:
            continue
        if before.stripe_id == stripe_id:
            break
    else:
        raise Stale("the customer keeps moving")
    if theirs.names != before.id:
        gateway.name(stripe_id, before.id)
    return linked


def _found(stripe_id: str) -> TheirCustomer:
    try:
        theirs = gateway.customer(stripe_id)
    except NotFound as unknown:
        raise NoSuchStripeCustomer(f"Stripe has no customer {stripe_id}") from unknown
    if theirs.deleted:
        raise NoSuchStripeCustomer(f"Stripe has deleted {stripe_id}")
    return theirs


def _linked(ours: Customer, theirs: TheirCustomer, at: int) -> Revision:
    """What our record becomes."""
    stripe_id = theirs.id
    owner = _owner(stripe_id)
    if owner not in (None, ours.id):
        raise StripeCustomerTaken(f"{stripe_id} is another customer of ours")
    if not owner and _named(theirs, ours.id, at):
        raise StripeCustomerTaken(f"{stripe_id} names another customer of ours")
    had = gateway.subscriptions(stripe_id)
    revision = ours.linked(stripe_id, any(each.trial_ends_at for each in had), at)
    for each in _carried(ours, had):
        revision = revision.then(changes.settling(revision.customer, each, at))
    return revision.billing(tuple(Billing(each, each) for each in _unknown(ours.id, stripe_id)), at)  # no news of today


def _named(theirs: TheirCustomer, id: str, at: int) -> bool:
    """
    Whether it says that it is another customer, who is on record: whoever registers is on record before Stripe hears of
    it, so it may have been made for that one by someone who died, and is taken up when that one comes again.
    """
    return theirs.names not in (None, id) and customer_table.find(theirs.names, at).version > 0


def _carried(ours: Customer, had: Iterable[Theirs]) -> list[Theirs]:
    """Those that live, the one that fills the customer's place first; and the one on record, be it over by now."""
    known = ours.subscription and ours.subscription.theirs.id
    wanted = [each for each in had if not each.ended or each.id == known]
    return sorted(wanted, key=lambda each: (each.id != known, not each.fills_slot))[:MOST_SUBSCRIPTIONS]


def _unknown(id: str, stripe_id: str) -> list[Invoice]:
    """Its newest invoices and its open ones, but drafts, as far as our record has another word of them, or none."""
    newest = gateway.invoices(stripe_id, MOST_INVOICES)[:MOST_INVOICES]
    told = {each.id: each for each in [*newest, *gateway.open_invoices(stripe_id, MOST_INVOICES)]}
    finalized = (each for each in told.values() if each.status != "draft")
    return [each for each in finalized if customer_table.invoice(id, each.place) != each]


def _owner(stripe_id: str) -> str | None:
    try:
        return customer_table.owner(stripe_id)
    except NotFound:
        return None


def _tell(stripe_id: str, found: list[TheirCustomer]) -> None:
    """
    Someone who died while making a Stripe customer for this one may have made it. Nothing has been bought with it, and
    nothing will be: the operator may delete it. The newest may not be found yet.
    """
    log.alarmed(
        "registration_given_up", stripe_customer=stripe_id, others=[each.id for each in found if each.id != stripe_id]
    )
