"""What the tests beside the code did not hold: each of these passes as the code is, and fails if it is broken there."""

import logging
import time

import pytest

from billing import customer_table, dynamodb, errors, queue, sweeping, webhook_table
from billing.webhooks import WebhookEvent
from local.adopt import Wishes, adopt, matched
from tests.functions.at_stripe import Death, ask, batch, sample

ADMIN = {"scope": "billing/admin"}
ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
FLAT = {"recurring": {"interval": "month"}, "currency": "usd", "unit_amount": "900"}


def record(customer="ada"):
    return customer_table.find(customer, 0)


def seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})


def drift(report):
    return {each["object"]: (each["classes"], each["repaired"], each["why_not"]) for each in report["drift"]}


def failed(created, id="evt_1"):
    """The row of an event that has failed because Stripe had."""
    event = WebhookEvent(id, "customer.updated", created, "cus_x", "cus_x", None, False, None)
    for _ in range(webhook_table.MOST_FAILURES):
        webhook_table.failed(event, errors.named(errors.Failed("HTTP 500")))
    return id


# Webhooks


def test_that_an_older_stripe_customer_is_deleted_does_not_take_the_one_there_is(process, api, stripe, subscribed):
    before = record()
    dynamodb.transact([dynamodb.put("Subscriptions", {"pk": "stripe#cus_old", "sk": "customer", "customer": "ada"})])

    assert process(batch([sample("customer.deleted", cus="cus_old")])) == []
    assert (record().stripe_id, record().live()) == (before.stripe_id, before.live())


def test_an_invoice_that_is_a_draft_is_on_no_record(process, stripe, subscribed):
    customer = record().stripe_id
    ask(stripe, "POST", "/v1/invoiceitems", customer=customer, amount="900", currency="usd")
    draft = ask(stripe, "POST", "/v1/invoices", customer=customer, pending_invoice_items_behavior="include")["id"]

    assert process(batch([sample("invoice.created", cus=customer, sub=subscribed["id"], **{"in": draft})])) == []
    assert draft not in {each.id for each in customer_table.invoices("ada", 50)}


def test_an_event_is_remembered_for_as_long_as_stripe_may_send_it_again(process, stripe, subscribed):
    told = sample("customer.updated", cus=record().stripe_id)
    process(batch([told]))
    assert dynamodb.get("WebhookEvents", id=told["id"])["expires"] >= told["created"] + 30 * 86_400


def test_of_a_price_the_operator_is_told_once_however_often_its_event_is_delivered(process, plans, stripe, caplog):
    price = next(id for id, each in stripe.prices.items() if each["lookup_key"] == "tollgate_team")
    ask(stripe, "POST", f"/v1/prices/{price}", active="false")
    (event,) = [
        each
        for each in stripe.events.values()
        if each["type"] == "price.updated" and not each["data"]["object"]["active"]
    ]
    for _ in range(2):
        assert process(batch([event])) == []
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR] == ["unsellable_plan"]


# The sweep


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
        assert record().pending

    return change


def test_stripe_being_busy_ends_the_sweep_and_it_does_not_say_that_it_ran(dead_hold, stripe, swept, caplog):
    dead_hold("after", 60)
    stripe.faults.add(kind="rate_limit", method="GET", path="/v1/subscriptions/sub_.*", times=30)
    caplog.clear()

    swept()
    assert record().pending
    assert not [each for each in caplog.records if each.getMessage() in ("SweepRan", "hold_not_recovered")]


# The reconciliation


def test_a_dry_run_settles_no_hold_and_says_nothing_to_stripe_and_a_run_does(dead_hold, stripe, reconciled, hear):
    hear()
    dead_hold("before", 3600)

    reconciled(dry_run=True)
    assert record().pending and {call.method for call in stripe.calls} == {"GET"}
    reconciled()
    assert record().pending is None and record().live().theirs.quantity == 5


def test_when_the_one_on_record_has_ended_the_one_beside_it_takes_its_place(
    reconciled, stripe, subscribed, hear, clock
):
    theirs = stripe.subscriptions[subscribed["id"]]
    item = {"price": theirs["items"]["data"][0]["price"]["id"], "quantity": "2"}
    card = theirs["default_payment_method"]
    said = {"customer": theirs["customer"], "items": {"0": item}, "default_payment_method": card}
    second = ask(stripe, "POST", "/v1/subscriptions", **said)["id"]
    hear()
    assert customer_table.aside("ada", second)
    ask(stripe, "DELETE", f"/v1/subscriptions/{subscribed['id']}")
    clock.pass_by(minutes=5)

    reconciled()
    assert record().live().theirs.id == second


