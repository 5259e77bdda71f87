"""Plans and subscriptions on record without a call of Stripe: for tests that are about what customers use."""

import json
import os
import time
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path

import boto3
import pytest

import process_webhook
import sweep
from billing import customer_table, dynamodb, mails, plan_table, queue, records, scheduler
from billing.periods import period_of
from billing.plans import Metric, Plan
from billing.subscriptions import DAY
from billing.theirs import Theirs
from billing.webhooks import envelope
from tests.events_page import SCHEMAS
from tests.functions.at_stripe import Death
from tests.functions.later import GRATIS, HOUR, OWED, Later
from tests.test_openapi import faults

HARD, SOFT = Metric("max_api_calls"), Metric("max_exports", enforcement="soft")
PRO = Plan("pro", 0, "Pro", "month", "usd", 1000, features=["sso"])
PRO = replace(PRO, limits={"max_api_calls": 10, "max_exports": 5}, metrics={"api_calls": HARD, "exports": SOFT})


@pytest.fixture
def aws(aws):
    """The same, and whatever happens there is told as docs/events.md says, each customer's without a gap."""
    yield
    past_trouble = boto3.client("dynamodb")  # that tests have made for the functions' own
    items = [dynamodb.decode(item) for item in past_trouble.scan(TableName="Subscriptions")["Items"]]
    told = defaultdict(list)
    for item in items:
        if item["sk"].startswith("event#") and "data" in item:
            told[item["pk"]].append(item["sequence"])
            assert not faults(SCHEMAS[item["type"]], item["data"]), item
    for item in items:
        if item["sk"] == "customer" and item["pk"].startswith("customer#"):
            assert sorted(told[item["pk"]]) == list(range(1, item.get("told", 0) + 1))


@pytest.fixture
def sell(aws):
    """The next version of a plan is in force; what is not said is as in PRO."""

    def publish(slug="pro", **content):
        before, last = plan_table.pointer(slug), plan_table.latest(slug)
        plan = replace(PRO, slug=slug, version=last.version + 1 if last else 1, **content)
        plan_table.add(plan)
        priced = replace(plan, price=f"price_{slug}_{plan.version}")
        plan_table.publish(priced, before)
        return priced

    return publish


@pytest.fixture
def buy(aws):
    """Stripe says that a customer has a plan; what is not said of the subscription is since yesterday, and paid."""
    began = int(time.time()) - DAY

    def absorb(plan, customer="ada", **said):
        now = int(time.time())
        start, end = period_of(now, said.get("anchor", began), plan.billing_interval)
        paid = Theirs("sub_1", "cus_1", "si_1", plan.price, 1, "usd", "active", start, start, start, end)
        before = customer_table.find(customer, now)
        revision = before.absorb(replace(paid, **said), plan, now)
        records.commit(before, revision)
        return revision.customer

    return absorb


@pytest.fixture
def use(api):
    """POST /usage: events as dicts; what is not said is one API call of Ada's."""

    def post(*events, **request):
        given = {"customer_id": "ada", "metric_id": "api_calls", "quantity": 1}
        body = {"events": [given | event if isinstance(event, dict) else event for event in events]}
        return api("POST", "/usage", body, claims={"scope": "billing/service"}, **request)

    return post


@pytest.fixture
def used(api):
    """What GET /usage tells of a metric."""
    return lambda metric="api_calls", customer="ada": api("GET", f"/usage?metric={metric}", customer=customer).json


@pytest.fixture
def process(context):
    """A batch of the queue; answers the ids of the messages that are to come again."""
    return lambda batch: [f["itemIdentifier"] for f in process_webhook.handler(batch, context)["batchItemFailures"]]


@pytest.fixture
def hear(stripe, context):
    """
    What Stripe has told since the last time reaches us, all of it or only some types; answers the ids of the events
    that are to come again.
    """
    known = set()

    def process(*types):
        news = [each for id, each in stripe.events.items() if id not in known and (not types or each["type"] in types)]
        (sample,) = json.loads(Path("events/sqs.json").read_text())["Records"]
        records = [sample | {"messageId": each["id"], "body": json.dumps(asdict(envelope(each)))} for each in news]
        again = process_webhook.handler({"Records": records}, context)["batchItemFailures"]
        late = {each["itemIdentifier"] for each in again}
        known.update(each["id"] for each in news if each["id"] not in late)
        return late

    return process


