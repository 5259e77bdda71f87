"""POST /usage/check: what would be counted now, with nothing counted; and what is said while nobody can tell."""

import os
import time

import pytest
from botocore.exceptions import EndpointConnectionError

from billing import dynamodb
from billing.plans import Metric
from tests.conftest import TABLES, forget


@pytest.fixture
def check(api):
    def ask(quantity=None, metric="api_calls", customer="ada"):
        given = {"customer_id": customer, "metric_id": metric} | ({} if quantity is None else {"quantity": quantity})
        answer = api("POST", "/usage/check", given, claims={"scope": "billing/service"})
        assert answer.status == 200, answer.json
        return answer.json

    return ask


@pytest.fixture
def pro(sell, buy):
    """Ada has ten API calls (hard) and five exports (soft) a month."""
    plan = sell()
    buy(plan)
    return plan


@pytest.fixture
def away(aws):
    """The store does not answer, from now on; or only some of its operations do not."""

    def silence(operation=""):
        def fail(**_):
            raise EndpointConnectionError(endpoint_url="dynamodb")

        dynamodb.db().meta.events.register(f"before-call.dynamodb{operation and f'.{operation}'}", fail)

    return silence


def verdict(told):
    return told["allowed"], told["reason"]


def written():
    return {table: dynamodb.db().scan(TableName=os.environ[table])["Items"] for table in TABLES}


def test_what_still_fits_under_a_hard_limit_is_allowed_and_one_more_is_not(check, use, pro):
    use({"quantity": 7, "idempotency_key": "a"})

    assert check(3) == {
        "customer_id": "ada",
        "metric_id": "api_calls",
        "quantity": 3,
        "allowed": True,
        "reason": "within_limit",
        "used": 7,
        "limit": 10,
        "remaining": 3,
        "enforcement": "hard",
    }
    assert check(4) == check(3) | {"quantity": 4, "allowed": False, "reason": "limit_reached"}
    assert (check()["quantity"], verdict(check()), verdict(check(0))) == (
        1,
        (True, "within_limit"),
        (True, "within_limit"),
    )


@pytest.mark.parametrize("enforcement", ["soft", "observe"])
def test_a_limit_that_stops_nobody_is_told_and_allows(check, use, sell, buy, enforcement):
    buy(sell(metrics={"api_calls": Metric("max_api_calls", enforcement=enforcement)}))
    use({"quantity": 12, "idempotency_key": "a"})

    told = check(1)
    assert (verdict(told), told["used"], told["remaining"]) == ((True, "limit_reached"), 12, 0)
    assert told["enforcement"] == enforcement


def test_without_a_limit_all_is_allowed_and_with_one_of_0_nothing(check, sell, buy):
    metrics = {name: Metric(f"max_{name}") for name in ("api_calls", "exports", "robots")}
    buy(sell(limits={"max_api_calls": None, "max_exports": 0}, metrics=metrics))

    assert verdict(check(10**12)) == (True, "unlimited") and check()["limit"] is check()["remaining"] is None
    for metric in ("exports", "robots"):
        assert verdict(check(1, metric)) == (False, "limit_reached")


CASES = [
    ("sum", [{"quantity": 4}, {"quantity": 5}], 1, 2),
    ("max", [{"quantity": 9}, {"quantity": 2}], 10, 11),
    ("max", [{"quantity": 10}], 10, 11),  # a peak uses nothing up
    ("last", [{"quantity": 10}, {"quantity": 9}], 10, 11),
    ("unique", [{"value": str(n % 8)} for n in range(10)], 2, 3),
]


@pytest.mark.parametrize(("aggregation", "events", "fits", "too_much"), CASES)
def test_it_is_as_it_would_be_counted(check, use, sell, buy, api, aggregation, events, fits, too_much):
    buy(sell(metrics={"api_calls": Metric("max_api_calls", aggregation=aggregation)}))
    begun = int(time.time()) - len(events) - 1

    def event(n, said):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun + n))
        return {"quantity": 1, "idempotency_key": str(n), "timestamp": at} | said

    use(*(event(n, said) for n, said in enumerate(events)))

    assert (check(fits)["allowed"], check(too_much)["allowed"]) == (True, False)
    told = api("GET", "/entitlements").json["metrics"]["api_calls"]
    assert (told["allowed"], told["reason"]) == (True, "within_limit")
    if aggregation != "unique":
        last = len(events)
        answers = [use(event(last, {"quantity": each})).json["events"][0]["status"] for each in (too_much, fits)]
        assert answers == ["over_limit", "recorded"]


def test_what_is_held_is_checked_against_what_there_is(check, use, sell, buy):
    buy(sell(metrics={"api_calls": Metric("max_api_calls", kind="held", reset="never")}))
    use({"quantity": 10, "idempotency_key": "a"})
    assert verdict(check(1)) == (False, "limit_reached")
    use({"quantity": -3, "idempotency_key": "b"})

    assert (check(3)["allowed"], check(4)["allowed"]) == (True, False)


