"""
What events make of a total, for each way of adding them up: what is written to it, and what must hold for that.

Conditions have no arithmetic and no maximum, so each is worked out here from the total as last met, and the write is
refused if that no longer stands. A demand that stays true while others count (used >= 7) keeps nobody out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from billing.periods import DAY, day_of, start_of

APART = 10**7  # events of one second are told apart by their ids
NONE: Mapping = {}


class Use(NamedTuple):
    """An event as far as it is added up."""

    id: str
    quantity: int
    at: int
    digest: int  # of all that it says; the sum of them all tells whether a total is of just these events
    value: str | None = None  # what is told apart, where that is counted


class Day(NamedTuple):
    """One day of a total: its events, what they come to, and the rank of the last of them where that is what counts."""

    n: int = 0
    value: int = 0
    latest: int | None = None
    gone: int = 0  # events that were corrected: on record, and counted no more

    def is_of(self, lives: Sequence[bool]) -> bool:
        """
        Whether these are all its events, each as it stands, where some may be missing or seen as they were. None ever
        comes to life again, so that the two numbers tell.
        """
        return (len(lives), sum(lives)) == (self.n + self.gone, self.n)


class Known(NamedTuple):
    """How many events of a total have a value, in all and by day."""

    n: int = 0
    days: Mapping[str, int] = NONE


@dataclass(frozen=True, slots=True)
class Tally:
    """What the events of a period come to, as last met."""

    used: int = 0
    n: int = 0
    digest: int = 0
    latest: int | None = None
    stands: bool = False  # whether it is on record
    days: Mapping[str, Day] = field(default_factory=dict)


class Demand(NamedTuple):
    """An attribute compared with a number; one that is absent is below (<) everything."""

    name: str
    sign: str  # <, <=, >=, =
    number: int


class Move(NamedTuple):
    """What is written to an item, if all that is demanded of it holds."""

    adds: dict[str, int]
    sets: dict[str, int]
    demands: list[Demand]

    def also(self, other: Move) -> Move:
        return Move(self.adds | other.adds, self.sets | other.sets, [*self.demands, *other.demands])


class Moves(NamedTuple):
    """One transaction: of the total, of its days (which may be in an item of their own), of each value's item."""

    total: Move
    days: Move
    values: Mapping[str, Move] = NONE


def n_of(day: str) -> str:
    """The attribute that has the number of a day's events; s_of: what they come to; l_of: the rank of the last."""
    return f"n{day[5:7]}{day[8:]}"


def s_of(day: str) -> str:
    return f"s{day[5:7]}{day[8:]}"


def l_of(day: str) -> str:
    return f"l{day[5:7]}{day[8:]}"


def g_of(day: str) -> str:
    """What is gone of it."""
    return f"g{day[5:7]}{day[8:]}"


def recording(aggregation: str, uses: Sequence[Use], met: Tally, known: Mapping[str, Known]) -> Moves:
    """
    What is written when events are counted. `met` matters to max, last and unique alone, `known` to unique: what is
    added up is the same whatever there is.
    """
    days = _by_day(uses)
    total = _counted("n", uses).also(Move({"h": sum(use.digest for use in uses)}, {}, []))
    each = _merged(_counted(n_of(day), of_day) for day, of_day in days.items())
    match aggregation:
        case "sum":
            sums = _merged(_added(s_of(day), of_day) for day, of_day in days.items())
            return Moves(total.also(_added("used", uses)), each.also(sums))
        case "max":
            used = _highest("used", _most(uses), met.used if met.stands else None)
            highs = (_highest(s_of(day), _most(of_day), _seen(met, day)) for day, of_day in days.items())
            return Moves(total.also(used), each.also(_merged(highs)))
        case "last":
            used = _latest("latest", "used", max(uses, key=rank), rank, met.latest)
            lasts = (_latest_of_day(day, of_day, met) for day, of_day in days.items())
            return Moves(total.also(used), each.also(_merged(lasts)))
        case "unique":
            return _distinct(total, each, uses, known)
    raise AssertionError(f"nobody adds up by {aggregation}")


