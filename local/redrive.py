"""
Trying failed events again: each of Stripe's events that is on record as failed is replayed, as if it had just come.

What came of it shows in `GET /webhook-events`: an event is on record as failed until it has had its effect. So a run
that dies is run again, and so is one that was too early: what has had its effect meanwhile is left alone.

    python -m local.redrive    exits with 0: all that had failed is under way, 1: some were refused, or an error
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlencode

from local.tollgate import Parser, Refused, Tollgate, Wrong, operate, say

REPLAYED, LEFT, REFUSED = "replayed", "left alone", "refused"


def redrive(
    tollgate: Tollgate, type: str | None = None, since: str | None = None, say: Callable[[str], None] = print
) -> int:
    """Replays all that have failed, or those of a type, or made at `since` or later; the newest first."""
    counts = Counter()
    for event in _failed(tollgate, type, since):
        outcome, why = _one(tollgate, event)
        counts[outcome] += 1
        about = f"{event['object_id'] or '-':<32} {event['customer'] or '-':<24}"
        say(f"  {event['id']:<32} {event['type']:<40} {about} {outcome}{why and '  '}{why}")
    say(", ".join(f"{outcome} {counts[outcome]}" for outcome in (REPLAYED, LEFT, REFUSED)))
    return 1 if counts[REFUSED] else 0


def _failed(tollgate: Tollgate, type: str | None, since: str | None) -> Iterator[dict]:
    """Whatever is replayed stays in its place, or falls out of the pages behind it: none is passed over."""
    asked = {"status": "failed"} | {name: said for name, said in (("type", type), ("since", since)) if said}
    cursor: dict[str, str] = {}
    while True:
        page = tollgate.ask("GET", f"/webhook-events?{urlencode(asked | cursor)}")
        if not isinstance(page, dict) or "events" not in page:
            raise Wrong("what answers there is no Tollgate")
        yield from page["events"]
        if not page["next"]:
            return
        cursor = {"cursor": page["next"]}


def _one(tollgate: Tollgate, event: dict) -> tuple[str, str]:
    """What became of it, and why."""
    try:
        told = tollgate.ask("POST", f"/webhook-events/{quote(event['id'], safe='')}/replay")
    except Refused as refusal:
        if refusal.of_token:
            raise
        return REFUSED, f"{refusal.code}{refusal.detail and ': '}{refusal.detail}"
    if told["replayed"]:
        return REPLAYED, f"had failed with {event['error']}"
    return LEFT, told["outcome"]


def main(said: list[str] | None = None) -> int:
    def work(tollgate: Tollgate) -> int:
        parser = Parser(prog="local.redrive", description="TOLLGATE_URL says where, TOLLGATE_TOKEN who asks.")
        parser.add_argument("--type", help="TYPE=invoice.paid: only these")
        parser.add_argument("--since", help="SINCE=2026-11-23T00:00:00Z: only those made at Stripe then or later")
        asked = parser.parse_args(said)
        return redrive(tollgate, asked.type, asked.since, say)

    return operate(work)


if __name__ == "__main__":
    sys.exit(main())
