"""What cannot be handled as it is: rubbish, what is gone at Stripe, what is somebody else's, and poison."""

import json
import logging
import time
from dataclasses import asdict

import pytest
from botocore.exceptions import EndpointConnectionError

import bury_webhook
import process_webhook
from billing import customer_table, queue, webhook_table
from billing.webhooks import envelope
from tests.functions.at_stripe import ask, batch, pays_with, row, sample

RUBBISH = ["", "rubbish", "null", "[]", "5", '"evt_1"', "{}", '{"id": "evt_1"}', "[" * 100_000, "\x00", '{"id": NaN}']


@pytest.fixture
def alarms(caplog):
    """The ERROR lines so far of a code: their keys."""
    return lambda code: [vars(each) for each in caplog.records if (each.levelno, each.msg) == (logging.ERROR, code)]


@pytest.fixture
def event(stripe, subscribed):
    """One that tells of nine seats."""
    return told_of_seats(stripe, subscribed["id"], 9)


def told_of_seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})
    return [each for each in stripe.events.values() if each["type"] == "customer.subscription.updated"][-1]


def record(customer="ada"):
    return customer_table.find(customer, 0)


def lose(stripe, kind, id):
    """As with the key of another account: Stripe has never heard of it. Answers what brings it back."""
    table = stripe._account.tables[kind]
    lost = table.pop(id)
    return lambda: table.update({id: lost})


def with_bodies(*bodies):
    (message,) = batch([sample("invoice.paid")])["Records"]
    return {"Records": [message | {"messageId": f"m{n}", "body": body} for n, body in enumerate(bodies)]}


# What is no envelope


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda text: text[:20] or "nothing")
def test_a_message_that_is_no_envelope_is_told_once_and_costs_no_neighbour(process, event, alarms, rubbish):
    good = json.dumps(asdict(envelope(event)))

    assert process(with_bodies(rubbish, good)) == []
    assert (row(event["id"]), record().subscription.theirs.quantity) == (["done", 0], 9)
    assert [told["message_id"] for told in alarms("unreadable")] == ["m0"]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda text: text[:20] or "nothing")
def test_a_dead_letter_that_is_no_envelope_is_told_once_and_costs_no_neighbour(event, context, alarms, rubbish):
    bury_webhook.handler(with_bodies(rubbish, json.dumps(asdict(envelope(event)))), context)

    assert row(event["id"])[0] == "failed" and [told["message_id"] for told in alarms("unreadable")] == ["m0"]


def test_messages_of_an_older_and_of_a_newer_version_of_the_code_are_handled(process, stripe, subscribed, event):
    other = told_of_seats(stripe, subscribed["id"], 7)
    older, newer = asdict(envelope(event)), asdict(envelope(other)) | {"a_later_field": 1}
    del older["invoice"]

    assert process(with_bodies(json.dumps(older), json.dumps(newer))) == []
    assert [row(each["id"]) for each in (event, other)] == [["done", 0]] * 2
    assert record().subscription.theirs.quantity == 7


# What is gone at Stripe


MISSING = "MissingAtStripe (missing_at_stripe) from NotFound (not_found) from InvalidRequestError"


@pytest.mark.parametrize("type", ["customer.subscription.updated", "customer.updated", "customer.deleted"])
def test_a_live_subscription_that_stripe_does_not_know_stays_and_the_operator_is_told(
    process, api, stripe, subscribed, alarms, type
):
    back, before = lose(stripe, "subscription", subscribed["id"]), record()
    told = sample(type, cus=before.stripe_id, sub=subscribed["id"])

    assert process(batch([told])) == ["m0"] and row(told["id"]) == ["retrying", 1, MISSING]
    assert record() == before and before.subscription.theirs.status == "active"
    (line,) = alarms("missing_at_stripe")
    assert (line["subscription"], line["events"]) == (subscribed["id"], [told["id"]])
    back()
    late = told_of_seats(stripe, subscribed["id"], 9)
    assert process(batch([late])) == [] and api("GET", "/subscription").json["seats"] == 9


def test_one_that_stands_aside_and_is_gone_is_told_too(process, stripe, subscribed, hear, alarms):
    second = another(stripe, subscribed["id"])
    hear()
    lose(stripe, "subscription", second)
    told = sample("customer.subscription.updated", cus=record().stripe_id, sub=second)

    assert process(batch([told])) == ["m0"] and row(told["id"]) == ["retrying", 1, MISSING]
    assert [line["subscription"] for line in alarms("missing_at_stripe")] == [second]
    assert customer_table.aside("ada", second).theirs.status == "active"


@pytest.mark.parametrize("known", [True, False])
def test_a_subscription_that_has_ended_or_was_never_ours_is_not_missed(process, api, stripe, subscribed, alarms, known):
    id = subscribed["id"] if known else "sub_never"
    if known:
        api("POST", "/subscription/cancel", {"immediately": True})
        lose(stripe, "subscription", id)
    told, before = sample("customer.subscription.deleted", cus=record().stripe_id, sub=id), record()

    assert process(batch([told])) == ["m0"] and row(told["id"]) == ["retrying", 1, MISSING]
    assert record() == before and alarms("missing_at_stripe") == []


