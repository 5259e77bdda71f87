"""
What it takes to count usage: events a second, our work, units of the store, dollars; and beside it, in the same run,
the naive way. The functions are called as API Gateway does, the store is DynamoDB Local in a process of its own.

    python -m bench.usage [--seed N]    exits with 1, and says so, if one of bench.bounds does not hold

A machine tells ratios, not AWS's times: what is in units and dollars is computed from the items that were written.
"""

import argparse
import json
import os
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from itertools import batched
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

from bench import bounds, costs
from bench.bounds import Counted
from bench.costs import Units
from local import tables
from local.dynamodb_local import dynamodb_local
from local.ministack import ROOT

sys.path += [str(ROOT / "layers/core"), str(ROOT / "functions")]

DAY = 86_400
DAYS = 27  # of a period that have gone by: there is no month that this is longer than
REQUESTS = {1: 40, 25: 6, 99: 2}  # of a round, by the events of each
ROUNDS = 4  # of each way and size, one after the other: what disturbs the machine disturbs them all
WARM = 2
COUNTED = 2  # requests, for their units
READ = (100, 1_000, 10_000)  # events that a total is of
TIMES = 4  # that it is read
LOT = 98  # events of the requests that such a total is made with: as many as go in one transaction
METRIC = "api_calls"
FOUND = {"Query": "Items", "GetItem": "Item"}  # where the answers of reads have it


class Call(NamedTuple):
    """Of the store: what was asked, and what was answered."""

    name: str
    asked: dict[str, Any]
    answered: dict[str, Any]


class Read(NamedTuple):
    """What it takes to read a total."""

    units: Units
    wall_ms: float


type Counts = dict[int, Counted]  # by the events of a request


