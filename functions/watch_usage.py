"""Stream of the usage table: totals that have come to so much of their limit that it is to be told."""

from billing import alert_table, alerting, log
from billing.errors import Unavailable


def handler(batch: dict, _) -> dict:
    """
    Answers the records that are to come again. One that can never be read does not keep those behind it waiting: they
    are seen to before Lambda splits the batch, and once more, to no effect, when it has. While the store is away it is
    no use to go on.
    """
    failed, sums = [], {}
    for record in batch["Records"]:
        sequence = record["dynamodb"]["SequenceNumber"]
        try:
            if seen := alert_table.seen(record):
                alerting.watch(seen, sums)
        except Unavailable as away:
            log.warning("deferred", sequence=sequence, code=away.code)
            failed.append(sequence)
            break
        except Exception:  # counted by the queue that it ends up in
            log.exception("unwatched", sequence=sequence)
            failed.append(sequence)
    return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in failed]}