@pytest.mark.parametrize("type", ["customer.subscription.updated", "customer.updated", "customer.deleted"])
def test_what_is_gone_with_its_customer_is_given_up_and_told(process, stripe, subscribed, hear, alarms, type):
    hear()
    before = record()
    ask(stripe, "DELETE", f"/v1/customers/{before.stripe_id}")
    lose(stripe, "subscription", subscribed["id"])
    told = sample(type, cus=before.stripe_id, sub=subscribed["id"])

    assert process(batch([told])) == [] and row(told["id"]) == ["ignored", 0] and record() == before
    assert [line["subscription"] for line in alarms("missing_at_stripe")] == [subscribed["id"]]


def test_an_invoice_that_stripe_does_not_know_costs_the_subscription_nothing(process, stripe, subscribed, event):
    gone = sample("invoice.paid", cus=record().stripe_id, sub=subscribed["id"], **{"in": "in_gone"})

    assert process(batch([gone, event])) == [] and row(gone["id"]) == ["done", 0]
    assert record().subscription.theirs.quantity == 9 and customer_table.invoices("ada", 50) == []


def test_when_all_is_gone_as_with_a_wrong_key_nobody_loses_access_and_no_event_its_effect(
    process, stripe, subscribed, swept
):
    told_of_seats(stripe, subscribed["id"], 9)
    told = list({each["type"]: each for each in stripe.events.values()}.values())
    kinds = ("subscription", "customer", "invoice", "payment_method", "price", "product")
    back = [lose(stripe, kind, id) for kind in kinds for id in list(stripe._account.tables[kind])]

    while process(batch(told)):
        assert record().subscription.theirs.status == "active"
    failed = [each["id"] for each in told if row(each["id"])[0] == "failed"]
    assert {row(id)[2] for id in failed} == {MISSING} and record().subscription.theirs.quantity == 5
    for bring in back:
        bring()
    swept()
    assert {row(id)[0] for id in failed} == {"done"} and record().subscription.theirs.quantity == 9


# Of others


def another(stripe, subscription):
    """A second live one of the same customer."""
    theirs = stripe.subscriptions[subscription]
    item = {"price": theirs["items"]["data"][0]["price"]["id"], "quantity": "2"}
    params = {"customer": theirs["customer"], "items": {"0": item}}
    return ask(stripe, "POST", "/v1/subscriptions", **params, default_payment_method=theirs["default_payment_method"])[
        "id"
    ]


def test_an_event_of_a_subscription_that_stands_aside_is_recorded_there(process, stripe, subscribed, hear):
    second = another(stripe, subscribed["id"])
    hear()
    before = record().subscription
    told = told_of_seats(stripe, second, 4)

    assert process(batch([told])) == [] and row(told["id"]) == ["done", 0]
    assert customer_table.aside("ada", second).theirs.quantity == 4 and record().subscription == before


def test_no_event_brings_a_customer_the_subscription_of_another(process, api, stripe, subscribed, alarms):
    api("PUT", "/customer", {"email": "bob@example.com"}, customer="bob")
    told, before = sample("customer.subscription.updated", cus=record("bob").stripe_id, sub=subscribed["id"]), record()

    assert process(batch([told])) == [] and row(told["id"]) == ["ignored", 0]
    assert record("bob").subscription is None and record() == before
    assert [line["subscription"] for line in alarms("other_customer")] == [subscribed["id"]]


def test_no_event_brings_a_customer_the_invoice_of_another(process, api, stripe, subscribed):
    api("PUT", "/customer", {"email": "bob@example.com"}, customer="bob")
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    told = sample("credit_note.created", cus=record("bob").stripe_id, **{"in": invoice})

    assert process(batch([told])) == [] and customer_table.invoices("bob", 50) == []


def test_two_event_objects_of_one_change_have_one_effect(process, event):
    twin = event | {"id": "evt_twin"}

    assert process(batch([event])) == []
    version = record().version
    assert process(batch([twin])) == [] and record().version == version
    assert [row(each["id"]) for each in (event, twin)] == [["done", 0]] * 2


# Poison


def test_neither_the_log_nor_the_row_quotes_the_message_of_a_failure(process, event, moments, caplog, alarms):
    def fail():
        raise ValueError("No such customer: 'ada@example.com' (Ada Lovelace)")

    moments.once("before get", fail)
    caplog.set_level(logging.DEBUG)

    assert process(batch([event])) == ["m0"] and row(event["id"]) == ["retrying", 1, "ValueError"]
    (told,) = alarms("failed")
    assert (told["event"], told["error"]) == (event["id"], "ValueError")
    assert any(frame.startswith("sync.py:") for frame in told["frames"])
    assert not any(word in caplog.text for word in ("ada@example.com", "Lovelace"))
    assert not any(word in str(vars(each)) for each in caplog.records for word in ("ada@example.com", "Lovelace"))


