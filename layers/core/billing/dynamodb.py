"""
The door to DynamoDB: reads, writes as values, and one way to make them true, all or none.

A write is a value made by `put`, `update` or `check`; `transact` carries them out. Whoever saves something names in
its condition what it grew from, and reads again when that no longer stands.
"""

import logging
import time
from contextlib import contextmanager
from functools import cache
from random import uniform
from typing import Any, NamedTuple

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from billing.errors import Contended, Unavailable

TRIES = 5
PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "None"}
THROTTLED = {
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "TransactionInProgressException",
    "TransactionConflictException",
}


logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells where it found its credentials


@cache
def db():
    config = Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard"}, max_pool_connections=50)
    return boto3.client("dynamodb", config=config)


class Refusal(NamedTuple):
    """A write whose condition did not hold, by its place, and the item that stood there."""

    place: int
    item: dict | None


def get(table: str, **key: str) -> dict | None:
    """One item, as it stands now."""
    with _reached():
        return _item(db().get_item(TableName=table, Key=encode(key), ConsistentRead=True).get("Item"))


def query(table: str, pk: str, begins: str = "", newest: int | None = None, before: str | None = None) -> list[dict]:
    """
    All items of a partition whose sort key begins so, in its order; or the last `newest` of them, backwards, from
    `before` a sort key on, be there such an item or not.
    """
    wanted: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :begins)" if begins else "pk = :pk",
        "ExpressionAttributeValues": encode({":pk": pk} | ({":begins": begins} if begins else {})),
        "ConsistentRead": True,
    }
    if newest:
        wanted |= {"ScanIndexForward": False, "Limit": newest}
    if before:
        wanted["ExclusiveStartKey"] = encode({"pk": pk, "sk": before})
    items: list[dict] = []
    with _reached():
        while True:
            page = db().query(**wanted)
            items += [decode(item) for item in page["Items"]]
            if newest or "LastEvaluatedKey" not in page:
                return items
            wanted["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def put(table: str, item: dict, condition: str | None = None, **values) -> dict:
    return {"Put": _conditional({"TableName": table, "Item": encode(item)}, condition, values)}


def update(
    table: str, key: dict[str, str], change: str, condition: str | None = None, names: dict | None = None, **values
) -> dict:
    """`names` stand for attributes whose names are made of data."""
    wanted = {"TableName": table, "Key": encode(key), "UpdateExpression": change}
    if names:
        wanted["ExpressionAttributeNames"] = names
    return {"Update": _conditional(wanted, condition, values)}


def check(table: str, key: dict[str, str], condition: str, **values) -> dict:
    return {"ConditionCheck": _conditional({"TableName": table, "Key": encode(key)}, condition, values)}


def transact(writes: list[dict]) -> list[Refusal]:
    """
    Write all or nothing. Answers the writes that were refused by their conditions; none: it is done.

    What stands in the way only for a moment is tried again, with jitter; too long is Contended. One write alone goes
    without a transaction, at half the price.
    """
    for attempt in range(TRIES):
        try:
            with _reached():
                if len(writes) == 1 and "ConditionCheck" not in writes[0]:
                    _alone(writes[0])
                else:
                    db().transact_write_items(TransactItems=writes)
            return []
        except db().exceptions.ConditionalCheckFailedException as refused:
            return [Refusal(0, _item(refused.response.get("Item")))]
        except db().exceptions.TransactionCanceledException as cancelled:
            reasons = cancelled.response["CancellationReasons"]
            refusals = [
                Refusal(place, _item(reason.get("Item")))
                for place, reason in enumerate(reasons)
                if reason["Code"] == "ConditionalCheckFailed"
            ]
            if refusals:
                return refusals
            if not {reason["Code"] for reason in reasons} <= PASSING:
                raise
        except Contended:
            if attempt == TRIES - 1:
                raise
        time.sleep(uniform(0.01, 0.05) * 2**attempt)
    raise Contended("too many writes at once on one record")


def encode(values: dict) -> dict:
    return _serialize(values)["M"]


def decode(item: dict) -> dict:
    return _deserialize({"M": item})


def _alone(write: dict) -> None:
    ((kind, wanted),) = write.items()
    {"Put": db().put_item, "Update": db().update_item}[kind](**wanted)


def _conditional(wanted: dict, condition: str | None, values: dict) -> dict:
    if condition:
        wanted |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    if values:
        wanted["ExpressionAttributeValues"] = encode({f":{name}": value for name, value in values.items()})
    return wanted


def _item(found: dict | None) -> dict | None:
    return decode(found) if found else None


@contextmanager
def _reached():
    """Not reached, or not now, is Unavailable: whoever asks is refused, never let through."""
    try:
        yield
    except ClientError as answer:
        if answer.response["Error"]["Code"] in THROTTLED:
            raise Contended("the store is busy") from answer
        if answer.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise Unavailable("the store failed") from answer
        raise
    except BotoCoreError as silent:
        raise Unavailable("the store did not answer") from silent


class _Whole(TypeDeserializer):
    """Numbers on record are whole; the serializer lets no float in."""

    def _deserialize_n(self, value: str) -> int:
        return int(value)


_serialize, _deserialize = TypeSerializer().serialize, _Whole().deserialize
