"""Finding what has been lost on the way: events that never came, and changes whose makers died. It applies nothing."""

import os
import time
from collections.abc import Callable
from functools import partial
from random import shuffle

from billing import (
    changes,
    customer_table,
    listings,
    log,
    mail_table,
    outbox,
    queue,
    run_table,
    scheduler,
    timer_table,
    timing,
    webhook_table,
)
from billing.errors import BillingError, Failed, NotFound, Stale, Unavailable
from billing.holds import PATIENCE, digest

DAY = 86_400
MOST = 500  # in one sweep
MANY = 1000  # that wait are looked at in one sweep
SLOW = 180  # seconds after its time that something is done by its schedule
LATE = 4 * DAY  # Stripe delivers for three days; who has failed is tried again for another
EVERY = 3600  # seconds between two tries of an event that has failed
SILENCES = 3  # in a row: then it is not the hold
OVERLAP = 3600  # seconds: Stripe may list an event late, and one that is on its way needs no help


def events(at: int, deadline: float) -> bool:
    """
    Enqueue Stripe's events since the last sweep that was through, less an hour, that are on no record.

    Of whatever type: what is not ours to handle is on record as ignored from then on. How far it has come is on record
    after each page; answers whether it is through. Stale: another sweep is at it.
    """
    while time.monotonic() < deadline:
        state = run_table.swept()
        walk = state if state.get("after") else state | {"since": state.get("until", at) - OVERLAP, "to": at}
        after = _page(walk["since"], walk.get("after"))
        run_table.sweeps(
            state, since=walk["since"], to=walk["to"], after=after, until=walk.get("until") if after else walk["to"]
        )
        if not after:
            return True
    return False


def _page(since: int, after: str | None) -> str | None:
    try:
        found, following = listings.events(since, after)
    except NotFound:
        if not after:
            raise
        return _page(since, None)  # Stripe has let go of what the page was to begin after
    known = webhook_table.known([event.id for event in found])
    missed = [event for event in found if event.id not in known]
    for event in reversed(missed):
        queue.send(event)
    if missed:
        log.counted("EventsMissed", len(missed), events=[event.id for event in missed])
    return following


def innocents(at: int, deadline: float) -> None:
    """Events that have failed through no fault of their own are tried again, each hour for a day: what ails passes."""
    rows, _ = webhook_table.unfinished("failed", at - LATE, MOST)
    for row in rows:
        if time.monotonic() >= deadline:
            return
        due = row.replayed_at + EVERY <= at < row.failed_at + DAY
        if row.innocent and due and webhook_table.replays(row):
            queue.send(row.event, replay=row.replays + 1)
            log.counted("EventsReplayed", event=row.event.id)


def holds(at: int, deadline: float, after: dict | None) -> tuple[bool, dict | None]:
    """
    Find out at Stripe what has become of changes whose makers are dead, the oldest first.

    Answers whether it is through; if not, after which hold to go on. One that cannot be settled does not keep the
    others, whatever the reason; Stripe being out of reach does (Unavailable), when it has been so for three in a row.
    """
    silences = 0
    held, following = customer_table.holding(at - PATIENCE, after)
    for customer, since in held:
        if time.monotonic() >= deadline:
            return False, after
        silences = 0 if _recover(customer, since, at) else silences + 1
        if silences == SILENCES:
            raise Unavailable("none of several holds could be looked at")
        after = customer_table.held_key(customer, since)
    return following is None, following


def waiting(at: int, deadline: float) -> None:
    """
    What waits for a schedule that has not come, or has come to nothing, gets another: periods to be closed (some wait
    for a renewal, which is a draft for an hour), steps of dunning, reminders, mails; and so do customers with events
    that nobody has published. What cannot be arranged now is the next sweep's: in any order, so that those that fail
    each time keep no other from its turn; mails after all else.
    """
    late: list[Callable[[], None]] = []
    for customer, subscription, start in customer_table.closing(at - SLOW, None, MANY)[0]:
        about = {"customer": customer, "subscription": subscription, "start": start}
        name = f"close-{subscription}-{start}-{at}"
        late.append(partial(scheduler.carry_on, name, os.environ["CLOSE_FUNCTION"], about, at))
    for customer in {customer for customer, _ in outbox.waiting(at - SLOW, None, MANY)[0]}:
        name = f"publish-{digest(customer)}-{at}"
        late.append(partial(scheduler.carry_on, name, os.environ["PUBLISH_FUNCTION"], {"customer": customer}, at))
    for customer, timer in timer_table.waiting(at - SLOW, None, MANY)[0]:
        late.append(partial(timing.arrange, customer, timer, at, again=True))
    shuffle(late)
    mails: list[Callable[[], None]] = []
    for customer, sequence in mail_table.waiting(at - SLOW, None, MANY)[0]:
        name = f"mail-{digest(customer, sequence, at)}"
        about = {"customer": customer, "sequence": sequence}
        mails.append(partial(scheduler.carry_on, name, os.environ["MAIL_FUNCTION"], about, at))
    shuffle(mails)
    try:
        for arrange in (*late, *mails):
            if time.monotonic() >= deadline:
                break
            arrange()
    except Unavailable as failure:
        log.error("not_scheduled", code=failure.code)


def _recover(customer: str, since: int, at: int) -> bool:
    """Answers whether Stripe could be reached. Who it is is not logged: an id of ours may be an e-mail address."""
    try:
        ours = customer_table.find(customer, at)
        if ours.overdue(at) and not changes.recover(ours, at).pending:
            log.counted("HoldsRecovered", held_at=since, stripe_customer=ours.stripe_id)
    except Stale:
        pass  # someone else is at it
    except Exception as failure:  # the next sweep comes back to it, and the others are not to wait
        code = failure.code if isinstance(failure, BillingError) else type(failure).__name__
        log.error("hold_not_recovered", held_at=since, code=code)
        return isinstance(failure, Failed) or not isinstance(failure, Unavailable)
    return True
