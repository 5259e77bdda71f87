import json
from dataclasses import asdict
from functools import partial

import pytest

import process_webhook
from billing import customer_table, dynamodb
from billing.webhooks import envelope


@pytest.fixture
def process(context):
    def deliver(event, deliveries=1):
        attributes = {"ApproximateReceiveCount": str(deliveries)}
        message = {"messageId": "m", "receiptHandle": "r", "body": json.dumps(asdict(envelope(event)))}
        return process_webhook.handler({"Records": [message | {"attributes": attributes}]}, context)

    return deliver


def test_eight_processors_with_the_same_event_have_one_effect_and_one_marker(process, stripe, subscribed, at_once):
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["id"]
    params = {"items": {"0": {"id": item, "quantity": "9"}}}
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", params)
    event = [each for each in stripe.events.values() if each["type"] == "customer.subscription.updated"][-1]
    before = customer_table.find("ada", 0)

    at_once(*[partial(process, event)] * 8)
    after = customer_table.find("ada", 0)
    assert (after.subscription.theirs.quantity, after.version) == (9, before.version + 1)
    assert dynamodb.get("WebhookEvents", id=event["id"])["outcome"] == "done"
    assert process(event) == {"batchItemFailures": []} and customer_table.find("ada", 0) == after


def test_webhooks_and_changes_at_once_end_at_what_stripe_says(process, api, stripe, subscribed, at_once):
    events = list(stripe.events.values())
    seats = [partial(api, "PUT", "/subscription/seats", {"quantity": seats}) for seats in range(6, 12)]
    at_once(*seats, *[partial(process, event) for event in events])
    for event in stripe.events.values():
        assert process(event)["batchItemFailures"] == []

    ours, theirs = customer_table.find("ada", 0), stripe.subscriptions[subscribed["id"]]
    assert (ours.pending, ours.subscription.theirs.quantity) == (None, theirs["items"]["data"][0]["quantity"])
    kept = {invoice.id: invoice.status for invoice in customer_table.invoices("ada", 50)}
    assert kept == {id: invoice["status"] for id, invoice in stripe.invoices.items()}
