"""What is lost on the way is found: events that never came, changes whose makers died, runs that stand still."""

import json
import logging
import time
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest

import sweep
from billing import customer_table, dynamodb, errors, queue, records, run_table, sweeping, webhook_table
from billing.customers import Revision
from billing.holds import Step
from billing.runs import Run
from billing.webhooks import WebhookEvent, envelope
from tests.functions.at_stripe import Death, ask, pays_with

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


def record(customer="ada"):
    return customer_table.find(customer, 0)


def seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})


def rows():
    return {item["id"]: item["outcome"] for item in dynamodb.scan("WebhookEvents", "id <> :none", 1000, none="").items}


@pytest.fixture
def counts(caplog):
    """Metrics by name: the sums of what has been counted since the last time."""
    caplog.set_level(logging.INFO)

    def read():
        found = {}
        for line in caplog.records:
            for name in (
                each["Name"] for each in getattr(line, "_aws", {}).get("CloudWatchMetrics", [{}])[0].get("Metrics", [])
            ):
                found[name] = found.get(name, 0) + getattr(line, name)
        caplog.clear()
        return found

    return read


def test_events_that_never_came_have_their_effect(swept, stripe, subscribed, counts):
    seats(stripe, subscribed["id"], 9)

    assert swept() == []
    assert record().subscription.theirs.quantity == 9
    assert rows().keys() == stripe.events.keys()  # whatever their type: none is left to wonder about
    told = counts()
    assert (told["EventsMissed"], told["SweepRan"], told["FailedEvents"], told["OldHolds"]) == (
        len(stripe.events),
        1,
        0,
        0,
    )


def test_a_second_sweep_finds_nothing(swept, stripe, subscribed, counts):
    swept()
    counts()
    version = record().version

    assert swept() == [] and record().version == version
    assert "EventsMissed" not in counts()


def test_an_invoice_that_will_not_be_tried_again_is_known_to_be_given_up(swept, hear, stripe, subscribed, clock):
    """The subscription is cancelled: of its open invoice Stripe tells in an `invoice.updated`, and in nothing else."""
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    clock.pass_by(days=31)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    hear()
    (due,) = [each for each in customer_table.invoices("ada", 9) if each.status == "open"]
    assert due.next_attempt_at is not None
    ask(stripe, "DELETE", f"/v1/subscriptions/{subscribed['id']}")
    hear()
    swept()

    assert stripe.invoices[due.id]["next_payment_attempt"] is None
    assert customer_table.invoice("ada", due.place).next_attempt_at is None


def test_what_came_is_not_enqueued_again(swept, hear, stripe, subscribed, counts):
    hear()
    swept()

    assert "EventsMissed" not in counts()


def test_it_begins_an_hour_before_where_it_came_to_last(swept, stripe, subscribed, clock):
    swept()
    first = next(id for id in stripe.events if id in rows())
    clock.pass_by(minutes=50)
    seats(stripe, subscribed["id"], 9)
    clock.pass_by(minutes=30)
    swept()
    assert record().subscription.theirs.quantity == 9

    dynamodb.db().delete_item(TableName="WebhookEvents", Key={"id": {"S": first}})
    clock.pass_by(hours=3)
    swept()
    assert first not in rows()  # by then it is the reconciliation's


def test_after_three_days_of_silence_it_reads_three_days(swept, stripe, subscribed, clock):
    swept()
    clock.pass_by(minutes=10)
    seats(stripe, subscribed["id"], 9)
    clock.pass_by(days=3)

    swept()
    assert record().subscription.theirs.quantity == 9


def test_an_event_that_has_failed_is_not_tried_again_by_itself(swept, stripe, subscribed, counts):
    swept()
    id = next(iter(stripe.events))
    item = dynamodb.get("WebhookEvents", id=id)
    failed = (item or {}) | {"outcome": "failed", "unfinished": "failed", "attempts": 5, "error": "it is rotten"}
    dynamodb.transact([dynamodb.put("WebhookEvents", failed)])
    counts()

    swept()
    assert rows()[id] == "failed"
    assert counts()["FailedEvents"] == 1


