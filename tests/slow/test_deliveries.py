"""Events come twice, in any order and company, by callers that die, from a store that fails: each counts once."""

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from random import Random

import pytest

from tests.functions.at_stripe import Death
from tests.functions.conftest import HARD, SOFT
from tests.races import test_usage as races
from tests.races.faults import hinder

aws, lambdas, buy, sell, use, used = races.aws, races.lambdas, races.buy, races.sell, races.use, races.used
pytestmark = pytest.mark.xdist_group("conformance")

SEED = 20261123
DISTINCT, DELIVERED, CALLERS, CAP = 5000, 10_000, 8, 3000


def made(random):
    """Half of the events meet no limit, a quarter a soft one, a quarter a hard one."""
    kinds = ["api_calls"] * 2 + ["exports", "capped"]
    kind = {n: random.choice(kinds) for n in range(DISTINCT)}
    return [
        {"idempotency_key": str(n), "metric_id": kind[n], "quantity": random.randint(1, 9)} for n in range(DISTINCT)
    ]


def batched_at_random(random, events):
    deliveries = [*events, *random.choices(events, k=DELIVERED - DISTINCT)]
    random.shuffle(deliveries)
    while deliveries:
        size = random.randint(1, 100)
        yield deliveries[:size]
        deliveries = deliveries[size:]


def test_ten_thousand_deliveries_of_five_thousand_events_end_at_the_clean_totals(use, used, sell, buy):
    print(f"seed {SEED}")
    random = Random(SEED)
    metrics = {"api_calls": HARD, "exports": SOFT, "capped": races.shared.replace(HARD, limit="max_capped")}
    buy(sell(limits={"max_api_calls": None, "max_exports": 5, "max_capped": CAP}, metrics=metrics))
    events = {event["idempotency_key"]: event for event in made(random)}
    waiting = SimpleQueue()
    for batch in batched_at_random(random, list(events.values())):
        waiting.put(batch)
    faults = hinder(SEED, conflict=0.05, throttled=0.02, unheard=0.015, lost=0.02, death=0.015)
    told = []

    def following():
        with suppress(Empty):
            return waiting.get_nowait()

    def deliver():
        """What was not answered is sent again, after all the others."""
        while batch := following():
            try:
                answer = use(*batch)
            except Death:
                waiting.put(batch)
                continue
            if answer.status == 200:
                told.extend(answer.json["events"])
            else:
                assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
                waiting.put(batch)

    with ThreadPoolExecutor(CALLERS) as threads:
        for caller in [threads.submit(deliver) for _ in range(CALLERS)]:
            caller.result()
    faults.on = False

    assert min(faults.conflict, faults.throttled, faults.unheard, faults.lost, faults.death) > 5, faults
    assert len(told) == DELIVERED
    verdicts = defaultdict(set)
    for each in told:
        verdicts[each["idempotency_key"]].add(each["status"])
    counted = {key for key, verdict in verdicts.items() if verdict == {"recorded"}}
    refused = {key for key, verdict in verdicts.items() if verdict == {"over_limit"}}
    assert counted | refused == events.keys()
    firsts = Counter(each["idempotency_key"] for each in told if each.get("duplicate") is False)
    assert firsts.keys() <= counted and set(firsts.values()) == {1}  # some were told to one who had died
    for metric in metrics:
        sizes = [events[key]["quantity"] for key in counted if events[key]["metric_id"] == metric]
        total, days = used(metric)["used"], used(metric)["days"]
        assert (total, sum(day["sum"] for day in days)) == (sum(sizes), sum(sizes))
        assert sum(day["n"] for day in days) == len(sizes)
    capped = used("capped")["used"]
    assert refused and capped <= CAP and {events[key]["metric_id"] for key in refused} == {"capped"}
    assert all(capped + events[key]["quantity"] > CAP for key in refused)
