"""Counting what customers use: every event is decided once, for good, and told the same ever after."""

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import randrange

from billing import customer_table, errors, log, plan_table, standing, usage, usage_table
from billing.entitlements import Earlier, Ended
from billing.errors import Contended, Unavailable, Undecided
from billing.holds import digest
from billing.periods import Period
from billing.usage import WATERMARK, Event, Slot, Stored, Total, Unfit
from billing.usage_table import Met

PATIENCE = 15  # seconds; then what is left is undecided, and the function has time to say so
LOTS = 360_360  # a multiple of every number of shards there may be
TRIES = 5  # to find out the terms on record, while they keep moving


def record(given: Sequence[object], at: int, together: bool = False) -> list[dict]:
    """
    An answer for each event, in their order. Undecided if that cannot be had for all: then all of them may be sent
    again, and what is counted already is told again.

    Copies in one request are one event. Of several bodies under one key the first is tried first; what follows it is
    a conflict once one has been recorded. `together`: of what is counted against one hard limit all fits, or none; and
    no second body is tried.
    """
    events: list[Event | dict] = []
    for each in given:
        try:
            events.append(usage.read(each, at))
        except Unfit as unfit:
            events.append(usage.rejected(each, unfit))
    batch = _Batch(at, together)
    batch.decide([event for event in events if isinstance(event, Event)])

    answers, told = [], set()
    for event in events:
        if isinstance(event, dict):
            answers.append(event)
            continue
        answer = batch.verdicts.get(_body(event)) or usage.undecided(event)
        again = answer["status"] == "recorded" and _body(event) in told
        answers.append(answer | {"duplicate": True} if again else answer)
        told.add(_body(event))
    if any(answer["status"] == "undecided" for answer in answers):
        raise Undecided("not all events could be decided: send them all again", answers)
    return answers


