"""
Stripe's events in whatever order, twice, late, and some of them never: after one sweep the record is Stripe's, and
all that an event leads to has happened once.
"""

import importlib
import json
import os
import re
import time
from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

import billing.api
import process_webhook
import sweep
from billing import customer_table, gateway, queue
from billing.webhooks import envelope
from tests.conftest import PRO, TEAM
from tests.functions.at_stripe import ask, pays_with
from tests.slow.saved import Saved, become, items, read_at_once, saved

SEED = 20261123
PERMUTATIONS = {"short": 500, "on trial": 5, "lost": 5, "deleted": 5}  # of each history, as it has ended
LIVES = 6
AT_ONCE = 10  # permutations in a test, and
LIVES_AT_ONCE = 6
LOST = 0.3

TRIAL = TEAM | {"name": "Trial", "trial_days": 14, "second_trial": "end"}
PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
LATER = {"effective": "period_end"}
FAILS, PAYS, HAD = "pm_card_chargeCustomerFail", "pm_card_visa", "pm_card_mastercard"  # Zoe had her trial on HAD


class Still:
    """A clock that moves only when it is put forward: a world that is put back is put back to the second."""

    def __init__(self):
        self.at = time.time()

    def now(self):
        return self.at

    def pass_by(self, **span):
        self.at += timedelta(**span).total_seconds()


@pytest.fixture
def clock(monkeypatch):
    clock = Still()
    for entry in (billing.api, *map(importlib.import_module, ("process_webhook", "sweep", "reconcile"))):
        monkeypatch.setattr(entry, "time", SimpleNamespace(time=clock.now, monotonic=time.monotonic))
    return clock


class World:
    """Ada's life, step by step, and its events as they reach us."""

    def __init__(self, api, stripe, clock, context):
        self.api, self.stripe, self.clock, self.context = api, stripe, clock, context
        self.effects = Counter()
        self.queues = count()
        self.kept = set()

    # What happens

    def wish(self, method, path, body=None, **options):
        answer = self.api(method, path, body, **options)
        assert answer.status == 200, (method, path, body, answer.json)
        return answer.json

    def later(self, **span):
        self.clock.pass_by(**span)
        self.stripe.tick()

    @property
    def record(self):
        return customer_table.find("ada", 0)

    @property
    def theirs(self):
        """Ada's at Stripe, the oldest first."""
        return [each for each in self.stripe.subscriptions.values() if each["customer"] == self.stripe_id]

    @property
    def stripe_id(self):
        """Also when Stripe has deleted it."""
        linked = {item["customer"]["S"]: pk for (pk, _), item in items("Subscriptions").items() if pk[:7] == "stripe#"}
        return linked["ada"].removeprefix("stripe#")

    def at_stripe(self, place, **params):
        return ask(self.stripe, "POST", f"/v1/subscriptions/{self.theirs[place]['id']}", **params)

    def seats(self, place, quantity):
        item = self.theirs[place]["items"]["data"][0]["id"]
        self.at_stripe(place, items={"0": {"id": item, "quantity": str(quantity)}})

    def card(self, token, place=0):
        return pays_with(self.stripe, self.theirs[place]["id"], token)

    def pay(self, token, place=0):
        """What is open is paid, past us, with a card of its own."""
        (due,) = [each["id"] for each in self.invoices if each["status"] == "open"]
        ask(self.stripe, "POST", f"/v1/invoices/{due}/pay", payment_method=self.card(token, place))

    def forget_most(self):
        """Of what is told of something else but a subscription one in ten stays: it is only in the way."""
        others = [each for each in self.stripe.events.values() if each["type"] not in process_webhook.HANDLED]
        for event in others[::10]:
            self.kept.add(event["id"])
        for event in others:
            if event["id"] not in self.kept:
                self.stripe._account.remove(event)

    @property
    def schedules(self):
        return [each for each in self.stripe.subscription_schedules.values() if each["customer"] == self.stripe_id]

    @property
    def invoices(self):
        return [each for each in self.stripe.invoices.values() if each["customer"] == self.stripe_id]

    # What reaches us

    def deliver(self, events, random):
        """In batches, as the queue has them; those that are to come again do so at once."""
        (sample,) = json.loads(Path("events/sqs.json").read_text())["Records"]
        waiting, size = list(events), random.choice((4, 10, 10, 10))
        for _ in range(len(waiting) + 20):
            if not waiting:
                return
            batch, waiting = waiting[:size], waiting[size:]
            bodies = {each["id"]: json.dumps(asdict(envelope(each))) for each in batch}
            messages = [sample | {"messageId": f"m{n}", "body": bodies[each["id"]]} for n, each in enumerate(batch)]
            again = self.counted(lambda messages=messages: process_webhook.handler({"Records": messages}, self.context))
            failed = {each["itemIdentifier"] for each in again["batchItemFailures"]}
            waiting += [each for n, each in enumerate(batch) if f"m{n}" in failed]
        raise AssertionError(f"{len(waiting)} events come again and again")

    def counted(self, act):
        """What is made so at Stripe is an effect of what reached us."""
        before = len(self.stripe.calls)
        answer = act()
        for call in self.stripe.calls[before:]:
            path = re.sub(r"/[a-z_]+_[0-9a-f]{20}", "/{id}", urlsplit(call.path).path)
            if call.method != "GET" and path != "/v1/invoices/create_preview":
                assert (call.status, call.replayed) == (200, False), call
                self.effects[" ".join([call.method, path, *sorted(call.params.keys() - {"metadata"})])] += 1
        return answer

    def heal(self, random):
        """One sweep; and what that itself has led to at Stripe is told, as it would be."""
        before = set(self.stripe.events)
        self.sweep()
        self.deliver([each for id, each in self.stripe.events.items() if id not in before], random)

    def sweep(self):
        made = queue.sqs().create_queue(
            QueueName=f"webhooks-{next(self.queues)}.fifo", Attributes={"FifoQueue": "true"}
        )
        os.environ["WEBHOOK_QUEUE"] = made["QueueUrl"]  # a queue remembers for five minutes what it was sent
        self.counted(lambda: sweep.handler({}, self.context))
        while messages := self._received():
            batch = {"Records": messages}
            assert (
                self.counted(lambda batch=batch: process_webhook.handler(batch, self.context))["batchItemFailures"]
                == []
            )
        queue.sqs().delete_queue(QueueUrl=made["QueueUrl"])

    def _received(self):
        url = os.environ["WEBHOOK_QUEUE"]
        found = queue.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])
        names = ("MessageId", "ReceiptHandle", "Body", "Attributes")
        messages = [{name[0].lower() + name[1:]: each[name] for name in names} for each in found.get("Messages", [])]
        for each in messages:
            queue.sqs().delete_message(QueueUrl=url, ReceiptHandle=each["receiptHandle"])
        return messages


