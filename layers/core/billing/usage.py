"""What is counted: an event, the period that it falls into, and which events fit under a limit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from billing.holds import nameable
from billing.periods import DAY, Period, day_of, period_of, rfc3339
from billing.tallies import Known, Tally, Use, rank

RETENTION = 400 * DAY  # of an event's record: what is older could be counted twice, so it is refused
AHEAD = 300  # seconds that a caller's clock may be before ours
MOST = 10**12  # of one event
METADATA = 2048  # bytes of JSON
FOREVER = 253_402_300_800  # the year 10000: the end of a period that never ends
LONG = 32 * DAY  # the days of a longer period do not fit into its total
WATERMARK = 1800  # seconds that a period waits for its last events, of the hour that a renewal's invoice is a draft
DIGEST = 24  # hexadecimal digits: the sum of a billion events has fewer than the 38 digits of a number on record

FIELDS = {"customer_id", "metric_id", "quantity", "idempotency_key", "timestamp", "metadata", "value"}
# of a refusal that no plan or limit has a part in
UNREADABLE = {"malformed", "unknown_field", "bad_quantity", "bad_timestamp", "in_the_future", "too_old"}
# RFC 3339; datetime reads more than that
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)


class Unfit(Exception):
    """An event that is not counted. `reason` is for programs and never changes."""

    def __init__(self, reason: str, field: str, message: str):
        super().__init__(message)
        self.reason, self.field = reason, field


@dataclass(frozen=True, slots=True)
class Event:
    customer: str
    metric: str
    key: str  # the caller's: stable for the operation, the same on every retry
    quantity: int
    at: int  # when it counts
    dated: bool  # whether the caller said when
    fingerprint: str  # of what was said; a retry that says no time is the same as the first, whenever it comes
    metadata: dict[str, str] = field(default_factory=dict, compare=False)
    value: str | None = None  # what is told apart, of a metric that counts different ones
    happened: int | None = None  # when it did, if that is of a period before the one that it counts in

    @property
    def id(self) -> str:
        return id_of(self.customer, self.key)

    @property
    def use(self) -> Use:
        said = f"{self.id}{self.metric}#{self.quantity}#{self.at}#{self.value or ''}"
        return Use(self.id, self.quantity, self.at, int(sha256(said.encode()).hexdigest()[:DIGEST], 16), self.value)


class Stored(NamedTuple):
    """What the record says of an event's key."""

    fingerprint: str
    at: int
    over_limit: bool = False
    happened: int | None = None
    corrected_by: str | None = None  # key of what took its place, or voided it: it counts no more


class Slot(NamedTuple):
    """Where events are counted together, and on what terms. Events of one slot may go in one transaction."""

    customer: str
    metric: str
    period: Period
    month: str  # 2026-11: where the days of a long period are kept; "": in the total itself
    hard: bool
    limit: int | None
    terms: str
    aggregation: str = "sum"
    held: bool = False
    shard: int = 0
    shards: int = 1
    closed: int = 0  # statements that have been made of the period: what comes now is of the next one
    counter: str = ""  # what its totals are called

    def fit(self, events: Sequence[Event], met: Tally, known: Mapping[str, Known]) -> list[Event]:
        """In the order of the request, each that still fits."""
        chosen = []
        for event, (before, after) in zip(events, self._course(events, met, known, chosen), strict=True):
            if (after >= 0 or not self.held) and (not self.hard or self._allows(event, before, after)):
                chosen.append(event)
        return chosen

    def over(self, events: Sequence[Event], met: Tally, known: Mapping[str, Known]) -> set[Event]:
        """Those that a soft limit is passed with, as far as is known when they are counted."""
        course = zip(events, self._course(events, met, known, events), strict=True)
        return {event for event, (before, after) in course if not self._allows(event, before, after)}

    def after(self, events: Sequence[Event], met: Tally, known: Mapping[str, Known]) -> int:
        """What is used once they are counted."""
        return [met.used, *(after for _, after in self._course(events, met, known, events))][-1]

    def bounds(self, events: Sequence[Event], fresh: int = 0) -> tuple[int | None, int | None]:
        """
        The least and the most that may be used already for events to fit in their order; None: whatever. Used are
        only what is added up and the different values; a peak or a level is held against the limit by itself.
        """
        if self.aggregation == "unique":
            return None, None if self.limit is None or not fresh else self.limit - fresh
        if self.aggregation != "sum":
            return None, None
        run, least, peak = 0, 0, None
        for event in events:
            run += event.quantity
            least = min(least, run)
            if event.quantity > 0:
                peak = run if peak is None else max(peak, run)
        most = None if self.limit is None or peak is None else self.limit - peak
        return -least if self.held and least < 0 else None, most

    def _allows(self, event: Event, before: int, after: int) -> bool:
        if self.limit is None:
            return True
        told = event.quantity if self.aggregation in ("max", "last") else after
        return told <= self.limit or (after <= before and self.aggregation not in ("max", "last"))

    def _course(
        self, events: Sequence[Event], met: Tally, known: Mapping[str, Known], counted: Sequence[Event]
    ) -> Iterator[tuple[int, int]]:
        """What there is before each event, and what there is after it if it counts as those in `counted` do."""
        used, latest, values = met.used, met.latest or 0, {value for value, each in known.items() if each.n}
        for event in events:
            match self.aggregation:
                case "sum":
                    after = used + event.quantity
                case "max":
                    after = max(used, event.quantity)
                case "last":
                    after = event.quantity if rank(event.use) > latest else used
                case _:
                    after = used + (event.value not in values)
            yield used, after
            if event in counted:
                used, latest = after, max(latest, rank(event.use))
                values |= {event.value} if event.value else set()


