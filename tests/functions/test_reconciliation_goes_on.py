"""Nothing that goes wrong with one object, and nothing that is not ours, stops a reconciliation or leads it astray."""

import json
import logging
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest

import reconcile
from billing import customer_table, reconciliation, records, run_table, webhook_table
from billing.customers import Revision
from billing.holds import Step
from billing.runs import Run
from billing.webhooks import envelope
from tests.functions.at_stripe import Death, ask

ADMIN = {"scope": "billing/admin"}
ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}
PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}


def record(customer="ada"):
    return customer_table.find(customer, 0)


def seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})


def drift(report):
    return {each["object"]: (each["classes"], each["repaired"], each["why_not"]) for each in report["drift"]}


def anomalies(caplog):
    return [each.msg for each in caplog.records if vars(each).get("Anomalies") == 1]


@pytest.fixture
def two(api, plans, stripe):
    """Ada and Bob have five seats each."""
    return {name: api("POST", "/subscription", ORDER, customer=name).json["id"] for name in ("ada", "bob")}


@pytest.fixture
def dies(api, moments):
    """A change of seats to eight, whose maker dies before or after the call that Stripe makes it by."""

    def change(when, customer="ada"):
        posts = count(1)

        def listener(now):
            if now == f"{when} post" and next(posts) == 2:  # the first asks what it would cost
                moments.remove(listener)
                raise Death

        moments.append(listener)
        with pytest.raises(Death):
            api("PUT", "/subscription/seats", {"quantity": 8}, customer=customer)
        assert record(customer).pending

    return change


def rot(customer):
    """The hold is of a kind that this code does not know."""
    ours = record(customer)
    assert ours.pending
    draft = replace(ours.pending.draft, steps=[Step("no_such_call", "sub_1")])
    rotten = replace(ours, version=ours.version + 1, pending=replace(ours.pending, draft=draft))
    records.commit(ours, Revision(rotten, moved=True))


# One object must not stop everything


@pytest.mark.parametrize("lost", ["a subscription", "an invoice"])
def test_what_is_on_no_record_and_stripe_cannot_show_does_not_stop_the_reconciliation(
    two,
    hear,
    stripe,
    clock,
    context,
    lost,
):
    hear()
    ours = record("bob")
    if lost == "a subscription":
        price = {"price": ours.subscription.theirs.price, "quantity": "1"}
        made = ask(stripe, "POST", "/v1/subscriptions", customer=ours.stripe_id, items={"0": price})
        path = f"/v1/subscriptions/{made['id']}"
    else:
        made = ask(stripe, "POST", "/v1/invoices", customer=ours.stripe_id, auto_advance="false")
        ask(stripe, "POST", f"/v1/invoices/{made['id']}/finalize")
        stripe._account.tables["invoice"][made["id"]]["status"] = "open"  # of nothing it would be paid
        path = f"/v1/invoices/{made['id']}"
    seats(stripe, two["ada"], 9)
    clock.pass_by(minutes=5)
    stripe.faults.add(kind="failed", method="GET", path=path, times=99)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    (run,) = run_table.latest(1)
    assert run.finished_at
    assert record("ada").subscription.theirs.quantity == 9


def test_a_metered_subscription_of_another_system_does_not_stop_the_reconciliation(two, hear, stripe, clock, context):
    """Stripe leaves `quantity` out of a metered item (dj-stripe issue 865, cashier-stripe issue 1254)."""
    hear()
    stranger = ask(stripe, "POST", "/v1/customers", email="someone@example.com")
    card = ask(stripe, "POST", "/v1/payment_methods/pm_card_visa/attach", customer=stranger["id"])
    price = {"price": record("ada").subscription.theirs.price, "quantity": "1"}
    bought = {"customer": stranger["id"], "items": {"0": price}, "default_payment_method": card["id"]}
    foreign = ask(stripe, "POST", "/v1/subscriptions", **bought)
    del stripe._account.tables["subscription"][foreign["id"]]["items"]["data"][0]["quantity"]
    seats(stripe, two["ada"], 9)
    clock.pass_by(minutes=5)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    assert record("ada").subscription.theirs.quantity == 9