# A life in steps, each some time after the one before; all within the days that Stripe keeps its events for.


def prologue(world):
    """Zoe has had a trial on her card, and Ada five seats for four weeks. All of it has been heard of."""
    for slug, plan in {"team": TEAM, "pro": PRO, "trial": TRIAL}.items():
        world.wish("PUT", f"/plans/{slug}", plan)
    coupon = ask(world.stripe, "POST", "/v1/coupons", duration="forever", percent_off="50")["id"]
    ask(world.stripe, "POST", "/v1/promotion_codes", code="HALF", promotion={"type": "coupon", "coupon": coupon})
    world.wish("POST", "/subscription", {"plan_slug": "trial", "payment_method": HAD}, customer="zoe")
    world.wish("POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": PAYS})
    world.later(days=27)
    world.forget_most()
    world.deliver(world.stripe.events.values(), Random(SEED))
    world.sweep()
    world.later(hours=2)
    world.effects.clear()


def second_beside(world):
    """In the dashboard, for one who has one: it stands aside."""
    price, card = world.theirs[0]["items"]["data"][0]["price"]["id"], world.theirs[0]["default_payment_method"]
    made = {"customer": world.stripe_id, "items": {"0": {"price": price}}, "default_payment_method": card}
    ask(world.stripe, "POST", "/v1/subscriptions", **made)