def main() -> int:
    """Everything, and what it comes to: 0, or 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of quantities, keys and times")
    chosen = parser.parse_args()
    began = time.monotonic()
    with dynamodb_local() as endpoint:
        _settle(endpoint)
        bench = Bench(random.Random(chosen.seed))
        counts = bench.counts()
        reads = bench.reads()
        stored = bench.stored()
    _tell(chosen.seed, *counts, reads, *stored, time.monotonic() - began)
    wrong = bounds.broken(counts[0], *([each.units.reads for each in of] for of in zip(*reads.values(), strict=True)))
    for line in wrong:
        print(f"NOT SO: {line}")
    if not wrong:
        print("All bounds hold (bench/bounds.py).")
    return 1 if wrong else 0


def _settle(endpoint: str) -> None:
    """What the functions read when they are loaded."""
    os.environ |= tables.TABLES | {"AWS_ENDPOINT_URL_DYNAMODB": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ |= {"DEFAULT_PLAN": "", "CUSTOMER_CLAIM": "sub", "STACK": "bench", "POWERTOOLS_SERVICE_NAME": "tollgate"}


class Bench:
    """A store with two customers in the middle of a period, and the functions, loaded."""

    def __init__(self, chance: random.Random):
        import get_usage
        import record_usage
        from bench import naive
        from billing import api, dynamodb

        self.chance, self.naive, self.db = chance, naive, dynamodb.db()
        self.ways: dict[str, Any] = {"ours": record_usage.handler, "naive": naive.handler}
        self.used: Any = get_usage.handler
        self.sent = Counter[tuple[str, str]]()  # quantities, by way and customer
        self.template = tables.template()
        tables.make(self.db, self.template)
        self.db.create_table(TableName=naive.TABLE, **naive.SHAPE)
        log: Any = api.logger.registered_handler
        log.setStream(open(os.devnull, "w"))  # its lines are made, and not shown
        self.began = int(time.time()) - DAYS * DAY
        _subscribe(self.began, "ada", "bob")

    def counts(self) -> tuple[Counts, Counts]:
        """What an event takes, our way and the naive one."""
        samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
        units: dict[tuple[str, int], Units] = {}
        for size in REQUESTS:
            for way in self.ways:
                self._send(way, self._requests(size, WARM))
                with self._calls() as calls:
                    self._send(way, self._requests(size, COUNTED))
                units[way, size] = self._units(calls)
        for _ in range(ROUNDS):
            for size, requests in REQUESTS.items():
                for way in self.ways:
                    taken = self._send(way, self._requests(size, requests))
                    samples.setdefault((way, size), []).append(taken)

        def counted(way: str, size: int) -> Counted:
            taken, events = units[way, size], size * COUNTED
            cpu, wall = (median(each) / size * 1e6 for each in zip(*samples[way, size], strict=True))
            return Counted(taken.writes / events, taken.reads / events, cpu, wall)

        for way in self.ways:
            self._read(way, "ada")
        ours, naive = ({size: counted(way, size) for size in REQUESTS} for way in self.ways)
        return ours, naive

    def reads(self) -> dict[int, tuple[Read, Read]]:
        """What it takes to read a total, our way and the naive one, by the events that it is of."""
        found, there = {}, 0
        for events in READ:
            self._grow(events - there)
            there = events
            found[events] = self._read("ours", "bob", TIMES), self._read("naive", "bob", TIMES)
        return found

    def stored(self) -> tuple[int, int]:
        """Bytes of an event on record, and of a total that has had events on each day since its period began."""
        key = {"pk": {"S": "T#bob"}, "sk": {"S": f"{METRIC}#{self.began:012}"}}
        total = self._item("Usage", key)
        (event,) = self.db.query(
            TableName="Usage",
            IndexName="by_time",
            KeyConditionExpression="series = :series",
            ExpressionAttributeValues={":series": {"S": f"bob#{METRIC}#{_day(self.began + DAY)}"}},
            Limit=1,
        )["Items"]
        return costs.size(_plain(event)), costs.size(total)

    def _requests(self, size: int, requests: int) -> list[dict]:
        """Just now, of one customer and metric. The same are never sent twice."""
        return [_post([self._event() for _ in range(size)]) for _ in range(requests)]

    def _event(self, **said: object) -> dict:
        key = str(UUID(int=self.chance.getrandbits(128)))
        given = {"customer_id": "ada", "metric_id": METRIC, "quantity": self.chance.randint(1, 9)}
        return given | {"idempotency_key": key} | said

    def _send(self, way: str, requests: Sequence[dict]) -> tuple[float, float]:
        """Seconds of CPU and of time that a request took; all are told to be recorded, for the first time."""
        handler = self.ways[way]
        wall, cpu = time.perf_counter(), time.process_time()
        answers = [handler(request, CONTEXT) for request in requests]
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for request, answer in zip(requests, answers, strict=True):
            self._note(way, json.loads(request["body"])["events"])
            told = _body(answer)["events"]
            if any((each["status"], each["duplicate"]) != ("recorded", False) for each in told):
                raise SystemExit(f"NOT SO: {way}: an event was not recorded for the first time")
        return cpu / len(requests), wall / len(requests)

    def _grow(self, more: int) -> None:
        """Bob's events, on all days since his period began, both ways."""
        until = int(time.time())
        events = []
        for _ in range(more):
            at = datetime.fromtimestamp(self.chance.randint(self.began, until), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            events.append(self._event(customer_id="bob", timestamp=at))
        self._send("ours", [_post(lot) for lot in batched(events, LOT, strict=False)])
        self._insert(events)

    def _note(self, way: str, events: Sequence[dict]) -> None:
        for event in events:
            self.sent[way, event["customer_id"]] += event["quantity"]

    def _insert(self, events: Sequence[dict]) -> None:
        from billing import dynamodb, usage

        self._note("naive", events)
        now = int(time.time())
        items = [dynamodb.encode(self.naive.item(usage.read(event, now), now)) for event in events]
        for lot in batched(items, 25, strict=False):
            self.db.batch_write_item(RequestItems={self.naive.TABLE: [{"PutRequest": {"Item": each}} for each in lot]})

    def _read(self, way: str, customer: str, times: int = 1) -> Read:
        """A total, which is the sum of what was sent."""
        walls, read = [], self._total_of(way, customer)
        with self._calls() as calls:
            if read() != self.sent[way, customer]:
                raise SystemExit(f"NOT SO: {way}: a total is not the sum of what was sent")
        for _ in range(times):
            began = time.perf_counter()
            read()
            walls.append(time.perf_counter() - began)
        return Read(self._units(calls), median(walls) * 1000)

    def _total_of(self, way: str, customer: str) -> Callable[[], int]:
        if way == "naive":
            return lambda: self.naive.total(customer, METRIC)
        return lambda: _body(self.used(_get(customer), CONTEXT))["used"]

    @contextmanager
    def _calls(self) -> Iterator[list[Call]]:
        """All calls of the store meanwhile."""
        asked: list[dict] = []
        made: list[Call] = []

        def ask(params, **_):
            asked.append(params)

        def answer(parsed, model, **_):
            made.append(Call(model.name, asked.pop(), parsed))

        events = self.db.meta.events
        events.register("provide-client-params.dynamodb", ask)
        events.register("after-call.dynamodb", answer)
        try:
            yield made
        finally:
            events.unregister("provide-client-params.dynamodb", ask)
            events.unregister("after-call.dynamodb", answer)

    def _units(self, calls: Sequence[Call]) -> Units:
        writes = sum((self._written(call) for call in calls), Fraction(0))
        reads = sum((_units_read(call) for call in calls), Fraction(0))
        return Units(writes, reads, len(calls))

    def _written(self, call: Call) -> Fraction:
        """By the items as they are on record now."""
        if call.name in FOUND:
            return Fraction(0)
        alone = call.name == "PutItem"
        units = 0
        for action in [{"Put": call.asked}] if alone else call.asked["TransactItems"]:
            ((kind, wanted),) = action.items()
            whole = wanted["Item"] if kind == "Put" else wanted["Key"]
            item = self._item(wanted["TableName"], {name: whole[name] for name in ("pk", "sk")})
            size = costs.size(item)
            units += costs.write_units(size, transactional=not alone)
            if kind == "Put":
                units += sum(
                    costs.index_units(size) for keys in self._indexes(wanted["TableName"]) if keys <= item.keys()
                )
        return Fraction(units)

    def _indexes(self, table: str) -> list[set[str]]:
        """The keys of each: what has them is in it. All of ours have the whole item."""
        known = self.template["Resources"].get(table, {}).get("Properties", {})
        indexes = known.get("GlobalSecondaryIndexes", [])
        assert all(index["Projection"] == {"ProjectionType": "ALL"} for index in indexes)
        return [{key["AttributeName"] for key in index["KeySchema"]} for index in indexes]

    def _item(self, table: str, key: dict) -> dict:
        return _plain(self.db.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"])


CONTEXT = SimpleNamespace(
    function_name="bench",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:1:function:bench",
    aws_request_id="bench",
    get_remaining_time_in_millis=lambda: 25_000,
)


def _subscribe(began: int, *customers: str) -> None:
    """They have a plan with a hard limit that they do not come near, since a period began, and have paid."""
    from billing import customer_table, plan_table, records
    from billing.plans import Metric, Plan
    from billing.theirs import Theirs

    metrics = {METRIC: Metric("max_api_calls")}
    draft = {"limits": {"max_api_calls": 10**9}, "metrics": metrics}
    plan_table.add(Plan("pro", 1, "Pro", "month", "usd", 1000, **draft))
    plan = Plan("pro", 1, "Pro", "month", "usd", 1000, **draft, price="price_pro")
    plan_table.publish(plan, None)
    for name in customers:
        ids = f"sub_{name}", f"cus_{name}", f"si_{name}"
        paid = Theirs(*ids, "price_pro", 1, "usd", "active", began, began, began, began + 30 * DAY)
        before = customer_table.find(name, began)
        records.commit(before, before.absorb(paid, plan, began))


def _units_read(call: Call) -> Fraction:
    if call.name not in FOUND:
        return Fraction(0)
    found = call.answered.get(FOUND[call.name]) or []
    items = found if isinstance(found, list) else [found]
    return costs.read_units(sum(costs.size(_plain(item)) for item in items), call.asked.get("ConsistentRead", False))


def _plain(item: dict) -> dict:
    from billing import dynamodb

    return dynamodb.decode(item)


def _post(events: Sequence[dict]) -> dict:
    return _request("POST", "/usage") | {"body": json.dumps({"events": events})}


def _get(customer: str) -> dict:
    asked = {"rawQueryString": f"metric={METRIC}", "queryStringParameters": {"metric": METRIC}, "body": None}
    return _request("GET", "/usage", customer) | asked


def _request(method: str, path: str, customer: str = "backend") -> dict:
    """As API Gateway hands it over."""
    event = json.loads((ROOT / "events/http.json").read_text())
    event |= {"routeKey": f"{method} {path}", "rawPath": path}
    event["requestContext"]["http"] |= {"method": method, "path": path}
    event["requestContext"]["authorizer"]["jwt"]["claims"] = {"sub": customer}
    return event


def _body(answer: dict) -> dict:
    if answer["statusCode"] != 200:
        raise SystemExit(f"NOT SO: answered {answer['statusCode']}: {answer['body']}")
    return json.loads(answer["body"])


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _tell(
    seed: int,
    ours: Counts,
    naive: Counts,
    reads: dict[int, tuple[Read, Read]],
    event: int,
    total: int,
    took: float,
) -> None:
    memory = tables.template()["Globals"]["Function"]["MemorySize"]
    machine = f"{os.process_cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    print(f"{machine}, DynamoDB Local; seed {seed}; list prices of {costs.PRICED_ON}; {took:.0f} s\n")
    rows = []
    for name, counts in (("ours", ours), ("naive", naive)):
        for size, each in counts.items():
            store = costs.store_dollars(each.writes, each.reads)
            request = costs.request_dollars(Fraction(each.wall_us * size / 1e6), memory) / size
            about = [f"{1e6 / each.wall_us:.0f}", f"{each.cpu_us:.0f}", f"{float(each.writes):.2f}"]
            money = [f"{float(dollars):.2f}" for dollars in (store, request, store + request)]
            rows.append([name, str(size), *about, f"{float(each.reads):.2f}", *money])
    head = ["to count", "events/request", "events/s", "CPU us/event", "write units/event", "read units/event"]
    _table([*head, "store $/M", "request $/M", "$/M events"], rows)
    print(f"(request: API Gateway and a Lambda of {memory} MB, busy for as long as here; without logs.)\n")

    rows = []
    for events, ways in reads.items():
        for name, each in zip(("ours", "naive"), ways, strict=True):
            dollars = float(costs.store_dollars(Fraction(0), each.units.reads))
            units = [f"{each.units.calls}", f"{float(each.units.reads):g}", f"{each.wall_ms:.1f}", f"{dollars:.2f}"]
            rows.append([name, f"{events}", *units])
    _table(["to read a total", "of events", "calls", "read units", "ms", "store $/M reads"], rows)
    print("(ours is GET /usage: the customer, the total, and the alerts of its limit.)\n")

    kept = float(costs.storage_dollars(event, indexes=1))
    print(f"An event is {event} bytes, and so is its entry in the index: ${kept:.2f} a month for a million of them.")
    print(f"A total with {DAYS + 1} days is {total} bytes.\n")
    for price in costs.PRICES:
        print(f"${float(price.dollars):.10f}".rstrip("0").rstrip(".") + f" a {price.of} ({price.source})")
    print()


def _table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(len(first)), *rest]))


if __name__ == "__main__":
    sys.exit(main())
