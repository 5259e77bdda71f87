import pytest

from billing.plans import Metric

METRICS = {"api_calls": Metric("max_api_calls"), "exports": Metric("max_exports", enforcement="soft")}


@pytest.fixture
def pro(sell, buy):
    limits = {"max_api_calls": 10, "max_exports": None, "max_projects": 3}
    plan = sell(features=["sso", "reports"], limits=limits, metrics=METRICS)
    buy(plan)
    return plan


@pytest.fixture
def may(api):
    return lambda name, customer="ada": api("GET", f"/entitlements/{name}", customer=customer).json


def test_a_plans_feature_is_allowed_and_another_is_not(may, pro):
    assert may("sso") == {
        "feature": "sso",
        "allowed": True,
        "reason": "in_plan",
        "limit": None,
        "used": 0,
        "remaining": None,
    }
    assert (may("audit")["allowed"], may("audit")["reason"]) == (False, "not_in_plan")


def test_a_metric_is_allowed_until_its_limit_is_reached(may, use, pro):
    use({"quantity": 9, "idempotency_key": "a"})
    below = may("api_calls")
    use({"idempotency_key": "b"})
    reached = may("api_calls")

    assert (below["allowed"], below["used"], below["remaining"]) == (True, 9, 1)
    assert (reached["allowed"], reached["reason"], reached["remaining"]) == (False, "limit_reached", 0)
    assert may("max_api_calls") == reached | {"feature": "max_api_calls"}


def test_a_limit_that_nothing_is_counted_against_is_told(may, pro):
    assert (may("max_projects")["allowed"], may("max_projects")["limit"], may("max_projects")["used"]) == (
        True,
        3,
        None,
    )


def test_all_of_it_at_once(api, use, pro):
    use({"quantity": 4, "idempotency_key": "a"}, {"metric_id": "exports", "quantity": 7, "idempotency_key": "b"})
    told = api("GET", "/entitlements").json

    ends = [metric.pop("period_end") for metric in told["metrics"].values()]
    assert ends[0] == ends[1] and told == {
        "plan": "pro",
        "plan_version": 1,
        "access": True,
        "reason": "active",
        "dunning": None,
        "features": {"sso": True, "reports": True},
        "limits": {"max_api_calls": 10, "max_exports": None, "max_projects": 3},
        "metrics": {
            "api_calls": {
                "limit": 10,
                "used": 4,
                "remaining": 6,
                "enforcement": "hard",
                "allowed": True,
                "reason": "within_limit",
            },
            "exports": {
                "limit": None,
                "used": 7,
                "remaining": None,
                "enforcement": "soft",
                "allowed": True,
                "reason": "unlimited",
            },
        },
    }


def test_without_a_plan_nothing_is_allowed_and_with_a_default_plan_what_it_has(api, may, sell, monkeypatch, aws):
    nothing = api("GET", "/entitlements").json
    assert (nothing["plan"], nothing["access"], nothing["reason"]) == (None, False, "no_subscription")
    assert (may("sso")["allowed"], may("sso")["reason"]) == (False, "no_subscription")

    sell("free", features=["reports"])
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    assert (may("reports")["allowed"], may("sso")["allowed"]) == (True, False)
    assert api("GET", "/entitlements").json["plan"] == "free"


@pytest.mark.parametrize(
    ("status", "allowed", "reason"),
    [
        *(("active", True, "active"), ("trialing", True, "trialing"), ("past_due", False, "past_due")),
        *(("unpaid", False, "unpaid"), ("paused", False, "paused"), ("canceled", False, "canceled")),
        *(("incomplete", False, "incomplete"), ("incomplete_expired", False, "incomplete_expired")),
        ("dormant", True, "active"),
    ],
)
def test_access_follows_the_status_at_once(api, may, use, buy, pro, status, allowed, reason):
    use({"idempotency_key": "a"})
    buy(pro, status=status)

    assert (may("sso")["allowed"], api("GET", "/entitlements").json["reason"]) == (allowed, reason)
    (answer,) = use({"idempotency_key": "b"}).json["events"]
    assert (answer["status"] == "recorded") == allowed


def test_past_due_has_access_as_long_as_the_plans_grace(may, sell, buy):
    buy(plan := sell(grace_days=7))
    buy(plan, status="past_due")

    assert may("sso")["allowed"] is True


def test_who_never_had_a_known_status_has_no_access(may, sell, buy):
    buy(sell(), status="dormant")

    assert (may("sso")["allowed"], may("sso")["reason"]) == (False, "unknown_status")


def test_whoever_bought_a_version_keeps_it(may, sell, buy, pro):
    sell(features=[])

    assert may("sso")["allowed"] is True


def test_a_question_is_answered_in_two_reads_and_from_memory_when_nothing_has_changed(api, may, pro, moments):
    may("api_calls")
    heard = []
    moments.append(lambda moment: heard.append(moment[7:]) if moment.startswith("before") else None)
    etag = api("GET", "/entitlements/api_calls").headers["etag"]

    assert heard == ["GetItem", "GetItem"]
    assert api("GET", "/entitlements/api_calls", headers={"if-none-match": etag}).status == 304
