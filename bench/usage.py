"""
What it takes to count usage: events a second, our work, units of the store, dollars; and beside it, in the same run,
the naive way. The functions are called as API Gateway does, the store is DynamoDB Local in a process of its own.

A machine tells ratios, not AWS's times: what is in units and dollars is computed from the items that were written.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import batched
from statistics import median
from typing import Any, NamedTuple
from uuid import UUID

from bench import bounds, costs
from bench.bounds import Counted
from bench.costs import Units
from bench.meter import Meter
from bench.report import Part, table
from bench.world import CONTEXT, answered, http, settle
from local import tables
from local.dynamodb_local import dynamodb_local

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


class Read(NamedTuple):
    """What it takes to read a total."""

    units: Units
    wall_ms: float


type Counts = dict[int, Counted]  # by the events of a request


def run(seed: int) -> Part:
    with dynamodb_local() as endpoint:
        settle(AWS_ENDPOINT_URL_DYNAMODB=endpoint)
        bench = Bench(random.Random(seed))
        ours, naive = bench.counts()
        reads = bench.reads()
        event, total = bench.stored()
    lines = [*_counting(ours, naive), *_reading(reads), *_keeping(event, total)]
    units = ([each.units.reads for each in of] for of in zip(*reads.values(), strict=True))
    return Part("usage", lines, _numbers(ours, naive, reads, event, total), bounds.broken(ours, *units))


class Bench:
    """A store with two customers in the middle of a period, and the functions, loaded."""

    def __init__(self, chance: random.Random):
        import get_usage
        import record_usage
        from bench import naive
        from billing import dynamodb

        self.chance, self.naive, self.db = chance, naive, dynamodb.db()
        self.ways: dict[str, Any] = {"ours": record_usage.handler, "naive": naive.handler}
        self.used: Any = get_usage.handler
        self.sent = Counter[tuple[str, str]]()  # quantities, by way and customer
        template = tables.template()
        tables.make(self.db, template)
        self.meter = Meter(self.db, template)
        self.db.create_table(TableName=naive.TABLE, **naive.SHAPE)
        self.began = int(time.time()) - DAYS * DAY
        _subscribe(self.began, "ada", "bob")

    def counts(self) -> tuple[Counts, Counts]:
        """What an event takes, our way and the naive one."""
        samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
        units: dict[tuple[str, int], Units] = {}
        for size in REQUESTS:
            for way in self.ways:
                self._send(way, self._requests(size, WARM))
                with self.meter.calls() as calls:
                    self._send(way, self._requests(size, COUNTED))
                units[way, size] = self.meter.units(calls)
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
        total = self.db.get_item(TableName="Usage", Key=key, ConsistentRead=True)["Item"]
        (event,) = self.db.query(
            TableName="Usage",
            IndexName="by_time",
            KeyConditionExpression="series = :series",
            ExpressionAttributeValues={":series": {"S": f"bob#{METRIC}#{_day(self.began + DAY)}"}},
            Limit=1,
        )["Items"]
        return costs.size(_plain(event)), costs.size(_plain(total))

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
            told = answered(answer)["events"]
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
        with self.meter.calls() as calls:
            if read() != self.sent[way, customer]:
                raise SystemExit(f"NOT SO: {way}: a total is not the sum of what was sent")
        for _ in range(times):
            began = time.perf_counter()
            read()
            walls.append(time.perf_counter() - began)
        return Read(self.meter.units(calls), median(walls) * 1000)

    def _total_of(self, way: str, customer: str) -> Callable[[], int]:
        if way == "naive":
            return lambda: self.naive.total(customer, METRIC)
        return lambda: answered(self.used(_get(customer), CONTEXT))["used"]


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


def _plain(item: dict) -> dict:
    from billing import dynamodb

    return dynamodb.decode(item)


def _post(events: Sequence[dict]) -> dict:
    return http("POST", "/usage", {"events": events})


def _get(customer: str) -> dict:
    return http("GET", "/usage", customer=customer, query=f"metric={METRIC}")


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _counting(ours: Counts, naive: Counts) -> list[str]:
    memory = tables.template()["Globals"]["Function"]["MemorySize"]
    rows = []
    for name, counts in (("ours", ours), ("naive", naive)):
        for size, each in counts.items():
            store = costs.store_dollars(each.writes, each.reads)
            request = costs.request_dollars(Fraction(each.wall_us * size / 1e6), memory) / size
            about = [f"{1e6 / each.wall_us:.0f}", f"{each.cpu_us:.0f}", f"{float(each.writes):.2f}"]
            money = [f"{float(dollars):.2f}" for dollars in (store, request, store + request)]
            rows.append([name, str(size), *about, f"{float(each.reads):.2f}", *money])
    head = ["to count", "events/request", "events/s", "CPU us/event", "write units/event", "read units/event"]
    return [
        *table([*head, "store $/M", "request $/M", "$/M events"], rows),
        f"(request: API Gateway and a Lambda of {memory} MB, busy for as long as here; without logs.)",
        "",
    ]


def _reading(reads: dict[int, tuple[Read, Read]]) -> list[str]:
    rows = []
    for events, ways in reads.items():
        for name, each in zip(("ours", "naive"), ways, strict=True):
            dollars = float(costs.store_dollars(Fraction(0), each.units.reads))
            units = [f"{each.units.calls}", f"{float(each.units.reads):g}", f"{each.wall_ms:.1f}", f"{dollars:.2f}"]
            rows.append([name, f"{events}", *units])
    return [
        *table(["to read a total", "of events", "calls", "read units", "ms", "store $/M reads"], rows),
        "(ours is GET /usage: the customer, the total, and the alerts of its limit.)",
        "",
    ]


def _keeping(event: int, total: int) -> list[str]:
    kept = float(costs.storage_dollars(event, indexes=1))
    return [
        f"An event is {event} bytes, and so is its entry in the index: ${kept:.2f} a month for a million of them.",
        f"A total with {DAYS + 1} days is {total} bytes.",
        "",
        f"List prices of {costs.PRICED_ON}:",
        *(
            f"${float(price.dollars):.10f}".rstrip("0").rstrip(".") + f" a {price.of} ({price.source})"
            for price in costs.PRICES
        ),
    ]


def _numbers(ours: Counts, naive: Counts, reads: dict[int, tuple[Read, Read]], event: int, total: int) -> dict:
    counted = {
        name: {size: each._asdict() for size, each in counts.items()}
        for name, counts in (("ours", ours), ("naive", naive))
    }
    read = {
        events: {
            name: {"units": each.units.reads, "ms": each.wall_ms} for name, each in zip(counted, ways, strict=True)
        }
        for events, ways in reads.items()
    }
    return {"an event counted": counted, "a total read": read, "bytes": {"event": event, "total": total}}