def test_an_invoice_that_names_no_customer_does_not_stop_the_reconciliation(two, hear, stripe, clock, context):
    """`customer` of an invoice is optional in the library's types: it may be of an account."""
    hear()
    other = ask(stripe, "POST", "/v1/customers", email="someone@example.com")
    made = ask(stripe, "POST", "/v1/invoices", customer=other["id"], auto_advance="false")
    stripe._account.tables["invoice"][made["id"]] |= {"status": "open", "customer": None}
    clock.pass_by(minutes=5)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    assert run_table.latest(1)[0].finished_at


def test_a_hold_that_cannot_be_settled_does_not_stop_the_reconciliation(two, hear, stripe, dies, clock, context):
    hear()
    dies("before", "bob")  # the newest subscription, the first of Stripe's list
    rot("bob")
    seats(stripe, two["ada"], 9)
    clock.pass_by(minutes=5)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    assert record("ada").subscription.theirs.quantity == 9


def test_a_second_trial_that_cannot_be_ended_does_not_stop_the_reconciliation(api, stripe, clock, context):
    api("PUT", "/plans/trial", TRIAL)
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    session = api("POST", "/checkout", {"plan_slug": "trial"} | PAGE, customer="bob").json["id"]
    bought = stripe.complete_checkout(session, "pm_card_visa")
    clock.pass_by(minutes=5)
    stripe.faults.add(kind="card_declined", method="POST", path=f"/v1/subscriptions/{bought}", times=1)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    assert run_table.latest(1)[0].finished_at


def test_a_subscription_at_which_stripe_is_always_silent_does_not_stop_the_reconciliation(
    two,
    hear,
    stripe,
    clock,
    context,
):
    hear()
    seats(stripe, two["bob"], 9)  # the newest, the first of Stripe's list
    seats(stripe, two["ada"], 9)
    clock.pass_by(minutes=5)
    stripe.faults.add(kind="unreachable", method="GET", path=f"/v1/subscriptions/{two['bob']}", times=999)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    for _ in range(4):
        clock.pass_by(minutes=1)
        reconcile.handler({"run": "nightly-20261124T030000Z"}, context)
    assert record("ada").subscription.theirs.quantity == 9


def test_a_namesake_whose_subscriptions_stripe_cannot_list_does_not_stop_the_reconciliation(
    two,
    hear,
    stripe,
    clock,
    context,
    moments,
):
    ask(stripe, "POST", "/v1/customers", metadata={"customer": "zoe"})
    hear()
    clock.pass_by(minutes=5)
    reads = count(1)

    def listener(now):
        if now == "after get" and next(reads) == 2:  # after all subscriptions and all customers: those of one
            stripe.faults.add(kind="failed", method="GET", path="/v1/subscriptions", times=999)

    moments.append(listener)
    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    for _ in range(4):
        clock.pass_by(minutes=1)
        reconcile.handler({"run": "nightly-20261124T030000Z"}, context)
    assert run_table.latest(1)[0].stage != "customers"


# What is owed comes true


def test_a_run_of_the_operators_whose_maker_died_is_carried_on_after_many_nights(aws, stripe, swept, clock, schedules):
    now = int(clock.now())
    for night in ("nightly-20261121T030000Z", "nightly-20261122T030000Z"):
        run = run_table.begin(Run(night, dry_run=False, started_at=now - 86_400))
        run_table.save(replace(run, stage="done", finished_at=now - 86_000), now)
    run_table.begin(Run("4f1c0ffee", dry_run=False, started_at=now))
    clock.pass_by(minutes=11)

    swept()
    assert [json.loads(each["Target"]["Input"]) for each in schedules().values()] == [{"run": "4f1c0ffee"}]


@pytest.fixture
def second(api, stripe):
    """Bob's trial on the card that has had its trial with Ada, begun on Stripe's page."""
    api("PUT", "/plans/trial", TRIAL)
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    session = api("POST", "/checkout", {"plan_slug": "trial"} | PAGE, customer="bob").json["id"]
    return stripe.complete_checkout(session, "pm_card_visa")


