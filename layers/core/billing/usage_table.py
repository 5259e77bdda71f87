"""
Usage on record: an event is its own marker, and stands with the total that it is counted in, or not at all.

The total of a period holds its days as flat attributes (n1123, s1123: events and sum of 23 November), which one ADD
makes and moves. Periods longer than a month keep them in an item per calendar month beside it (docs/data.md).
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from billing import dynamodb
from billing.periods import Period, day_of, period_of
from billing.usage import ABSENT, LONG, RETENTION, Event, Slot, Stored, Total

TABLE = os.environ["USAGE_TABLE"]
ACTIONS = 100  # of one transaction (docs: TransactWriteItems)


class Refused(NamedTuple):
    """Why nothing was written."""

    stored: dict[Event, Stored]  # events whose keys are on record already
    total: Total | None  # as it stands, if it is in the way: full, closed, on other terms, or not there yet
    moved: bool  # the customer's terms on record are not those that were told


def find(event: Event) -> Stored | None:
    found = dynamodb.get(TABLE, pk=_marker(event), sk="event")
    return _stored(found) if found else None


def total(customer: str, metric: str, period: Period) -> Total:
    """One read."""
    return _total(dynamodb.get(TABLE, pk=f"T#{customer}", sk=_sort(metric, period)))


def days(customer: str, metric: str, period: Period) -> dict[str, tuple[int, int]]:
    """Date to (number of events, their sum), of a period whose days are not in its total."""
    months = dynamodb.query(TABLE, f"T#{customer}", f"{_sort(metric, period)}#")
    return {day: each for month in months for day, each in _days(month["sk"][-7:], month)}


def is_long(period: Period) -> bool:
    return period.end - period.start > LONG


def room(slot: Slot) -> int:
    """Events that go in one transaction, beside the total, a check of the customer and the month."""
    return ACTIONS - (3 if slot.month else 2)


def record(slot: Slot, events: Sequence[Event], seen: Total | None, unmoved: dict, at: int) -> Refused | None:
    """
    Count events, together or not at all.

    `seen` is the total as last met; None: it has not been, and is hoped to be on the slot's terms. If it is not, it
    is made, or taken over, along with a check that the customer's terms on record are those told (`unmoved`).
    """
    writes = [_event(slot, event, at) for event in events]
    added, dated = _sums(slot, events)
    condition, values, checked = _condition(slot, sum(event.quantity for event in events), seen)
    adopts = "SET terms = :terms " if checked else ""
    writes.append(_update(slot, "", adopts + _adding(added), condition, added | values))
    if dated:
        writes.append(_update(slot, f"#{slot.month}", _adding(dated), None, dated))
    refusals = {refusal.place: refusal.item for refusal in dynamodb.transact([*writes, unmoved] if checked else writes)}
    if not refusals:
        return None
    stored = {event: _stored(item) for place, event in enumerate(events) if (item := refusals.get(place))}
    met = _total(refusals[len(events)]) if len(events) in refusals else None
    return Refused(stored, met, len(writes) in refusals)


def on_terms(customer: str, metric: str, period: Period, terms: str) -> dict:
    """A write that shuts a total, made yet or not, for whoever knows only older terms."""
    change = "SET terms = :terms, used = if_not_exists(used, :nothing), n = if_not_exists(n, :nothing)"
    key = {"pk": f"T#{customer}", "sk": _sort(metric, period)}
    return dynamodb.update(TABLE, key, change, terms=terms, nothing=0)


def _condition(slot: Slot, quantity: int, seen: Total | None) -> tuple[str, dict, bool]:
    """Conditions have no arithmetic, so the most that may be used already is worked out here."""
    still_open = "attribute_not_exists(closed)"
    on_ours, on_none, missing = "terms = :terms", "attribute_not_exists(terms)", "attribute_not_exists(pk)"
    terms: dict = {"terms": slot.terms}
    fits, most = "", {}
    if slot.hard and slot.limit is not None:
        fits, most = "used <= :most", {"most": slot.limit - quantity}

    if seen is None or seen.terms == slot.terms or not (slot.hard or seen.terms):
        ours = on_ours if slot.hard else f"({on_none} OR {on_ours})"
        clauses, values, checked = [ours, still_open, fits], terms | most, False
    elif not seen.stands:
        clauses, values, checked = [missing], terms, True
    elif not seen.terms:
        clauses, values, checked = [on_none, still_open, fits], terms | most, True
    else:
        clauses, values, checked = ["terms = :older", still_open, fits], terms | most | {"older": seen.terms}, True
    return " AND ".join(filter(None, clauses)), values, checked


def _sums(slot: Slot, events: Sequence[Event]) -> tuple[dict[str, int], dict[str, int]]:
    """What is added to the total, and to the item of its month if it has one."""
    added: dict[str, int] = {"used": sum(event.quantity for event in events), "n": len(events)}
    dated: dict[str, int] = defaultdict(int)
    for event in events:
        n, s = _names(day_of(event.at))
        dated[n] += 1
        dated[s] += event.quantity
    return (added, dict(dated)) if slot.month else (added | dated, {})


def _adding(values: dict) -> str:
    return "ADD " + ", ".join(f"{name} :{name}" for name in values)


def _update(slot: Slot, suffix: str, change: str, condition: str | None, values: dict) -> dict:
    key = {"pk": f"T#{slot.customer}", "sk": _sort(slot.metric, slot.period) + suffix}
    return dynamodb.update(TABLE, key, change, condition, **values)


def _event(slot: Slot, event: Event, at: int) -> dict:
    item = {
        "pk": _marker(event),
        "sk": "event",
        "customer": event.customer,
        "metric": event.metric,
        "key": event.key,
        "quantity": event.quantity,
        "at": event.at,
        "fingerprint": event.fingerprint,
        "recorded_at": at,
        "total": _sort(slot.metric, slot.period),
        "series": f"{event.customer}#{event.metric}#{day_of(event.at)}",
        "moment": f"{event.at:012}#{event.id}",
        "expires": max(at, event.at) + RETENTION,
    }
    if event.metadata:
        item["metadata"] = event.metadata
    return dynamodb.put(TABLE, item, "attribute_not_exists(pk)")


def _marker(event: Event) -> str:
    return f"E#{event.id}"


def _sort(metric: str, period: Period) -> str:
    return f"{metric}#{period.start:012}"


def _stored(item: dict) -> Stored:
    return Stored(item["fingerprint"], item["at"])


def _total(item: dict | None) -> Total:
    if not item:
        return ABSENT
    start = int(item["sk"].split("#")[1])
    found = {day: each for month in _months(start) for day, each in _days(month, item)}
    return Total(item["used"], item["n"], item.get("terms", ""), "closed" in item, True, found)


def _days(month: str, item: dict) -> Iterator[tuple[str, tuple[int, int]]]:
    for name in sorted(name for name in item if name.startswith(f"n{month[5:]}")):
        yield f"{month}-{name[3:]}", (item[name], item[f"s{name[1:]}"])


def _months(start: int) -> list[str]:
    """The two calendar months that a period of a month can touch."""
    month = period_of(start, 0, "month")
    return [day_of(month.start)[:7], day_of(month.end)[:7]]


def _names(day: str) -> tuple[str, str]:
    return f"n{day[5:7]}{day[8:]}", f"s{day[5:7]}{day[8:]}"