@dataclass(frozen=True, slots=True)
class Total(Tally):
    """What a period has come to, on record."""

    terms: str = ""  # those that the last writers had to know; "": any
    closed: int = 0  # statements that were made of it; 0: it is open
    ends: int | None = None  # its end, once it is closed
    subscription: str | None = None  # that it was billed with, and under which version of which plan
    plan: str | None = None
    version: int = 0
    long: bool = False  # whether its days are in items of their own
    elsewhere: int = 0  # of what is used, what stands in its other shards


ABSENT = Total()


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event on record, with what has become of it since."""

    event: Event
    fingerprint: str
    total: str  # the sort key of the total that it counts in
    recorded_at: int
    aggregation: str = "sum"
    statement: int = 0  # the number of the statement of its period that it is of
    over_limit: bool = False
    corrected_by: str | None = None  # key of the correction that took its place
    corrected_in: int = 0  # the number of the first statement without it
    corrects: str | None = None  # key of the event that this one voids, or takes the place of
    void: bool = False  # it counts nothing itself
    reason: str | None = None
    actor: str | None = None

    @property
    def live(self) -> bool:
        return self.corrected_by is None and not self.void

    def lived(self, statement: int) -> bool:
        """Whether it counts in the statement of that number."""
        gone = self.corrected_by is not None and self.corrected_in <= statement
        return self.statement <= statement and not gone and not self.void

    @property
    def stored(self) -> Stored:
        return Stored(self.fingerprint, self.event.at, self.over_limit, self.event.happened, self.corrected_by)


def read(given: object, at: int) -> Event:
    """One event as it was sent; Unfit if it can never be one. Its own time may still be refused: see `timely`."""
    if not isinstance(given, dict):
        raise Unfit("malformed", "", "an event is an object")
    if unknown := given.keys() - FIELDS:
        raise Unfit("unknown_field", min(unknown)[:100], "no such field")
    for name in ("customer_id", "metric_id", "idempotency_key"):
        if not nameable(given.get(name)):
            raise Unfit("malformed", name, "1 to 255 printable ASCII characters")
    value = given.get("value")
    if value is not None and not nameable(value):
        raise Unfit("malformed", "value", "1 to 255 printable ASCII characters")
    quantity = given.get("quantity", None if value is None else 1)
    if type(quantity) is not int or not -MOST <= quantity <= MOST:
        raise Unfit("bad_quantity", "quantity", f"a whole number, at most {MOST}")
    metadata = given.get("metadata")
    if metadata is not None and not _small(metadata):
        raise Unfit("malformed", "metadata", f"an object of strings, at most {METADATA} bytes of JSON")
    timestamp = given.get("timestamp")
    said = [given["metric_id"], quantity, timestamp, metadata or {}, *([value] if value is not None else [])]
    return Event(
        given["customer_id"],
        given["metric_id"],
        given["idempotency_key"],
        quantity,
        at if timestamp is None else instant(timestamp),
        timestamp is not None,
        sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32],
        metadata or {},
        value,
    )


def instant(timestamp: object) -> int:
    """Unfit, if it is none."""
    if isinstance(timestamp, str) and INSTANT.fullmatch(timestamp):
        try:
            return int(datetime.fromisoformat(timestamp.upper()).timestamp() // 1)
        except ValueError:  # the 30th of February, say
            pass
    raise Unfit("bad_timestamp", "timestamp", "an instant of RFC 3339 with its offset, like 2026-11-23T12:00:00Z")


def id_of(customer: str, key: str) -> str:
    """Neither metric nor time is in it: a retry must not count twice because the clock went on."""
    return sha256(f"{len(customer)}:{customer}{len(key)}:{key}".encode()).hexdigest()


def timely(event: Event, at: int) -> None:
    if event.at > at + AHEAD:
        raise Unfit("in_the_future", "timestamp", f"at most {AHEAD} seconds ahead of our clock")
    if event.at < at - RETENTION:
        raise Unfit("too_old", "timestamp", f"at most {RETENTION // DAY} days ago")


def counted(reset: str, at: int, anchor: int, interval: str) -> Period:
    """The span that a metric is counted over: its plan's billing period, a calendar month or day (UTC), or all time."""
    if reset == "never":
        return Period(0, FOREVER)
    if reset == "day":
        return Period(at - at % DAY, at - at % DAY + DAY)
    return period_of(at, 0, "month") if reset == "month" else period_of(at, anchor, interval)


