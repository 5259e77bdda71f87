"""A Stripe customer for each of ours: made once, and on record, under its own name too, before anything is bought."""

from billing import customer_table, gateway, records
from billing.customers import Customer
from billing.errors import Stale
from billing.holds import EXPIRY


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
                begun = ours.begins_registration(at)
                records.commit(ours, begun)
                ours = begun.customer
            late = at >= (ours.registering_since or at) + EXPIRY
            theirs = (gateway.registered(id) if late else None) or gateway.register(id, ours.registrations)
            registered = ours.registered(theirs.id, at)
            records.commit(ours, registered)
            return registered.customer
        except Stale:
            continue
    raise Stale("the customer keeps moving")
