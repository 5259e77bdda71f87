"""Alerts on record: a total has come to so many percent of its limit. And what the table's stream tells of totals."""

import os
import re
from dataclasses import asdict, dataclass

from billing import dynamodb
from billing.periods import rfc3339
from billing.usage import FOREVER, RETENTION

TABLE = os.environ["USAGE_TABLE"]
TOTAL = re.compile(r"([^#]+)#([0-9]{12})(#s[0-9]{2})?")  # the key of one, or of a shard; a month of one has more
MISSING = "attribute_not_exists(pk)"


@dataclass(frozen=True, slots=True)
class Seen:
    """A total, or a shard of one, as a record of the stream shows it."""

    customer: str
    counter: str  # what it is called
    start: int
    used: int
    terms: str
    at: int  # when it came to this


@dataclass(frozen=True, slots=True)
class Alert:
    """So many percent of a metric's limit, at an instant of the period [start, end)."""

    customer: str
    metric: str
    start: int
    end: int
    percent: int
    limit: int
    used: int
    crossed_at: int
    counter: str  # what its total is called

    def public(self) -> dict:
        told = {name: getattr(self, name) for name in ("metric", "percent", "limit", "used")}
        period = {"period_start": rfc3339(self.start), "period_end": None if self.end == FOREVER else rfc3339(self.end)}
        return told | period | {"crossed_at": rfc3339(self.crossed_at)}


def seen(record: dict) -> Seen | None:
    """None: it tells of no total, or that one is gone."""
    told = record["dynamodb"]
    key = dynamodb.decode(told["Keys"])
    named = TOTAL.fullmatch(key["sk"])
    if not named or not key["pk"].startswith("T#") or "NewImage" not in told:
        return None
    total = dynamodb.decode(told["NewImage"])
    at = int(told["ApproximateCreationDateTime"])
    return Seen(key["pk"][2:], named[1], int(named[2]), total["used"], total.get("terms", ""), at)


def put(alert: Alert) -> dict:
    """Refused if it is on record already."""
    item = _key(alert.customer, alert.counter, alert.start, alert.percent) | asdict(alert)
    if alert.end != FOREVER:
        item["expires"] = alert.end + RETENTION
    return dynamodb.put(TABLE, item, MISSING)


def of_period(customer: str, counter: str, start: int) -> list[tuple[int, int]]:
    """Percent and when, the lowest first."""
    key = _key(customer, counter, start)
    return [(item["percent"], item["crossed_at"]) for item in dynamodb.query(TABLE, key["pk"], key["sk"])]


def _key(customer: str, counter: str, start: int, percent: int | None = None) -> dict:
    """Without a percentage: what the keys of a period's begin with."""
    return {"pk": f"A#{customer}", "sk": f"{counter}#{start:012}#" + ("" if percent is None else f"{percent:04}")}
