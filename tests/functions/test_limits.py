"""Limits of a customer's own, in place of its plan's: they hold at once, for everybody who counts."""

import json
import os

import pytest

from billing import customer_table, dynamodb, standing
from billing.plans import Metric
from tests.conftest import TABLES


@pytest.fixture
def pro(sell, buy):
    """Ada has ten API calls (hard) and five exports (soft) a month."""
    plan = sell()
    buy(plan)
    return plan


@pytest.fixture
def put(api):
    def override(limits, customer="ada"):
        claims = {"scope": "billing/admin"}
        return api("PUT", f"/customers/{customer}/limits", {"limits": limits}, customer="operator", claims=claims)

    return override


@pytest.fixture
def override(put):
    def accepted(limits, customer="ada"):
        answer = put(limits, customer)
        assert (answer.status, answer.json) == (200, {"customer": customer, "limits": limits})

    return accepted


@pytest.fixture
def stale():
    """What this function remembers now it will remember whatever happens inside, as one does that is not asked."""
    known = {}

    class Memory:
        def __enter__(self):
            known.update(standing._known)

        def __exit__(self, *_):
            standing._known.clear()
            standing._known.update(known)

    return Memory()


def statuses(answer):
    return [event["status"] for event in answer.json["events"]]


def written():
    return {table: dynamodb.db().scan(TableName=os.environ[table])["Items"] for table in TABLES}


def test_an_override_stands_in_place_of_the_plans_limit_and_the_others_stay(use, used, api, pro, override):
    override({"max_api_calls": 12})

    assert statuses(use({"quantity": 12, "idempotency_key": "a"}, {"idempotency_key": "b"})) == [
        "recorded",
        "over_limit",
    ]
    told = api("GET", "/entitlements").json
    assert told["limits"] == {"max_api_calls": 12, "max_exports": 5}
    assert [told["metrics"][metric]["limit"] for metric in ("api_calls", "exports")] == [12, 5]
    assert (used()["limit"], used()["remaining"]) == (12, 0)
    assert api("GET", "/entitlements/max_api_calls").json["limit"] == 12
    check = {"customer_id": "ada", "metric_id": "api_calls"}
    assert api("POST", "/usage/check", check, claims={"scope": "billing/service"}).json["limit"] == 12


@pytest.mark.parametrize("used_before", [True, False], ids=["the total stands", "the first of its period"])
def test_one_that_is_lowered_holds_at_once_for_a_function_that_remembers_the_old(
    use, used, pro, override, stale, used_before
):
    if used_before:
        use({"quantity": 3, "idempotency_key": "a"})
    standing.of("ada", customer_table.find("ada", 0).updated_at)
    with stale:
        override({"max_api_calls": 4})

    (refused,) = use({"quantity": 5 - 3 * used_before, "idempotency_key": "b"}).json["events"]
    assert (refused["status"], refused["limit"]) == ("over_limit", 4)
    assert statuses(use({"quantity": 4 - 3 * used_before, "idempotency_key": "c"})) == ["recorded"]
    assert used()["used"] == 4


@pytest.mark.parametrize("full", [True, False])
def test_one_that_is_raised_holds_at_once_for_a_function_that_remembers_the_old(use, used, pro, override, stale, full):
    use({"quantity": 10 if full else 1, "idempotency_key": "a"})
    with stale:
        override({"max_api_calls": 30})

    assert statuses(use({"quantity": 20, "idempotency_key": "b"})) == ["recorded"]
    assert used()["used"] == 20 + (10 if full else 1)


def test_lowered_and_raised_again_between_two_events_the_last_one_holds(use, used, pro, override, stale):
    use({"quantity": 3, "idempotency_key": "a"})
    with stale:
        for limit in (2, 50, 6):
            override({"max_api_calls": limit})

    assert statuses(use({"quantity": 4, "idempotency_key": "b"}, {"quantity": 3, "idempotency_key": "c"})) == [
        "over_limit",
        "recorded",
    ]
    with stale:
        override({"max_api_calls": 7})
    assert statuses(use({"quantity": 1, "idempotency_key": "d"})) == ["recorded"]
    assert used()["used"] == 7


def test_one_that_is_lowered_between_read_and_write_holds(use, used, pro, override, moments):
    standing._known.clear()
    moments.once("before TransactWriteItems", lambda: override({"max_api_calls": 4}))

    assert statuses(use({"quantity": 5, "idempotency_key": "a"})) == ["over_limit"]
    assert used()["used"] == 0


def test_lowered_below_what_is_used_nothing_more_fits_and_nothing_is_lost(use, used, pro, override):
    use({"quantity": 8, "idempotency_key": "a"})
    override({"max_api_calls": 3})

    assert statuses(use({"idempotency_key": "b"}, {"quantity": 8, "idempotency_key": "a"})) == [
        "over_limit",
        "recorded",
    ]
    assert (used()["used"], used()["limit"], used()["remaining"]) == (8, 3, 0)


def test_null_is_unlimited_and_0_is_nothing(use, used, api, pro, override):
    override({"max_api_calls": None, "max_exports": 0})

    assert statuses(use({"quantity": 10**9, "idempotency_key": "a"})) == ["recorded"]
    assert used()["limit"] is None is used()["remaining"]
    told = api("GET", "/entitlements").json["metrics"]
    assert (told["api_calls"]["reason"], told["exports"]["reason"]) == ("unlimited", "limit_reached")
    assert api("GET", "/entitlements/max_exports").json["limit"] == 0


