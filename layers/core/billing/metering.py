"""Counting what customers use: every event is decided once, for good, and told the same ever after."""

import time
from collections import defaultdict
from collections.abc import Sequence

from billing import customer_table, plan_table, standing, usage, usage_table
from billing.errors import Contended, Unavailable, Undecided
from billing.usage import ABSENT, Event, Slot, Total, Unfit

PATIENCE = 15  # seconds; then what is left is undecided, and the function has time to say so
TRIES = 5  # to find out the terms on record, while they keep moving


def record(given: Sequence[object], at: int) -> list[dict]:
    """
    An answer for each event, in their order. Undecided if that cannot be had for all: then all of them may be sent
    again, and what is counted already is told again.

    Copies in one request are one event. Of several bodies under one key the first is tried first; what follows it is
    a conflict once one has been recorded.
    """
    events: list[Event | dict] = []
    for each in given:
        try:
            events.append(usage.read(each, at))
        except Unfit as unfit:
            events.append(usage.rejected(each, unfit))
    batch = _Batch(at)
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

    def __init__(self, at: int):
        self.at = at
        self.until = time.monotonic() + PATIENCE
        self.verdicts: dict[tuple[str, str], dict] = {}  # by key and body
        self.fresh: set[str] = set()  # customers whose standing has been read for this request

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
        if verdict and verdict["status"] != "recorded":
            return list(rest)
        if verdict:
            self.verdicts |= {_body(event): usage.conflict(event) for event in rest}
        return []

    def _decide(self, left: list[Event]) -> None:
        for _ in range(TRIES):
            slots = defaultdict(list)
            for event in left:
                try:
                    slots[self._slot(event)].append(event)
                except Unfit as unfit:
                    self._say(event, self._known(event) or usage.rejected(event, unfit))
            left = []
            for slot, events in slots.items():
                try:
                    left += self._count(slot, events)
                except Contended:  # this one only: the others may still be decided
                    continue
            for customer in {event.customer for event in left}:
                self._refresh(customer)
            if not left:
                return

    def _slot(self, event: Event) -> Slot:
        """Nothing is turned away on the ground of what is only remembered."""
        try:
            return standing.of(event.customer, self.at).slot(event, self.at)
        except Unfit:
            if event.customer in self.fresh:
                raise
            self._refresh(event.customer)
            return standing.of(event.customer, self.at).slot(event, self.at)

    def _refresh(self, customer: str) -> None:
        if not self.fresh:
            plan_table.forget()
        standing.afresh(customer, self.at)
        self.fresh.add(customer)

    def _known(self, event: Event) -> dict | None:
        """What can no longer be counted may have been counted in its time."""
        stored = usage_table.find(event)
        return usage.repeated(event, stored) if stored else None

    def _count(self, slot: Slot, left: list[Event]) -> list[Event]:
        """
        Count events of one slot. Answers those that have to look for theirs again, on newer terms.

        All at once, in the hope that the total has room; if it has not, each that fits, in the order of the request.
        """
        seen: Total | None = None
        unmoved = customer_table.unmoved(slot.customer, int(slot.terms.split(":")[0]))
        while left:
            if time.monotonic() > self.until:
                raise Contended("out of time")
            chunk = left[: usage_table.room(slot)]
            chosen = slot.fit(chunk, seen.used) if seen else chunk
            if seen and not chosen and seen.terms != slot.terms and slot.customer not in self.fresh:
                return left
            refused = usage_table.record(slot, chosen, seen, unmoved, self.at) if chosen else None
            if refused is None:
                used = (seen or ABSENT).used + sum(event.quantity for event in chosen)
                for event in chunk:
                    if event in chosen:
                        self._say(event, usage.recorded(event, event.at, False))
                    else:
                        self._say(event, self._known(event) or usage.over_limit(event, slot.limit, used))
                left, seen = left[len(chunk) :], None
                continue
            for event, stored in refused.stored.items():
                self._say(event, usage.repeated(event, stored))
            left = [event for event in left if event not in refused.stored]
            if refused.moved:
                return left
            if refused.total:
                seen = refused.total
                if seen.closed:
                    for event in left:
                        self._say(event, usage.rejected(event, Unfit("period_closed", "timestamp", "it is billed")))
                    return []
                if seen.terms != slot.terms and seen.terms and not usage.supersedes(slot.terms, seen.terms):
                    return left
        return []

    def _say(self, event: Event, verdict: dict) -> None:
        self.verdicts[_body(event)] = verdict


def _body(event: Event) -> tuple[str, str]:
    return event.id, event.fingerprint
