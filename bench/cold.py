"""
Cold starts: the time from the start of a function's process to its first response, as a ratio to that of a bare handler
in the same round, beside a naive twin that imports everything at the top.

The first call of each service goes over TLS, with its handshake, to a stub: it says at once what the emulators and the
simulator said to the same request in the first round, which is not counted. The machine is not Lambda.
"""

import random
from statistics import median, quantiles
from typing import Any

from bench import bounds
from bench.bounds import Started
from bench.deployed import BARE, FUNCTIONS, LEAN, NAIVE_CHECK, NAIVE_USAGE, NAIVE_WEBHOOK, Deployed, deployed
from bench.report import Part, table

ROUNDS = 9  # of all, one after the other, in an order of their own each; and one before them that is not counted


def run(seed: int) -> Part:
    with deployed() as world:
        found, said = _measured(world, random.Random(seed))
        stripes = {name for name in FUNCTIONS if world.calls_stripe(name)}
    return Part(
        "cold",
        _lines(found, said),
        {"first response": {name: each._asdict() | {"answer": said[name]} for name, each in found.items()}},
        bounds.cold(found, stripes),
    )


def _measured(world: Deployed, chance: random.Random) -> tuple[dict[str, Started], dict[str, str]]:
    names = [BARE, LEAN, NAIVE_USAGE, NAIVE_CHECK, NAIVE_WEBHOOK, *FUNCTIONS]
    took: dict[str, list[float]] = {name: [] for name in names}
    said: dict[str, str] = {}
    requests: dict[str, dict] = {}
    for turn in range(ROUNDS + 1):
        for name in chance.sample(names, len(names)):
            request = requests.setdefault(name, world.request(name))
            ms, said[name] = _first(world, name, request)
            if turn:
                took[name].append(ms)
    return {name: _started(each, took[BARE]) for name, each in took.items()}, said


def _first(world: Deployed, name: str, request: dict) -> tuple[float, str]:
    with world.tape.of(name), world.started(name) as process:
        at, answer = process.ask(world.signed(request))
        return (at - process.began) * 1e3, _said(answer)


def _said(answer: Any) -> str:
    if isinstance(answer, dict) and "errorType" in answer:
        return answer["errorType"]
    return str(answer["statusCode"]) if isinstance(answer, dict) and "statusCode" in answer else "done"


def _started(took: list[float], bare: list[float]) -> Started:
    ratios = [each / floor for each, floor in zip(took, bare, strict=True)]
    return Started(median(took), median(ratios), [quantiles(ratios, n=4)[at] for at in (0, 2)])


def _lines(found: dict[str, Started], said: dict[str, str]) -> list[str]:
    rows = [
        [name, f"{each.ms:.0f}", f"{each.ratio:.2f}", "-".join(f"{at:.2f}" for at in each.spread), said[name]]
        for name, each in sorted(found.items(), key=lambda known: known[1].ratio)
    ]
    head = ["first response of", "ms", "x bare", "quartiles", "answer"]
    return [*table(head, rows), f"(process start to answer, through awslambdaric; medians of {ROUNDS} rounds.)"]
