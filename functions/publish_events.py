"""Stream of the subscriptions table, and the sweep: what has happened is published."""

import time

from billing import log, outbox, publishing
from billing.errors import Unavailable

ENOUGH = 10  # seconds that are left when a customer is begun: the slowest calls of one batch of the bus


def handler(event: dict, context) -> dict:
    """
    A batch of the stream, or `{"customer"}` from a schedule for one time. A record only says that there is something:
    what it is is read, so it does not matter how often it comes, in what order, and whether one before was lost.

    Answers the records that are to come again: those from the first on that cannot be seen to while the bus or the
    store is away. What fails by itself is left to the sweep, for a stream must not stand still.
    """
    at, deadline = int(time.time()), time.monotonic() + context.get_remaining_time_in_millis() / 1000 - ENOUGH
    if "customer" in event:
        publishing.publish(event["customer"], at, deadline)
        return {}
    through = set()
    for record in event["Records"]:
        customer = outbox.woken(record)
        if customer in through:
            continue
        try:
            if time.monotonic() >= deadline:
                raise Unavailable("no time is left")
            publishing.publish(customer, at, deadline)
        except Unavailable as away:
            sequence = record["dynamodb"]["SequenceNumber"]
            log.warning("deferred", sequence=sequence, code=away.code)
            return {"batchItemFailures": [{"itemIdentifier": sequence}]}
        except Exception:  # the others are not to wait
            log.exception("unpublished", sequence=record["dynamodb"]["SequenceNumber"])
        through.add(customer)
    return {"batchItemFailures": []}
