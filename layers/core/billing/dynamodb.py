"""
The door to DynamoDB: reads, writes as values, and one way to make them true, all or none.

A write is a value made by `put`, `update` or `check`; `transact` carries them out. Whoever saves something names in
its condition what it grew from, and reads again when that no longer stands.
"""

import time
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cache
from random import uniform
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from billing import aws
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


@cache
def db():
    return aws.client("dynamodb", read_timeout=3, retries={"mode": "standard"}, max_pool_connections=50)


class Page(NamedTuple):
    items: list[dict]
    after: dict | None  # key that the next page comes after; None: there is none


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


def following(table: str, pk: str, begins: str, after: str, most: int) -> list[dict]:
    """The first `most` items of a partition after a sort key, be there such an item or not, that begin so."""
    items: list[dict] = []
    wanted: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :begins)",
        "ExpressionAttributeValues": encode({":pk": pk, ":begins": begins}),
        "ConsistentRead": True,
        "ExclusiveStartKey": encode({"pk": pk, "sk": after}),
    }
    with _reached():
        while len(items) < most:
            page = db().query(**wanted, Limit=most - len(items))
            items += [decode(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            wanted["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    return items


def several(table: str, keys: Sequence[dict]) -> list[dict]:
    """Those of at most a hundred items that are there, as they stand now, in no order."""
    wanted: Any = {table: {"Keys": [encode(key) for key in keys], "ConsistentRead": True}} if keys else {}
    items: list[dict] = []
    for attempt in range(TRIES):
        if not wanted:
            return items
        with _reached():
            answer = db().batch_get_item(RequestItems=wanted)
        items += [decode(item) for item in answer["Responses"].get(table, [])]
        wanted = answer.get("UnprocessedKeys")
        if wanted:
            time.sleep(uniform(0.01, 0.05) * 2**attempt)
    if wanted:
        raise Contended("the store is busy")
    return items


def indexed(
    table: str,
    index: str,
    condition: str,
    most: int,
    after: dict | None = None,
    newest: bool = False,
    where: str | None = None,
    names: dict | None = None,
    **values,
) -> Page:
    """`most` items of an index that fulfil a condition on its key, by its order; then those of them as `where` says."""
    wanted: dict[str, Any] = {"TableName": table, "IndexName": index, "KeyConditionExpression": condition}
    wanted |= {"ScanIndexForward": not newest, "Limit": most} | _sifted(after, where, names, values)
    with _reached():
        return _page(db().query(**wanted))


def scan(table: str, where: str, most: int, after: dict | None = None, names: dict | None = None, **values) -> Page:
    """`most` items of a table, as they stood a moment ago; then those of them as `where` says. For the night."""
    with _reached():
        return _page(db().scan(TableName=table, Limit=most, **_sifted(after, where, names, values)))


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
    """As DynamoDB has them (docs: AttributeValue): texts, whole numbers, flags, nothing, lists and maps of those."""
    return {name: _encoded(value) for name, value in values.items()}


def decode(item: dict) -> dict:
    return {name: _decoded(value) for name, value in item.items()}


def _encoded(value: object) -> dict:
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case dict():
            return {"M": encode(value)}
        case list() | tuple():
            return {"L": [_encoded(each) for each in value]}
    raise TypeError(f"{type(value).__name__} is kept on no record")


def _decoded(value: dict) -> Any:
    ((kind, said),) = value.items()
    match kind:
        case "S" | "BOOL":
            return said
        case "N":
            return int(said)
        case "NULL":
            return None
        case "M":
            return decode(said)
        case "L":
            return [_decoded(each) for each in said]
    raise TypeError(f"{kind} is kept on no record")


def _alone(write: dict) -> None:
    ((kind, wanted),) = write.items()
    {"Put": db().put_item, "Update": db().update_item}[kind](**wanted)


def _sifted(after: dict | None, where: str | None, names: dict | None, values: dict) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "ExpressionAttributeValues": encode({f":{name}": value for name, value in values.items()})
    }
    given = {"ExclusiveStartKey": after and encode(after), "FilterExpression": where, "ExpressionAttributeNames": names}
    return wanted | {name: value for name, value in given.items() if value}


def _page(answer: dict) -> Page:
    last = answer.get("LastEvaluatedKey")
    return Page([decode(item) for item in answer["Items"]], decode(last) if last else None)


def _conditional(wanted: dict, condition: str | None, values: dict) -> dict:
    if condition:
        wanted |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    if values:
        wanted["ExpressionAttributeValues"] = _values(values)
    return wanted


def _values(values: dict) -> dict:
    return encode({f":{name}": value for name, value in values.items()})


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
