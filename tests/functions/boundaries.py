"""
A world that can be put back to where it was, and trouble at any one of the calls by which it speaks to AWS and Stripe.

Between two calls a function changes nothing outside itself: death after one is death before the next. So a walk over
a life of n calls is a death before the first, and then one after each.
"""

import importlib
import json
import os
from collections import Counter
from copy import deepcopy
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import stripe as library
from botocore.exceptions import ClientError, ReadTimeoutError
from moto.backends import get_backend

import process_webhook
import reconcile
import sweep
from billing import changes, customer_table, dynamodb, gateway, queue, run_table, scheduler
from billing.webhooks import envelope
from tests.conftest import CLIENTS, forget
from tests.functions.at_stripe import Death

HIDDEN = 150  # seconds that a message is, in the template
WRITES = ("PutItem", "UpdateItem", "TransactWriteItems", "SendMessage", "CreateSchedule", "post", "delete")
ONCE_BY_ITSELF = ("TransactWriteItems",)  # the SDK gives it a token: said again it is still done once
KINDS = {
    "dies": "the process is killed after the call",
    "fails": "an error 500 is answered after the work was done",
    "is silent": "no answer comes, after the work was done",
    "repeats": "no answer comes after the work was done, and the library says it again by itself",
}
KEPT = ("tables", "books", "cards", "_owned", "_agendas")  # of a simulator's account


class Trouble:
    """It comes once, at the call of that number; at number 0 before the first, if it is a death."""

    def __init__(self, stripe, kind="dies", number=None):
        self.stripe, self.kind, self.number = stripe, kind, number
        self.calls: list[str] = []
        self.came = False

    def __call__(self, moment):
        when, name = moment.split()
        if when == "before" and self.number == 0:
            self._comes()
        if when == "before":
            self.calls.append(name)
        if self.came or len(self.calls) != self.number:
            return
        if name.islower():
            self._at_stripe(when)
        elif when == "after":
            self._at_aws(name)

    def _comes(self):
        if not self.came:
            self.came = True
            raise Death

    def _at_stripe(self, when):
        """The library asks a second time by itself, but after a death."""
        if self.kind == "dies":
            return self._comes() if when == "after" else None
        self.came = True
        if self.kind == "fails":
            self.stripe.fault("failed_after", times=2)
        else:
            self.stripe.fault("timeout")
        if self.kind == "is silent":
            self.stripe.fault("unreachable")

    def _at_aws(self, name):
        if self.kind == "repeats":
            return
        if self.kind == "dies":
            self._comes()
        self.came = True
        if self.kind == "is silent":
            raise ReadTimeoutError(endpoint_url="aws")
        said = {"Error": {"Code": "InternalServerError", "Message": "x"}, "ResponseMetadata": {"HTTPStatusCode": 500}}
        raise ClientError(said, name)  # pyright: ignore[reportArgumentType]

    def again(self, **_):
        """Whether the library says it again, in how many seconds."""
        if self.kind == "repeats" and not self.came and len(self.calls) == self.number:
            self.came = True
            return 0
        return None


@pytest.fixture
def world(plans, stripe, moments, clock, context, monkeypatch, api):
    """Its time stands still, unless something waits: so two lives of it differ by their troubles alone."""
    clock.stop()
    return World(stripe, moments, clock, context, monkeypatch, api)


