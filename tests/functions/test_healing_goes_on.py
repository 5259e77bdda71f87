"""One rotten thing keeps neither a sweep nor a reconciliation from the others; and two at once are as good as one."""

import json
import logging
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

import reconcile
import sweep
from billing import customer_table, dynamodb, reconciliation, records, run_table, scheduler
from billing.customers import Revision
from billing.errors import Unavailable
from billing.holds import Step, digest
from billing.runs import Run
from tests.functions.at_stripe import Death, ask

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


def seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})


def quantity(customer):
    return customer_table.find(customer, 0).subscription.theirs.quantity


def spoil(customer, **fields):
    """Its record is as no version of ours has written it."""
    item = dynamodb.get("Subscriptions", pk=f"customer#{customer}", sk="customer")
    dynamodb.transact([dynamodb.put("Subscriptions", {**(item or {}), **fields})])


@pytest.fixture
def two(api, plans, hear, stripe, clock):
    """Ada and Bob, of whose nine seats at Stripe we were never told."""
    ids = {name: api("POST", "/subscription", ORDER, customer=name).json["id"] for name in ("ada", "bob")}
    hear()
    for id in ids.values():
        seats(stripe, id, 9)
    clock.pass_by(minutes=5)
    return ids


def drift(report):
    return {each["object"]: (each["repaired"], each["why_not"]) for each in report["drift"]}


@pytest.mark.parametrize("whose", ["ada", "nobody of ours"])
def test_a_subscription_at_stripe_that_cannot_be_read_does_not_end_the_run(two, stripe, reconciled, whose):
    tables = stripe._account.tables
    if whose == "ada":
        id = two["ada"]
    else:
        price = {"price": tables["subscription"][two["ada"]]["items"]["data"][0]["price"]["id"]}
        stranger = ask(stripe, "POST", "/v1/customers")["id"]
        bought = {"customer": stranger, "items": {"0": price}, "payment_behavior": "default_incomplete"}
        id = ask(stripe, "POST", "/v1/subscriptions", **bought)["id"]
    del tables["subscription"][id]["currency"]  # as of no subscription that we know

    found = drift(reconciled())
    assert found[two["bob"]] == (True, None) and quantity("bob") == 9
    assert found.get(id) == ((False, "AttributeError") if whose == "ada" else None)


def test_a_record_of_ours_that_cannot_be_read_does_not_end_the_run(two, stripe, reconciled):
    spoil("ada", of_a_later_version=1)

    found = drift(reconciled())
    assert found[two["bob"]] == (True, None) and quantity("bob") == 9
    assert {outcome for id, outcome in found.items() if id != two["bob"]} == {(False, "unreadable")}


def test_a_change_that_cannot_be_finished_does_not_end_the_run(
    api, plans, hear, stripe, reconciled, clock, moments, caplog
):
    ids = {name: api("POST", "/subscription", ORDER, customer=name).json["id"] for name in ("ada", "bob")}
    hear()
    dies_changing(api, moments, "ada")
    ours = customer_table.find("ada", 0)
    assert ours.pending
    draft = replace(ours.pending.draft, follow=[Step("no_such_call", ids["ada"])])
    rotten = replace(ours, version=ours.version + 1, pending=replace(ours.pending, draft=draft))
    records.commit(ours, Revision(rotten, moved=True))
    seats(stripe, ids["bob"], 9)
    clock.pass_by(minutes=5)

    found = drift(reconciled())
    assert found[ids["bob"]] == (True, None) and quantity("bob") == 9
    assert "follow_up_unfinished" in caplog.text and customer_table.find("ada", 0).pending


def dies_changing(api, moments, customer):
    """A change of seats to eight, whose maker dies after the call that Stripe makes it by."""
    posts = []

    def listener(now):
        if now == "after post":
            posts.append(now)
            if len(posts) == 2:  # the first asks what it would cost
                raise Death

    moments.append(listener)
    with pytest.raises(Death):
        api("PUT", "/subscription/seats", {"quantity": 8}, customer=customer)
    moments.remove(listener)


def test_a_record_that_cannot_be_read_does_not_keep_the_sweep_from_the_holds_of_others(
    api, plans, stripe, swept, clock, moments, caplog
):
    for customer in ("ada", "bob"):
        api("POST", "/subscription", ORDER, customer=customer)
        dies_changing(api, moments, customer)
    spoil("ada", of_a_later_version=1)
    clock.pass_by(minutes=2)

    swept()
    assert quantity("bob") == 8 and customer_table.find("bob", 0).pending is None
    assert "hold_not_recovered" in caplog.text


