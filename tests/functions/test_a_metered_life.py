"""
What a subscription has used is billed to the unit, once, whatever has become of it: checked against the rates, applied
by hand to what really happened.
"""

from collections import defaultdict
from fractions import Fraction
from math import ceil, floor
from random import Random

import pytest

import process_webhook
from tests.functions import metered
from tests.functions.at_stripe import batch
from tests.functions.metered import DAY, HOUR

ada = metered.ada
SEEDS = range(10)


def calls(n):
    return max(0, n - 10) * 2


def exports(n):
    return ceil(Fraction(n, 10)) * 50


def tokens(n):
    return floor(min(n, 10) * 5 + max(0, n - 10) * Fraction(3, 2) + Fraction(1, 2))


BY_HAND = {"metered": {"calls": calls, "exports": exports, "tokens": tokens}, "other": {"calls": lambda n: n * 3}}
BY_HAND["yearly"] = BY_HAND["metered"]


class History:
    """What really happened: no more than what was used when, and under which plans."""

    def __init__(self, start):
        self.used = {}  # by key: metric, quantity, when; as corrected
        self.periods = [[start, None, ["metered"]]]

    def over(self, at, plan=None):
        """The period has ended; the next one begins, unless it was the last."""
        self.periods[-1][1] = at
        if plan:
            self.periods.append([at, None, [plan]])

    def cents(self):
        """By metric and the beginning of the period; what the last plan does not have costs as by the one before."""
        owed = defaultdict(int)
        for start, end, plans in self.periods:
            rates = {}
            for plan in plans:
                rates |= BY_HAND[plan]
            for metric, rate in rates.items():
                of = [n for name, n, at in self.used.values() if name == metric and start <= at < (end or 2**40)]
                owed[metric, start] += rate(sum(of))
        return {about: cents for about, cents in owed.items() if cents}


def charged(ada):
    """By metric and the beginning of the period: every line and booking at Stripe; each statement has but one."""
    lines, found = ada.lines(), defaultdict(int)
    assert len({mark for mark, _ in lines}) == len(lines), "something was billed twice"
    for mark, cents in lines:
        _, metric, start, _ = mark.split(":")
        found[metric, int(start)] += cents
    return {about: cents for about, cents in found.items() if cents}


def test_renewed_changed_twice_corrected_late_and_cancelled_it_pays_what_it_has_used(ada):
    life = History(ada.period()[0])

    def uses(metric, quantity, at=None):
        at = int(at or ada.now)
        life.used[ada.uses(metric, quantity, at=at)] = metric, quantity, at

    def corrects(key, quantity=None):
        ada.corrects(key, **({} if quantity is None else {"quantity": quantity}))
        metric, _, at = life.used.pop(key)
        life.used[f"fix-{key}"] = metric, quantity or 0, at

    ada.passes(days=4)
    uses("calls", 123)
    uses("exports", 41)
    uses("tokens", 7)
    wrong = next(iter(life.used))
    ada.passes(days=9)
    uses("tokens", 30)
    ada.ends()
    life.over(ada.period()[0], "metered")
    ada.closes()
    ada.settles()

    uses("calls", 50)
    uses("exports", 10)
    uses("tokens", 11)
    ada.passes(days=10)
    ada.changes("other")
    life.periods[-1][2].append("other")
    uses("calls", 5)
    corrects(wrong, 23)  # of the first period, which is billed and paid
    uses("exports", 5, at=life.periods[0][0] + DAY)
    ada.passes(days=5)
    ada.changes("yearly")
    life.over(ada.period()[0], "yearly")
    ada.hears()
    uses("calls", 70)
    ada.passes(hours=1)
    ada.on_schedule()

    ada.passes(days=100)
    uses("calls", 1000)
    uses("exports", 1)
    last = list(life.used)[-2]
    ada.passes(minutes=1)
    ada.cancels(immediately=True, unused_time="none")
    life.over(ada.stripe.subscriptions[ada.id]["ended_at"])
    ada.hears()
    ada.passes(hours=1)
    ada.on_schedule()
    for start in ada.waiting():
        ada.closes_now(start)
    corrects(last)  # of the last, which has been charged
    uses("tokens", 3, at=life.periods[-1][1] - HOUR)
    for start in ada.waiting():
        ada.closes_now(start)

    assert len(life.periods) == 3 and ada.waiting() == []
    assert charged(ada) == life.cents()
    assert sum(cents for _, cents in ada.lines()) == sum(life.cents().values()) > 500
    owed = [each for each in ada.stripe.invoices.values() if each["status"] not in ("paid", "void")]
    assert owed == []


