"""Queue of what the bus tells: each event is posted to the product's own URL, signed."""

import json
import os
import time
from random import random

from billing import endpoint_table, endpoints, log, product, queue, secrets, signatures
from billing.errors import Unavailable
from billing.product import Answer


def handler(batch: dict, _) -> dict:
    """One at a time. What is not taken comes again by the schedule of `endpoints`, then goes to the dead letters."""
    failed = [message["messageId"] for message in batch["Records"] if not _done(message, int(time.time()))]
    return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}


def _done(message: dict, at: int) -> bool:
    """Whether it needs no further attempt: it is taken, or with the dead letters."""
    url, event = os.environ["EVENT_URL"], json.loads(message["body"])["detail"]
    about = {"type": event["type"], "sequence": event["sequence"], "attempt": queue.attempts(message)}
    try:
        endpoint = endpoint_table.find(url)
        if endpoint.disabled_at is not None:
            log.info("not_sent", reason=endpoint.reason, **about)
            return queue.bury(message)
        answer, error = _post(url, event, at)
        if answer and answer.taken:
            log.info("delivered", status=answer.status, **about)
            if endpoint.failing_since is not None:
                endpoint_table.works(url)
            return True
        log.warning("not_delivered", status=answer and answer.status, code=error, **about)
        endpoint_table.failed(url, at)
        reason = endpoint.disabled_by(answer and answer.status, at)
        if reason and endpoint_table.disable(url, reason, endpoint.failing_since or at, at):
            log.alarmed("endpoint_disabled", reason=reason, failing_since=endpoint.failing_since)
        asked = answer.retry_after if answer else 0
        seconds = None if reason else endpoints.delay(queue.attempts(message), asked, random())
    except Unavailable as away:  # our own store or secret: no failure of the URL's
        log.error("refused", code=away.code, **about)
        seconds = endpoints.delay(queue.attempts(message), 0, random())
    if seconds is None:
        return queue.bury(message)
    queue.hide(message, seconds)
    return False


def _post(url: str, event: dict, at: int) -> tuple[Answer | None, str | None]:
    body = json.dumps(endpoints.told(event), separators=(",", ":")).encode()
    headers = signatures.headers(event["id"], at, body, secrets.endpoint())
    try:
        return product.post(url, body, headers), None
    except Unavailable as silent:
        return None, silent.code
