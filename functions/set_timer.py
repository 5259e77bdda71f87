"""Stream of the subscriptions table: what is to be done of a customer later gets its schedule."""

import time

from billing import log, timer_table, timing
from billing.errors import Unavailable


def handler(batch: dict, _) -> dict:
    """Answers the records that are to come again; the sweep finds the timers that have come to nothing here."""
    failed = []
    for record in batch["Records"]:
        sequence = record["dynamodb"]["SequenceNumber"]
        try:
            if seen := timer_table.seen(record):
                timing.arrange(*seen, int(time.time()))
        except Unavailable as away:
            log.warning("deferred", sequence=sequence, code=away.code)
            failed.append(sequence)
            break
        except Exception:  # counted by the queue that it ends up in
            log.exception("not_arranged", sequence=sequence)
            failed.append(sequence)
    return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in failed]}
