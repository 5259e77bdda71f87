"""Stripe's events on record: what became of each. A row is a marker only when it says the work is done."""

import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import NamedTuple

from billing import dynamodb
from billing.errors import Failed, NotFound
from billing.periods import rfc3339
from billing.webhooks import WebhookEvent

TABLE = os.environ["WEBHOOK_EVENTS_TABLE"]
MEMORY = 90 * 86_400  # seconds an event is remembered; Stripe can be asked to send it again for 30 days
MOST_FAILURES = 5

OPEN = "attribute_not_exists(id) OR NOT outcome IN (:done, :ignored)"
FINISHED = {"done": "done", "ignored": "ignored"}
UNFINISHED = ("retrying", "failed")  # only those are in the index: it costs nothing for what went well
ENVELOPE = {field.name for field in fields(WebhookEvent)}


class Row(NamedTuple):
    """What has become of an event."""

    event: WebhookEvent
    outcome: str  # done, ignored, retrying, failed
    attempts: int  # that have failed
    replays: int
    error: str | None

    @property
    def innocent(self) -> bool:
        """It has failed because Stripe had: by what `errors.named` says of the last attempt."""
        return Failed.code in (self.error or "")

    @property
    def cursor(self) -> str:
        return f"{self.event.created}.{self.event.id}"

    def public(self) -> dict:
        names = ("id", "type", "object_id", "customer", "subscription", "api_version")
        told = {name: getattr(self.event, name) for name in names} | {"created_at": rfc3339(self.event.created)}
        return told | {name: getattr(self, name) for name in ("outcome", "attempts", "replays", "error")}


def mark(event: WebhookEvent, outcome: str) -> dict:
    """The write that says an event is finished; refused if that has been said before."""
    return _row(event, outcome=outcome, attempts=0)


def finished(event: WebhookEvent) -> bool:
    """Whether that has been said; for what cannot be done in one transaction with saying it."""
    return (dynamodb.get(TABLE, id=event.id) or {}).get("outcome") in FINISHED


def failed(event: WebhookEvent, error: str) -> int | None:
    """
    Count one more failure of an event; answers how many there have been. None: it is not tried again. After the last
    its row says why, and its customer's later events go on.
    """
    row = dynamodb.get(TABLE, id=event.id) or {}
    attempts = row.get("attempts", 0) + 1
    outcome = "failed" if attempts >= MOST_FAILURES else "retrying"
    progress = {"outcome": outcome, "attempts": attempts, "replays": row.get("replays", 0), "error": error}
    refused = dynamodb.transact([_row(event, **progress)])
    return None if refused or outcome == "failed" else attempts  # refused: a duplicate of one that is finished


def bury(event: WebhookEvent, error: str) -> None:
    """An event that no worker lived to record as failed."""
    dynamodb.transact([_row(event, outcome="failed", attempts=MOST_FAILURES, error=error)])


def find(id: str) -> Row:
    found = dynamodb.get(TABLE, id=id)
    if not found:
        raise NotFound(f"no event {id} is on record")
    return _read(found)


def known(ids: Sequence[str]) -> set[str]:
    """Those of at most a hundred events that are on record, whatever became of them."""
    return {item["id"] for item in dynamodb.several(TABLE, [{"id": id} for id in ids])}


def unfinished(
    outcome: str, since: int, most: int, type: str | None = None, after: tuple[int, str] | None = None
) -> tuple[list[Row], bool]:
    """The newest first, made at Stripe since then, after a place (created, id); and whether there may be more."""
    key = {"id": after[1], "unfinished": outcome, "created": after[0]} if after else None
    of_type = {"where": "#type = :type", "names": {"#type": "type"}, "type": type} if type else {}
    rows: list[Row] = []
    while True:
        condition = "unfinished = :outcome AND created >= :since"
        asked = {"newest": True, "outcome": outcome, "since": since} | of_type
        page = dynamodb.indexed(TABLE, "by_outcome", condition, most - len(rows), key, **asked)
        rows += [_read(item) for item in page.items]
        key = page.after
        if not key or len(rows) >= most:
            return rows, key is not None


def replays(row: Row) -> bool:
    """
    Put on record that a failed event is tried again, five times more; until that comes true it is on record as failed.

    False: it is no longer failed, or someone else was faster.
    """
    change, failed = "SET replays = :next, attempts = :none", "outcome = :failed AND replays = :before"
    values = {"next": row.replays + 1, "none": 0, "failed": "failed", "before": row.replays}
    return not dynamodb.transact([dynamodb.update(TABLE, {"id": row.event.id}, change, failed, **values)])


def _row(event: WebhookEvent, outcome: str, attempts: int, replays: int = 0, error: str | None = None) -> dict:
    row = asdict(event) | {"outcome": outcome, "attempts": attempts, "replays": replays}
    row |= {"error": error} if error else {}
    row |= {"unfinished": outcome} if outcome in UNFINISHED else {}
    return dynamodb.put(TABLE, row | {"expires": event.created + MEMORY}, OPEN, **FINISHED)


def _read(item: dict) -> Row:
    event = WebhookEvent(**{name: value for name, value in item.items() if name in ENVELOPE})
    return Row(event, item["outcome"], item["attempts"], item.get("replays", 0), item.get("error"))
