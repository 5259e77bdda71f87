"""
Whether a call takes more when there are more customers and events: the same calls, of the same customer, in three
worlds that hold 10, 1,000 and 100,000 of each, in turn.

The customers are copies of the record of one whom the functions have made, and so is an event of Stripe's for each; as
many events of usage are hers. What has to walk all there is grows with it, and is not here: the reconciliation, and the
sweep by what is lost. A span of usage that begins or ends within a day reads that day's events.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from http.client import HTTPConnection
from itertools import batched
from multiprocessing import get_context
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from bench import bounds
from bench.bounds import Grown
from bench.costs import Units
from bench.report import Part, table
from bench.world import CONTEXT, World, simulator, taken
from local.dynamodb_local import dynamodb_local
from local.ministack import ministack

SIZES = (10, 1_000, 100_000)
ROUNDS, TIMES = 7, 4  # of each call in each world, one world after the other; calls of a round
LOT = 25  # items of one request (docs: BatchWriteItem)
METRIC = "api_calls"
SUMS = ("n", "used", "h")  # of a total; a day's are numbered
NAMES = "ada-000000"  # whom the others are copied from; they differ in the digits

_crowd: "Crowd"  # of this process: one to each world


class Action(NamedTuple):
    """`act` is measured, with what `prepare` has made for it."""

    prepare: Callable[[], Any]
    act: Callable[[Any], Any]


def run(seed: int) -> Part:
    with ExitStack() as open_ones:
        aws, store = open_ones.enter_context(ministack()), open_ones.enter_context(dynamodb_local())
        crowds, seconds = {}, {}
        for size in SIZES:
            settings = aws.environment | {"AWS_ENDPOINT_URL_DYNAMODB": store, "AWS_ACCESS_KEY_ID": str(10**11 + size)}
            crowd = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            crowds[size] = open_ones.enter_context(crowd)
            seconds[size] = crowd.submit(_enter, size, seed, settings).result()
        units = {size: crowd.submit(_count).result() for size, crowd in crowds.items()}
        samples: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
        for _ in range(ROUNDS):
            for size, crowd in crowds.items():
                samples[size].append(crowd.submit(_round).result())
        for crowd in crowds.values():
            crowd.submit(_leave).result()

    def measured(name: str, size: int) -> Grown:
        writes, reads, calls = units[size][name]
        return Grown(writes, reads, calls, median(each[name] for each in samples[size]) * 1000)

    grown = {name: {size: measured(name, size) for size in SIZES} for name in units[SIZES[0]]}
    numbers = {name: {size: each._asdict() for size, each in by.items()} for name, by in grown.items()}
    return Part("growth", _lines(grown, seconds), numbers, bounds.growing(grown))


def _enter(size: int, seed: int, settings: dict[str, str]) -> float:
    global _crowd
    began = time.monotonic()
    _crowd = Crowd(size, seed, settings)
    return time.monotonic() - began


def _count() -> dict[str, Units]:
    return _crowd.units()


def _round() -> dict[str, float]:
    return _crowd.times()


def _leave() -> None:
    _crowd.close()


class Crowd:
    """So many customers and events, and what is asked of one of them."""

    def __init__(self, size: int, seed: int, settings: dict[str, str]):
        self.chance, self.others = random.Random(seed), ExitStack()
        self.world = World(self.others.enter_context(simulator()), **settings)
        self.world.sell()
        self.subscription = self.world.subscribe(NAMES)["id"]
        self.count(1)
        for events in batched(reversed(self.world.told()), 10, strict=False):
            self.world.process(self.world.batch(events))
        self.publish()
        self.fill(size)
        ask = self.world.ask
        self.actions = {
            "POST /usage, 25 events": Action(lambda: 25, self.count),
            "GET /entitlements/{feature}": Action(
                lambda: None,
                lambda _: ask("check_entitlement", "GET", "/entitlements", customer=NAMES, feature=METRIC),
            ),
            "GET /entitlements": Action(
                lambda: None, lambda _: ask("get_entitlements", "GET", "/entitlements", customer=NAMES)
            ),
            "GET /subscription": Action(
                lambda: None, lambda _: ask("get_subscription", "GET", "/subscription", customer=NAMES)
            ),
            "GET /usage": Action(
                lambda: None, lambda _: ask("get_usage", "GET", "/usage", customer=NAMES, query=f"metric={METRIC}")
            ),
            "process_webhook, one event": Action(self.news, self.world.process),
            "sweep, nothing lost": Action(
                self.publish, lambda _: self.world.function("sweep")({"id": "sweep"}, CONTEXT)
            ),
        }

    def fill(self, size: int) -> None:
        """All tables at once."""
        copied = copies(self.world.db, NAMES, size)
        with ThreadPoolExecutor(len(copied)) as each:
            list(each.map(put, *zip(*copied.items(), strict=True)))

    def close(self) -> None:
        self.others.close()

    def units(self) -> dict[str, Units]:
        """What each takes of the store."""
        found = {}
        for name, action in self.actions.items():
            action.act(action.prepare())  # what is remembered for a minute is read
            given = action.prepare()
            with self.world.meter.calls() as calls:
                action.act(given)
            found[name] = self.world.meter.units(calls)
        return found

    def times(self) -> dict[str, float]:
        """Seconds of each, the middle one of some, after one that reads what is remembered for a minute."""
        found = {}
        for name, action in self.actions.items():
            action.act(action.prepare())
            found[name] = median(taken(action.act, action.prepare())[1] for _ in range(TIMES))
        return found

    def count(self, events: int) -> None:
        given = {"customer_id": NAMES, "metric_id": METRIC, "quantity": 1}
        keys = [str(UUID(int=self.chance.getrandbits(128))) for _ in range(events)]
        self.world.ask("record_usage", "POST", "/usage", {"events": [given | {"idempotency_key": key} for key in keys]})

    def news(self) -> dict:
        """A change at Stripe, as it reaches us."""
        now = self.world.stripe.subscriptions.retrieve(self.subscription)
        change = {"cancel_at_period_end": not now.cancel_at_period_end}
        self.world.stripe.subscriptions.update(self.subscription, change)
        return self.world.batch(self.world.told(1))

    def publish(self) -> None:
        self.world.function("publish_events")({"customer": NAMES}, CONTEXT)


def put(table: str, items: Iterator[str]) -> None:
    """In DynamoDB's own words over one connection: botocore would take five times as long to say them."""
    store = HTTPConnection(urlsplit(os.environ["AWS_ENDPOINT_URL_DYNAMODB"]).netloc)
    scope = f"{os.environ['AWS_ACCESS_KEY_ID']}/20261124/{os.environ['AWS_DEFAULT_REGION']}/dynamodb/aws4_request"
    headers = {"X-Amz-Target": "DynamoDB_20120810.BatchWriteItem", "Content-Type": "application/x-amz-json-1.0"}
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=unread"
    for lot in batched(items, LOT, strict=False):
        puts = ", ".join(f'{{"PutRequest": {{"Item": {item}}}}}' for item in lot)
        store.request("POST", "/", f'{{"RequestItems": {{"{table}": [{puts}]}}}}', headers)
        answer = store.getresponse()
        said = answer.read()
        if answer.status != 200 or json.loads(said).get("UnprocessedItems"):
            raise SystemExit(f"NOT SO: {len(lot)} items were not written: {said.decode()}")
    store.close()


