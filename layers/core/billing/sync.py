"""Bringing our record up to Stripe's. Events may come late, twice, in any order, or stand for others that were lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from billing import changes, closing, collecting, customer_table, dynamodb, gateway, log, records, trials, webhook_table
from billing.customers import Customer, Revision
from billing.errors import MissingAtStripe, NotFound, Stale
from billing.invoices import Invoice
from billing.theirs import Theirs
from billing.webhooks import WebhookEvent

RENEWED = "payment_method.automatically_updated"
NEW_CARD = {  # types of events that may tell of a new payment method
    "customer.updated",
    "customer.subscription.updated",
    "payment_method.attached",
    RENEWED,
    "setup_intent.succeeded",
}
UNTIL = {"invoice.finalization_failed": "draft", "invoice.payment_attempt_required": "open"}  # status of the invoice


class Nothing(Exception):
    """There is nothing of it that could be recorded: at Stripe, or any more."""


def refresh(events: Sequence[WebhookEvent], at: int) -> None:
    """
    Record what Stripe now says of the subscription and the invoices that these events are about. Of events that name
    no subscription it is the customer's own: a card may have come or gone.

    One fetch for each object, however many events name it. What follows from it is done before the events are: if it
    fails, so do they.
    """
    about = {event.object_id for event in events}

    def closed(ours: Customer) -> bool:
        return ours.checkout is not None and ours.checkout.id in about

    def fetch(ours: Customer) -> Revision:
        id = events[0].subscription or (ours.live().theirs.id if ours.lives() else None)
        said = _said(ours, id, events) if id else None
        revision = trials.claiming(changes.settling(ours, said, at) if said else Revision(ours), at)
        closing.schedule(ours.id, revision.closings, at)
        billed = map(_billed, {event.billed: None for event in events if event.billed})
        mine = [each for each in billed if each and each.customer == events[0].customer]
        return collecting.billing(revision, mine, at)

    def leads(ours: Customer) -> bool:
        retries = collecting.waits(ours) and any(event.type in NEW_CARD for event in events)
        return retries or _unsettled(ours, at, closed(ours)) or trials.second(ours)

    ours = _hear(events, fetch, at, leads)
    if ours:
        follow_up(ours, at, closed(ours), {each.object_id or "": each.id for each in events if each.type == RENEWED})
        _conclude(events, "done")


def refresh_payer(events: Sequence[WebhookEvent], at: int) -> None:
    """As `refresh`, of events that name an invoice and nobody: it says whose it is."""
    for event in events:
        try:
            invoice = gateway.invoice(event.invoice) if event.invoice else None
        except NotFound:
            invoice = None
        if invoice:
            refresh([replace(event, customer=invoice.customer, subscription=invoice.subscription)], at)
        else:
            ignore([event], at)


def follow_up(ours: Customer, at: int, closed: bool = False, renewed: Mapping[str, str] = collecting.NONE) -> None:
    """
    What the news of a subscription leads to. To be called with a record that says what Stripe says; `closed`: so has
    Stripe of the page on which it could be bought; `renewed`: payment methods, by the event that told of it.
    """
    if _unsettled(ours, at, closed):
        ours = changes.recover(ours, at)
    trials.end_second(ours, at)
    collecting.retry(ours, at, renewed)


def _unsettled(ours: Customer, at: int, closed: bool) -> bool:
    """Another one may live beside what has ended; something is to be put back, or finished."""
    subscription = ours.subscription
    ended = subscription is not None and (subscription.theirs.ended or subscription.lost() is not None)
    return closed or ended or ours.overdue(at)


def _said(ours: Customer, id: str, events: Sequence[WebhookEvent]) -> Theirs:
    """
    What is on record and not at Stripe stays as it is: with the key of another account nobody's would be there. That
    there is nothing of it any more is believed if Stripe says that it has deleted the customer.
    """
    try:
        said = gateway.subscription(id)
    except NotFound as unknown:
        known = ours.subscription if ours.subscription and ours.subscription.theirs.id == id else None
        known = known or customer_table.aside(ours.id, id)
        if known and not known.theirs.ended:
            log.alarmed("missing_at_stripe", subscription=id, events=[event.id for event in events])
        if not _deleted(events[0].customer or ""):
            raise MissingAtStripe(id) from unknown
        raise Nothing from None
    if events[0].subscription and said.customer != events[0].customer:
        log.alarmed("other_customer", subscription=id, events=[event.id for event in events])
        raise Nothing
    return said


def _deleted(stripe_id: str) -> bool:
    try:
        return gateway.customer(stripe_id).deleted
    except NotFound:
        return False


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

    def deregister(ours: Customer) -> Revision:
        if ours.lives() and ours.live().theirs.customer == deleted:
            _said(ours, ours.live().theirs.id, events)
        return deregistered(ours, deleted, at)

    _hear(events, deregister, at)


def deregistered(ours: Customer, deleted: str, at: int) -> Revision:
    revision, subscription = Revision(ours), ours.subscription
    if subscription and subscription.theirs.customer == deleted and not subscription.theirs.ended:
        revision = changes.settling(ours, gateway.subscription(subscription.theirs.id), at)
    return revision.deregistering(at) if ours.stripe_id == deleted else revision


def tell(events: Sequence[WebhookEvent], at: int) -> None:
    """
    It is on no record of ours: the operator is told, once. A dispute is told whosever charge it is: too many of them
    cost the account. What is about an invoice is told if it is one of ours, and still so.
    """
    for event in events:
        if webhook_table.finished(event):
            continue
        if event.type not in UNTIL or _stands(event):
            _tell(event.type, event=event.id, object=event.object_id, customer=event.customer)
            dynamodb.transact([webhook_table.mark(event, "done")])
        else:
            ignore([event], at)


def _tell(type: str, **about) -> None:
    match type:
        case "charge.dispute.created":
            log.alarmed("disputed", **about)
        case "radar.early_fraud_warning.created":
            log.alarmed("fraud_warning", **about)
        case "refund.failed":
            log.alarmed("refund_failed", **about)
        case "invoice.finalization_failed":
            log.alarmed("finalization_failed", **about)
        case "invoice.payment_attempt_required":
            log.alarmed("payment_attempt_required", **about)
        case _:
            raise AssertionError(f"nobody knows how to tell of {type}")


def _stands(event: WebhookEvent) -> bool:
    try:
        customer_table.owner(event.customer or "nobody")
        return gateway.invoice(event.object_id or "none").status == UNTIL[event.type]
    except NotFound:
        return False


def ignore(events: Sequence[WebhookEvent], at: int) -> None:
    """Nothing to do, and on record that there was nothing."""
    _conclude(events, "ignored")


def _conclude(events: Sequence[WebhookEvent], outcome: str) -> None:
    """The mark of one that is finished already is refused, and that is as good."""
    for event in events:
        dynamodb.transact([webhook_table.mark(event, outcome)])


def _hear(
    events: Sequence[WebhookEvent],
    step: Callable[[Customer], Revision],
    at: int,
    leads: Callable[[Customer], bool] = lambda ours: False,
) -> Customer | None:
    """
    Each event once; those of a customer who is not ours are ignored, and those that are about nothing.

    Answers the customer if its new state `leads` to something: that has to be done before its events are marked.
    """
    try:
        owner = customer_table.owner(events[0].customer or "nobody")
    except NotFound:
        ignore(events, at)
        return None
    folded = {event.id: event for event in events}.values()  # no transaction may name an item twice
    owing = False

    def marks(_, revision: Revision) -> list[dict]:
        nonlocal owing
        owing = leads(revision.customer)
        if owing and all(map(webhook_table.finished, folded)):
            raise Nothing
        return [] if owing else [webhook_table.mark(event, "done") for event in folded]

    try:
        ours = record(owner, step, marks, at)
    except Nothing:
        ignore(events, at)
        return None
    return ours if owing else None


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
            after, refused = records.commit(before, revision, [wanted[place] for place in left])
        except Stale:
            continue
        if not refused:
            return after
        stood |= {left[place] for place in refused}
    raise Stale("the customer keeps moving")
