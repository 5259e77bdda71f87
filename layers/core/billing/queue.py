"""The door to SQS: a FIFO queue of webhook envelopes, and a plain one of what the product's own URL is told."""

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from hashlib import sha256

from botocore.exceptions import BotoCoreError, ClientError

from billing import aws
from billing.errors import Malformed
from billing.webhooks import WebhookEvent, opened

PLAIN = re.compile(r"[A-Za-z0-9_.#-]{1,128}")  # what SQS takes as a name
LONGEST = 900  # seconds that a message is hidden


@cache
def sqs():
    return aws.client("sqs", read_timeout=5)


def send(event: WebhookEvent, replay: int = 0) -> None:
    """Returns once SQS has it; the same event sent twice within five minutes is one message, but for a replay."""
    sqs().send_message(
        QueueUrl=os.environ["WEBHOOK_QUEUE"],
        MessageBody=json.dumps(asdict(event)),
        MessageGroupId=_name(event.group),
        MessageDeduplicationId=_name(f"{event.id}#replay-{replay}" if replay else event.id),
    )


def _name(id: str) -> str:
    """What SQS refuses it would refuse again, and Stripe would come back with it for three days."""
    return id if PLAIN.fullmatch(id) else sha256(id.encode()).hexdigest()


def received(message: dict) -> WebhookEvent:
    """Malformed if it is nothing that we have sent."""
    try:
        return opened(json.loads(message["body"]))
    except (ValueError, RecursionError):
        raise Malformed("the message is no JSON") from None


def defer(message: dict, jitter: float, times: int | None = None) -> None:
    """
    Hide a message in hand, and its group with it, for 2^times seconds, a quarter of an hour at most; unless said, the
    times that it has been delivered.

    One that cannot be hidden comes back all the same, when the queue's own time is up.
    """
    times = times or attempts(message)
    with suppress(BotoCoreError, ClientError):
        sqs().change_message_visibility(
            QueueUrl=os.environ["WEBHOOK_QUEUE"],
            ReceiptHandle=message["receiptHandle"],
            VisibilityTimeout=int(min(2**times, LONGEST) * jitter),
        )


def attempts(message: dict) -> int:
    """How often it has been delivered to one of us, this time included."""
    return int(message["attributes"]["ApproximateReceiveCount"])


def hide(message: dict, seconds: int) -> None:
    """What the product's URL has not taken comes again then, or when the queue's own time is up."""
    with suppress(BotoCoreError, ClientError):
        url, receipt = os.environ["DELIVERY_QUEUE"], message["receiptHandle"]
        sqs().change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=seconds)


def bury(message: dict) -> bool:
    """Whether the dead letters have it: else it comes again."""
    try:
        sqs().send_message(QueueUrl=os.environ["DEAD_DELIVERY_QUEUE"], MessageBody=message["body"])
    except (BotoCoreError, ClientError):
        return False
    return True
