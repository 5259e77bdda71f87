"""Stripe's events on record: what became of each. A row is a marker only when it says the work is done."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import NamedTuple

from billing import dynamodb
from billing.errors import (
    Busy,
    ChangeInFlight,
    Contended,
    Failed,
    Misconfigured,
    MissingAtStripe,
    NotFound,
    Stale,
    Unavailable,
)
from billing.periods import rfc3339
from billing.webhooks import WebhookEvent

TABLE = os.environ["WEBHOOK_EVENTS_TABLE"]
MEMORY = 90 * 86_400  # seconds an event is remembered; Stripe can be asked to send it again for 30 days
MOST_FAILURES = 5

OPEN = "attribute_not_exists(id) OR NOT outcome IN (:done, :ignored)"
FINISHED = {"done": "done", "ignored": "ignored"}
UNFINISHED = ("retrying", "failed")  # only those are in the index: it costs nothing for what went well
INNOCENT = (Failed, MissingAtStripe, Unavailable, Misconfigured, Contended, Busy, Stale, ChangeInFlight)
ENVELOPE = {field.name for field in fields(WebhookEvent)}


class Row(NamedTuple):
    """What has become of an event."""

    event: WebhookEvent
    outcome: str  # done, ignored, retrying, failed
    attempts: int  # that have failed
    replays: int
    error: str | None
    failed_at: int  # when it first was given up
    replayed_at: int  # when it last was tried again; 0: never

    @property
    def innocent(self) -> bool:
        """
        It has failed, or waited for too long, because of Stripe, the store, or our key: by what `errors.named` says of
        the last attempt.
        """
        return any(f"({each.code})" in (self.error or "") for each in INNOCENT)

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
    noted = _note(event, row, outcome, attempts, error)
    return attempts if noted and outcome == "retrying" else None


def deferred(event: WebhookEvent, error: str) -> None:
    """Why an event waits, through no fault of its own: it does not count."""
    row = dynamodb.get(TABLE, id=event.id) or {}
    _note(event, row, "retrying", row.get("attempts", 0), error)


def bury(event: WebhookEvent, error: str) -> bool:
    """
    An event that no worker lived to record as failed; why it waited, if that is known, is what it failed of. False: it
    is finished.
    """
    row = dynamodb.get(TABLE, id=event.id) or {}
    return _note(event, row, "failed", MOST_FAILURES, row.get("error", error))


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
    change = "SET replays = :next, attempts = :none, replayed_at = :now"
    failed = "outcome = :failed AND replays = :before"
    values = {"next": row.replays + 1, "none": 0, "now": int(time.time()), "failed": "failed", "before": row.replays}
    return not dynamodb.transact([dynamodb.update(TABLE, {"id": row.event.id}, change, failed, **values)])


def _note(event: WebhookEvent, row: dict, outcome: str, attempts: int, error: str) -> bool:
    """Put on record how far an event is that is not finished, with what `row` has known of it. False: it is."""
    known = {name: row[name] for name in ("replays", "failed_at", "replayed_at") if name in row}
    first = {"failed_at": int(time.time())} if outcome == "failed" else {}
    return not dynamodb.transact([_row(event, outcome, attempts, error=error, **first | known)])


def _row(event: WebhookEvent, outcome: str, attempts: int, **further) -> dict:
    row = asdict(event) | {"outcome": outcome, "attempts": attempts, "replays": 0} | further
    row |= {"unfinished": outcome} if outcome in UNFINISHED else {}
    return dynamodb.put(TABLE, row | {"expires": event.created + MEMORY}, OPEN, **FINISHED)


def _read(item: dict) -> Row:
    event = WebhookEvent(**{name: value for name, value in item.items() if name in ENVELOPE})
    times = item.get("failed_at", event.created), item.get("replayed_at", 0)
    return Row(event, item["outcome"], item["attempts"], item.get("replays", 0), item.get("error"), *times)