class Life:
    """By chance: what is used, corrected and changed; and news of Stripe's that is lost, doubled and shuffled."""

    def __init__(self, ada, seed, swept, context):
        self.ada, self.chance, self.swept, self.context = ada, Random(seed), swept, context
        self.history = History(ada.period()[0])
        self.plan, self.heard = "metered", set(ada.stripe.events)

    def lives(self, steps):
        for _ in range(steps):
            act = self.chance.choices(
                [self.uses, self.uses_late, self.corrects, self.changes, self.news, self.waits], [6, 3, 2, 1, 3, 4]
            )
            act[0]()
            self.passes(hours=self.chance.randint(4, 60))
        self.cancels()

    def passes(self, **span):
        """No further than the end of the period, which is noted."""
        ada = self.ada
        before = ada.period()[0]
        ada.passes(**span)
        if ada.period()[0] != before:
            self.history.over(ada.period()[0], self.plan)

    def uses(self, at=None):
        metric = self.chance.choice([*BY_HAND[self.plan], "calls"])
        quantity = self.chance.randint(1, 40)
        at = int(at or self.ada.now)
        key = self.ada.uses(metric, quantity, at=at)
        if self.chance.random() < 0.3:
            self.ada.uses(metric, quantity, key=key, at=at)  # the caller had no answer
        self.history.used[key] = metric, quantity, at

    def uses_late(self):
        """Of any period there has been; of a plan that has what it used."""
        start, end, plans = self.chance.choice(self.history.periods)
        at = int(start + self.chance.random() * ((end or self.ada.now) - start))
        metric = "calls" if end is None else self.chance.choice(list(BY_HAND[plans[-1]]))
        quantity = self.chance.randint(1, 40)
        key = self.ada.uses(metric, quantity, at=at)
        self.history.used[key] = metric, quantity, at

    def corrects(self):
        known = [key for key, (metric, _, _) in self.history.used.items() if metric in BY_HAND[self.plan]]
        if known:
            key = self.chance.choice(known)
            quantity = self.chance.choice([None, self.chance.randint(1, 60)])
            self.ada.corrects(key, **({} if quantity is None else {"quantity": quantity}))
            metric, _, at = self.history.used.pop(key)
            if quantity:
                self.history.used[f"fix-{key}"] = metric, quantity, at

    def changes(self):
        wanted = self.chance.choice([plan for plan in ("metered", "other") if plan != self.plan] + ["yearly"])
        if self.plan in ("yearly", wanted):
            return
        self.ada.changes(wanted)
        self.plan = wanted
        if wanted == "yearly":
            self.history.over(self.ada.period()[0], wanted)
        else:
            plans = self.history.periods[-1][2]
            plans[:] = [each for each in plans if each != wanted] + [wanted]

    def news(self):
        """Some of it is lost, and some comes twice, in any order."""
        stripe = self.ada.stripe
        told = [each for id, each in stripe.events.items() if id not in self.heard]
        self.heard.update(each["id"] for each in told)
        told = [each for each in told if self.chance.random() > 0.4]
        told += [each for each in told if self.chance.random() < 0.4]
        self.chance.shuffle(told)
        for each in told:
            process_webhook.handler(batch([each]), self.context)

    def waits(self):
        """The sweep has been, and what is due is done."""
        if self.chance.random() < 0.5:
            self.swept()
        self.passes(minutes=self.chance.randint(2, 90))
        self.ada.on_schedule()

    def cancels(self):
        self.ada.cancels(immediately=True, unused_time="none")
        self.history.over(self.ada.stripe.subscriptions[self.ada.id]["ended_at"])
        for _ in range(4):
            self.news()
            self.ada.passes(minutes=25)
            self.swept()
            self.ada.passes(minutes=2)
            self.ada.on_schedule()


@pytest.mark.parametrize("seed", SEEDS)
def test_any_life_pays_what_it_has_used(ada, seed, swept, context, clock, moments):
    clock.stop()
    moments.append(lambda now: clock.pass_by(seconds=1) if now == "before post" else None)  # Stripe takes its time
    life = Life(ada, seed, swept, context)
    life.lives(steps=36)

    assert ada.waiting() == [] and len(life.history.periods) > 1
    assert charged(ada) == life.history.cents()
