"""A world that is put back as it was: our tables, Stripe's account, its calls and the time."""

import json
from itertools import batched
from types import SimpleNamespace
from typing import NamedTuple

from moto.core.models import DEFAULT_ACCOUNT_ID, responses_mock
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType

from billing import dynamodb, gateway, standing

TABLES = {"Plans": ("pk", "sk"), "Subscriptions": ("pk", "sk"), "Usage": ("pk", "sk"), "WebhookEvents": ("id",)}
BATCH = 25


def items(table: str) -> dict[tuple, dict]:
    """All of a table by their keys, as DynamoDB tells them."""
    found = [item.to_json()["Attributes"] for item in _moto(table).all_items()]
    return {tuple(item[name]["S"] for name in TABLES[table]): item for item in found}


def read_at_once() -> None:
    """An item is read from moto without the wire, on which it spends nine tenths of its time."""

    def answer(params, **_):
        asked = json.loads(params["body"])
        table = _moto(asked["TableName"])
        key = asked["Key"]
        sort = DynamoType(key[table.range_key_attr]) if table.range_key_attr else None
        found = table.get_item(DynamoType(key[table.hash_key_attr]), sort)
        said = {"Item": found.to_json()["Attributes"]} if found else {}
        return SimpleNamespace(status_code=200), said | {"ResponseMetadata": {"HTTPStatusCode": 200}}

    dynamodb.db().meta.events.register("before-call.dynamodb.GetItem", answer)


def _moto(table: str):
    return dynamodb_backends[DEFAULT_ACCOUNT_ID][dynamodb.db().meta.region_name].tables[table]


class Saved(NamedTuple):
    """Of a clock that stands still; may be put back into a world that is new."""

    tables: dict[str, dict[tuple, dict]]
    stripe: bytes
    at: float

    def put_back(self, stripe, clock) -> None:
        for table, kept in self.tables.items():
            become(table, kept)
        stripe.put_back(self.stripe)
        stripe.calls.clear()
        responses_mock.calls.reset()  # moto's; it remembers whatever goes over any wire
        gateway.portal_configuration.cache_clear()
        clock.at = self.at


def become(table: str, kept: dict[tuple, dict]) -> None:
    now = items(table)
    gone = [dict(zip(TABLES[table], key, strict=True)) for key in now.keys() - kept.keys()]
    writes: list[dict] = [{"DeleteRequest": {"Key": dynamodb.encode(key)}} for key in gone]
    writes += [{"PutRequest": {"Item": item}} for key, item in kept.items() if now.get(key) != item]
    for batch in batched(writes, BATCH, strict=False):
        dynamodb.db().batch_write_item(RequestItems={table: list(batch)})
    standing._known.clear()


def saved(stripe, clock) -> Saved:
    return Saved({table: items(table) for table in TABLES}, stripe.saved(), clock.at)