UNTIL_LOST = [
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/seats", {"quantity": 6})),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/discount", {"promotion_code": "HALF"})),
    (dict(hours=1), lambda w: w.seats(0, 7)),
    (dict(hours=20), lambda w: w.card(FAILS)),
    (dict(days=4), lambda w: None),  # it cannot be renewed
    (dict(hours=3), lambda w: w.pay(PAYS)),
    (dict(hours=5), second_beside),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/pause", {})),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/resume")),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/seats", {"quantity": 4} | LATER)),
    (dict(hours=1), lambda w: w.card(FAILS)),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/seats", {"quantity": 9})),  # puts it aside, and waits
    (dict(hours=1), lambda w: w.pay(PAYS)),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/plan", {"plan_slug": "pro"})),
    (dict(hours=1), lambda w: w.card(FAILS)),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/seats", {"quantity": 11})),
    (dict(hours=1), lambda w: w.wish("DELETE", "/subscription/change")),  # its invoice is void
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/plan", {"plan_slug": "team"} | LATER)),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/seats", {"quantity": 12})),
    (dict(hours=24), lambda w: None),  # it is never paid: what was put aside is lost
]
ON_TRIAL = [
    (dict(hours=1), lambda w: w.card(PAYS)),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/cancel", {})),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/resume")),
    (dict(hours=1), lambda w: ask(w.stripe, "DELETE", f"/v1/subscriptions/{w.theirs[1]['id']}")),
    (dict(hours=1), lambda w: w.wish("POST", "/portal", {"return_url": "https://localhost/"})),
    (dict(hours=1), lambda w: w.stripe.portal_cancel(w.theirs[0]["id"])),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/cancel", {"immediately": True, "unused_time": "credit"})),
    (dict(hours=1), lambda w: w.wish("POST", "/checkout", {"plan_slug": "trial", "quantity": 2} | PAGE)),
    (dict(minutes=5), lambda w: w.stripe.complete_checkout(_open_page(w), HAD)),
    (dict(hours=1), lambda w: w.seats(2, 3)),
]
DELETED = [(dict(days=1), lambda w: ask(w.stripe, "DELETE", f"/v1/customers/{w.stripe_id}"))]


def _open_page(world):
    (page,) = [id for id, each in world.stripe.checkout_sessions.items() if each["status"] == "open"]
    return page


SHORT = [
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/seats", {"quantity": 6})),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/discount", {"promotion_code": "HALF"})),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/pause", {})),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/resume")),
    (dict(hours=1), lambda w: w.seats(0, 7)),
    (dict(hours=1), lambda w: w.wish("PUT", "/subscription/seats", {"quantity": 8})),
    (dict(hours=20), lambda w: w.card(FAILS)),
    (dict(days=4), lambda w: None),  # it cannot be renewed
    (dict(hours=3), lambda w: w.pay(PAYS)),
    (dict(hours=1), lambda w: w.wish("POST", "/subscription/cancel", {"immediately": True, "unused_time": "credit"})),
    *ON_TRIAL[-3:-1],
    (dict(hours=1), lambda w: w.seats(1, 3)),
]
HISTORIES = {
    "short": SHORT,
    "lost": UNTIL_LOST,
    "on trial": UNTIL_LOST + ON_TRIAL,
    "deleted": UNTIL_LOST + ON_TRIAL + DELETED,
}
RESTORED = {
    "POST /v1/subscription_schedules from_subscription": 1,
    "POST /v1/subscription_schedules/{id} end_behavior phases proration_behavior": 1,
}
CHARGED = {"POST /v1/subscriptions/{id} trial_end": 1}


class Recorded(NamedTuple):
    begun: Saved
    ended: Saved
    told: list[dict]  # events, in the order of their making


known: dict[str, Recorded] = {}  # worlds that have been lived through, to be put back into new ones


@pytest.fixture
def world(api, stripe, clock, context, caplog):
    caplog.set_level("CRITICAL", logger="tollgate")  # a line for each of some ten thousand events
    read_at_once()
    return World(api, stripe, clock, context)


def begin(world):
    if "" not in known:
        prologue(world)
        begun = saved(world.stripe, world.clock)
        known[""] = Recorded(begun, begun, [])
    known[""].begun.put_back(world.stripe, world.clock)
    world.kept = {each["id"] for each in world.stripe.events.values() if each["type"] not in process_webhook.HANDLED}
    world.effects.clear()


def recorded(world, history):
    if history not in known:
        begin(world)
        before = set(world.stripe.events)
        for span, act in HISTORIES[history]:
            world.later(**span)
            act(world)
        world.later(minutes=10)
        world.forget_most()
        told = [each for id, each in world.stripe.events.items() if id not in before]
        known[history] = Recorded(known[""].begun, saved(world.stripe, world.clock), told)
    return known[history]


