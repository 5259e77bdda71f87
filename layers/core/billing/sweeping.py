"""Finding what has been lost on the way: events that never came, and changes whose makers died. It applies nothing."""

import time

from billing import changes, customer_table, listings, queue, run_table, webhook_table
from billing.api import counted, logger
from billing.errors import BillingError, NotFound, Unavailable
from billing.holds import PATIENCE

DAY = 86_400
MOST = 500  # in one sweep
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
        counted("EventsMissed", len(missed), events=[event.id for event in missed])
    return following


def innocents(at: int) -> None:
    """Events that have failed because Stripe had are tried again, for a day: what ails Stripe passes."""
    rows, _ = webhook_table.unfinished("failed", at - DAY, MOST)
    for row in rows:
        if row.innocent and webhook_table.replays(row):
            queue.send(row.event, replay=row.replays + 1)
            counted("EventsReplayed", event=row.event.id)


def holds(at: int, deadline: float, after: dict | None) -> tuple[bool, dict | None]:
    """
    Find out at Stripe what has become of changes whose makers are dead, the oldest first.

    Answers whether it is through; if not, after which hold to go on. One that cannot be settled does not keep the
    others; Stripe being out of reach does (Unavailable).
    """
    held, following = customer_table.holding(at - PATIENCE, after)
    for customer, since in held:
        if time.monotonic() >= deadline:
            return False, after
        _recover(customer, at)
        after = customer_table.held_key(customer, since)
    return following is None, following


def _recover(customer: str, at: int) -> None:
    try:
        ours = customer_table.find(customer, at)
        if ours.overdue(at) and not changes.recover(ours, at).pending:
            counted("HoldsRecovered", customer=customer)
    except Unavailable:
        raise
    except Exception as failure:  # the next sweep comes back to it, and the others are not to wait
        code = failure.code if isinstance(failure, BillingError) else type(failure).__name__
        logger.error("hold_not_recovered", customer=customer, code=code)
