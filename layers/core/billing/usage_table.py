"""
Usage on record: an event is its own marker, and stands with the total that it is counted in, or not at all.

The total of a period holds its days as flat attributes (n1123, s1123: events of 23 November, and what they come to),
which one ADD makes and moves. Periods longer than a month keep them in an item per calendar month beside it; a total
may be split into shards, and a metric of different values has an item for each of them (docs/data.md).
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from billing import dynamodb
from billing.corrections import Correction
from billing.periods import DAY, Period, day_of, period_of
from billing.plans import MOST_METRICS
from billing.tallies import NONE, Day, Demand, Known, Move, Moves, g_of, l_of, recording, s_of, same_day
from billing.usage import ABSENT, FOREVER, LONG, RETENTION, Event, Recorded, Slot, Stored, Total, id_of

TABLE = os.environ["USAGE_TABLE"]
ACTIONS = 100  # of one transaction (docs: TransactWriteItems)
PAGE = 1000  # events
OPEN = "attribute_not_exists(closed)"
MISSING = "attribute_not_exists(pk)"
SIGNS = {"<": "below", "<=": "most", ">=": "least", "=": "is"}  # as they are called among an expression's values
MONTH, DAY_OF_VALUE = re.compile(r"[0-9]{4}-[0-9]{2}"), re.compile(r"d[0-9]{6}")


class Met(NamedTuple):
    """What stood on record when it was last looked at."""

    total: Total
    known: Mapping[str, Known] = NONE  # by value, of a metric that counts different ones


class Refused(NamedTuple):
    """Why nothing was written."""

    stored: dict[Event, Stored]  # events whose keys are on record already
    total: Total | None  # as it stands, if it is in the way: full, closed, on other terms, or not there yet
    moved: bool  # the customer's terms on record are not those that were told
    values: bool  # a value's item is not as it was met


def find(events: Iterable[Event]) -> dict[Event, Stored]:
    """Those of at most a hundred events whose keys are on record."""
    found = {item["pk"]: item for item in dynamodb.several(TABLE, [_event_key(event.id) for event in events])}
    return {event: _recorded(item).stored for event in events if (item := found.get(_marker(event.id)))}


def recorded(customer: str, key: str) -> Recorded | None:
    found = dynamodb.get(TABLE, **_event_key(id_of(customer, key)))
    return _recorded(found) if found else None


def total(customer: str, counter: str, period: Period, shards: int = 1) -> Total:
    """One read."""
    if shards == 1:
        return _total(dynamodb.get(TABLE, pk=_owner(customer), sk=_sort(counter, period)))
    return _together(_items(customer, counter, period))


def with_days(customer: str, counter: str, period: Period) -> Total:
    """The same, with all its days, and with shards that the plan no longer has; also one read."""
    return _together(_items(customer, counter, period))


def met(slot: Slot, events: Sequence[Event]) -> Met:
    """
    The shard of the total that a slot counts in, with its days, and what is known of the values in the events. Used is
    what all shards come to.
    """
    key = _sort(slot.counter, slot.period, slot.shard)
    known = {}
    if slot.aggregation == "unique":
        known = values(slot.customer, key, dict.fromkeys(event.value or "" for event in events))
    if slot.shards > 1:
        items = _items(slot.customer, slot.counter, slot.period)
        own = _total(next((item for item in items if item["sk"] == key), None))
        used = _together(items).used
        return Met(replace(own, used=used, elsewhere=used - own.used), known)
    if slot.month:
        return Met(_together(_items(slot.customer, slot.counter, slot.period)), known)
    return Met(_total(dynamodb.get(TABLE, pk=_owner(slot.customer), sk=key)), known)


def days(customer: str, metric: str, aggregation: str) -> dict[str, Day]:
    """Of all periods there have been, in their order."""
    found: dict[str, Day] = {}
    totals = [item for begins in ("#", "~") for item in dynamodb.query(TABLE, _owner(customer), f"{metric}{begins}")]
    for item in sorted(filter(lambda item: _adds_up(item) == aggregation, totals), key=_start):
        for day, each in _days_of(item):
            found[day] = same_day(aggregation, found.get(day, Day()), each)
    return dict(sorted(found.items()))


def of_day(customer: str, metric: str, day: str) -> Iterator[Recorded]:
    """The events of a day, in their order; what is on record since a moment ago may be missing."""
    after = None
    while True:
        series = f"{customer}#{metric}#{day}"
        page = dynamodb.indexed(TABLE, "by_time", "series = :series", PAGE, after, series=series)
        yield from map(_recorded, page.items)
        if not (after := page.after):
            return


def room(slot: Slot) -> int:
    """Events that go in one transaction, beside the total, a check of the customer, the month and a closing."""
    spare = ACTIONS - (3 if slot.month or slot.closed else 2)
    return spare // 2 if slot.aggregation == "unique" else spare


def record(
    slot: Slot, events: Sequence[Event], seen: Met | None, over: set[Event], beside: Sequence[dict], at: int
) -> Refused | None:
    """
    Count events, together or not at all.

    `seen` is the total as last met; None: it has not been, and is hoped to be on the slot's terms. If it is not, it
    is made, or taken over, along with a check that the customer's terms on record are those told (`beside`: that
    check, or what a closed period needs). `over`: events that are known to pass a soft limit.
    """
    total = seen.total if seen else None
    moves = recording(slot.aggregation, [event.use for event in events], total or ABSENT, seen.known if seen else {})
    fresh = moves.total.adds.get("used", 0)
    least, most = slot.bounds(events, fresh)
    elsewhere = total.elsewhere if total else 0
    limited = slot.hard or not over
    demands = [Demand("used", "<=", most - elsewhere)] if most is not None and limited else []
    demands += [Demand("used", ">=", least - elsewhere)] if least is not None else []
    condition, values, checked = _condition(slot, total)
    key = _sort(slot.counter, slot.period, slot.shard)
    writes = [_event(event, key, slot.aggregation, slot.closed, event in over, at) for event in events]
    writes.append(_total_write(slot, moves, demands, condition, values, checked))
    if slot.month:
        writes.append(_moved({"pk": _owner(slot.customer), "sk": f"{key}#{slot.month}"}, moves.days))
    writes += [_value_write(slot.customer, key, value, move, at) for value, move in moves.values.items()]
    last = len(writes)
    refusals = dynamodb.transact([*writes, *beside] if checked or slot.closed else writes)
    if not refusals:
        return None
    by_place = {refusal.place: refusal.item for refusal in refusals}
    stored = {event: _recorded(item).stored for place, event in enumerate(events) if (item := by_place.get(place))}
    met_total = _total(by_place[len(events)]) if len(events) in by_place else None
    return Refused(stored, met_total, last in by_place, any(len(events) < place < last for place in by_place))


def shards(customer: str, counter: str, period: Period, most: int) -> list[Total]:
    """
    What a total is split into, as each stands, be it more than the plan has now; one that is not there counts nothing.
    """
    items = {item["sk"]: item for item in _items(customer, counter, period)}
    keys = [_sort(counter, period, shard) for shard in range(MOST_METRICS)]
    while len(keys) > most and keys[-1] not in items:
        keys.pop()
    return [_total(items.get(key)) for key in keys]


def closes(customer: str, counter: str, period: Period, seen: Sequence[Total], number: int, about: dict) -> list[dict]:
    """Writes that close a total, made yet or not, just as it was seen; `number` statements have been made of it."""
    names = {f"#{name}": name for name in about}
    told = "".join(f", #{name} = :{name}" for name in about)
    change = f"SET closed = :next{told}, used = if_not_exists(used, :none), n = if_not_exists(n, :none)"
    values = about | {"next": number + 1, "none": 0}
    writes = []
    for shard, total in enumerate(seen):
        unmoved, as_seen = MISSING, {}
        if total.stands:
            made = "closed = :closed" if number else OPEN
            digest = "h = :digest" if total.digest else "(attribute_not_exists(h) OR h = :digest)"
            unmoved, as_seen = f"{made} AND n = :n AND {digest}", {"n": total.n, "digest": total.digest}
            as_seen |= {"closed": number} if number else {}
        key = {"pk": _owner(customer), "sk": _sort(counter, period, shard)}
        writes.append(dynamodb.update(TABLE, key, change, unmoved, names, **values, **as_seen))
    return writes


def correct(
    original: Recorded,
    correction: Correction,
    event: Event | None,
    total: Total,
    moves: Moves,
    most: int | None,
    beside: Sequence[dict],
    at: int,
) -> bool:
    """
    Void an event, or let another take its place: all or nothing; answers whether it is done. `total` is that of the
    original as last met; `most` is the most that may be used afterwards, if that becomes more.
    """
    more = moves.total.adds.get("used", 0)
    demands = [Demand("used", "<=", most - more)] if most is not None and more > 0 else []
    demands += [Demand("used", ">=", -more)] if more < 0 else []
    long = total.long
    move = moves.total.also(Move({}, {}, demands))
    condition, values = ("closed = :closed", {"closed": total.closed}) if total.closed else (OPEN, {})
    owner = {"pk": _owner(original.event.customer)}
    writes = [
        _correction(original, correction, event, total.closed, at),
        _gone(original, correction, total.closed),
        _moved(owner | {"sk": original.total}, move if long else move.also(moves.days), condition, values),
    ]
    if long:
        writes.append(_moved(owner | {"sk": f"{original.total}#{day_of(original.event.at)[:7]}"}, moves.days))
    writes += [_value_write(original.event.customer, original.total, *each, at) for each in moves.values.items()]
    return not dynamodb.transact([*writes, *beside])


def of_total(original: Recorded) -> Total:
    """The total that an event counts in, with all its days."""
    return _together(dynamodb.query(TABLE, _owner(original.event.customer), original.total))


def days_of(total: str) -> list[str]:
    """All that a total which keeps its days itself may have."""
    start = int(total.split("#")[1])
    return [day_of(at) for at in range(start, start + LONG + DAY, DAY)]


def values(customer: str, total: str, wanted: Iterable[str]) -> dict[str, Known]:
    keys = [_value_key(customer, total, value) for value in wanted]
    return {item["value"]: _known(item) for item in dynamodb.several(TABLE, keys)}


def on_terms(customer: str, counter: str, start: int, shard: int, terms: str) -> dict:
    """A write that shuts a total, made yet or not, for whoever knows only older terms."""
    change = "SET terms = :terms, used = if_not_exists(used, :nothing), n = if_not_exists(n, :nothing)"
    key = {"pk": _owner(customer), "sk": _sort(counter, Period(start, start), shard)}
    return dynamodb.update(TABLE, key, change, terms=terms, nothing=0)


def _condition(slot: Slot, seen: Total | None) -> tuple[str, dict, bool]:
    """On whose terms the total has to be, and whether the customer's own have to be checked along with it."""
    if slot.closed:
        return "closed = :closed", {"closed": slot.closed}, False
    on_ours, on_none = "terms = :terms", "attribute_not_exists(terms)"
    terms: dict = {"terms": slot.terms}
    if seen is None or seen.terms == slot.terms or not (slot.hard or seen.terms):
        ours = on_ours if slot.hard else f"({on_none} OR {on_ours})"
        return f"{ours} AND {OPEN}", terms, False
    if not seen.stands:
        return MISSING, {}, True
    if not seen.terms:
        return f"{on_none} AND {OPEN}", {}, True
    return f"terms = :older AND {OPEN}", {"older": seen.terms}, True