def agrees(world):
    """All that Stripe has of Ada's is on record as Stripe has it, and nothing else; each event has been heard once."""
    ours = world.record
    main = ours.subscription.theirs
    for each in world.theirs:
        kept = main if each["id"] == main.id else customer_table.aside("ada", each["id"]).theirs
        assert kept == gateway.subscription(each["id"])
    living = [each["id"] for each in world.theirs if each["status"] not in ("canceled", "incomplete_expired")]
    assert main.id in living or not living
    made = [gateway.invoice(each["id"]) for each in world.invoices if each["status"] != "draft"]
    wanted = {each.id: each for each in made}
    assert {each.id: each for each in customer_table.invoices("ada", 100)} == wanted
    assert (ours.pending, ours.checkout) == (None, None)
    rows = {item["id"]["S"]: (item["outcome"]["S"], item["attempts"]["N"]) for item in items("WebhookEvents").values()}
    assert rows.keys() == world.stripe.events.keys()
    assert set(rows.values()) <= {("done", "0"), ("ignored", "0")}


def moved(world):
    """What a second sweep, or the same events again, must not change."""
    return {key: item for key, item in items("Subscriptions").items() if key != ("sweep", "sweep")}


def chunks(most, size):
    return [range(start, min(start + size, most)) for start in range(0, most, size)]


@pytest.mark.parametrize(
    ("history", "seeds"),
    [(name, seeds) for name, most in PERMUTATIONS.items() for seeds in chunks(most, AT_ONCE)],
    ids=lambda given: given if isinstance(given, str) else f"{given.start}-{given.stop - 1}",
)
def test_in_any_order_twice_and_with_some_lost_one_sweep_later_the_record_is_stripes(world, history, seeds):
    begun, ended, told = recorded(world, history)
    heard = [each for each in told if each["type"] in process_webhook.HANDLED]
    assert len(heard) >= 40
    for seed in seeds:
        random = Random(SEED + seed)
        ended.put_back(world.stripe, world.clock)
        from_backup = seed % 2 == 1  # the record stands as before the history, else as its wishes have left it
        if from_backup:
            become("Subscriptions", begun.tables["Subscriptions"])
        world.effects.clear()
        came = [each for each in heard if random.random() >= LOST]
        came += random.sample(came, len(came) // 3)
        random.shuffle(came)

        world.deliver(came, random)
        world.heal(random)
        agrees(world)
        due = {"lost": {} if from_backup else RESTORED, "deleted": {}}.get(history, CHARGED)
        assert world.effects == due, seed
        if seed % 5 == 0:
            before = moved(world)
            world.deliver(random.sample(heard, 20), random)
            world.sweep()
            assert (moved(world), world.effects) == (before, due)


@pytest.mark.parametrize("seeds", chunks(LIVES, LIVES_AT_ONCE), ids=lambda given: f"{given.start}-{given.stop - 1}")
def test_delivered_while_life_goes_on(world, seeds):
    for seed in seeds:
        random = Random(SEED + seed)
        begin(world)
        before, lost = set(world.stripe.events), {}
        steps = HISTORIES["deleted" if seed % 3 == 2 else "on trial"]
        cuts = set(random.sample(range(len(steps)), random.randint(2, 12)))
        for place, (span, act) in enumerate(steps):
            world.later(**span)
            act(world)
            if place in cuts:
                made = [each for id, each in world.stripe.events.items() if id not in before]
                heard = [each for each in made if each["type"] in process_webhook.HANDLED]
                came = [each for each in heard if lost.setdefault(each["id"], random.random()) >= LOST]
                came = random.choices(came, k=random.randint(0, 2 * len(came))) if came else []
                world.deliver(came, random)
        world.later(minutes=10)
        world.heal(random)
        agrees(world)
        assert world.effects.keys() <= RESTORED.keys() | CHARGED.keys(), seed
        assert set(world.effects.values()) <= {1}, seed  # over all deliveries
        charged = sum(world.effects[name] for name in CHARGED)
        assert charged == 1 or (world.theirs[-1]["status"] == "canceled" and not charged), seed
        marks = Counter(each["metadata"].get("change_id") for each in world.schedules)
        assert sorted(marks.values()) == [1, 2], seed  # what was put aside and lost was put back once, by whomever
