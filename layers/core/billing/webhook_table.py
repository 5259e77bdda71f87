"""Stripe's events on record: what became of each. A row is a marker only when it says the work is done."""

import os
from dataclasses import asdict

from billing import dynamodb
from billing.webhooks import WebhookEvent

TABLE = os.environ["WEBHOOK_EVENTS_TABLE"]
MEMORY = 90 * 86_400  # seconds an event is remembered; Stripe can be asked to send it again for 30 days
MOST_FAILURES = 5

OPEN = "attribute_not_exists(id) OR NOT outcome IN (:done, :ignored)"
FINISHED = {"done": "done", "ignored": "ignored"}


def mark(event: WebhookEvent, outcome: str) -> dict:
    """The write that says an event is finished; refused if that has been said before."""
    return _row(event, outcome=outcome, attempts=0)


def gives_up(event: WebhookEvent, error: str) -> bool:
    """Count one more failure of an event. After the last its row says why, and its customer's later events go on."""
    attempts = (dynamodb.get(TABLE, id=event.id) or {}).get("attempts", 0) + 1
    outcome = "failed" if attempts >= MOST_FAILURES else "retrying"
    refused = dynamodb.transact([_row(event, outcome=outcome, attempts=attempts, error=error)])
    return bool(refused) or outcome == "failed"  # refused: a duplicate of one that is finished; nothing to try again


def bury(event: WebhookEvent, error: str) -> None:
    """An event that no worker lived to record as failed."""
    dynamodb.transact([_row(event, outcome="failed", attempts=MOST_FAILURES, error=error)])


def _row(event: WebhookEvent, **progress) -> dict:
    row = asdict(event) | progress | {"expires": event.created + MEMORY}
    return dynamodb.put(TABLE, row, OPEN, **FINISHED)
