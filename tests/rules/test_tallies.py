"""What is written to a total, on an item that does what a Move says: in any order it is what the events come to."""

from collections import defaultdict
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing import tallies
from billing.periods import DAY, day_of, start_of
from billing.tallies import Day, Demand, Known, Move, Tally, Use, d_of, g_of, l_of, n_of, s_of

START = start_of("2026-11-21")
HOWS = ("sum", "max", "last", "unique")
SPAN = [day_of(START + n * DAY) for n in range(4)]
EXAMPLES = settings(derandomize=True, max_examples=60, deadline=None)


class Refused(Exception):
    pass


class Stored:
    """A total with its values' items, as DynamoDB keeps them: all of a transaction, or nothing."""

    def __init__(self):
        self.total: dict[str, int] = {}
        self.values = defaultdict(dict)

    def write(self, moves):
        items = [(self.total, moves.total), (self.total, moves.days)]
        items += [(self.values[value], move) for value, move in moves.values.items()]
        if not all(holds(item, demand) for item, move in items for demand in move.demands):
            raise Refused
        for item, move in items:
            for name, number in move.adds.items():
                item[name] = item.get(name, 0) + number
            item |= move.sets

    def met(self):
        item = self.total
        names = [name for name in item if name[0] == "n" and name[1:]]
        days = {f"2026-{name[1:3]}-{name[3:]}": item[name] for name in sorted(names)}
        days = {
            day: Day(n, item.get(s_of(day), 0), item.get(l_of(day)), item.get(g_of(day), 0)) for day, n in days.items()
        }
        numbers = item.get("used", 0), item.get("n", 0), item.get("h", 0), item.get("latest")
        return Tally(*numbers, stands=bool(item), days=days)

    def known(self):
        known = {}
        for value, item in self.values.items():
            known[value] = Known(item.get("n", 0), {f"2026-{m[3:5]}-{m[5:]}": item[m] for m in item if m != "n"})
        return known

    def record(self, how, uses):
        self.write(tallies.recording(how, uses, self.met(), self.known()))

    def replace(self, how, uses, gone, come):
        of_day = [use for use in uses if use != gone and day_of(use.at) == day_of(gone.at)]
        self.write(self.replacing(how, of_day, gone, come))

    def replacing(self, how, of_day, gone, come, beside=SPAN):
        return tallies.replacing(how, gone, come, self.met(), of_day, self.known(), beside)


def holds(item, demand):
    if demand.name not in item:
        return demand.sign == "<" or (demand.sign == "<=" and demand.number >= 0)
    there, number = item[demand.name], demand.number
    return {"<": there < number, "<=": there <= number, ">=": there >= number, "=": there == number}[demand.sign]


def use(n, quantity=1, at=START, value=None):
    digest = sha256(f"{n}:{quantity}:{at}:{value}".encode()).hexdigest()
    return Use(digest, quantity, at, int(digest[:24], 16), value)


def reckoned(how, uses):
    """By hand: what is used, and of each day how many events and what they come to."""

    def come_to(uses):
        match how:
            case "sum":
                return sum(use.quantity for use in uses)
            case "max":
                return max((use.quantity for use in uses), default=0)
            case "last":
                return max(uses, key=lambda use: (use.at, int(use.id[:12], 16) % 10**7)).quantity if uses else 0
        return len({use.value for use in uses})

    of_day = {day: [use for use in uses if day_of(use.at) == day] for day in {day_of(use.at) for use in uses}}
    return come_to(uses), {day: (len(each), come_to(each)) for day, each in of_day.items()}


def agrees(how, stored, uses):
    met = stored.met()
    used, days = reckoned(how, uses)
    assert (met.used, met.n, met.digest) == (used, len(uses), sum(use.digest for use in uses))
    assert {day: (each.n, each.value) for day, each in met.days.items() if each.n} == days
    alone = tallies.tally(how, uses)
    assert (alone.used, alone.n, alone.digest) == (met.used, met.n, met.digest)
    assert {day: (each.n, each.value) for day, each in alone.days.items()} == days