def _total_write(slot: Slot, moves: Moves, demands: list, condition: str, values: dict, adopts: bool) -> dict:
    move = moves.total.also(Move({}, {}, demands))
    move = move if slot.month else move.also(moves.days)
    if condition == MISSING:  # then there is nothing else that could be demanded of it
        move = move._replace(demands=[])
    key = {"pk": _owner(slot.customer), "sk": _sort(slot.counter, slot.period, slot.shard)}
    return _moved(key, move, condition, values, {"terms": slot.terms} if adopts else {})


def _value_write(customer: str, total: str, value: str, move: Move, at: int) -> dict:
    """It outlives every event of its period: a year at most, or all time, which begins at 0."""
    expires = at + 2 * RETENTION if int(total.split("#")[1]) else FOREVER
    return _moved(_value_key(customer, total, value), move, told={"value": value, "expires": expires})


def _moved(key: dict, move: Move, condition: str | None = None, values: dict | None = None, told: dict | None = None):
    """An update that does what a move says, if all holds that it demands, and the condition; and what is `told`."""
    given, clauses = dict(values or {}), [condition] if condition else []
    for name, sign, number in move.demands:
        place = f"{name}_{SIGNS[sign]}"
        given[place] = number
        zero = sign == "<" or (sign == "<=" and number >= 0)  # what is absent is below, or nothing
        compared = f"{name} {sign} :{place}"
        clauses.append(f"(attribute_not_exists({name}) OR {compared})" if zero else compared)
    sets = {name: number for name, number in move.sets.items()} | (told or {})
    given |= {f"{name}_add": number for name, number in move.adds.items()}
    given |= {f"{name}_set": what for name, what in sets.items()}
    change = f"SET {', '.join(f'#{name} = :{name}_set' for name in sets)} " if sets else ""
    change += "ADD " + ", ".join(f"{name} :{name}_add" for name in move.adds)
    names = {f"#{name}": name for name in sets}
    return dynamodb.update(TABLE, key, change, " AND ".join(clauses) or None, names, **given)


