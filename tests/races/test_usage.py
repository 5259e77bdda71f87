import time
from collections import Counter, UserDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event as Signal
from threading import Thread, local

import pytest

from billing import standing
from tests.functions import conftest as shared
from tests.races.faults import hinder

buy, sell, use, used = shared.buy, shared.sell, shared.use, shared.used
pytestmark = pytest.mark.xdist_group("conformance")  # one DynamoDB Local is enough


class Memories(UserDict):
    """A memory for each thread, as each Lambda has its own."""

    def __init__(self):
        self._own = local()

    @property
    def data(self):
        return self._own.__dict__


@pytest.fixture(params=["ministack", "dynamodb_local"])
def aws(apart, request):
    with apart(request.param):
        yield


@pytest.fixture(autouse=True)
def lambdas(monkeypatch):
    monkeypatch.setattr(standing, "_known", Memories())


def statuses(answers):
    return Counter(event["status"] for answer in answers for event in answer.json["events"])


def patient(use, *events):
    """Sends all of it again for as long as it is told to, as callers do."""
    while (answer := use(*events)).status == 503:
        assert int(answer.headers["retry-after"]) > 0
    return answer


def eventually(so, within=30):
    """Whether that comes true in so many seconds."""
    until = time.monotonic() + within
    while not (true := so()) and time.monotonic() < until:
        time.sleep(0.02)
    return true


def test_a_hundred_copies_of_one_event_at_once_count_once_and_are_told_the_same(use, used, sell, buy, at_once):
    buy(sell())
    answers = at_once(*[partial(patient, use, {"quantity": 4, "idempotency_key": "k"})] * 100)

    told = [answer.json["events"][0] for answer in answers]
    assert Counter(each.pop("duplicate") for each in told) == {False: 1, True: 99}
    assert all(each == told[0] for each in told) and told[0]["status"] == "recorded"
    assert (used()["used"], used()["days"][0]["n"]) == (4, 1)


def test_four_hundred_callers_at_once_are_granted_a_hard_limit_to_the_unit(use, used, sell, buy, at_once):
    buy(sell(limits={"max_api_calls": 100}))
    hindrance = hinder(conflict=0.2, throttled=0.05)
    answers = at_once(*(partial(patient, use, {"idempotency_key": str(n)}) for n in range(400)))
    hindrance.on = False

    assert statuses(answers) == {"recorded": 100, "over_limit": 300}
    assert (used()["used"], used()["remaining"], used()["days"][0]["n"]) == (100, 0, 100)


def test_batches_at_once_with_copies_of_each_other_end_at_the_clean_total(use, used, sell, buy, at_once):
    buy(sell(limits={"max_api_calls": None}))
    events = [{"quantity": 1 + n % 5, "idempotency_key": str(n)} for n in range(120)]
    batches = [[events[(7 * batch + 11 * n) % 120] for n in range(30)] for batch in range(24)]
    answers = at_once(*(partial(patient, use, *batch) for batch in batches))

    sent = {event["idempotency_key"]: event["quantity"] for batch in batches for event in batch}
    told = [event for answer in answers for event in answer.json["events"]]
    assert {event["status"] for event in told} == {"recorded"}
    assert sum(not event["duplicate"] for event in told) == len(sent)
    assert (used()["used"], used()["days"][0]["n"]) == (sum(sent.values()), len(sent))


def test_a_limit_that_is_lowered_and_raised_under_way_is_never_passed_while_it_stands(use, used, sell, buy):
    low, high = (sell(limits={"max_api_calls": limit}) for limit in (30, 10**6))
    buy(high)
    enough, granted = Signal(), []

    def call(name):
        n = 0
        while not enough.is_set():
            (answer,) = patient(use, {"idempotency_key": f"{name}.{n}"}).json["events"]
            granted.append(answer["status"] == "recorded")
            n += 1

    threads = [Thread(target=call, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.3)
        buy(low)
        lowered = used()["used"]
        time.sleep(0.3)
        assert used()["used"] <= max(lowered, 30)
        buy(high)
    deadline = time.monotonic() + 30
    while (raised := used()["used"]) <= lowered and time.monotonic() < deadline:
        time.sleep(0.05)
    enough.set()
    for thread in threads:
        thread.join()

    assert raised > lowered
    assert used()["used"] == sum(granted)


def test_four_hundred_callers_never_pass_a_limit_that_moves_and_end_at_it_to_the_unit(use, used, sell, buy):
    plans = {limit: sell(limits={"max_api_calls": limit}) for limit in (60, 99, 100)}
    buy(plans[100])
    hinder(conflict=0.1)
    settled = Signal()

    def call(n):
        told = "over_limit"
        while told == "over_limit":
            last = settled.is_set()
            (answer,) = patient(use, {"idempotency_key": str(n)}).json["events"]
            told = answer["status"]
            if last:
                return told
        return told

    with ThreadPoolExecutor(40) as threads:
        told = [threads.submit(call, n) for n in range(400)]
        try:
            for under_way, limit in ((1, 60), (61, 99), (100, 100)):
                assert eventually(lambda climbed=under_way: used()["used"] >= climbed)
                buy(plans[limit])
                stood = used()["used"]
                assert eventually(lambda limit=limit: used()["used"] >= limit)
                time.sleep(0.1)
                assert used()["used"] == max(stood, limit) <= 100
                buy(plans[100])
        finally:
            settled.set()

    assert Counter(each.result() for each in told) == {"recorded": 100, "over_limit": 300}
    assert (used()["used"], used()["days"][0]["n"]) == (100, 100)


def test_what_is_granted_at_once_over_all_time_is_the_limit_too(use, used, sell, at_once, monkeypatch):
    never = {"api_calls": shared.replace(shared.HARD, reset="never")}
    sell("free", limits={"max_api_calls": 25}, metrics=never)
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    answers = at_once(*(partial(patient, use, *({"idempotency_key": f"{n}.{m}"} for m in range(3))) for n in range(20)))

    assert statuses(answers) == {"recorded": 25, "over_limit": 35}
    assert used()["days"] == [{"date": used()["days"][0]["date"], "n": 25, "sum": 25}]
