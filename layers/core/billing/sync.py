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

    ours = _hear(events, fetch, at)
    if ours:
        page = ours.checkout
        follow_up(ours, at, closed=page is not None and page.id in {event.object_id for event in events})


def follow_up(ours: Customer, at: int, closed: bool = False) -> None:
    """
    What the news of a subscription leads to. To be called with a record that says what Stripe says; `closed`: so has
    Stripe of the page on which it could be bought.
    """
    subscription = ours.subscription
    ended = subscription is not None and (subscription.theirs.ended or subscription.lost() is not None)
    try:
        if closed or ended or ours.overdue(at):  # another may live beside it; something is to be put back, or finished
            ours = changes.recover(ours, at)
        trials.end_second(ours, at)
    except Failed as failed:  # what led to it is on record by now: it has to come again, as often as it takes
        raise Unavailable("what an event has led to is not finished") from failed


def _billed(id: str) -> Invoice | None:
    """None: it is a draft, or was one. Those may be deleted, so none is kept; Stripe's own list tells of them."""
    try:
        invoice = gateway.invoice(id)
    except NotFound:
        return None
    return None if invoice.status == "draft" else invoice


def forget(events: Sequence[WebhookEvent], at: int) -> None:
    """Stripe has deleted its customer, and cancelled what it had: the next wish makes a new one."""
    deleted = events[0].customer or ""
    _hear(events, lambda ours: deregistered(ours, deleted, at), at)


def deregistered(ours: Customer, deleted: str, at: int) -> Revision:
    revision, subscription = Revision(ours), ours.subscription
    if subscription and subscription.theirs.customer == deleted and not subscription.theirs.ended:
        revision = changes.settling(ours, gateway.subscription(subscription.theirs.id), at)
    return revision.deregistering(at) if ours.stripe_id == deleted else revision


def ignore(events: Sequence[WebhookEvent], at: int) -> None:
    """Nothing to do, and on record that there was nothing."""
    for event in events:
        dynamodb.transact([webhook_table.mark(event, "ignored")])


def _hear(events: Sequence[WebhookEvent], step: Callable[[Customer], Revision], at: int) -> Customer | None:
    """Each event once; those of a customer who is not ours are ignored."""
    try:
        owner = customer_table.owner(events[0].customer or "nobody")
    except NotFound:
        ignore(events, at)
        return None
    folded = {event.id: event for event in events}.values()  # no transaction may name an item twice
    return record(owner, step, lambda before, revision: [webhook_table.mark(event, "done") for event in folded], at)


def record(
    owner: str, step: Callable[[Customer], Revision], marks: Callable[[Customer, Revision], list[dict]], at: int
) -> Customer:
    """
    Ours is read first, then Stripe's, so an older answer never covers a newer one; then one transaction for the new
    state and its marks. A mark that stands already is dropped, and the rest is done again without it; if all stand,
    there is nothing to do.
    """
    stood: set[int] = set()
    for _ in range(records.TRIES):
        before = customer_table.find(owner, at)
        revision = step(before)
        wanted = marks(before, revision)
        left = [place for place in range(len(wanted)) if place not in stood]
        if wanted and not left:
            return before
        try:
            refused = records.commit(before, revision, [wanted[place] for place in left])
        except Stale:
            continue
        if not refused:
            return revision.customer
        stood |= {left[place] for place in refused}
    raise Stale("the customer keeps moving")