def test_what_stripe_failed_at_is_named_without_its_words(process, stripe, event):
    stripe.fault("failed", method="GET", path="/v1/subscriptions/.*", times=2)

    assert process(batch([event])) == ["m0"]
    assert row(event["id"]) == ["retrying", 1, "Failed (stripe_failed) from APIError"]


def test_a_poisoned_event_is_given_up_within_a_minute(process, stripe, event, received):
    waits = []
    hear = "before-call.sqs.ChangeMessageVisibility"
    queue.sqs().meta.events.register(hear, lambda params, **_: waits.append(json.loads(params["body"])))
    queue.send(envelope(event))
    waiting = received()
    waiting["Records"][0]["attributes"]["ApproximateReceiveCount"] = "9"  # it has been deferred before
    stripe.fault("failed", method="GET", path="/v1/subscriptions/.*", times=10)

    assert [len(process(waiting)) for _ in range(5)] == [1, 1, 1, 1, 0] and row(event["id"])[0] == "failed"
    seconds = [wait["VisibilityTimeout"] for wait in waits]
    assert len(seconds) == 4 and sum(seconds) <= 30
    assert all(2**failures // 2 <= wait <= 2**failures for failures, wait in enumerate(seconds, 1))


def test_a_counted_failure_is_delivered_again_a_second_or_two_later(process, stripe, event, received):
    queue.send(envelope(event))
    stripe.fault("failed", method="GET", path="/v1/subscriptions/.*", times=2)
    assert len(process(received())) == 1

    assert received() == {"Records": []}
    time.sleep(2.1)
    assert process(received()) == [] and row(event["id"]) == ["done", 0]


def test_a_failure_that_cannot_be_counted_comes_again_and_costs_no_neighbour(
    process, api, stripe, subscribed, event, moments
):
    api("PUT", "/customer", {"email": "bob@example.com"}, customer="bob")
    bobs = sample("customer.updated", cus=record("bob").stripe_id)

    def unreachable():
        raise EndpointConnectionError(endpoint_url="dynamodb")

    stripe.fault("failed", method="GET", path="/v1/subscriptions/.*", times=2)
    moments.once("before PutItem", unreachable)

    assert process(batch([event, bobs])) == ["m0"] and row(event["id"]) == []
    assert row(bobs["id"]) == ["done", 0]
    assert process(batch([event])) == [] and row(event["id"]) == ["done", 0]


def test_when_time_runs_out_among_the_poisoned_the_rest_is_not_counted(stripe, subscribed, context, event):
    other = told_of_seats(stripe, subscribed["id"], 7)
    left = iter([25_000, 18_000, 5_000])  # for the group, then for each alone
    context.get_remaining_time_in_millis = lambda: next(left)
    stripe.fault("failed", method="GET", path="/v1/subscriptions/.*", times=4)

    again = process_webhook.handler(batch([event, other]), context)["batchItemFailures"]
    assert [each["itemIdentifier"] for each in again] == ["m0", "m1"]
    assert (row(event["id"])[:2], row(other["id"])) == (["retrying", 1], [])


def test_a_lost_card_of_a_customer_without_a_subscription_is_no_failure(process, api, stripe, subscribed):
    pays_with(stripe, subscribed["id"], "pm_card_mastercard")
    api("POST", "/subscription/cancel", {"immediately": True})
    told, before = sample("payment_method.detached", cus=record().stripe_id), record()

    assert process(batch([told])) == [] and row(told["id"]) == ["done", 0] and record() == before


def test_an_event_whose_object_was_not_found_for_an_hour_has_its_effect_when_it_is(
    subscribed,
    hear,
    swept,
    stripe,
    clock,
):
    """For an hour the key was another account's: Stripe knew nothing of ours."""
    hear()
    ours = stripe._account.tables["subscription"]
    told_of_seats(stripe, subscribed["id"], 9)
    gone = ours.pop(subscribed["id"])
    for _ in range(webhook_table.MOST_FAILURES):  # as often as the queue delivers it
        hear()
    ours[subscribed["id"]] = gone
    clock.pass_by(hours=1)

    swept()
    assert record().subscription.theirs.quantity == 9


def test_an_event_that_has_waited_out_a_long_outage_is_tried_again_by_itself(subscribed, hear, swept, stripe, context):
    """A hundred deliveries of at most a quarter of an hour are 17 hours: what has waited so long is buried."""
    hear()
    known = set(stripe.events)
    told_of_seats(stripe, subscribed["id"], 9)
    waited = [each for id, each in stripe.events.items() if id not in known]
    stripe.faults.add(kind="unreachable", method="GET", path="/v1/subscriptions", times=99)
    assert process_webhook.handler(batch(waited), context)["batchItemFailures"]
    stripe.faults.clear()
    bury_webhook.handler(batch(waited), context)

    swept()
    assert {row(each["id"])[0] for each in waited} <= {"done", "ignored"}
