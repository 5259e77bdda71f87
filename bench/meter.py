"""What calls of the store take, as they are made: counted by AWS's rules from the items as they were and became."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

import boto3

from bench import costs
from bench.costs import Units

FOUND = {"Query": "Items", "Scan": "Items", "GetItem": "Item"}  # where the answers of reads have it
ALONE, TRANSACTION = ("PutItem", "UpdateItem", "DeleteItem"), "TransactWriteItems"


class Write(NamedTuple):
    """An item that is written, or only checked: as it stood before, and after; {} is none."""

    table: str
    before: dict[str, Any]
    after: dict[str, Any]


class Call(NamedTuple):
    """Of the store: what was asked, what was answered, and what became of the items that were written."""

    name: str
    asked: dict[str, Any]
    answered: dict[str, Any]
    writes: list[Write]


class Meter:
    """Of a client of DynamoDB's (botocore's) and the template's tables; it looks by a client of its own."""

    def __init__(self, db: Any, template: dict[str, Any]):
        self.db, self.template, self.eye = db, template, boto3.client("dynamodb")

    @contextmanager
    def calls(self) -> Iterator[list[Call]]:
        """All calls of the store meanwhile, in the order of their answers."""
        made: list[Call] = []

        def ask(params, model, context, **_):
            keys = self._keys(model.name, params)
            context["asked"], context["before"] = params, [(*each, self._item(*each)) for each in keys]

        def answer(parsed, model, context, **_):
            writes = [Write(table, before, self._item(table, key)) for table, key, before in context["before"]]
            made.append(Call(model.name, context["asked"], parsed, writes))

        events = self.db.meta.events
        events.register("provide-client-params.dynamodb", ask)
        events.register("after-call.dynamodb", answer)
        try:
            yield made
        finally:
            events.unregister("provide-client-params.dynamodb", ask)
            events.unregister("after-call.dynamodb", answer)

    def units(self, calls: Sequence[Call]) -> Units:
        writes = sum(self._written(write, call.name == TRANSACTION) for call in calls for write in call.writes)
        reads = sum((_read(call) for call in calls), Fraction(0))
        return Units(Fraction(writes), reads, len(calls))

    def _written(self, write: Write, transactional: bool) -> int:
        """The larger of what stood there and what stands there now (docs: Write operations), and the indexes."""
        size = max(costs.size(write.before), costs.size(write.after))
        indexes = (
            self.template["Resources"].get(write.table, {}).get("Properties", {}).get("GlobalSecondaryIndexes", [])
        )
        entries = (self._entered(write, index) for index in indexes)
        return costs.write_units(size, transactional) + sum(entries)

    def _entered(self, write: Write, index: dict[str, Any]) -> int:
        """
        An entry that is made, changed or removed is a write; one whose key changes is two; one that stays is none.

        Source: docs, Using Global Secondary Indexes: write capacity units.
        """
        keys = [each["AttributeName"] for each in index["KeySchema"]]
        whole = index["Projection"]["ProjectionType"] == "ALL"
        shown = None if whole else {*keys, *self._key(write.table)}
        before, after = (_entry(item, keys, shown) for item in (write.before, write.after))
        if before == after:
            return 0
        if before and after and [before[key] for key in keys] == [after[key] for key in keys]:
            return costs.index_units(max(costs.size(before), costs.size(after)))
        return sum(costs.index_units(costs.size(entry)) for entry in (before, after) if entry)

    def _keys(self, name: str, asked: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Table and key of each item that a call writes or checks."""
        actions = [asked] if name in ALONE else []
        if name == TRANSACTION:
            actions = [wanted for action in asked["TransactItems"] for wanted in action.values()]
        found = []
        for wanted in actions:
            table, whole = wanted["TableName"], wanted.get("Item") or wanted["Key"]
            found.append((table, {each: whole[each] for each in self._key(table)}))
        return found

    def _key(self, table: str) -> list[str]:
        known = self.eye.describe_table(TableName=table)["Table"]["KeySchema"]
        return [each["AttributeName"] for each in known]

    def _item(self, table: str, key: dict) -> dict:
        return _plain(self.eye.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


def _entry(item: dict[str, Any], keys: Sequence[str], shown: set[str] | None) -> dict[str, Any]:
    """What an index has of an item, be it all of it; {}: the item is not in it."""
    if any(key not in item for key in keys):
        return {}
    return {name: value for name, value in item.items() if shown is None or name in shown}


def _read(call: Call) -> Fraction:
    if call.name == "BatchGetItem":  # each for itself, be it there or not (docs: BatchGetItem)
        wanted = [keys for table in call.asked["RequestItems"].values() for keys in table["Keys"]]
        found = [item for items in call.answered["Responses"].values() for item in items]
        absent = len(wanted) - len(found)
        return sum((costs.read_units(costs.size(_plain(item))) for item in found), Fraction(0)) + absent
    if call.name not in FOUND:
        return Fraction(0)
    found = call.answered.get(FOUND[call.name]) or []
    items = found if isinstance(found, list) else [found]
    return costs.read_units(sum(costs.size(_plain(item)) for item in items), call.asked.get("ConsistentRead", False))


def _plain(item: dict) -> dict:
    from billing import dynamodb

    return dynamodb.decode(item)