def test_what_is_named_no_more_is_the_plans_again(use, used, api, pro, override):
    override({"max_api_calls": 2, "max_exports": None})
    override({"max_exports": 7})
    assert api("GET", "/entitlements").json["limits"] == {"max_api_calls": 10, "max_exports": 7}
    override({})
    assert api("GET", "/entitlements").json["limits"] == {"max_api_calls": 10, "max_exports": 5}
    assert statuses(use({"quantity": 10, "idempotency_key": "a"})) == ["recorded"]


def test_the_same_put_twice_writes_nothing(use, pro, override, moments):
    use({"idempotency_key": "a"})
    override({"max_api_calls": 20, "max_exports": None})
    before, heard = written(), []
    moments.append(heard.append)
    override({"max_exports": None, "max_api_calls": 20})

    assert {moment for moment in heard if moment.startswith("before")} == {"before GetItem"}
    assert written() == before


def test_of_a_customer_on_no_record_no_override_writes_nothing(put, aws):
    before = written()
    assert put({}).json == {"customer": "ada", "limits": {}}
    assert written() == before


def test_a_plan_change_keeps_them_and_a_cancellation_too(use, used, sell, buy, override, pro, monkeypatch):
    override({"max_api_calls": 15})
    buy(sell("team", limits={"max_api_calls": 100, "max_exports": 1}))
    assert (used()["limit"], used("exports")["limit"]) == (15, 1)

    monkeypatch.setenv("DEFAULT_PLAN", "free")
    sell("free", limits={"max_api_calls": 3})
    buy(pro, status="canceled", ended_at=1)
    assert used()["limit"] == 15
    assert customer_table.find("ada", 0).limits == {"max_api_calls": 15}


def test_they_may_be_there_before_the_plan_that_has_such_a_limit(api, sell, buy, override):
    """An unknown name is taken: plans come and go under an override, and a refusal would depend on which came first."""
    override({"max_robots": 4})
    assert api("GET", "/entitlements").json["access"] is False
    buy(sell(metrics={"robots": Metric("max_robots")}, limits={}))

    told = api("GET", "/entitlements").json
    assert (told["limits"], told["metrics"]["robots"]["limit"]) == ({"max_robots": 4}, 4)


def test_a_limit_that_nothing_is_counted_against_is_granted_too(api, pro, override):
    override({"max_projects": 9, "max_teams": None})

    told = [api("GET", f"/entitlements/{name}").json for name in ("max_projects", "max_teams", "max_robots")]
    assert [(each["allowed"], each["limit"]) for each in told] == [(True, 9), (True, None), (False, 0)]


def test_they_are_of_one_customer(used, buy, pro, override):
    buy(pro, "bob")
    override({"max_api_calls": 1})

    assert (used()["limit"], used(customer="bob")["limit"]) == (1, 10)


def test_two_at_once_are_one_after_the_other_and_one_of_them_stands(put, use, pro, moments):
    moments.once("before TransactWriteItems", lambda: put({"max_api_calls": 3}))
    assert put({"max_api_calls": 7}).status == 200

    customer = customer_table.find("ada", 0)
    assert (customer.limits, customer.terms) == ({"max_api_calls": 7}, 3)
    assert statuses(use({"quantity": 8, "idempotency_key": "a"})) == ["over_limit"]


def test_all_that_may_be_counted_into_now_is_shut_for_older_terms(use, sell, buy, override):
    soft = Metric("max_exports", enforcement="soft", shards=3)
    buy(sell(metrics={"api_calls": Metric("max_api_calls"), "exports": soft}))
    override({"max_api_calls": 9})

    totals = [item for item in map(dynamodb.decode, written()["USAGE_TABLE"]) if item["pk"] == "T#ada"]
    terms = str(customer_table.find("ada", 0).terms)
    assert [total["terms"] for total in totals] == [terms] * 4


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "limits"),
        ({"limits": {"max_api_calls": -1}}, "limits.max_api_calls"),
        ({"limits": {"max_api_calls": 1.5}}, "limits.max_api_calls"),
        ({"limits": {"max_api_calls": True}}, "limits.max_api_calls"),
        ({"limits": {"max_api_calls": "9"}}, "limits.max_api_calls"),
        ({"limits": {"max_api_calls": 10**15 + 1}}, "limits.max_api_calls"),
        ({"limits": {"No Such Name": 1}}, "limits.No Such Name.[key]"),
        ({"limits": {f"max_{n}": n for n in range(101)}}, "limits"),
        ({"limits": {}, "until": "2026-12-01"}, "until"),
        ({"limits": None}, "limits"),
    ],
)
def test_what_is_no_limit_is_refused_and_writes_nothing(api, pro, given, field):
    before = written()
    answer = api("PUT", "/customers/ada/limits", given, claims={"scope": "billing/admin"})

    assert (answer.status, answer.json["fields"][0]["field"]) == (400, field), json.dumps(answer.json)
    assert written() == before


def test_only_an_operator_may(template):
    functions = template["Resources"]
    [route] = [each["Properties"] for each in functions["OverrideLimits"]["Properties"]["Events"].values()]
    assert route == {
        "Method": "PUT",
        "Path": "/customers/{id}/limits",
        "Auth": {"AuthorizationScopes": ["billing/admin"]},
    }