def replacing(
    aggregation: str,
    gone: Use,
    come: Use | None,
    met: Tally,
    of_day: Sequence[Use],
    known: Mapping[str, Known],
    beside: Sequence[str] | None = None,
) -> Moves:
    """
    What is written when an event is voided, or another of the same instant takes its place. `of_day` are the live
    events of its day, without it: where the highest or the last counts, the day is worked out anew. That is only true
    while the day is of the very events that it was worked out from. `beside`: all days that the item of the total may
    have; None: some are in others.
    """
    day, change = day_of(gone.at), 0 if come else -1
    total = Move({"n": change, "h": (come.digest if come else 0) - gone.digest}, {}, [])
    each = Move({n_of(day): change, g_of(day): 1}, {}, [])
    if aggregation == "sum":
        more = (come.quantity if come else 0) - gone.quantity
        return Moves(total.also(Move({"used": more}, {}, [])), each.also(Move({s_of(day): more}, {}, [])))
    if aggregation == "unique":
        return _retold(total, each, gone, come, day, known)
    left = [*of_day, *([come] if come else [])]
    before, after = met.days.get(day, Day()), _worked_out(aggregation, left)
    told = {s_of(day): after.value} | ({l_of(day): after.latest or 0} if aggregation == "last" else {})
    overall = (_highest_again if aggregation == "max" else _latest_again)(day, before, after, met, beside)
    return Moves(total.also(overall), each.also(Move({}, told, _of_just(day, before))))


def tally(aggregation: str, uses: Iterable[Use]) -> Tally:
    """What events come to, from the beginning: for a span that no total is kept of, and to prove one that is."""
    uses = list(uses)
    days = {day: _worked_out(aggregation, of_day) for day, of_day in sorted(_by_day(uses).items())}
    used = len({use.value for use in uses}) if aggregation == "unique" else _overall(aggregation, days)["used"]
    return Tally(used, len(uses), sum(use.digest for use in uses), None, True, days)


def combined(aggregation: str, days: Mapping[str, Day]) -> int:
    """What whole days come to; not for unique values, which may be of several days."""
    return _overall(aggregation, days)["used"]


def same_day(aggregation: str, earlier: Day, later: Day) -> Day:
    """One day in two periods, of which one ends on it. Of different values only the events themselves tell."""
    n, gone = earlier.n + later.n, earlier.gone + later.gone
    if not earlier.n or not later.n:
        return (later if later.n else earlier)._replace(gone=gone)
    match aggregation:
        case "max":
            return Day(n, max(earlier.value, later.value), None, gone)
        case "last":
            last = max(earlier, later, key=lambda day: day.latest or 0)
            return last._replace(n=n, gone=gone)
    return Day(n, earlier.value + later.value, None, gone)


def d_of(day: str) -> str:
    """The attribute of a value's item that has the number of a day's events: of whatever year."""
    return f"d{day[2:4]}{day[5:7]}{day[8:]}"


def rank(use: Use) -> int:
    """The later the greater; within a second by their ids, so that the order of arrival does not matter."""
    return use.at * APART + int(use.id[:12], 16) % APART


def rank_in_day(use: Use) -> int:
    return rank(use) % (DAY * APART)


def _worked_out(aggregation: str, uses: Sequence[Use]) -> Day:
    if not uses:
        return Day()
    match aggregation:
        case "sum":
            return Day(len(uses), sum(use.quantity for use in uses))
        case "max":
            return Day(len(uses), _most(uses))
        case "last":
            last = max(uses, key=rank)
            return Day(len(uses), last.quantity, rank_in_day(last))
        case "unique":
            return Day(len(uses), len({use.value for use in uses}))
    raise AssertionError(f"nobody adds up by {aggregation}")


def _overall(aggregation: str, days: Mapping[str, Day]) -> dict[str, int]:
    """The attributes of the total that whole days come to; of a day that has none left nothing counts."""
    live = {day: each for day, each in days.items() if each.n}
    match aggregation:
        case "sum":
            return {"used": sum(each.value for each in live.values())}
        case "max":
            return {"used": max((each.value for each in live.values()), default=0)}
        case "last":
            day = max(live, default=None)
            began = start_of(day) * APART if day else 0
            return {"used": live[day].value, "latest": began + (live[day].latest or 0)} if day else _NOTHING
    raise AssertionError(f"days cannot be put together by {aggregation}")


_NOTHING = {"used": 0, "latest": 0}


def _distinct(total: Move, each: Move, uses: Sequence[Use], known: Mapping[str, Known]) -> Moves:
    fresh, of_day, values = 0, defaultdict(int), {}
    for value, same in _by_value(uses).items():
        met, days = known.get(value, Known()), _by_day(same)
        counted = _merged(_counted(d_of(day), uses) for day, uses in days.items())
        new = [day for day in days if not met.days.get(day)]
        fresh += not met.n
        for day in new:
            of_day[s_of(day)] += 1
        known_days = {d_of(day): day not in new for day in days}
        values[value] = _counted("n", same).also(counted).also(_presence({"n": bool(met.n)} | known_days))
    return Moves(total.also(Move({"used": fresh}, {}, [])), each.also(Move(dict(of_day), {}, [])), values)


