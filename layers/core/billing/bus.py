"""The door to our own bus of EventBridge: what has happened is told to whoever listens."""

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from billing import aws
from billing.domain_events import DomainEvent
from billing.errors import Unavailable

SOURCE = "tollgate"
MOST, LARGEST = 10, 256 * 1024  # entries of a call, and bytes of all of them (docs: PutEvents)
INSTANT = 14  # bytes that a time counts for
PASSING = {"InternalFailure", "InternalException", "ThrottlingException"}  # of one entry, or of the whole call


class Taken(NamedTuple):
    """How many of them the bus has taken before the first that it has not, and why not."""

    number: int
    refusal: str | None = None


@cache
def events():
    return aws.client("events", read_timeout=3, retries={"total_max_attempts": 2})


def batches(told: Sequence[DomainEvent]) -> Iterator[list[DomainEvent]]:
    """In their order, as many in each as the bus takes at once. One that is too large is alone: the bus says so."""
    batch, size = [], 0
    for event in told:
        own = _size(_entry(event))
        if batch and (len(batch) == MOST or size + own > LARGEST):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += own
    if batch:
        yield batch


def put(batch: Sequence[DomainEvent]) -> Taken:
    """
    Unavailable if the bus is not reached, or can take none now. Of those behind the first that it refuses it may have
    taken some all the same.
    """
    try:
        answer = events().put_events(Entries=[_entry(event) for event in batch])
    except ClientError as refused:
        code = refused.response["Error"]["Code"]
        if code in PASSING or refused.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise Unavailable("the bus is busy") from refused
        return Taken(0, code)
    except BotoCoreError as silent:
        raise Unavailable("the bus did not answer") from silent
    refusals = ((place, each["ErrorCode"]) for place, each in enumerate(answer["Entries"]) if each.get("ErrorCode"))
    return Taken(*next(refusals, (len(batch), None)))


def _entry(event: DomainEvent) -> Any:
    return {
        "EventBusName": os.environ["BUS"],
        "Source": SOURCE,
        "DetailType": event.type,
        "Time": datetime.fromtimestamp(event.at, UTC),
        "Detail": json.dumps(event.on_bus(), separators=(",", ":")),
    }


def _size(entry: dict) -> int:
    """In bytes, as they are counted there; all of it is ASCII."""
    return INSTANT + sum(len(entry[part]) for part in ("Source", "DetailType", "Detail"))