def month_in(period: Period, at: int) -> str:
    return day_of(at)[:7] if period.end - period.start > LONG else ""


def supersedes(terms: str, others: str, fresh: bool = False) -> bool:
    """
    Whether a total on the others' terms may be taken over by whoever knows these to be on record.

    Terms are "7" while a subscription gives access, and "7:free:2" when the default plan stands in. The number only
    grows; and the default plan's version only grows. Another default plan is another deployment: the one that asks is
    right. With the same number access ends by time alone, and comes back so when a pause is over: of the two only
    whoever has just read the customer's record (`fresh`) can tell.
    """
    ours, theirs = _parsed(terms), _parsed(others)
    if ours[0] != theirs[0]:
        return ours[0] > theirs[0]
    if not ours[1] or not theirs[1]:
        return ours[1] > theirs[1] or (fresh and ours[1] != theirs[1])
    return ours[1] != theirs[1] or ours[2] > theirs[2]


def recorded(event: Event, stored: Stored, duplicate: bool) -> dict:
    """The answer of an event that counts, as it stands on record, so that every retry is told the same."""
    told = _named(event) | {
        "status": "recorded",
        "duplicate": duplicate,
        "quantity": event.quantity,
        "timestamp": rfc3339(stored.at),
        "over_limit": stored.over_limit,
    }
    late = {} if stored.happened is None else {"happened_at": rfc3339(stored.happened)}
    gone = {} if stored.corrected_by is None else {"corrected_by": stored.corrected_by}
    return told | ({} if event.value is None else {"value": event.value}) | late | gone


def repeated(event: Event, stored: Stored) -> dict:
    """The answer of an event whose key is on record already."""
    return recorded(event, stored, True) if stored.fingerprint == event.fingerprint else conflict(event)


def conflict(event: Event) -> dict:
    return _named(event) | {
        "status": "conflict",
        "field": "idempotency_key",
        "detail": "this key stands for another body",
    }


def over_limit(event: Event, limit: int | None, used: int) -> dict:
    return _named(event) | {"status": "over_limit", "quantity": event.quantity, "limit": limit, "used": used}


def rejected(given: object, unfit: Unfit) -> dict:
    refused = {"status": "rejected", "reason": unfit.reason, "field": unfit.field, "detail": str(unfit)}
    return named(given) | refused


def undecided(event: Event) -> dict:
    return _named(event) | {"status": "undecided"}


def named(given: object) -> dict:
    """Whose answer it is; what is no name is not repeated."""
    if isinstance(given, Event):
        return _named(given)
    said = given if isinstance(given, dict) else {}
    names = ("customer_id", "metric_id", "idempotency_key")
    return {name: said.get(name) if nameable(said.get(name)) else None for name in names}


def span(period: Period) -> dict:
    """Its bounds in RFC 3339; a period that is all time has none."""
    endless = period.end == FOREVER
    return {
        "period_start": None if endless else rfc3339(period.start),
        "period_end": None if endless else rfc3339(period.end),
    }


def remaining(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)


def _named(event: Event) -> dict:
    return {"customer_id": event.customer, "metric_id": event.metric, "idempotency_key": event.key}


def _small(metadata: object) -> bool:
    flat = isinstance(metadata, dict) and all(name and isinstance(value, str) for name, value in metadata.items())
    return flat and len(json.dumps(metadata)) <= METADATA


def _parsed(terms: str) -> tuple[int, str, int]:
    number, slug, version = (terms or "-1").split(":") if ":" in terms else (terms or "-1", "", "0")
    return int(number), slug, int(version)
