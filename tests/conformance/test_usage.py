"""Usage, through what callers see of it: the shapes of its records are its own."""

import pytest

from tests.functions.conftest import HARD, replace


def statuses(answer):
    return [event["status"] for event in answer.json["events"]]


def many(number, **said):
    return [{"idempotency_key": str(n)} | said for n in range(number)]


@pytest.fixture
def pro(sell, buy):
    """Ada has ten API calls (hard) and five exports (soft) a month."""
    buy(sell())


def test_an_event_counts_once_and_is_told_the_same_again(use, used, pro):
    first, again = (use({"idempotency_key": "k", "quantity": 4}).json["events"][0] for _ in range(2))

    assert (first.pop("duplicate"), again.pop("duplicate")) == (False, True) and first == again
    assert statuses(use({"idempotency_key": "k", "quantity": 5})) == ["conflict"]
    assert (used()["used"], used()["days"][0]["n"]) == (4, 1)


def test_of_a_batch_each_that_fits_under_a_hard_limit_counts(use, used, pro):
    sizes = (4, 9, 6, 1)
    answer = use(*({"idempotency_key": str(size), "quantity": size} for size in sizes))

    assert statuses(answer) == ["recorded", "over_limit", "recorded", "over_limit"]
    assert (used()["used"], used()["remaining"], used()["days"][0]["n"]) == (10, 0, 2)
    assert statuses(use({"idempotency_key": "1", "quantity": 1})) == ["over_limit"]


def test_a_soft_limit_is_counted_beyond(use, used, pro):
    assert statuses(use({"metric_id": "exports", "quantity": 99, "idempotency_key": "k"})) == ["recorded"]
    assert (used("exports")["used"], used("exports")["remaining"]) == (99, 0)


def test_the_largest_request_counts_whole_and_its_copy_not_at_all(use, used, sell, buy):
    buy(sell(limits={"max_api_calls": 100}))

    for copy in (False, True):
        told = use(*many(100)).json["events"]
        assert {(each["status"], each["duplicate"]) for each in told} == {("recorded", copy)}
        assert (used()["used"], used()["days"][0]["n"]) == (100, 100)


def test_half_of_a_request_that_is_on_record_does_not_count_again(use, used, sell, buy):
    buy(sell(limits={"max_api_calls": 30}))
    use(*many(20))

    assert statuses(use(*many(40))) == ["recorded"] * 30 + ["over_limit"] * 10
    assert used()["used"] == 30


def test_what_never_begins_again_is_counted_with_its_days_beside_it(use, used, sell, buy):
    never = replace(HARD, reset="never")
    buy(sell(limits={"max_api_calls": 150}, metrics={"api_calls": never}))

    assert statuses(use(*many(100))) == ["recorded"] * 100
    assert statuses(use(*many(100, metadata={"again": "no"}, quantity=2))) == ["conflict"] * 100
    assert (used()["used"], [(day["n"], day["sum"]) for day in used()["days"]]) == (100, [(100, 100)])


def test_a_change_of_plan_rules_from_the_next_event_on(use, used, sell, buy):
    high, low = sell(), sell(limits={"max_api_calls": 3})
    for plan, key, status in ((high, "a", "recorded"), (low, "b", "over_limit"), (high, "c", "recorded")):
        buy(plan)
        assert statuses(use({"quantity": 3, "idempotency_key": key})) == [status]
    assert used()["used"] == 6


def test_who_is_on_no_record_has_the_default_plan(use, used, sell, monkeypatch):
    sell("free", limits={"max_api_calls": 2})
    monkeypatch.setenv("DEFAULT_PLAN", "free")

    assert statuses(use(*many(3))) == ["recorded", "recorded", "over_limit"] and used()["used"] == 2