def _correction(original: Recorded, correction: Correction, event: Event | None, closed: int, at: int) -> dict:
    why = {"corrects": correction.corrects, "reason": correction.reason, "actor": correction.actor}
    if event:
        return _event(event, original.total, original.aggregation, closed, False, at, **why)
    item = _event_key(correction.id) | {
        "customer": correction.customer,
        "metric": original.event.metric,
        "key": correction.key,
        "quantity": 0,
        "at": original.event.at,
        "fingerprint": correction.fingerprint,
        "recorded_at": at,
        "total": original.total,
        "void": True,
        "expires": at + RETENTION,
    }
    return dynamodb.put(TABLE, item | why, MISSING)


def _gone(original: Recorded, correction: Correction, closed: int) -> dict:
    key = _event_key(original.event.id)
    untouched = "attribute_exists(pk) AND attribute_not_exists(corrected_by)"
    change = "SET corrected_by = :by, corrected_in = :statement"
    return dynamodb.update(TABLE, key, change, untouched, by=correction.key, statement=closed)


def _event(event: Event, total: str, aggregation: str, closed: int, over: bool, at: int, **more) -> dict:
    item = _event_key(event.id) | {
        "customer": event.customer,
        "metric": event.metric,
        "key": event.key,
        "quantity": event.quantity,
        "at": event.at,
        "fingerprint": event.fingerprint,
        "recorded_at": at,
        "total": total,
        "series": f"{event.customer}#{event.metric}#{day_of(event.at)}",
        "moment": f"{event.at:012}#{event.id}",
        "expires": max(at, event.at) + RETENTION,
    }
    apart = {"aggregation": aggregation if aggregation != "sum" else None, "over": over or None}
    apart |= {"statement": closed or None, "metadata": event.metadata or None}
    apart |= {"value": event.value, "happened": event.happened} | more
    item |= {name: value for name, value in apart.items() if value is not None}
    return dynamodb.put(TABLE, item, MISSING)


