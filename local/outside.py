"""What leaves a local stack: events on its bus, mails in the local SES, schedules that are to come."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

from local.stack import Stack


class Listener:
    """A queue of somebody's own, with a rule on the bus: all that it has heard since."""

    def __init__(self, stack: Stack, url: str):
        self.sqs, self.url = stack.client("sqs"), url
        self.known: dict[str, dict[int, dict]] = {}

    def heard(self, customer: str) -> dict[int, dict]:
        """Of a customer, by sequence."""
        while found := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                event = json.loads(message["Body"])
                assert event["detail-type"] == event["detail"]["type"]
                self.known.setdefault(event["detail"]["customer"], {})[event["detail"]["sequence"]] = event["detail"]
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self.known.get(customer, {})


@contextmanager
def listening(stack: Stack, name: str = "listener") -> Iterator[Listener]:
    sqs, events, bus = stack.client("sqs"), stack.client("events"), stack.outputs["EventBus"]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": ["tollgate"]}))
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": name, "Arn": arn}])
    yield Listener(stack, url)
    events.remove_targets(Rule=name, EventBusName=bus, Ids=[name])
    events.delete_rule(Name=name, EventBusName=bus)
    sqs.delete_queue(QueueUrl=url)


def mails(stack: Stack, address: str) -> list[dict[str, Any]]:
    """What the local SES has sent there, the oldest first, each with its `Subject`, `BodyText` and `BodyHtml`."""
    with urlopen(f"{stack.aws_endpoint}/_ministack/ses/messages") as answer:
        accounts = json.loads(answer.read())["messages"].values()
    sent = sorted((each for account in accounts for each in account), key=lambda each: each["Timestamp"])
    return [each for each in sent if address in each["To"]]


def fire(stack: Stack, **about: str) -> bool:
    """The schedule for one time that hands that in goes off now, as if its time had come; False: there is none yet."""
    scheduler = stack.client("scheduler")
    group = stack.client("cloudformation").describe_stack_resource(
        StackName=stack.stack_name, LogicalResourceId="Schedules"
    )["StackResourceDetail"]["PhysicalResourceId"]
    for each in scheduler.list_schedules(GroupName=group)["Schedules"]:
        target = scheduler.get_schedule(GroupName=group, Name=each["Name"])["Target"]
        if about.items() <= json.loads(target["Input"]).items():
            scheduler.delete_schedule(GroupName=group, Name=each["Name"])
            answer = stack.client("lambda").invoke(FunctionName=target["Arn"], Payload=target["Input"])
            assert "FunctionError" not in answer, answer["Payload"].read()
            return True
    return False