def _retold(total: Move, each: Move, gone: Use, come: Use | None, day: str, known: Mapping[str, Known]) -> Moves:
    """A value that nobody else has told is no longer one of them; one that nobody has told yet is."""
    if come and come.value == gone.value:
        return Moves(total, each)
    less, of_day, values = 0, 0, {}
    for use, change in ((gone, -1), *(((come, 1),) if come else ())):
        met = known.get(use.value or "", Known())
        before, before_day = met.n, met.days.get(day, 0)
        less += bool(before + change) - bool(before)
        of_day += bool(before_day + change) - bool(before_day)
        exactly = [_exactly("n", before), _exactly(d_of(day), before_day)]
        values[use.value or ""] = Move({"n": change, d_of(day): change}, {}, exactly)
    return Moves(total.also(Move({"used": less}, {}, [])), each.also(Move({s_of(day): of_day}, {}, [])), values)


def _presence(names: Mapping[str, bool]) -> Move:
    return Move({}, {}, [Demand(name, ">=", 1) if there else Demand(name, "<", 1) for name, there in names.items()])


def _exactly(name: str, number: int) -> Demand:
    return Demand(name, "=", number) if number else Demand(name, "<", 1)


def _highest(name: str, most: int, seen: int | None) -> Move:
    if seen is None or most > seen:
        return Move({}, {name: most}, [Demand(name, "<", most)])
    return Move({}, {}, [Demand(name, ">=", most)])


def _latest(name: str, told: str, last: Use, ranked, seen: int | None) -> Move:
    if seen is None or ranked(last) > seen:
        return Move({}, {name: ranked(last), told: last.quantity}, [Demand(name, "<", ranked(last))])
    return Move({}, {}, [Demand(name, ">=", ranked(last))])


def _latest_of_day(day: str, uses: Sequence[Use], met: Tally) -> Move:
    seen = met.days.get(day, Day()).latest
    return _latest(l_of(day), s_of(day), max(uses, key=rank), rank_in_day, seen)


def _highest_again(day: str, before: Day, after: Day, met: Tally, beside: Sequence[str] | None) -> Move:
    """What a day that is worked out anew does to the highest of all."""
    if after.value >= before.value:
        return _highest("used", after.value, met.used)
    if met.used > before.value:
        return Move({}, {}, [Demand("used", ">=", before.value + 1)])
    days = dict(met.days) | {day: after}
    told = _overall("max", days)
    if beside is None:
        return Move({}, told, [Demand("h", "=", met.digest)])
    top = max(days, key=lambda each: days[each].value)
    lower = [Demand(s_of(each), "<=", told["used"]) for each in beside if each != day]
    return Move({}, told, [*lower, *([Demand(s_of(top), ">=", told["used"])] if top != day else [])])


def _latest_again(day: str, before: Day, after: Day, met: Tally, beside: Sequence[str] | None) -> Move:
    """What a day that is worked out anew does to the last of all."""
    last = start_of(day) * APART + (before.latest or 0)
    if (met.latest or 0) > last:
        return Move({}, {}, [Demand("latest", ">=", last + 1)])
    days = dict(met.days) | {day: after}
    told, still = _overall("last", days), Demand("latest", "=", last)
    if after.n:
        return Move({}, told, [still])
    if beside is None:
        return Move({}, told, [Demand("h", "=", met.digest)])
    now = max((each for each, live in days.items() if live.n), default="")
    empty = [Demand(n_of(each), "<", 1) for each in beside if now < each < day]
    return Move({}, told, [still, *empty, *(_of_just(now, days[now]) if now else [])])


def _of_just(day: str, met: Day) -> list[Demand]:
    """That a day is of the very events that it was met with: see Day.is_of."""
    return [_exactly(n_of(day), met.n), _exactly(g_of(day), met.gone)]


def _seen(met: Tally, day: str) -> int | None:
    return met.days[day].value if day in met.days else None


def _counted(name: str, uses: Sequence[Use]) -> Move:
    return Move({name: len(uses)}, {}, [])


def _added(name: str, uses: Sequence[Use]) -> Move:
    return Move({name: sum(use.quantity for use in uses)}, {}, [])


def _merged(moves: Iterable[Move]) -> Move:
    merged = Move({}, {}, [])
    for move in moves:
        merged = merged.also(move)
    return merged


def _most(uses: Sequence[Use]) -> int:
    return max(use.quantity for use in uses)


def _by_day(uses: Iterable[Use]) -> dict[str, list[Use]]:
    days = defaultdict(list)
    for use in uses:
        days[day_of(use.at)].append(use)
    return dict(days)


def _by_value(uses: Iterable[Use]) -> dict[str, list[Use]]:
    values = defaultdict(list)
    for use in uses:
        values[use.value or ""].append(use)
    return dict(values)