def _items(customer: str, counter: str, period: Period) -> list[dict]:
    """A total with its shards and months."""
    return dynamodb.query(TABLE, _owner(customer), _sort(counter, period))


def _owner(customer: str) -> str:
    return f"T#{customer}"


def _marker(id: str) -> str:
    return f"E#{id}"


def _event_key(id: str) -> dict:
    return {"pk": _marker(id), "sk": "event"}


def _sort(counter: str, period: Period, shard: int = 0) -> str:
    return f"{counter}#{period.start:012}" + (f"#s{shard:02}" if shard else "")


def _value_key(customer: str, total: str, value: str) -> dict:
    return {"pk": f"V#{customer}", "sk": f"{total}#{sha256(value.encode()).hexdigest()[:32]}"}


def _recorded(item: dict) -> Recorded:
    event = Event(
        item["customer"],
        item["metric"],
        item["key"],
        item["quantity"],
        item["at"],
        True,
        item["fingerprint"],
        item.get("metadata", {}),
        item.get("value"),
        item.get("happened"),
    )
    return Recorded(
        event,
        item["fingerprint"],
        item["total"],
        item["recorded_at"],
        item.get("aggregation", "sum"),
        item.get("statement", 0),
        item.get("over", False),
        item.get("corrected_by"),
        item.get("corrected_in", 0),
        item.get("corrects"),
        item.get("void", False),
        item.get("reason"),
        item.get("actor"),
    )