class World:
    """Plays Lambda, its queue and its schedules; and tells what has become of everything."""

    def __init__(self, stripe, moments, clock, context, monkeypatch, api):
        self.api = api
        self.stripe, self.moments, self.clock, self.context = stripe, moments, clock, context
        self.monkeypatch = monkeypatch
        self.trouble: Trouble | None = None
        self.crashes = 0
        self.queues = 0
        self.silence: set[str] = set()  # what no sweep will ask for again
        self.scheduled: set[str] = set()
        monkeypatch.setattr(library.HTTPClient, "_sleep_time_seconds", lambda *_, **__: 0)
        for client in CLIENTS:
            client().meta.events.register_first("needs-retry", self._again)

    def _again(self, **said):
        return self.trouble.again() if self.trouble else None

    # Putting it back

    def keep(self):
        account, tables = self.stripe._account, get_backend("dynamodb")["123456789012"]["eu-west-1"].tables
        self._kept = deepcopy(({name: getattr(account, name) for name in KEPT}, self.stripe._keys._kept, tables))
        self._ahead = self.clock.ahead

    def back(self):
        account, backend = self.stripe._account, get_backend("dynamodb")["123456789012"]["eu-west-1"]
        kept, keys, tables = deepcopy(self._kept)
        for name, value in kept.items():
            if name == "tables":  # the simulator's views hold on to them
                for kind, records in account.tables.items():
                    records.clear()
                    records.update(value.get(kind, {}))
            else:
                setattr(account, name, value)
        self.stripe._keys._kept, backend.tables = keys, tables
        self.stripe.faults.clear()
        self.stripe.calls.clear()
        self.clock.ahead = self._ahead
        for each in scheduler.scheduler().list_schedules(GroupName="schedules")["Schedules"]:
            scheduler.scheduler().delete_schedule(GroupName="schedules", Name=each["Name"])
        self.scheduled.clear()
        self.queues += 1
        made = queue.sqs().create_queue(QueueName=f"webhooks-{self.queues}.fifo", Attributes={"FifoQueue": "true"})
        self.monkeypatch.setenv("WEBHOOK_QUEUE", made["QueueUrl"])
        forget()
        self.crashes = 0

    # Living

    def calms(self):
        """There is no trouble from here on: what comes now comes by itself, and is what was promised to mend it."""
        self.trouble = None
        self.stripe.faults.clear()

    def call(self, act, *args):
        """What one invocation answers; None: it has crashed, and the next one is a new process."""
        if self.trouble:
            self.moments.append(self.trouble)
        try:
            return act(*args) or {}
        except (Exception, Death):
            self.crashes += 1
            forget()
            return None
        finally:
            if self.trouble:
                self.moments.remove(self.trouble)

    def invoke(self, handler, event, name):
        """As Lambda does what nobody waits for: three times, if it must."""
        arn = f"arn:aws:lambda:eu-west-1:1:function:{name}"
        context = SimpleNamespace(**vars(self.context) | {"invoked_function_arn": arn})
        for pause in (60, 120, 0):
            if self.call(handler, event, context) is not None:
                return
            self.clock.pass_by(seconds=pause)

    def sweeps(self):
        self.invoke(sweep.handler, {}, "sweep")

    def reconciles(self, time="2026-11-24T03:00:00Z"):
        self.invoke(reconcile.handler, {"time": time}, "reconcile")

    def delivers(self, handler=process_webhook.handler):
        """A batch of what waits, to its function: what fails comes again. Answers whether there was any."""
        url = os.environ["WEBHOOK_QUEUE"]
        found = queue.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])
        messages = found.get("Messages", [])
        if not messages:
            return False
        names = ("MessageId", "ReceiptHandle", "Body", "Attributes")
        records = [{name[0].lower() + name[1:]: each[name] for name in names} for each in messages]
        answer = self.call(handler, {"Records": records}, self.context)
        if answer is None:
            late, pause = {each["messageId"] for each in records}, HIDDEN
        else:
            late = {each["itemIdentifier"] for each in answer.get("batchItemFailures", [])}
            pause = 60 if late else 0
        for each in messages:
            if each["MessageId"] in late:
                queue.sqs().change_message_visibility(
                    QueueUrl=url, ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0
                )
            else:
                queue.sqs().delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        self.clock.pass_by(seconds=pause)
        return True

    def settles(self, rounds=40):
        """All that waits in the queue is delivered, and what is scheduled is done, until nothing is left."""
        for _ in range(rounds):
            delivered = self.delivers()
            due = sorted(self._schedules().keys() - self.scheduled)
            for name in due:
                self.scheduled.add(name)
                self.clock.pass_by(seconds=60)
                target = self._schedules()[name]
                function = target["Arn"].rpartition(":")[2]
                self.invoke(importlib.import_module(function).handler, json.loads(target["Input"]), function)
            if not delivered and not due:
                return
        raise AssertionError("it does not come to rest")

    def _schedules(self):
        names = [each["Name"] for each in scheduler.scheduler().list_schedules(GroupName="schedules")["Schedules"]]
        return {name: scheduler.scheduler().get_schedule(GroupName="schedules", Name=name)["Target"] for name in names}

    def sends(self):
        """Stripe's events that are on no record are in the queue."""
        for event in self.unheard():
            queue.send(envelope(event))

    def unheard(self):
        known = rows()
        return [event for id, event in self.stripe.events.items() if id not in known]

    def sees_to_the_cursor(self):
        """The sweep has never come past an event that has neither a row nor a message."""
        state, known = run_table.swept(), rows().keys() | self.queued()
        listed = list(self.stripe.events)[::-1]
        if after := state.get("after"):
            past = listed[: listed.index(after) + 1]
        else:
            past = [id for id in listed if self.stripe.events[id]["created"] < state.get("until", 0)]
        assert known >= set(past) - self.silence, "the cursor is past an event that is nowhere"

    def queued(self):
        backend = get_backend("sqs")["123456789012"]["eu-west-1"]
        name = os.environ["WEBHOOK_QUEUE"].rpartition("/")[2]
        return {json.loads(each.body)["id"] for each in backend.queues[name]._messages}

    # Telling

    def state(self, customers):
        """What may not differ from a world without trouble: nothing that tells of when, or in how many goes."""
        return {
            "ours": {customer: self._ours(customer) for customer in customers},
            "stripe": self._theirs(),
            "rows": Counter((row["type"], row["outcome"], row["attempts"]) for row in rows().values()),
            "runs": {run.id: (run.stage, bool(run.finished_at)) for run in run_table.latest(9)},
            "drift": self._drift(),
            "behind": [customer for customer in customers if self._behind(customer)],
            "waiting": self.waiting(),
        }

    def _ours(self, customer):
        ours = customer_table.find(customer, 0)
        subscription, at = ours.subscription, ours.subscription and ours.subscription.theirs
        kept = dynamodb.query("Subscriptions", f"customer#{customer}", "subscription#")
        invoices = Counter((each.status, each.total_cents) for each in customer_table.invoices(customer, 50))
        answers = dynamodb.query("Subscriptions", f"customer#{customer}", "change#")
        return {
            "pending": ours.pending and ours.pending.wish,
            "linked": ours.stripe_id,
            "checkout": ours.checkout,
            "trial": (ours.trialed, ours.trial_card),
            "subscription": at and (at.id, at.status, at.price, at.quantity, at.cancel_at_period_end),
            "scheduled": at and at.scheduled and (at.scheduled.price, at.scheduled.quantity),
            "awaiting": bool(subscription and subscription.awaiting),
            "aside": sorted((each["theirs"]["id"], each["theirs"]["status"]) for each in kept),
            "invoices": invoices,
            "answers": sorted(json.dumps(each["answer"].get("given_back"), default=str) for each in answers),
        }

    def _theirs(self):
        tables = self.stripe._account.tables
        money = {
            "charge": "amount",
            "refund": "amount",
            "credit_note": "total",
            "invoiceitem": "amount",
            "customer_balance_transaction": "amount",
        }
        said: dict[str, Any] = {
            kind: sorted(each[name] for each in tables[kind].values()) for kind, name in money.items()
        }
        said["invoice"] = sorted((each["status"], each["total"]) for each in tables["invoice"].values())
        said["customer"] = sorted(tables["customer"])
        said["subscription"] = sorted((id, each["status"]) for id, each in tables["subscription"].items())
        said["subscription_schedule"] = sorted(
            (each["status"], [phase["items"][0]["quantity"] for phase in each["phases"]])
            for each in tables["subscription_schedule"].values()
        )
        said["events"] = Counter(each["type"] for each in tables["event"].values())
        return said

    def _drift(self):
        """
        What was found in all nights. That Stripe failed was found, too, and the next night mended it. An invoice is
        mended with its subscription, or if that was cut short found by itself.
        """
        told: list[tuple] = []
        for run in run_table.latest(9):
            found, _ = run_table.findings(run.id, 99)
            assert (run.found, run.repaired) == (len(found), sum(each.repaired for each in found))
            seen = [each for each in found if each.repaired or each.why_not != "stripe_failed"]
            mended = {each.customer for each in seen if each.repaired and each.object.startswith("sub_")}
            seen = [each for each in seen if not (each.object.startswith("in_") and each.customer in mended)]
            told += [
                (each.object, each.classes[0], json.dumps(each.before), each.repaired, each.why_not) for each in seen
            ]
        return sorted(told)

    def _behind(self, customer):
        """Whether Stripe says something of the subscription that our record does not."""
        ours = customer_table.find(customer, 0)
        if not ours.subscription:
            return False
        theirs = gateway.subscription(ours.subscription.theirs.id)
        return changes.settling(ours, theirs, int(self.clock.now())).moved

    def waiting(self):
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        said = queue.sqs().get_queue_attributes(QueueUrl=os.environ["WEBHOOK_QUEUE"], AttributeNames=list(names))
        return [int(said["Attributes"][name]) for name in names]


