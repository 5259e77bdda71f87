"""A poison event does not hold back its customer's other events for longer than its five attempts."""

import os
from collections import Counter
from random import Random

import pytest
from moto.sqs import models

import process_webhook
from billing import customer_table, queue, webhook_table
from billing.webhooks import envelope
from tests.functions.at_stripe import ask

SEED = 20261123
GOOD = 20


@pytest.fixture
def deliveries(received, context, clock, monkeypatch):
    """
    The queue is emptied, in batches, as Lambda does it: what is done is deleted, what is to come again comes when its
    time is up, and its group waits that long. Told after each batch: the ids that were in it.
    """
    monkeypatch.setattr(models, "unix_time", clock.now)
    monkeypatch.setattr(models, "unix_time_millis", lambda: clock.now() * 1000)

    def run(most=1000):
        url = os.environ["WEBHOOK_QUEUE"]
        for _ in range(most):
            if batch := received()["Records"]:
                again = process_webhook.handler({"Records": batch}, context)["batchItemFailures"]
                late = {each["itemIdentifier"] for each in again}
                for message in batch:
                    if message["messageId"] not in late:
                        queue.sqs().delete_message(QueueUrl=url, ReceiptHandle=message["receiptHandle"])
                yield [queue.received(message).id for message in batch]
            elif _left(url):
                clock.pass_by(seconds=5)
            else:
                return
        raise AssertionError("the queue is never empty")

    return run


def _left(url):
    counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    found = queue.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=list(counts))["Attributes"]
    return sum(int(found[count]) for count in counts)


@pytest.fixture
def news(stripe, subscribed, hear):
    """Twenty-one events of Ada's subscription, the last of them of nine seats; none has come."""
    hear()
    known, item = set(stripe.events), stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["id"]
    for number in range(GOOD + 1):
        items = {"0": {"id": item, "quantity": "9" if number == GOOD else str(10 + number)}}
        ask(stripe, "POST", f"/v1/subscriptions/{subscribed['id']}", items=items, proration_behavior="none")
    found = [envelope(each) for id, each in stripe.events.items() if id not in known]
    assert [each.type for each in found] == ["customer.subscription.updated"] * (GOOD + 1)
    return found


def outcome(event):
    return webhook_table.find(event.id).outcome if webhook_table.known([event.id]) else None


@pytest.mark.parametrize("place", [0, 10, GOOD])
@pytest.mark.parametrize("kind", ["stripe cannot show it", "it cannot be read"])
def test_all_others_of_the_customer_are_done_when_the_poison_has_failed(
    news, stripe, deliveries, monkeypatch, kind, place
):
    invoice = next(id for id, each in stripe.invoices.items() if each["status"] == "paid")
    told = next(each for each in stripe.events.values() if each["type"] == "invoice.paid")
    poison = envelope(told | {"id": "evt_poison"})
    assert poison.object_id == invoice and poison.group == news[0].group
    if kind == "stripe cannot show it":
        stripe.faults.add(kind="failed", method="GET", path=f"/v1/invoices/{invoice}", times=1000)
    else:
        monkeypatch.setattr("billing.translation.invoice", lambda said: said["no_such_field"])
    for event in [*news[:place], poison, *news[place:]]:
        queue.send(event)

    came, before = Counter(), None
    for batch in deliveries():
        came.update(batch)
        if outcome(poison) == "failed" and before is None:
            before = {outcome(event) for event in news}
    assert before == {"done"}
    assert came.pop(poison.id) == webhook_table.find(poison.id).attempts == webhook_table.MOST_FAILURES
    assert set(came.values()) == {1} and came.keys() == {event.id for event in news}
    assert customer_table.find("ada", 0).subscription.theirs.quantity == 9


def test_whatever_the_order_none_is_lost_and_each_is_done_once(news, stripe, deliveries):
    invoice = next(id for id, each in stripe.invoices.items() if each["status"] == "paid")
    stripe.faults.add(kind="failed", method="GET", path=f"/v1/invoices/{invoice}", times=1000)
    told = next(each for each in stripe.events.values() if each["type"] == "invoice.paid")
    poisons = [envelope(told | {"id": f"evt_poison{number}"}) for number in range(3)]
    sent, random = [*news, *poisons], Random(SEED)
    print(f"seed {SEED}")
    random.shuffle(sent)
    for event in sent:
        queue.send(event)

    came = Counter()
    for batch in deliveries():
        came.update(batch)
    assert {outcome(event) for event in poisons} == {"failed"}
    assert [outcome(event) for event in news] == ["done"] * len(news)
    assert {came[event.id] for event in news} == {1} and {came[event.id] for event in poisons} == {5}