def test_one_that_failed_because_stripe_did_is_tried_again(swept, stripe, subscribed, counts):
    swept()
    seats(stripe, subscribed["id"], 9)
    (told,) = [each for id, each in stripe.events.items() if id not in rows() and "updated" in each["type"]]
    for _ in range(5):
        webhook_table.failed(envelope(told), errors.named(errors.Failed("HTTP 500")))
    assert rows()[told["id"]] == "failed"

    swept()
    assert webhook_table.find(told["id"]).outcome == "done" and record().subscription.theirs.quantity == 9
    assert counts()["EventsReplayed"] == 1


def test_many_pages_are_read_to_the_end(swept, stripe, subscribed, monkeypatch):
    for quantity in range(6, 50):
        seats(stripe, subscribed["id"], quantity)
    assert len(stripe.events) > 100

    swept()
    assert rows().keys() == stripe.events.keys()


@pytest.fixture
def hurried(monkeypatch, clock):
    """Every look at the clock finds that five seconds have passed: for two pages, or holds."""
    ticks = SimpleNamespace(time=clock.now, monotonic=count(step=5).__next__)
    monkeypatch.setattr(sweep, "time", ticks)
    monkeypatch.setattr(sweeping, "time", ticks)


def test_out_of_time_it_is_carried_on_in_a_minute_until_it_is_through(
    swept, stripe, subscribed, context, schedules, hurried, monkeypatch, counts
):
    for quantity in range(6, 110):
        seats(stripe, subscribed["id"], quantity)
    assert len(stripe.events) > 300

    swept()
    (made,) = schedules().values()
    assert made["Target"]["Arn"] == context.invoked_function_arn and made["ActionAfterCompletion"] == "DELETE"
    assert len(rows()) == 200 and counts()["SweepRan"] == 0

    swept(**json.loads(made["Target"]["Input"]))
    swept()
    assert rows().keys() == stripe.events.keys()


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


def test_a_change_whose_maker_died_is_settled_if_stripe_has_it(swept, stripe, subscribed, dies, clock, counts):
    dies("after")
    clock.pass_by(seconds=51)

    swept()
    after = record()
    assert (after.pending, after.subscription.theirs.quantity) == (None, 8)
    assert counts()["HoldsRecovered"] == 1


def test_a_hold_that_may_be_someones_is_left_alone(swept, stripe, subscribed, dies, clock):
    dies("after")
    stripe.calls.clear()
    clock.pass_by(seconds=30)
    sweeping.holds(int(clock.now()), time.monotonic() + 5, None)

    assert record().pending and not stripe.calls


def test_it_applies_nothing_and_lets_go_after_half_an_hour(swept, stripe, subscribed, dies, clock, counts):
    dies("before")
    stripe.calls.clear()
    clock.pass_by(minutes=5)
    swept()
    assert record().pending and not [call for call in stripe.calls if call.method == "POST"]

    clock.pass_by(minutes=30)
    swept()
    assert record().pending is None and record().subscription.theirs.quantity == 5
    assert counts()["OldHolds"] == 0


def test_one_hold_that_cannot_be_settled_does_not_keep_the_others(api, plans, stripe, dies, clock, caplog):
    for customer in ("ada", "bob"):
        api("POST", "/subscription", ORDER, customer=customer)
        dies("after", customer)
    ours = record("ada")
    assert ours.pending
    draft = replace(ours.pending.draft, steps=[Step("no_such_call", "sub_1")])
    rotten = replace(ours, version=ours.version + 1, pending=replace(ours.pending, draft=draft))
    records.commit(ours, Revision(rotten, moved=True))
    clock.pass_by(minutes=2)

    sweeping.holds(int(clock.now()), time.monotonic() + 60, None)
    assert record("ada").pending and record("bob").pending is None
    assert "hold_not_recovered" in caplog.text


def test_a_run_that_stands_still_is_carried_on(swept, stripe, subscribed, clock, schedules):
    run_table.begin(Run("nightly-1", dry_run=False, started_at=int(clock.now())))
    swept()
    assert not schedules()

    clock.pass_by(minutes=11)
    swept()
    (made,) = schedules(":reconcile").values()
    assert json.loads(made["Target"]["Input"]) == {"run": "nightly-1"}