SAID = st.tuples(st.integers(0, 6), st.integers(0, 3 * DAY // 7200 - 1), st.sampled_from(["ada", "bob", "cyd"]))
LISTS = st.lists(SAID, min_size=1, max_size=14)


def events(how, said):
    unique = how == "unique"
    return [
        use(n, 1 if unique else quantity, START + hour * 7200, value if unique else None)
        for n, (quantity, hour, value) in enumerate(said)
    ]


@pytest.mark.parametrize("how", HOWS)
@EXAMPLES
@given(said=LISTS, cuts=st.sets(st.integers(1, 13)), order=st.randoms(use_true_random=False))
def test_in_any_order_and_any_batches_it_is_what_the_events_come_to(how, said, cuts, order):
    uses, stored = events(how, said), Stored()
    order.shuffle(uses)
    edges = [0, *sorted(cut for cut in cuts if cut < len(uses)), len(uses)]
    for begin, end in pairwise(edges):
        stored.record(how, uses[begin:end])

    agrees(how, stored, uses)


@pytest.mark.parametrize("how", HOWS)
@EXAMPLES
@given(
    said=LISTS,
    moves=st.lists(st.tuples(st.integers(0, 40), st.none() | SAID, st.booleans()), max_size=12),
)
def test_voided_and_amended_it_is_what_is_left(how, said, moves):
    waiting, live, stored = events(how, said), [], Stored()
    for place, other, first in [*moves, *((0, None, True) for _ in said)]:
        if waiting and (first or not live):
            live.append(waiting.pop())
            stored.record(how, live[-1:])
        elif live:
            gone = live[place % len(live)]
            come = other and events(how, [other])[0]._replace(
                at=gone.at, id=sha256(f"{place}{gone.id}".encode()).hexdigest()
            )
            stored.replace(how, live, gone, come)
            live = [use for use in live if use != gone] + ([come] if come else [])
            agrees(how, stored, live)

    agrees(how, stored, live)


class Race(NamedTuple):
    """Two who have met the same total: what was there, what the one writes, then the other."""

    there: list[Use]
    first: list[Use]
    second: list[Use]


def raced(how, race):
    """Whether the second is written, on what it met before the first was."""
    stored = Stored()
    if race.there:
        stored.record(how, race.there)
    moves = tallies.recording(how, race.second, stored.met(), stored.known())
    stored.record(how, race.first)
    try:
        stored.write(moves)
    except Refused:
        agrees(how, stored, [*race.there, *race.first])
        return False
    agrees(how, stored, [*race.there, *race.first, *race.second])
    return True


@pytest.mark.parametrize("how", HOWS)
@EXAMPLES
@given(said=st.lists(SAID, min_size=3, max_size=9), cut=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_whoever_writes_on_what_is_no_longer_so_is_refused_or_right_all_the_same(how, said, cut):
    uses = events(how, said)
    begin, end = sorted((cut[0] % (len(uses) - 1), 1 + cut[1] % (len(uses) - 1)))
    begin, end = (begin, end) if begin < end else (begin - 1, end)
    raced(how, Race(uses[:begin], uses[begin:end], uses[end:]))  # and it agrees, either way


HIGH = use(0, 9, START + 10)


def test_of_what_is_added_up_nobody_refuses_anybody():
    assert raced("sum", Race([], [use(1)], [use(2)]))


def test_maxima_that_do_not_raise_it_refuse_nobody_and_one_that_does_only_the_lower():
    low, lower, higher = use(1, 5, START + 20), use(2, 4, START + 5), use(3, 12, START)

    assert raced("max", Race([HIGH], [low], [lower]))
    assert raced("max", Race([HIGH], [higher], [lower]))
    assert raced("max", Race([HIGH], [use(4, 11, START)], [higher]))
    assert not raced("max", Race([HIGH], [higher], [use(4, 11, START)]))


def test_only_what_is_later_refuses_what_was_to_be_the_last():
    earlier, earliest, later, latest = (use(n, n, START + at) for n, at in enumerate((5, 2, 20, 30), 1))

    assert raced("last", Race([HIGH], [earlier], [earliest]))
    assert raced("last", Race([HIGH], [later], [earlier]))
    assert raced("last", Race([HIGH], [later], [latest]))
    assert not raced("last", Race([HIGH], [latest], [later]))


def test_who_tells_a_value_for_the_first_time_is_refused_by_another_who_has_told_it():
    bob, again, cyd = (use(n, value=value) for n, value in enumerate(("bob", "bob", "cyd")))

    assert not raced("unique", Race([], [bob], [again]))
    assert raced("unique", Race([], [bob], [cyd]))
    assert raced("unique", Race([bob], [again], [use(3, value="bob")]))


def recounted(how, there, gone, come, meanwhile, beside):
    """Whether a correction is written, on what it met before something else was."""
    stored = Stored()
    for each in there:
        stored.record(how, [each])
    of_day = [use for use in there if use != gone and day_of(use.at) == day_of(gone.at)]
    moves = stored.replacing(how, of_day, gone, come, beside)
    live = meanwhile(stored, list(there))
    try:
        stored.write(moves)
    except Refused:
        agrees(how, stored, live)
        return False
    agrees(how, stored, [use for use in live if use != gone] + ([come] if come else []))
    return True


def recorded(how, *uses):
    def act(stored, live):
        for each in uses:
            stored.record(how, [each])
        return [*live, *uses]

    return act


@pytest.mark.parametrize("beside", [SPAN, None], ids=["days in the total", "days elsewhere"])
@pytest.mark.parametrize("how", ["max", "last"])
@settings(EXAMPLES, max_examples=300)
@given(LISTS, st.integers(0, 13), st.none() | SAID, st.tuples(st.integers(0, 13), st.none() | SAID))
def test_a_correction_on_what_is_no_longer_so_is_refused_or_right_all_the_same(how, beside, said, place, other, also):
    there = events(how, said)
    gone, told = there[place % len(there)], None
    if other:
        told = gone._replace(id=sha256(f"told{gone.id}".encode()).hexdigest(), quantity=other[0])
    index, more = also

    def another(stored, live):
        wrong = live[index % len(live)]
        if more and index % 2:  # an event
            return recorded(how, events(how, [*said, more])[-1])(stored, live)
        if wrong == gone:
            return live
        right = more and wrong._replace(id=sha256(f"also{wrong.id}".encode()).hexdigest(), quantity=more[0])
        stored.replace(how, live, wrong, right)
        return [use for use in live if use != wrong] + ([right] if right else [])

    recounted(how, there, gone, told, another, beside)


@pytest.mark.parametrize("how", ["max", "last"])
def test_a_recount_is_refused_by_an_event_of_its_day_and_by_none_that_changes_nothing_of_it(how):
    early, low, high = (use(n, quantity, START + n * DAY) for n, quantity in enumerate((3, 2, 9)))
    there, less = [early, low, high], use(4, 1, START + 1)

    for gone in (low, high):
        assert not recounted(how, there, gone, None, recorded(how, use(5, 1, gone.at + 1)), SPAN)
        assert recounted(how, there, gone, None, recorded(how, less), SPAN)
    assert recounted(how, there, low, None, recorded(how, less), None)
    assert not recounted(how, there, high, None, recorded(how, less), None)


@pytest.mark.parametrize("days", [1, 3], ids=["between", "afterwards"])
def test_when_the_last_is_gone_what_has_come_meanwhile_is_the_last(days):
    early, last = use(1, 3, START), use(2, 9, START + 2 * DAY)

    assert not recounted("last", [early, last], last, None, recorded("last", use(3, 1, START + days * DAY)), SPAN)


@pytest.mark.parametrize("how", ["max", "last"])
def test_what_does_not_change_it_is_refused_when_what_was_before_it_is_gone(how):
    stored, less = Stored(), use(1, 3, START)
    stored.record(how, [HIGH])
    moves = tallies.recording(how, [less], stored.met(), {})
    stored.replace(how, [HIGH], HIGH, None)
    with pytest.raises(Refused):
        stored.write(moves)

    stored.record(how, [less])
    agrees(how, stored, [less])


def test_a_value_is_not_taken_for_the_last_of_its_kind_while_another_tells_it():
    stored, bob, again = Stored(), use(0, value="bob"), use(1, value="bob")
    stored.record("unique", [bob])
    first = tallies.replacing("unique", bob, None, stored.met(), [], stored.known())
    stored.record("unique", [again])
    second = tallies.replacing("unique", bob, None, stored.met(), [], stored.known())
    with pytest.raises(Refused):
        stored.write(first)

    stored.replace("unique", [bob, again], again, None)
    with pytest.raises(Refused):
        stored.write(second)
    agrees("unique", stored, [bob])


def test_of_events_of_one_second_it_is_always_the_same_that_is_the_last():
    one, other = use(1, 5), use(2, 7)
    told = []
    for uses in ([one, other], [other, one]):
        stored = Stored()
        for each in uses:
            stored.record("last", [each])
        told.append(stored.met())

    assert told[0].used == told[1].used and told[0].days == told[1].days


def test_a_day_that_ends_one_period_and_begins_another_is_put_together():
    early, late = Day(2, 5, 100), Day(1, 3, 200, 1)

    assert tallies.same_day("sum", early, late) == Day(3, 8, None, 1)
    assert tallies.same_day("max", early, late) == Day(3, 5, None, 1)
    assert tallies.same_day("last", early, late) == tallies.same_day("last", late, early) == Day(3, 3, 200, 1)
    assert tallies.same_day("last", early, Day(0, 0, 0, 2)) == early._replace(gone=2)


def test_a_day_is_known_when_all_of_it_is_seen_and_as_it_stands():
    day = Day(n=2, gone=1)

    assert day.is_of([True, False, True])
    for lives in ([True, True], [True, True, True], [True, False], [False, False, True], []):
        assert not day.is_of(lives)


def test_a_value_has_its_days_by_year():
    assert d_of("2026-11-23") == "d261123" != d_of("2027-11-23")
    assert (n_of("2026-11-23"), s_of("2026-11-23"), l_of("2026-11-23")) == ("n1123", "s1123", "l1123")


def test_moves_are_put_together():
    one, other = Move({"a": 1}, {}, [Demand("a", "<", 3)]), Move({"b": 2}, {"c": 3}, [])

    assert one.also(other) == Move({"a": 1, "b": 2}, {"c": 3}, [Demand("a", "<", 3)])


def test_what_nobody_adds_up_so_is_an_error():
    with pytest.raises(AssertionError):
        tallies.recording("mean", [HIGH], replace(Tally(), used=1), {})
