"""
CPU of a warm function's process for a request, with what Lambda's own runtime takes of it (a bare handler's) taken off,
beside the naive twin that does the same work.
"""

import random
from statistics import median, quantiles

from bench import bounds
from bench.bounds import Warm
from bench.deployed import BARE, NAIVE_CHECK, NAIVE_USAGE, NAIVE_WEBHOOK, Deployed, deployed
from bench.report import Part, table
from bench.sandbox import Sandbox

ROUNDS, REQUESTS = 9, 60  # of each in a round
OURS = ("record_usage", "check_entitlement", "get_entitlements", "get_subscription", "receive_webhook")
TWINS = {"record_usage": NAIVE_USAGE, "check_entitlement": NAIVE_CHECK, "receive_webhook": NAIVE_WEBHOOK}


def run(seed: int) -> Part:
    with deployed() as world:
        found = _measured(world, random.Random(seed))
    return Part(
        "warm",
        _lines(found),
        {"a request": {name: each._asdict() for name, each in found.items()}},
        bounds.warm({ours: (found[ours], found[twin]) for ours, twin in TWINS.items()}),
    )


def _measured(world: Deployed, chance: random.Random) -> dict[str, Warm]:
    names = [BARE, *OURS, *TWINS.values()]
    took: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(ROUNDS + 1):
        for name in chance.sample(names, len(names)):
            with world.started(name) as process:
                each = _each(world, name, process)
            if turn:
                took[name].append(each)
    floor = median(took[BARE])
    return {
        name: Warm(median(each) - floor, [quantiles(each, n=4)[at] - floor for at in (0, 2)], median(each))
        for name, each in took.items()
    }


def _each(world: Deployed, name: str, process: Sandbox) -> float:
    """Microseconds of a request, of those that all are answered with a 200."""
    requests = [world.request(name) for _ in range(REQUESTS + 5)]
    for place, request in enumerate(requests):
        if place == 5:  # by now it knows all that it remembers
            before = process.cpu()
        _, answer = process.ask(request)
        if answer.get("statusCode") != 200:
            raise SystemExit(f"NOT SO: {name} answered {answer}")
    return (process.cpu() - before) / REQUESTS * 1e6


def _lines(found: dict[str, Warm]) -> list[str]:
    rows = [
        [name, f"{each.cpu_us:.0f}", "-".join(f"{at:.0f}" for at in each.spread_us), f"{each.whole_us:.0f}"]
        for name, each in found.items()
    ]
    head = ["a warm request of", "CPU us", "quartiles", "with the runtime's"]
    return [*table(head, rows), f"(of {REQUESTS} requests each; medians of {ROUNDS} rounds.)"]