def test_shards_are_added_up(check, use, sell, buy):
    buy(sell(metrics={"exports": Metric("max_exports", enforcement="soft", shards=5)}))
    for n in range(6):
        use({"metric_id": "exports", "quantity": 1, "idempotency_key": str(n)})

    assert (check(1, "exports")["used"], verdict(check(1, "exports"))) == (6, (True, "limit_reached"))


def test_a_check_writes_nothing(check, use, pro, moments):
    use({"quantity": 7, "idempotency_key": "a"})
    before, heard = written(), []
    moments.append(heard.append)
    for quantity, metric, customer in (
        (3, "api_calls", "ada"),
        (4, "api_calls", "ada"),
        (1, "x", "ada"),
        (1, "x", "b"),
    ):
        check(quantity, metric, customer)

    assert {moment[7:] for moment in heard if moment.startswith("before")} <= {"GetItem", "Query"}
    assert written() == before


def test_a_check_sees_what_has_just_been_counted_and_what_was_just_changed(check, use, sell, buy, pro):
    assert check(10)["allowed"]
    use({"quantity": 1, "idempotency_key": "a"})
    assert not check(10)["allowed"]
    buy(sell(limits={"max_api_calls": 11}))
    assert check(10)["allowed"]


def test_an_unknown_metric_and_a_customer_without_a_plan_are_told_as_such(check, pro):
    assert verdict(check(1, "robots")) == (False, "unknown_metric")
    assert verdict(check(1, customer="nobody")) == (False, "no_subscription")
    assert check(1, "robots")["limit"] is check(1, "robots")["used"] is None


def test_a_subscription_without_access_allows_nothing_not_even_what_is_only_watched(check, buy, pro):
    buy(pro, status="unpaid")

    for metric in ("api_calls", "exports"):
        assert verdict(check(1, metric)) == (False, "unpaid")


def test_the_default_plan_is_checked_by_calendar_months(check, use, sell, monkeypatch):
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    sell("free", limits={"max_api_calls": 3})
    use({"quantity": 2, "idempotency_key": "a"})

    assert (verdict(check(1)), verdict(check(2))) == ((True, "within_limit"), (False, "limit_reached"))


@pytest.mark.parametrize("operation", ["", "GetItem"], ids=["all of the store", "its reads"])
def test_while_the_store_is_away_nothing_is_allowed_unless_the_metric_says_so(check, sell, buy, away, operation):
    ready = Metric("max_exports", enforcement="soft", unavailable="allow")
    buy(sell(metrics={"api_calls": Metric("max_api_calls"), "exports": ready}))
    check()
    check(1, "exports")
    away(operation)

    assert check() == {
        "customer_id": "ada",
        "metric_id": "api_calls",
        "quantity": 1,
        "allowed": False,
        "reason": "unavailable",
        "used": None,
        "limit": 10,
        "remaining": None,
        "enforcement": "hard",
    }
    assert verdict(check(1, "exports")) == (True, "unavailable")
    assert verdict(check(1, "robots")) == (False, "unavailable")


def test_while_the_store_is_away_whoever_is_not_remembered_is_denied(check, sell, buy, away):
    buy(sell(metrics={"api_calls": Metric("max_api_calls", unavailable="allow")}))
    check()
    away()
    assert (verdict(check()), verdict(check(customer="bob"))) == ((True, "unavailable"), (False, "unavailable"))
    forget()
    assert verdict(check()) == (False, "unavailable")
    assert check()["limit"] is None


def test_the_memory_is_of_use_however_old_it_is_also_of_the_default_plan(check, sell, away, monkeypatch):
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    sell("free", metrics={"api_calls": Metric("max_api_calls", unavailable="allow")})
    check()
    away()
    monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + 86_400)

    assert verdict(check()) == (True, "unavailable")


@pytest.mark.parametrize("default", [True, False])
def test_what_a_subscription_without_access_had_is_not_allowed_either_while_the_store_is_away(
    check, sell, buy, away, monkeypatch, default
):
    if default:
        monkeypatch.setenv("DEFAULT_PLAN", "free")
        sell("free", metrics={})
    ready = Metric("max_exports", enforcement="soft", unavailable="allow")
    buy(sell(metrics={"exports": ready}), status="unpaid")
    assert verdict(check(1, "exports")) == (False, "unknown_metric" if default else "unpaid")
    away()

    assert verdict(check(1, "exports")) == (False, "unavailable")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"customer_id": "", "metric_id": "m"}, "customer_id"),
        ({"customer_id": "ada"}, "metric_id"),
        ({"customer_id": "ada", "metric_id": "m", "quantity": -1}, "quantity"),
        ({"customer_id": "ada", "metric_id": "m", "quantity": 10**12 + 1}, "quantity"),
        ({"customer_id": "ada", "metric_id": "m", "quantity": "1"}, "quantity"),
        ({"customer_id": "ada", "metric_id": "m", "value": "v"}, "value"),
    ],
)
def test_a_question_that_is_not_understood_is_refused(api, stripe, given, field):
    answer = api("POST", "/usage/check", given, claims={"scope": "billing/service"})

    assert (answer.status, answer.json["fields"][0]["field"]) == (400, field)
