"""What calls of the store take, as they are made: counted by AWS's rules from the items that were really written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

from bench import costs
from bench.costs import Units

FOUND = {"Query": "Items", "Scan": "Items", "GetItem": "Item"}  # where the answers of reads have it


class Call(NamedTuple):
    """Of the store: what was asked, and what was answered."""

    name: str
    asked: dict[str, Any]
    answered: dict[str, Any]


class Meter:
    """Of a client of DynamoDB's (botocore's) and the template's tables."""

    def __init__(self, db: Any, template: dict[str, Any]):
        self.db, self.template = db, template

    @contextmanager
    def calls(self) -> Iterator[list[Call]]:
        """All calls of the store meanwhile, in the order of their answers."""
        made: list[Call] = []

        def ask(params, context, **_):
            context["asked"] = params

        def answer(parsed, model, context, **_):
            made.append(Call(model.name, context["asked"], parsed))

        events = self.db.meta.events
        events.register("provide-client-params.dynamodb", ask)
        events.register("after-call.dynamodb", answer)
        try:
            yield made
        finally:
            events.unregister("provide-client-params.dynamodb", ask)
            events.unregister("after-call.dynamodb", answer)

    def units(self, calls: Sequence[Call]) -> Units:
        writes = sum((self._written(call) for call in calls), Fraction(0))
        reads = sum((_read(call) for call in calls), Fraction(0))
        return Units(writes, reads, len(calls))

    def _written(self, call: Call) -> Fraction:
        """By the items as they are on record now; of an update no index is taken to be touched."""
        alone = {"PutItem": "Put", "UpdateItem": "Update"}.get(call.name)
        units = 0
        for action in [{alone: call.asked}] if alone else call.asked.get("TransactItems", []):
            ((kind, wanted),) = action.items()
            table = wanted["TableName"]
            whole = wanted["Item"] if kind == "Put" else wanted["Key"]
            item = self._item(table, {name: whole[name] for name in self._key(table)})
            size = costs.size(item)
            units += costs.write_units(size, transactional=not alone)
            if kind == "Put":
                entries = (costs.index_units(size) for keys in self._indexes(table) if keys <= item.keys())
                units += sum(entries)
        return Fraction(units)

    def _key(self, table: str) -> list[str]:
        known = self.db.describe_table(TableName=table)["Table"]["KeySchema"]
        return [each["AttributeName"] for each in known]

    def _indexes(self, table: str) -> list[set[str]]:
        """The keys of each: what has them is in it, taken to be there with all it has."""
        known = self.template["Resources"].get(table, {}).get("Properties", {})
        return [
            {key["AttributeName"] for key in index["KeySchema"]} for index in known.get("GlobalSecondaryIndexes", [])
        ]

    def _item(self, table: str, key: dict) -> dict:
        return _plain(self.db.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


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