def copies(db: Any, name: str, size: int) -> dict[str, Iterator[str]]:
    """
    Items, as JSON, by their table: the records of `size` customers like that one, as many events of Stripe's, and as
    many events of her usage. Her total tells of all of them.
    """

    def found(table: str, **key: str) -> dict:
        wanted = {part: {"S": value} for part, value in key.items()}
        return db.get_item(TableName=table, Key=wanted, ConsistentRead=True)["Item"]

    customer = found("Subscriptions", pk=f"customer#{name}", sk="customer")
    theirs, theirs_too = customer["stripe_id"]["S"], customer["subscription"]["M"]["theirs"]["M"]["id"]["S"]
    (total,) = db.query(
        TableName="Usage",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"T#{name}"}},
        ConsistentRead=True,
    )["Items"]
    event = next(item for item in db.scan(TableName="Usage")["Items"] if item["sk"] == {"S": "event"})
    row = next(item for item in db.scan(TableName="WebhookEvents")["Items"] if item["outcome"] == {"S": "done"})
    known = (name, name[:-6]), (theirs, "cus_copy"), (theirs_too, "sub_copy"), (row["id"]["S"], "evt_copy")

    def copied(item: dict) -> Iterator[str]:
        said = json.dumps(item)
        for number in range(1, size + 1):
            copy = said
            for whole, prefix in known:
                copy = copy.replace(whole, f"{prefix}{number:06}")
            yield copy

    def used() -> Iterator[str]:
        at = int(event["at"]["N"])
        for number in range(1, size + 1):
            id = sha256(f"{number}".encode()).hexdigest()
            own = {"pk": {"S": f"E#{id}"}, "key": {"S": id[:32]}, "moment": {"S": f"{at:012}#{id}"}}
            yield json.dumps(event | own)
        more = {k: {"N": str(int(v["N"]) * (size + 1))} for k, v in total.items() if k in SUMS or _of_day(k)}
        yield json.dumps(total | more)

    return {"Subscriptions": copied(customer), "WebhookEvents": copied(row), "Usage": used()}


def _of_day(attribute: str) -> bool:
    return attribute[0] in "ns" and attribute[1:].isdigit()


def _lines(grown: dict[str, dict[int, Grown]], seconds: dict[int, float]) -> list[str]:
    rows = []
    for name, by_size in grown.items():
        first = by_size[SIZES[0]]
        for size, each in by_size.items():
            units = [f"{each.calls}", f"{float(each.writes):g}", f"{float(each.reads):g}"]
            rows.append([name, f"{size:,}", *units, f"{each.ms:.1f}", f"{each.ms / first.ms:.2f}"])
    head = ["", "customers, events", "calls of the store", "write units", "read units", "ms", "times"]
    made = ", ".join(f"{size:,} in {each:.0f} s" for size, each in seconds.items())
    return [*table(head, rows), f"(made: {made}; DynamoDB Local, the medians of {ROUNDS} rounds.)"]
