"""Telling the bus what has happened to a customer: at least once, and never before what happened earlier."""

import time

from billing import bus, log, outbox
from billing.errors import Unavailable


def publish(customer: str, at: int, deadline: float) -> None:
    """
    All that is on record and has not been published, in sequence. Whoever dies before it is marked has published it,
    and it is published again.

    What the bus refuses, and would refuse again, keeps back its customer's later events, for none may come before it;
    who it is is not logged. Unavailable: the bus or the store is away, or the `deadline` of the monotonic clock is
    past.
    """
    for batch in bus.batches(outbox.unpublished(customer)):
        if time.monotonic() >= deadline:
            raise Unavailable("no time is left")
        taken, refusal = bus.put(batch)
        for event in batch[:taken]:
            outbox.is_published(event, at)
        if refusal in bus.PASSING:
            raise Unavailable("the bus is busy")
        if refusal:
            log.alarmed("event_refused", type=batch[taken].type, sequence=batch[taken].sequence, code=refusal)
            return