def rows():
    return {item["id"]: item for item in dynamodb.scan("WebhookEvents", "id <> :none", 5000, none="").items}


def outcome(world, life, customers, kind="dies", number=None):
    """What has become of it: the state, and the trouble."""
    world.back()
    world.trouble = trouble = Trouble(world.stripe, kind, number)
    try:
        life(world)
    finally:
        world.calms()
    return world.state(customers), trouble


def calls_worth(kind, calls):
    """By their numbers, those at which this kind of trouble makes a difference."""
    if kind == "fails":
        return range(1, len(calls) + 1)
    writes = [number for number, name in enumerate(calls, 1) if name in WRITES]
    if kind == "dies":  # what only reads leaves behind what it found
        return [0, *writes]
    if kind == "is silent":
        return writes
    return [number for number in writes if calls[number - 1] not in ONCE_BY_ITSELF]


def walk(world, life, some=None, seed=None):
    """
    Every trouble there may be in a life, or some by chance, one after the other; answers what came of each that should
    not have, and how many there were.
    """
    build, live, customers = life
    build(world)
    world.keep()
    wanted, quiet = outcome(world, live, customers)
    assert not world.crashes and wanted["waiting"] == [0, 0]
    troubles = [(kind, number) for kind in KINDS for number in calls_worth(kind, quiet.calls)]
    if some is not None:
        troubles = Random(seed).sample(troubles, min(some, len(troubles)))
    wrong = {}
    for kind, number in troubles:
        try:
            found, trouble = outcome(world, live, customers, kind, number)
            assert trouble.came, "nothing has happened"
            told = differences(wanted, found)
        except AssertionError as failure:
            told = {"": str(failure)}
        if told:
            wrong[f"{kind} at {number}: {' '.join(quiet.calls[max(number - 3, 0) : number])}"] = told
    return wrong, len(troubles)


def differences(wanted, found, path=""):
    """What is not as it would have been, by its path."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        told = {}
        for name in wanted.keys() | found.keys():
            told |= differences(wanted.get(name), found.get(name), f"{path}/{name}")
        return told
    return {} if wanted == found else {path: f"wanted {wanted}, found {found}"}
