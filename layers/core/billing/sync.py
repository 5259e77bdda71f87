"""Bringing our record up to Stripe's. Events may come late, twice, in any order, or stand for others that were lost."""

from collections.abc import Callable, Sequence

from billing import changes, customer_table, dynamodb, gateway, records, trials, webhook_table
from billing.customers import Customer, Revision
from billing.errors import Failed, NotFound, Stale, Unavailable
from billing.invoices import Invoice
from billing.webhooks import WebhookEvent


def refresh(events: Sequence[WebhookEvent], at: int) -> None:
    """
    Record what Stripe now says of the subscription and the invoices that these events are about.

    One fetch for each object, however many events name it.
    """

    def fetch(ours: Customer) -> Revision:
        subscription = events[0].subscription
        revision = changes.settling(ours, gateway.subscription(subscription), at) if subscription else Revision(ours)
        ids = {event.object_id: None for event in events if event.object_id and event.type.startswith("invoice.")}
        revision = trials.claiming(revision, at)
        return revision.billing(tuple(filter(None, map(_billed, ids))), at)

    ours = _record(events, fetch, at)
    try:
        if ours and _unfinished(ours, events, at):
            ours = changes.recover(ours, at)
        if ours:
            trials.end_second(ours, at)
    except Failed as failed:  # the events are marked by now: they come again, as often as it takes
        raise Unavailable("what an event has led to is not finished") from failed


def _billed(id: str) -> Invoice | None:
    """None: it is a draft, or was one. Those may be deleted, so none is kept; Stripe's own list tells of them."""
    try:
        invoice = gateway.invoice(id)
    except NotFound:
        return None
    return None if invoice.status == "draft" else invoice


def _unfinished(ours: Customer, events: Sequence[WebhookEvent], at: int) -> bool:
    """Another one may live beside it; something is to be put back, or to be finished; the page may be closed."""
    subscription, page = ours.subscription, ours.checkout
    closed = page is not None and page.id in {event.object_id for event in events}
    ended = subscription is not None and (subscription.theirs.ended or subscription.lost() is not None)
    return closed or ended or ours.overdue(at)


def forget(events: Sequence[WebhookEvent], at: int) -> None:
    """Stripe has deleted its customer, and cancelled what it had: the next wish makes a new one."""

    def deregister(ours: Customer) -> Revision:
        revision, subscription = Revision(ours), ours.subscription
        if subscription and subscription.theirs.customer == events[0].customer and not subscription.theirs.ended:
            revision = changes.settling(ours, gateway.subscription(subscription.theirs.id), at)
        return revision.deregistering(at) if ours.stripe_id == events[0].customer else revision

    _record(events, deregister, at)


def ignore(events: Sequence[WebhookEvent], at: int) -> None:
    """Nothing to do, and on record that there was nothing."""
    for event in events:
        dynamodb.transact([webhook_table.mark(event, "ignored")])


def _record(events: Sequence[WebhookEvent], step: Callable[[Customer], Revision], at: int) -> Customer | None:
    """
    Ours is read first, then Stripe's, so an older answer never covers a newer one; then one transaction for the new
    state and the marks of all events. One that is marked already is dropped, and the rest is done again without it.
    Events of a customer who is not ours are ignored.
    """
    try:
        owner = customer_table.owner(events[0].customer or "nobody")
    except NotFound:
        ignore(events, at)
        return None
    left = list({event.id: event for event in events}.values())  # no transaction may name an item twice
    for _ in range(records.TRIES):
        before = customer_table.find(owner, at)
        revision = step(before)
        try:
            stood = records.commit(before, revision, [webhook_table.mark(event, "done") for event in left])
        except Stale:
            continue
        left = [event for place, event in enumerate(left) if place not in stood]
        if not stood or not left:
            return before if stood else revision.customer
    raise Stale("the customer keeps moving")
