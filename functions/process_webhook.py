"""Webhook queue: make our records say what Stripe says."""

import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from random import uniform
from traceback import extract_tb

from billing import catalogue, errors, log, queue, sync, webhook_table
from billing.errors import Conflict, Failed, Malformed, Unavailable

HANDLED = {
    "customer.subscription.created": sync.refresh,  # in checkout, too, or in Stripe's dashboard
    "customer.subscription.updated": sync.refresh,  # plan, seats, trial or status; also the echo of our own changes
    "customer.subscription.deleted": sync.refresh,  # access ends now
    "customer.subscription.paused": sync.refresh,  # a trial ended without a card: no access
    "customer.subscription.resumed": sync.refresh,  # and here it is again
    "customer.subscription.trial_will_end": sync.refresh,  # in three days, or by now
    "customer.subscription.pending_update_applied": sync.refresh,  # the payment came: the seats are granted
    "customer.subscription.pending_update_expired": sync.refresh,  # it never came: the change is off
    "subscription_schedule.created": sync.refresh,  # a change at the end of the period; also in Stripe's dashboard
    "subscription_schedule.updated": sync.refresh,  # it is another one, or has begun
    "subscription_schedule.released": sync.refresh,  # it is withdrawn, or has done its work
    "subscription_schedule.canceled": sync.refresh,  # with the subscription
    "subscription_schedule.completed": sync.refresh,  # it has done its work
    "subscription_schedule.aborted": sync.refresh,  # the subscription was not paid: it will not come
    "customer.discount.created": sync.refresh,  # by a promotion code, or in Stripe's dashboard
    "customer.discount.updated": sync.refresh,  # another one in its place
    "customer.discount.deleted": sync.refresh,  # taken off, used up, or over
    "invoice.created": sync.refresh,  # a renewal begins: an hour as a draft
    "invoice.deleted": sync.refresh,  # a draft is thrown away: it was on no record
    "invoice.finalized": sync.refresh,  # it has its number and its pages
    "invoice.finalization_failed": sync.tell,  # a tax location, most often: nobody is billed until someone looks
    "invoice.paid": sync.refresh,  # past due becomes active, and the next period begins; out of band, too
    "invoice.payment_failed": sync.refresh,  # active becomes past due
    "invoice.payment_action_required": sync.refresh,  # the bank asks the customer first
    "invoice.payment_attempt_required": sync.tell,  # money that Stripe will not collect by itself
    "invoice.voided": sync.refresh,  # it will never be paid
    "invoice.marked_uncollectible": sync.refresh,  # Stripe may call the subscription active again
    "invoice.overdue": sync.refresh,  # sent to be paid, and was not: the subscription may be past due
    "invoice.overpaid": sync.refresh,  # more was paid than was due
    "invoice.updated": sync.refresh,  # another amount, or another day of the next attempt
    "invoice.upcoming": sync.refresh,  # it renews in some days: what was lost of it is found before that
    "invoice_payment.paid": sync.refresh_payer,  # a part of an invoice may be paid, and no more
    "credit_note.created": sync.refresh,  # less is due of its invoice, or nothing any more
    "credit_note.voided": sync.refresh,  # and it is due again
    "checkout.session.completed": sync.refresh,  # the subscription that was made there
    "checkout.session.async_payment_succeeded": sync.refresh,  # a bank's money has come: it may give access now
    "checkout.session.async_payment_failed": sync.refresh,  # it has not, and the subscription is what it is
    "checkout.session.expired": sync.refresh,  # nobody subscribes there any more
    "customer.updated": sync.refresh,  # a trial may have got a card, and the card may have had its trial
    "customer.deleted": sync.forget,  # Stripe has cancelled all it had
    "payment_method.attached": sync.refresh,  # a trial may have got its card by it
    "payment_method.detached": sync.refresh,  # or has it no more
    "payment_method.updated": sync.refresh,  # its card is good for longer
    "payment_method.automatically_updated": sync.refresh,  # the bank has sent a new card: another fingerprint
    "setup_intent.succeeded": sync.refresh,  # the card for after the trial is there
    "price.updated": catalogue.inspect,  # archived in the dashboard, it cannot be sold any more
    "price.deleted": catalogue.inspect,  # nor when it is gone; only one that was never used can be
    "product.updated": catalogue.inspect,  # archived, it takes its prices with it
    "charge.dispute.created": sync.tell,  # somebody has to answer the bank, by a date
    "radar.early_fraud_warning.created": sync.tell,  # a dispute is to come, unless it is refunded
    "refund.failed": sync.tell,  # the money is back with us, and the customer was told otherwise
}

# Milliseconds that are left when a group is begun. No number covers ten calls at their slowest, 17 s each: one whose
# first call meets a silent Stripe still ends by itself, twice 8 s and a pause later, and waits for seconds. A killed
# worker does no harm (marker and effect are one transaction), but its whole batch is hidden for the queue's 150 s, and
# it counts as one of a message's 100 deliveries: after four hours of those bury_webhook takes it.
ENOUGH = 18_000


def handler(batch: dict, context) -> dict:
    """Events of one subscription share one fetch; what is to be delivered again is reported, message by message."""
    groups = defaultdict(list)
    for message in batch["Records"]:
        try:
            event = queue.received(message)
        except Malformed:  # nor would it be read the next time; an event in it is still in Stripe's list
            log.alarmed("unreadable", message_id=message["messageId"])
            continue
        groups[HANDLED.get(event.type, sync.ignore), event.customer, event.subscription].append((message, event))

    again = [late for (act, *_), members in groups.items() for late in _handle(act, members, context)]
    return {"batchItemFailures": [{"itemIdentifier": message["messageId"]} for message in again]}


def _handle(procedure, members: list, context) -> list[dict]:
    """The messages to be delivered again."""
    if context.get_remaining_time_in_millis() < ENOUGH:
        return _later(members, "no_time")
    events = [event for _, event in members]
    about = {"procedure": procedure.__name__, "events": [event.id for event in events]}
    try:
        procedure(events, int(time.time()))
        log.info("processed", **about)
        return []
    except Exception as failure:  # the one place that catches all: a poisoned event must not hold up its customer
        if isinstance(failure, (Conflict, Unavailable)) and not isinstance(failure, Failed):
            return _later(members, failure.code, errors.named(failure))
        if len(members) > 1:  # nor its neighbours
            return [message for member in members for message in _handle(procedure, [member], context)]
        return _failed(members[0], failure)


def _failed(member: tuple, failure: Exception) -> list[dict]:
    """Five times in a minute at most, for its customer's other events wait behind it. Messages are not logged."""
    (message, event), error = member, errors.named(failure)
    frames = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in extract_tb(failure.__traceback__)]
    log.error("failed", event=event.id, type=event.type, error=error, frames=frames)
    try:
        failures = webhook_table.failed(event, error)
    except Unavailable as unreachable:
        return _later([member], unreachable.code)
    if failures:
        queue.defer(message, jitter=uniform(0.5, 1), times=failures)
    return [message] if failures else []


def _later(members: list, code: str, error: str | None = None) -> list[dict]:
    """No fault of the events: busy, moved, out of reach or out of time. It does not count; and not all at once."""
    for message, _ in members:
        queue.defer(message, jitter=uniform(0.5, 1))
    with suppress(Unavailable):  # what they wait for may be the store itself
        for _, event in members:
            if error:
                webhook_table.deferred(event, error)
    log.info("deferred", code=code, events=[event.id for _, event in members])
    return [message for message, _ in members]