def test_an_operators_run_that_stands_still_is_carried_on_however_many_nights_there_were(
    swept, stripe, subscribed, clock, schedules
):
    at = int(clock.now())
    for night in (21, 22, 23):
        run_table.begin(
            Run(f"nightly-202611{night}T030000Z", dry_run=False, started_at=at - 86_400, finished_at=at - 1)
        )
    run = run_table.begin(Run(digest("run", "k"), dry_run=False, started_at=at))
    clock.pass_by(minutes=11)

    swept()
    assert [json.loads(each["Target"]["Input"]) for each in schedules(":reconcile").values()] == [{"run": run.id}]


def test_two_sweeps_at_once_send_each_event_once(drain, stripe, subscribed, context, moments, caplog):
    caplog.set_level(logging.INFO)
    moments.once("before BatchGetItem", lambda: sweep.handler({}, context))
    sweep.handler({}, context)

    assert "swept_by_another" in caplog.text
    assert drain() == []
    rows = {item["id"]: item["outcome"] for item in dynamodb.scan("WebhookEvents", "id <> :none", 1000, none="").items}
    assert rows.keys() == stripe.events.keys() and set(rows.values()) == {"done", "ignored"}


def test_two_runs_at_once_repair_each_thing_once(two, stripe, context, moments):
    def other():
        reconcile.handler({"time": "2026-11-24T03:00:01Z"}, context)

    moments.once("before TransactWriteItems", lambda: moments.once("before TransactWriteItems", other))
    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)

    runs = run_table.latest(9)
    assert all(run.finished_at for run in runs) and sum(run.repaired for run in runs) == 2
    assert (quantity("ada"), quantity("bob")) == (9, 9)


class Outage:
    """Whatever a service of AWS is asked, nobody answers."""

    def __init__(self, client, name):
        self.events, self.moment = client.meta.events, f"before-call.{name}"

    def _refuse(self, **_):
        raise EndpointConnectionError(endpoint_url="https://aws")

    def __enter__(self):
        self.events.register(self.moment, self._refuse)

    def __exit__(self, *_):
        self.events.unregister(self.moment, self._refuse)


def test_a_store_that_is_down_counts_against_no_event(two, stripe, hear):
    with Outage(dynamodb.db(), "dynamodb"):
        late = hear()
    assert {stripe.events[id]["type"] for id in late} >= {"customer.subscription.updated"}

    assert hear() == set()
    assert (quantity("ada"), quantity("bob")) == (9, 9)
    rows = dynamodb.scan("WebhookEvents", "id <> :none", 1000, none="").items
    assert {(row["outcome"], row["attempts"]) for row in rows} == {("done", 0), ("ignored", 0)}


def test_a_sweep_while_the_store_is_down_moves_nothing(stripe, subscribed, swept, context, received):
    with Outage(dynamodb.db(), "dynamodb"):
        sweep.handler({}, context)
    assert run_table.swept() == {} and received()["Records"] == []

    assert swept() == []
    rows = dynamodb.scan("WebhookEvents", "id <> :none", 1000, none="").items
    assert {row["id"] for row in rows} == stripe.events.keys()


def test_a_schedule_that_cannot_be_made_is_made_up_for(two, stripe, context, clock, swept, schedules, monkeypatch, api):
    """In the middle of a run, of a night or of an operator."""
    with monkeypatch.context() as hurried, Outage(scheduler.scheduler(), "scheduler"):
        hurried.setattr(reconciliation, "SLICE", -1)
        for _ in range(2):  # Lambda tries again
            with pytest.raises(Unavailable):
                reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
        asked = api("POST", "/reconcile", {"dry_run": False}, claims={"scope": "billing/admin"})
        assert asked.status == 503
    assert not schedules() and not any(run.finished_at for run in run_table.latest(9))
    clock.pass_by(minutes=11)

    swept()
    for made in schedules(":reconcile").values():
        reconcile.handler(json.loads(made["Target"]["Input"]), context)
    runs = run_table.latest(9)
    assert len(runs) == 2 and all(run.finished_at for run in runs)
    assert (quantity("ada"), quantity("bob")) == (9, 9)