def test_a_second_trial_that_a_night_could_not_end_the_next_night_does(second, swept, reconciled, stripe, clock):
    """docs/runbook.md, follow_up_unfinished: "The next event of that customer, or the next night, tries it again."."""
    clock.pass_by(minutes=5)
    stripe.faults.add(kind="unreachable", method="POST", path=f"/v1/subscriptions/{second}", times=2)
    reconciled()
    assert stripe.subscriptions[second]["status"] == "trialing"
    for event in stripe.events.values():  # all of this has been heard of
        webhook_table.dynamodb.transact([webhook_table.mark(envelope(event), "done")])
    clock.pass_by(hours=1)
    swept()
    assert record("bob").pending is None
    clock.pass_by(hours=23)

    reconciled()
    assert stripe.subscriptions[second]["status"] == "active"


# What is done is done once


# Nobody gets what is another's


@pytest.mark.parametrize("alive", [True, False], ids=["its maker is alive", "its maker died"])
def test_a_stripe_customer_that_was_there_before_is_not_taken_for_the_one_that_is_being_made(
    reconciled,
    stripe,
    two,
    clock,
    alive,
):
    """Another system of this account calls one of its customers as we call ours: by `customer` in the metadata."""
    namesake = ask(stripe, "POST", "/v1/customers", metadata={"customer": "zoe"})
    card = ask(stripe, "POST", "/v1/payment_methods/pm_card_visa/attach", customer=namesake["id"])
    price = {"price": record("ada").subscription.theirs.price, "quantity": "1"}
    bought = {"customer": namesake["id"], "items": {"0": price}, "default_payment_method": card["id"]}
    ask(stripe, "POST", "/v1/subscriptions", **bought)
    clock.pass_by(days=3)
    fresh = customer_table.find("zoe", int(clock.now()))
    records.commit(fresh, fresh.begins_registration(int(clock.now())))
    clock.pass_by(seconds=5 if alive else 600)

    reconciled()
    reconciled()
    zoe = record("zoe")
    assert (zoe.stripe_id, zoe.subscription) == (None, None)


# The operator is told what is so


def test_a_subscription_that_ended_long_ago_is_no_anomaly_every_night(two, hear, reconciled, stripe, clock, caplog):
    month = {"interval": "month"}
    foreign = ask(
        stripe, "POST", "/v1/prices", currency="usd", unit_amount="1", recurring=month, product_data={"name": "Old"}
    )
    price = {"price": foreign["id"], "quantity": "1"}
    old = ask(stripe, "POST", "/v1/subscriptions", customer=record().stripe_id, items={"0": price})
    ask(stripe, "DELETE", f"/v1/subscriptions/{old['id']}")
    hear()
    clock.pass_by(days=1)
    assert reconciled()["drift"] == []
    caplog.clear()
    clock.pass_by(days=1)

    assert reconciled()["drift"] == []
    assert anomalies(caplog) == []


def test_a_look_without_repair_does_not_stand_for_the_nights_reconciliation(reconciled, two, hear, clock, caplog):
    """SilentReconcileAlarm: "The nightly reconciliation has not come to its end for thirty hours."."""
    caplog.set_level(logging.INFO)
    hear()
    clock.pass_by(minutes=5)
    reconciled(dry_run=True)

    assert [each for each in caplog.records if vars(each).get("ReconcileRan")] == []


# All has an end


def test_a_slice_of_the_reconciliation_ends_in_time_however_much_stripe_has_just_told(
    two,
    hear,
    stripe,
    clock,
    context,
    moments,
    monkeypatch,
):
    """The renewals of the first of a month, or the events of another system in the account: a hundred a second."""
    hear()
    seats(stripe, two["ada"], 9)
    clock.pass_by(minutes=5)
    sample = next(iter(stripe.events.values()))
    events = stripe._account.tables["event"]
    for n in range(6000):
        id = f"evt_many{n:06}"
        events[id] = sample | {"id": id, "created": int(clock.now())}
    passed = [0.0]
    moments.append(lambda now: passed.__setitem__(0, passed[0] + (0.5 if now == "after get" else 0)))
    monkeypatch.setattr(reconciliation, "time", SimpleNamespace(monotonic=lambda: passed[0]))

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    assert passed[0] < 25  # the function's timeout: beyond it nothing of the run is on record, and so each time