def test_a_stripe_customer_that_stripe_does_not_know_is_told_and_not_taken_for_deleted(
    api, reconciled, stripe, subscribed, hear, clock
):
    """As with the key of another account: whoever is let go of would be made anew."""
    api("POST", "/subscription/cancel", {"immediately": True})
    hear()
    clock.pass_by(minutes=5)
    customer = record().stripe_id
    stripe._account.tables["customer"].pop(customer)

    assert drift(reconciled())[customer] == (["missing_there"], False, "not_found")
    assert record().stripe_id == customer


def test_one_that_is_only_not_listed_is_not_taken_for_deleted(
    api, reconciled, stripe, subscribed, hear, clock, monkeypatch
):
    """Stripe leaves out of its lists whoever is on a test clock."""
    api("POST", "/subscription/cancel", {"immediately": True})
    hear()
    clock.pass_by(minutes=5)
    customer = record().stripe_id
    stripe._account.tables["customer"][customer]["test_clock"] = "clock_1"

    assert drift(reconciled()) == {} and record().stripe_id == customer


def test_a_namesake_is_no_customer_of_ours_though_ours_is_on_record_without_one(
    api, reconciled, stripe, subscribed, hear, clock
):
    ask(stripe, "DELETE", f"/v1/customers/{record().stripe_id}")
    hear()
    assert record().version and record().stripe_id is None
    (price,) = [id for id, each in stripe.prices.items() if each["lookup_key"] == "tollgate_team"]
    paying = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    namesake = ask(stripe, "POST", "/v1/customers", metadata={"customer": "ada"}, **paying)["id"]
    ask(stripe, "POST", "/v1/subscriptions", customer=namesake, items=[{"price": price, "quantity": "1"}])
    clock.pass_by(minutes=5)

    assert drift(reconciled()) == {namesake: (["missing_here"], False, "not_linked")}
    assert record().stripe_id is None


# Replays


def test_of_two_who_replay_at_once_one_does(api, stripe, received, moments):
    id = failed(1_795_000_000)
    answers = []

    def replay():
        answers.append(api("POST", f"/webhook-events/{id}/replay", claims=ADMIN).json["replayed"])

    done = iter([True])

    def between(now):
        if now in ("before TransactWriteItems", "before UpdateItem") and next(done, False):
            replay()

    moments.append(between)
    replay()
    assert answers == [True, False] and webhook_table.find(id).replays == 1
    assert len(received()["Records"]) == 1


# Adoption


def link(api, stripe_customer):
    answer = api("PUT", "/customers/ada/stripe-customer", {"stripe_customer": stripe_customer}, claims=ADMIN)
    return answer


def paying(stripe):
    said = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    return ask(stripe, "POST", "/v1/customers", **said)["id"]


def billed(stripe, customer):
    ask(stripe, "POST", "/v1/invoiceitems", customer=customer, amount="900", currency="usd")
    return ask(stripe, "POST", "/v1/invoices", customer=customer, pending_invoice_items_behavior="include")["id"]


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ({"billing_thresholds": {"amount_gte": 1000, "reset_billing_cycle_anchor": False}}, "threshold"),
        ({"on_behalf_of": "acct_1"}, "connect"),
        ({"application_fee_percent": 10.0}, "connect"),
    ],
    ids=repr,
)
def test_what_cannot_be_carried_is_left_with_its_reason(tollgate, account, past, told, stripe, field, why):
    price, customer = past.price(**FLAT), past.customer("ada")
    past.is_so("subscription", past.subscribe(customer, price), **field)
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}

    assert adopt(tollgate, account, Wishes(matched("metadata:tenant"), set(), said, apply=True), told.append) == 1
    assert [line.split()[2] for line in told if line.split()[0] == customer] == [why]


def test_a_price_that_is_left_is_told_by_the_exit_code_though_nobody_has_it(tollgate, account, past, told, stripe):
    price = past.price(**FLAT | {"recurring": {"interval": "week"}})
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}
    assert adopt(tollgate, account, Wishes(matched("metadata:tenant"), set(), said, apply=True), told.append) == 1


def test_that_more_than_one_lives_is_told_before_anything_is_done(tollgate, account, past, told, stripe):
    price, customer = past.price(**FLAT), past.customer("ada")
    for _ in range(2):
        past.subscribe(customer, price)
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}
    adopt(tollgate, account, Wishes(matched("metadata:tenant"), set(), said), told.append)
    assert [line for line in told if line.split()[0] == customer and "more than one lives" in line]