class _Batch:
    """The events of one request on their way to a verdict."""

    def __init__(self, at: int, together: bool):
        self.at, self.together = at, together
        self.until = time.monotonic() + PATIENCE
        self.lot = randrange(LOTS)  # which shard of a total is counted in
        self.verdicts: dict[tuple[str, str], dict] = {}  # by key and body
        self.fresh: set[str] = set()  # customers whose standing has been read for this request
        self.unreadable: set[str] = set()  # customers whose records are not as we know them
        self.ended: dict[str, list[Ended]] = {}  # periods that are billed by usage, by customer
        self.closed: dict[str, dict[tuple[str, Period], int]] = defaultdict(dict)  # met as such, by customer

    def decide(self, events: Sequence[Event]) -> None:
        bodies: dict[str, dict[str, Event]] = defaultdict(dict)
        for event in events:
            bodies[event.id].setdefault(event.fingerprint, event)
        waiting = [list(each.values()) for each in bodies.values()]
        try:
            while waiting:
                self._decide([left[0] for left in waiting])
                waiting = [rest for left in waiting if (rest := self._after(*left))]
        except Unavailable:  # the store is gone: what has no verdict stays undecided
            return

    def _after(self, tried: Event, *rest: Event) -> list[Event]:
        verdict = self.verdicts.get(_body(tried))
        if verdict and self.together:
            for event in rest:
                self._say(event, self._known(event) or usage.conflict(event))
        elif verdict and verdict["status"] != "recorded":
            return list(rest)
        elif verdict:
            self.verdicts |= {_body(event): usage.conflict(event) for event in rest}
        return []

    def _decide(self, left: list[Event]) -> None:
        for _ in range(TRIES):
            slots = defaultdict(list)
            for event in left:
                with self._apart(event.customer):
                    try:
                        slot, counted = self._slot(event)
                        slots[slot].append(counted)
                    except Unfit as unfit:
                        self._say(event, self._known(event) or usage.rejected(event, unfit))
            again = self._divided(slots) if self.together else set()
            again |= self._in_turn(slots)
            left = [event for event in left if event.id in again]
            for customer in {event.customer for event in left}:
                with self._apart(customer):
                    self._refresh(customer)
            left = [event for event in left if event.customer not in self.unreadable]
            if not left:
                return

    @contextmanager
    def _apart(self, customer: str) -> Iterator[None]:
        """What is wrong with one customer's records keeps no others from being counted: its events stay undecided."""
        try:
            yield
        except Unavailable:
            raise
        except Exception as failure:
            if customer not in self.unreadable:
                log.alarmed("unreadable", customer=digest(customer), code=errors.named(failure))
            self.unreadable.add(customer)

    def _divided(self, slots: dict[Slot, list[Event]]) -> set[str]:
        """
        What is to be counted all or nothing, and stands in several slots, is taken out of them. Of several months no
        transaction has room; what was placed on different terms comes again: answers the ids.
        """
        of_total = defaultdict(list)
        for slot in slots:
            if slot.hard:
                of_total[slot.customer, slot.metric, slot.period].append(slot)
        again = set()
        for several in of_total.values():
            if len(several) == 1:
                continue
            events = [event for slot in several for event in slots.pop(slot)]
            if len({slot.terms for slot in several}) > 1:
                again |= {event.id for event in events}
            else:
                self._too_many(events, "what is of several calendar months cannot be counted all or nothing")
        return again

    def _too_many(self, events: Sequence[Event], why: str) -> None:
        many = Unfit("too_many_together", "", why)
        for event in events:
            self._say(event, self._known(event) or usage.rejected(event, many))

    def _in_turn(self, slots: dict[Slot, list[Event]]) -> set[str]:
        """What is contended comes again after the others, while there is time. Answers ids, as `_count` the events."""
        again, waiting = set(), deque(slots.items())
        while waiting and time.monotonic() <= self.until:
            slot, events = waiting.popleft()
            try:
                again |= {event.id for event in self._count(slot, events)}
            except Contended:
                waiting.append((slot, [event for event in events if _body(event) not in self.verdicts]))
        return again

    def _slot(self, event: Event) -> tuple[Slot, Event]:
        """Nothing is turned away on the ground of what is only remembered."""
        try:
            return self._place(event)
        except Unfit:
            if event.customer in self.fresh:
                raise
            self._refresh(event.customer)
            return self._place(event)

    def _place(self, event: Event) -> tuple[Slot, Event]:
        stands = standing.of(event.customer, self.at)
        closed = self.closed[event.customer]
        try:
            return stands.slot(event, self.at, self.lot, self.ended.get(event.customer), closed)
        except Earlier:
            self.ended[event.customer] = standing.ended(event.customer)
            return stands.slot(event, self.at, self.lot, self.ended[event.customer], closed)

    def _refresh(self, customer: str) -> None:
        if not self.fresh:
            plan_table.forget()
        standing.afresh(customer, self.at)
        self.fresh.add(customer)

    def _known(self, event: Event) -> dict | None:
        """What can no longer be counted may have been counted in its time."""
        stored = usage_table.find([event]).get(event)
        return usage.repeated(event, stored) if stored else None

    def _count(self, slot: Slot, left: list[Event]) -> list[Event]:
        """
        Count events of one slot. Answers those that have to look for theirs again: on newer terms, or since its
        period turns out to be closed.

        Sums go all at once, in the hope that the total is there and has room; if not, each that fits, in the order of
        the request. What is compared with the total needs to have met it.
        """
        if self.together and slot.hard and len(left) > usage_table.room(slot):
            self._too_many(left, f"at most {usage_table.room(slot)} can be counted all or nothing")
            return []
        whole = slot.shards > 1 and slot.limit is not None  # of which one shard knows its part
        blind = slot.aggregation == "sum" and not slot.closed and not whole
        seen = None if blind else usage_table.met(slot, left)
        while left:
            if time.monotonic() > self.until:
                raise Contended("out of time")
            if seen and _ahead(seen.total, slot, slot.customer in self.fresh):
                return left
            chunk = left[: usage_table.room(slot)]
            chosen = self._choose(slot, chunk, seen)
            if seen and not chosen and seen.total.terms != slot.terms and slot.customer not in self.fresh:
                return left
            if stored := usage_table.find(chunk) if len(chosen) < len(chunk) else {}:
                left = self._repeat(left, stored)
                continue
            over = slot.over(chosen, seen.total, seen.known) if seen and not slot.hard else set()
            refused = None
            if chosen:
                refused = usage_table.record(slot, chosen, seen, over, self._beside(slot, seen), self.at)
            if not refused:
                self._tell(slot, chunk, chosen, over, seen)
                left = left[len(chunk) :]
                seen = None if blind or not left else usage_table.met(slot, left)
                continue
            left = self._repeat(left, refused.stored)
            if refused.moved:
                return left
            if refused.total and refused.total.closed != slot.closed:
                self.closed[slot.customer][slot.metric, slot.period] = refused.total.closed
                return left
            if left and (refused.total or refused.values):
                seen = Met(refused.total) if blind and refused.total else usage_table.met(slot, left)
        return []

    def _choose(self, slot: Slot, chunk: list[Event], seen: Met | None) -> list[Event]:
        """What is to be counted; before the total is met, all of it."""
        if not seen:
            return chunk
        chosen = slot.fit(chunk, seen.total, seen.known)
        return [] if self.together and slot.hard and len(chosen) < len(chunk) else chosen

    def _repeat(self, left: list[Event], stored: dict[Event, Stored]) -> list[Event]:
        """What is on record already is told as it stands there; answers what is left."""
        for event in stored:
            self._say(event, usage.repeated(event, stored[event]))
        return [event for event in left if event not in stored]

    def _beside(self, slot: Slot, seen: Met | None) -> list[dict]:
        if not slot.closed:
            return [customer_table.unmoved(slot.customer, int(slot.terms.split(":")[0]))]
        subscription = seen.total.subscription if seen else None
        due = self.at + WATERMARK
        return [customer_table.closes_again(slot.customer, subscription or "", slot.period.start, due)]

    def _tell(self, slot: Slot, chunk: list[Event], chosen: list[Event], over: set[Event], seen: Met | None) -> None:
        used = slot.after(chosen, seen.total, seen.known) if seen else 0
        fits = slot.fit(chunk, seen.total, seen.known) if seen else chosen  # more than chosen, if all or nothing
        for event in chunk:
            if event in chosen:
                stored = Stored(event.fingerprint, event.at, event in over, event.happened)
                self._say(event, usage.recorded(event, stored, False))
            elif slot.held and event.quantity < 0 and event not in fits:
                below = Unfit("below_zero", "quantity", "there is less of it than is to be given back")
                self._say(event, usage.rejected(event, below))
            else:
                self._say(event, usage.over_limit(event, slot.limit, used))

    def _say(self, event: Event, verdict: dict) -> None:
        self.verdicts[_body(event)] = verdict


def _body(event: Event) -> tuple[str, str]:
    return event.id, event.fingerprint


def _ahead(total: Total, slot: Slot, fresh: bool) -> bool:
    """Whether a total is on newer terms than those who count in it know."""
    other = total.terms not in ("", slot.terms)
    return other and not slot.closed and not usage.supersedes(slot.terms, total.terms, fresh)
