"""A Stripe customer for each of ours: made once, and on record, under its own name too, before anything is bought."""

from billing import customer_table, gateway, records
from billing.customers import Customer, Revision, TheirCustomer
from billing.errors import Stale
from billing.holds import EXPIRY, digest


def required(ours: Customer, at: int) -> str:
    """The Stripe customer of ours. Stale once it has been made: the record has moved."""
    if not ours.stripe_id:
        ensure(ours.id, at)
        raise Stale("the customer is registered by now")
    return ours.stripe_id


def theirs(ours: Customer, at: int) -> TheirCustomer:
    """With the payment method on file. Stale if Stripe has deleted the customer: the next look makes another."""
    said = gateway.customer(required(ours, at))
    if said.deleted:
        records.commit(ours, Revision(ours).deregistering(at))
        raise Stale("Stripe has deleted the customer")
    return said


def ensure(id: str, at: int) -> Customer:
    """
    The customer, with its Stripe id.

    That it is begun is on record before Stripe hears of it. Whoever comes while nothing has come of it asks the same
    under the same key, and Stripe makes one; when Stripe may have forgotten the key, it is searched for first.
    """
    for _ in range(records.TRIES):
        ours = customer_table.find(id, at)
        if ours.stripe_id:
            return ours
        try:
            if not ours.registering_since:
                ours = records.commit(ours, ours.begins_registration(at)).customer
            late = at >= (ours.registering_since or at) + EXPIRY
            begun = digest(id, ours.created_at, ours.registrations)
            found = [each for each in gateway.registered(id) if ours.was_to_be(each)] if late else []
            theirs = found[0] if found else gateway.register(id, begun, ours.profile)
            return records.commit(ours, ours.registered(theirs.id, at)).customer
        except Stale:
            continue
    raise Stale("the customer keeps moving")
