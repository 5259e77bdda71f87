"""Webhook queue: make our records say what Stripe says."""

import time
from collections import defaultdict
from random import uniform

from aws_lambda_powertools import Logger

from billing import queue, sync, webhook_table
from billing.errors import Conflict, Failed, Unavailable

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
    "invoice.paid": sync.refresh,  # past due becomes active, and the next period begins; out of band, too
    "invoice.payment_failed": sync.refresh,  # active becomes past due
    "invoice.payment_action_required": sync.refresh,  # the bank asks the customer first
    "invoice.voided": sync.refresh,  # it will never be paid
    "invoice.marked_uncollectible": sync.refresh,  # Stripe may call the subscription active again
    "checkout.session.completed": sync.refresh,  # the subscription that was made there
    "checkout.session.async_payment_succeeded": sync.refresh,  # a bank's money has come: it may give access now
    "checkout.session.async_payment_failed": sync.refresh,  # it has not, and the subscription is what it is
    "checkout.session.expired": sync.refresh,  # nobody subscribes there any more
    "customer.updated": sync.refresh,  # a trial may have got a card, and the card may have had its trial
    "customer.deleted": sync.forget,  # Stripe has cancelled all it had
}

ENOUGH = 18_000  # milliseconds for a group: Stripe asked twice at its slowest

logger = Logger()


@logger.inject_lambda_context
def handler(batch: dict, context) -> dict:
    """Events of one subscription share one fetch; what is to be delivered again is reported, message by message."""
    groups = defaultdict(list)
    for message in batch["Records"]:
        event = queue.received(message)
        groups[HANDLED.get(event.type, sync.ignore), event.customer, event.subscription].append((message, event))

    again = []
    for (procedure, *_), members in groups.items():
        if context.get_remaining_time_in_millis() < ENOUGH:
            again += _later(members, "no_time")
        else:
            again += _handle(procedure, members)
    return {"batchItemFailures": [{"itemIdentifier": message["messageId"]} for message in again]}


def _handle(procedure, members: list) -> list[dict]:
    """The messages to be delivered again."""
    events = [event for _, event in members]
    about = {"procedure": procedure.__name__, "events": [event.id for event in events]}
    try:
        procedure(events, int(time.time()))
        logger.info("processed", **about)
        return []
    except Exception as failure:  # the one place that catches all: a poisoned event must not hold up its customer
        if isinstance(failure, (Conflict, Unavailable)) and not isinstance(failure, Failed):
            return _later(members, failure.code)
        if len(members) > 1:  # nor its neighbours
            return [message for member in members for message in _handle(procedure, [member])]
        logger.exception("failed", **about)
        return [message for message, event in members if not webhook_table.gives_up(event, repr(failure))]


def _later(members: list, code: str) -> list[dict]:
    """No fault of the events: busy, moved, out of reach or out of time. It does not count; and not all at once."""
    for message, _ in members:
        queue.defer(message, jitter=uniform(0.5, 1))
    logger.info("deferred", code=code, events=[event.id for _, event in members])
    return [message for message, _ in members]
