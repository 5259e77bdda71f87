"""
What an event of Stripe's takes from its arrival until our record says what Stripe says: received (verified, enqueued),
processed (fetched, recorded, marked), beside the naive endpoint, which does both at once.

The functions are called in this process, so that its CPU is theirs; the queue, the store and Stripe are processes of
their own. An event tells of a change that was made at Stripe just before; ten of one customer in one batch tell of one.
"""

import json
import random
import time
from collections.abc import Callable
from fractions import Fraction
from statistics import median, quantiles
from typing import Any
from urllib.request import urlopen

from bench import bounds
from bench.bounds import BATCH, Handled
from bench.report import Part, table
from bench.world import CONTEXT, STRIPE_KEY, WEBHOOK_SECRET, World, http, simulator, taken
from local.dynamodb_local import dynamodb_local
from local.ministack import ministack

ROUNDS = 12  # of each way, one after the other
ALONE, TOGETHER, NAIVE = "ours, one alone", f"ours, {BATCH} together", "naive"


def run(seed: int) -> Part:
    with ministack() as aws, dynamodb_local() as store, simulator() as stripe:
        settings = aws.environment | {"AWS_ENDPOINT_URL_DYNAMODB": store, "AWS_ACCESS_KEY_ID": str(10**11)}
        found = Pipeline(World(stripe, **settings), random.Random(seed)).measured()
    numbers = {name: each._asdict() for name, each in found.items()}
    return Part(
        "pipeline",
        _lines(found),
        {"an event": numbers},
        bounds.slow_pipeline(found[ALONE], found[TOGETHER], found[NAIVE]),
    )


class Pipeline:
    """A customer with a subscription for each way, and what is told of it."""

    def __init__(self, world: World, chance: random.Random):
        from bench.naive_pipeline import Endpoint

        self.world, self.chance = world, chance
        world.sell()
        self.naive = Endpoint(STRIPE_KEY, world.stripe_base, WEBHOOK_SECRET)
        self.ways: dict[str, tuple[int, Callable[[list[dict]], Any]]] = {
            ALONE: (1, self.ours),
            TOGETHER: (BATCH, self.ours),
            NAIVE: (1, self.as_naive),
        }
        self.subscriptions = {name: world.subscribe(f"customer-{at}")["id"] for at, name in enumerate(self.ways)}

    def measured(self) -> dict[str, Handled]:
        for name, (size, way) in self.ways.items():
            way(self.news(name, size))
        units = {name: self.counted(name, *way) for name, way in self.ways.items()}
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in self.ways}
        for _ in range(ROUNDS):
            for name, (size, way) in self.ways.items():
                cpu, wall = taken(way, self.news(name, size))
                samples[name].append((cpu / size * 1e6, wall / size * 1e6))
        return {
            name: Handled(
                *units[name],
                median(cpu for cpu, _ in each),
                [quantiles((cpu for cpu, _ in each), n=4)[at] for at in (0, 2)],
                median(wall for _, wall in each),
            )
            for name, each in samples.items()
        }

    def ours(self, requests: list[dict]) -> None:
        receive = self.world.function("receive_webhook")
        self.check([receive(request, CONTEXT) for request in requests])
        self.world.process(self.world.batch([json.loads(request["body"]) for request in requests]))

    def as_naive(self, requests: list[dict]) -> None:
        self.check([self.naive.handler(request, CONTEXT) for request in requests])

    def check(self, answers: list[dict]) -> None:
        if any(answer["statusCode"] != 200 for answer in answers):
            raise SystemExit("NOT SO: an event was not taken")

    def counted(self, name: str, size: int, way: Callable[[list[dict]], Any]) -> tuple[Fraction, Fraction, Fraction]:
        """Transactions, fetches and write units of an event; only ours are seen at the store."""
        given, before = self.news(name, size), self.fetches()
        with self.world.meter.calls() as calls:
            way(given)
        transactions = sum(call.name == "TransactWriteItems" for call in calls)
        units = self.world.meter.units(calls)
        return Fraction(transactions, size), Fraction(self.fetches() - before, size), units.writes / size

    def fetches(self) -> int:
        with urlopen(f"{self.world.stripe_base}/_simulator/calls") as answer:
            return len(json.load(answer)["calls"])

    def news(self, name: str, size: int) -> list[dict]:
        """A change at Stripe, and `size` events of it, as they come through API Gateway."""
        from stripe import WebhookSignature

        now = self.world.stripe.subscriptions.retrieve(self.subscriptions[name])
        change = {"cancel_at_period_end": not now.cancel_at_period_end}
        self.world.stripe.subscriptions.update(self.subscriptions[name], change)
        (event,) = self.world.told(1)
        requests = []
        for _ in range(size):
            body = json.dumps(event | {"id": f"evt_{self.chance.getrandbits(64):016x}"})
            request: dict[str, Any] = http("POST", "/webhooks/stripe") | {"body": body}
            signature = WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
            request["headers"]["stripe-signature"] = signature
            requests.append(request)
        return requests


def _lines(found: dict[str, Handled]) -> list[str]:
    rows = [
        [
            name,
            f"{1e6 / each.wall_us:.0f}",
            f"{each.cpu_us:.0f}",
            "-".join(f"{at:.0f}" for at in each.spread_us),
            f"{float(each.fetches):g}",
            *(["", ""] if name == NAIVE else [f"{float(each.transactions):g}", f"{float(each.writes):g}"]),
        ]
        for name, each in found.items()
    ]
    head = ["a webhook event", "events/s", "CPU us/event", "quartiles", "fetches", "transactions", "write units"]
    return [
        *table(head, rows),
        f"(of one caller; the medians of {ROUNDS} rounds. The naive one inserts and puts: 2 units.)",
    ]