def _total(item: dict | None) -> Total:
    if not item:
        return ABSENT
    days = dict(_days_of(item))
    return Total(
        item["used"],
        item["n"],
        item.get("h", 0),
        item.get("latest"),
        True,
        days,
        item.get("terms", ""),
        item.get("closed", 0),
        item.get("ends"),
        item.get("subscription"),
        item.get("plan"),
        item.get("version", 0),
    )


def _together(items: Iterable[dict]) -> Total:
    """A total with its shards, of which it is the sum, and with its months, which have its days."""
    first, days, long = ABSENT, dict[str, Day](), False
    for item in items:
        if MONTH.fullmatch(item["sk"].rpartition("#")[2]):
            long = True
        else:
            total = _total(item)
            grown = {"used": first.used + total.used, "n": first.n + total.n, "digest": first.digest + total.digest}
            first = replace(first, **grown) if first.stands else total
        for day, each in _days_of(item):
            days[day] = same_day("sum", days.get(day, Day()), each)  # of what is no sum, one item has a day
    return replace(first, days=dict(sorted(days.items())), long=long)


def _days_of(item: dict) -> Iterator[tuple[str, Day]]:
    """Of a total or of a month of one."""
    *_, last = item["sk"].split("#")
    for month in [last] if MONTH.fullmatch(last) else _months(_start(item)):
        yield from _days(month, item)


def _days(month: str, item: dict) -> Iterator[tuple[str, Day]]:
    for name in sorted(name for name in item if name.startswith(f"n{month[5:]}")):
        day = f"{month}-{name[3:]}"
        yield day, Day(item[name], item.get(s_of(day), 0), item.get(l_of(day)), item.get(g_of(day), 0))


def _known(item: dict) -> Known:
    days = {f"20{name[1:3]}-{name[3:5]}-{name[5:]}": n for name, n in item.items() if DAY_OF_VALUE.fullmatch(name)}
    return Known(item.get("n", 0), days)


def _months(start: int) -> list[str]:
    """The two calendar months that a period of a month can touch."""
    month = period_of(start, 0, "month")
    return [day_of(month.start)[:7], day_of(month.end)[:7]]


def _adds_up(item: dict) -> str:
    last = item["sk"].partition("#")[0].rpartition("~")[2]
    return last if last in ("max", "last", "unique") and "~" in item["sk"] else "sum"


def _start(item: dict) -> int:
    return int(item["sk"].split("#")[1])