def test_stripe_out_of_reach_moves_nothing(stripe, subscribed, context, counts):
    stripe.faults.add(kind="failed", method="GET", path="/v1/events", times=9)
    before = run_table.swept()

    sweep.handler({}, context)
    assert run_table.swept() == before and "SweepRan" not in counts()


@pytest.fixture
def two(api, plans, stripe):
    """Ada and Bob have five seats each."""
    return {name: api("POST", "/subscription", ORDER, customer=name).json["id"] for name in ("ada", "bob")}


def test_a_hold_on_what_stripe_cannot_show_does_not_keep_the_sweep_from_the_others(two, stripe, dies, clock, context):
    for name in two:
        dies("after", name)
    clock.pass_by(minutes=2)
    stripe.faults.add(kind="failed", method="GET", path=f"/v1/subscriptions/{two['ada']}", times=99)

    sweep.handler({}, context)
    assert record("bob").pending is None


def test_a_hold_that_someone_takes_up_while_the_sweep_looks_is_not_released(
    api, subscribed, stripe, dies, clock, moments, caplog
):
    dies("before")
    clock.pass_by(minutes=30)
    taken = []

    def die():
        raise Death

    def take():
        """By a caller who came a second before the half hour was over, and is about to ask Stripe."""
        clock.ahead -= 2
        moments.once("before post", die)
        with pytest.raises(Death):
            api("PUT", "/subscription/seats", {"quantity": 8})
        clock.ahead += 2
        taken.append(record().pending)

    moments.once("after get", take)
    sweeping.holds(int(clock.now()), time.monotonic() + 60, None)
    assert taken[0].sent_at > taken[0].held_at  # so it is young again, and whoever took it may be alive
    assert record().pending == taken[0]
    assert "hold_not_recovered" not in caplog.text


def test_an_event_that_came_two_days_late_and_failed_because_stripe_did_is_tried_again(
    subscribed,
    hear,
    swept,
    stripe,
    clock,
):
    """Stripe delivers for three days, and the sweep reads thirty."""
    hear()
    known = set(stripe.events)
    seats(stripe, subscribed["id"], 9)
    (late,) = [
        each
        for id, each in stripe.events.items()
        if id not in known and each["type"] == "customer.subscription.updated"
    ]
    clock.pass_by(days=2)
    for _ in range(5):
        webhook_table.failed(envelope(late), errors.named(errors.Failed("HTTP 500")))

    swept()
    assert rows()[late["id"]] == "done"


def test_an_event_that_waits_to_be_tried_again_is_not_enqueued_again_by_each_sweep(
    subscribed, stripe, aws, clock, received
):
    told = next(iter(stripe.events.values()))
    for _ in range(5):
        webhook_table.failed(envelope(told), errors.named(errors.Failed("HTTP 500")))
    for _ in range(4):
        sweeping.innocents(int(clock.now()), time.monotonic() + 60)
        clock.pass_by(minutes=1)

    url = webhook_table.os.environ["WEBHOOK_QUEUE"]
    told = sweeping.queue.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    assert told["Attributes"]["ApproximateNumberOfMessages"] == "1"


def test_each_hour_for_a_day_after_it_failed_first_it_is_tried_again_and_then_no_more(
    subscribed, stripe, clock, counts
):
    told = next(iter(stripe.events.values()))
    tried = []
    for hour in range(30):
        for _ in range(5):  # whatever is tried fails again
            webhook_table.failed(envelope(told), errors.named(errors.Failed("HTTP 500")))
        counts()
        sweeping.innocents(int(clock.now()), time.monotonic() + 60)
        tried += [hour] if "EventsReplayed" in counts() else []
        clock.pass_by(hours=1)

    assert tried == list(range(24))


