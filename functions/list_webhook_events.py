"""GET /webhook-events?status=failed: which of Stripe's events have not had their effect, and why, page by page."""

import re
from datetime import datetime

from billing import webhook_table
from billing.api import Request, endpoint
from billing.errors import Malformed
from billing.webhook_table import UNFINISHED

PAGE = 50


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    """The newest first, of those made at `since` or later; `next` is the `cursor` of the next page."""
    if unknown := request.query.keys() - {"status", "type", "since", "cursor"}:
        raise Malformed.of([(min(unknown), "no such parameter")])
    status = request.query.get("status", "failed")
    if status not in UNFINISHED:
        raise Malformed.of([("status", f"one of {', '.join(UNFINISHED)}: the others have had their effect")])
    since, cursor = _since(request.query.get("since")), _cursor(request.query.get("cursor"))
    rows, more = webhook_table.unfinished(status, since, PAGE, request.query.get("type"), cursor)
    return {"events": [row.public() for row in rows], "next": rows[-1].cursor if more and rows else None}


def _since(said: str | None) -> int:
    try:
        since = datetime.fromisoformat(said) if said else None
    except ValueError:
        since = None
    if said and (since is None or since.tzinfo is None):
        raise Malformed.of([("since", "a time with its zone, as 2026-11-23T00:00:00Z")])
    return int(since.timestamp()) if since else 0


def _cursor(said: str | None) -> tuple[int, str] | None:
    if said is None:
        return None
    found = re.fullmatch(r"([0-9]{1,12})\.([A-Za-z0-9_]{1,128})", said)
    if not found:
        raise Malformed.of([("cursor", "the `next` of a page before")])
    return int(found[1]), found[2]