@pytest.fixture
def drain(received, context):
    """All that waits in the queue is processed; answers the ids of the events that are to come again."""

    def process():
        late = []
        while batch := received()["Records"]:
            again = process_webhook.handler({"Records": batch}, context)["batchItemFailures"]
            failed = {each["itemIdentifier"] for each in again}
            for message in batch:
                url, receipt = os.environ["WEBHOOK_QUEUE"], message["receiptHandle"]
                queue.sqs().delete_message(QueueUrl=url, ReceiptHandle=receipt)
                late += [queue.received(message).id] if message["messageId"] in failed else []
        return late

    return process


@pytest.fixture
def swept(stripe, context, drain):
    """The sweep has been, and what it found is processed."""

    def sweep_and_drain(**event):
        sweep.handler(event, context)
        return drain()

    return sweep_and_drain


@pytest.fixture
def reconciled(api):
    """A reconciliation from beginning to end, as an operator asks for it; answers what it tells."""

    def run(dry_run=False):
        begun = api("POST", "/reconcile", {"dry_run": dry_run}, claims={"scope": "billing/admin"}).json
        assert begun["finished_at"], begun
        return api("GET", f"/reconcile/{begun['run']}", claims={"scope": "billing/admin"}).json

    return run


@pytest.fixture
def schedules(aws):
    """The schedules for one time, by name: what they hand in, and to whom; all, or those of one function."""

    def read(function=""):
        pages = scheduler.scheduler().get_paginator("list_schedules").paginate(GroupName="schedules")
        names = [each["Name"] for page in pages for each in page["Schedules"]]
        made = [scheduler.scheduler().get_schedule(GroupName="schedules", Name=name) for name in names]
        return {each["Name"]: each for each in made if each["Target"]["Arn"].endswith(function)}

    return read


@pytest.fixture
def dead_hold(api, stripe, subscribed, moments, clock):
    """A change of seats to eight whose maker died, before or after Stripe had it, `ago` seconds."""

    def change(when, ago):
        posts = iter(range(1, 99))

        def die(now):
            if now == f"{when} post" and next(posts) == 2:
                moments.remove(die)
                raise Death

        moments.append(die)
        with pytest.raises(Death):
            api("PUT", "/subscription/seats", {"quantity": 8})
        clock.pass_by(seconds=ago)
        stripe.calls.clear()
        assert customer_table.find("ada", 0).pending

    return change


@pytest.fixture
def later(api, stripe, clock, hear, context, monkeypatch):
    monkeypatch.setenv("MAILS", ",".join(sorted(mails.KINDS)))
    return Later(api, stripe, clock, hear, context)


@pytest.fixture
def subscribe(later, api, stripe):
    """Ada, on a plan of her own; answers her subscription's id."""

    def order(customer="ada", **plan):
        assert api("PUT", "/plans/free", GRATIS).status == 200
        assert api("PUT", f"/plans/of-{customer}", OWED | plan).status == 200
        wanted = {"plan_slug": f"of-{customer}", "quantity": 1, "payment_method": "pm_card_visa"}
        answer = api("POST", "/subscription", wanted, customer=customer)
        assert (answer.status, answer.json["status"]) in ((200, "active"), (200, "trialing"))
        later.hears()
        return answer.json["id"]

    return order


@pytest.fixture
def fails(later, stripe, subscribe):
    """Ada's first renewal cannot be paid; answers the invoice."""

    def renewal(why="generic_decline", **plan):
        subscribe(**plan)
        method = next(id for id, each in stripe.payment_methods.items() if each["customer"])
        if why == "3ds":
            stripe.card_behaves(method, needs_authentication=True)
        else:
            stripe.card_behaves(method, why)
        later.goes(later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
        return later.record().cases[0].invoice

    return renewal