def test_a_sweep_that_is_carried_on_tries_nothing_again(swept, subscribed, stripe):
    swept()
    told = next(iter(stripe.events.values())) | {"id": "evt_failed"}
    for _ in range(5):
        webhook_table.failed(envelope(told), errors.named(errors.Failed("HTTP 500")))

    swept(after=None)
    assert rows()["evt_failed"] == "failed"
    swept()
    assert rows()["evt_failed"] != "failed"


@pytest.mark.parametrize(("silent", "settled"), [(2, True), (3, False)])
def test_a_silent_stripe_ends_the_sweep_when_three_holds_in_a_row_have_met_it(
    api, plans, stripe, dies, clock, context, counts, silent, settled
):
    names = ["ada", "bob", "eve", "zoe"]
    ids = {name: api("POST", "/subscription", ORDER, customer=name).json["id"] for name in names}
    for name in names:
        dies("after", name)
        clock.pass_by(seconds=1)
    clock.pass_by(minutes=2)
    for name in names[:silent]:
        stripe.faults.add(kind="unreachable", method="GET", path=f"/v1/subscriptions/{ids[name]}", times=99)

    sweep.handler({}, context)
    assert (record("zoe").pending is None, "SweepRan" in counts()) == (settled, settled)


def failed(created, id="evt_1"):
    """The row of an event that has failed because Stripe had."""
    event = WebhookEvent(id, "customer.updated", created, "cus_x", "cus_x", None, False, None)
    for _ in range(webhook_table.MOST_FAILURES):
        webhook_table.failed(event, errors.named(errors.Failed("HTTP 500")))
    return id


def test_what_was_missed_is_enqueued_in_the_order_in_which_it_was_made(stripe, subscribed, received, clock):
    seats(stripe, subscribed["id"], 9)
    sweeping.events(int(clock.now()), time.monotonic() + 60)

    came = [queue.received(each).id for each in received()["Records"]]
    assert came == [id for id in stripe.events if id in came] and len(came) > 3


def test_what_failed_because_stripe_did_is_tried_again_for_a_day_and_no_longer(stripe, received, clock):
    now = int(clock.now())
    failed(now - 60, "evt_old")
    clock.pass_by(days=1)
    failed(now - 2 * 86_400, "evt_new")  # which came late: it counts from when it failed

    sweeping.innocents(int(clock.now()), time.monotonic() + 60)
    assert [queue.received(each).id for each in received()["Records"]] == ["evt_new"]


def test_what_is_tried_again_has_five_attempts_and_is_counted(stripe, clock):
    id = failed(int(clock.now()) - 60)
    sweeping.innocents(int(clock.now()), time.monotonic() + 60)

    row = webhook_table.find(id)
    assert (row.attempts, row.replays) == (0, 1)


def test_what_is_finished_meanwhile_is_not_tried_again(stripe, received, clock, moments):
    id = failed(int(clock.now()) - 60)
    event = webhook_table.find(id).event
    moments.once("before UpdateItem", lambda: dynamodb.transact([webhook_table.mark(event, "done")]))
    moments.once("before TransactWriteItems", lambda: dynamodb.transact([webhook_table.mark(event, "done")]))

    sweeping.innocents(int(clock.now()), time.monotonic() + 60)
    assert received()["Records"] == [] and webhook_table.find(id).outcome == "done"


def test_no_log_tells_an_id_that_is_an_e_mail_address(api, plans, stripe, clock, moments, caplog):
    """MATCH=email takes the address as the id."""
    api("POST", "/subscription", ORDER, customer="ada@example.com")
    posts = iter(range(1, 99))

    def die(now):
        if now == "after post" and next(posts) == 2:
            moments.remove(die)
            raise Death

    moments.append(die)
    with pytest.raises(Death):
        api("PUT", "/subscription/seats", {"quantity": 8}, customer="ada@example.com")
    clock.pass_by(minutes=2)
    caplog.set_level(logging.INFO)
    caplog.clear()
    sweeping.holds(int(clock.now()), time.monotonic() + 60, None)

    assert [each for each in caplog.records if each.getMessage() == "HoldsRecovered"]
    assert not [each.getMessage() for each in caplog.records if "ada@example.com" in str(vars(each))]
