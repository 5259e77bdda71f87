"""What has happened, on the bus: from the table's stream, deployed."""

import json

import pytest


@pytest.fixture
def listener(stack):
    """A queue of somebody's own, with a rule on the bus: what it has heard of a customer, by sequence."""
    sqs, events = stack.client("sqs"), stack.client("events")
    url = sqs.create_queue(QueueName="listener")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bus = stack.outputs["EventBus"]
    events.put_rule(Name="all", EventBusName=bus, EventPattern=json.dumps({"source": ["tollgate"]}))
    events.put_targets(Rule="all", EventBusName=bus, Targets=[{"Id": "listener", "Arn": arn}])
    known = {}

    def heard(customer):
        while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                event = json.loads(message["Body"])
                assert event["detail-type"] == event["detail"]["type"]
                known.setdefault(event["detail"]["customer"], {})[event["detail"]["sequence"]] = event["detail"]
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return known.get(customer, {})

    yield heard
    events.remove_targets(Rule="all", EventBusName=bus, Ids=["listener"])
    events.delete_rule(Name="all", EventBusName=bus)
    sqs.delete_queue(QueueUrl=url)


def test_what_happens_to_a_customer_reaches_whoever_listens_on_the_bus(stack, listener, ada, call, settle, eventually):
    assert ada.ask("PUT", "/subscription/seats", {"quantity": 6}).status == 200
    settle()
    service = stack.token("backend", "billing/service")

    def told():
        return call("GET", f"/customers/{ada.name}/events?limit=100", service).json["events"]

    eventually(lambda: [listener(ada.name).get(each["sequence"]) for each in told()], told())
    types = [each["type"] for each in told()]
    assert [each["sequence"] for each in told()] == list(range(1, len(types) + 1))
    assert {"subscription.created", "access.changed", "subscription.updated", "invoice.paid"} <= set(types)
    eventually(lambda: [sk for sk, each in ada.items().items() if sk.startswith("event#") and "waits" in each], [])
