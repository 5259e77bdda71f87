import importlib
import subprocess
import sys
from datetime import UTC, datetime

import pytest


@pytest.fixture
def pro(sell, buy):
    plan = sell()
    buy(plan)
    return plan


def test_what_has_been_used_is_told_day_by_day(api, use, pro):
    use({"quantity": 4, "idempotency_key": "a"}, {"quantity": 3, "idempotency_key": "b"})
    today = datetime.now(UTC).date().isoformat()
    told = api("GET", "/usage?metric=api_calls")

    start, end = told.json.pop("period_start"), told.json.pop("period_end")
    assert told.json == {
        "metric": "api_calls",
        "aggregation": "sum",
        "used": 7,
        "limit": 10,
        "remaining": 3,
        "enforcement": "hard",
        "alerts": [],
        "days": [{"date": today, "n": 2, "sum": 7}],
    }
    assert start < today < end and start.endswith("Z")


def test_nothing_used_is_zero_and_writes_nothing(api, pro, moments):
    heard = []
    moments.append(heard.append)
    told = api("GET", "/usage?metric=exports").json

    assert (told["used"], told["remaining"], told["days"]) == (0, 5, [])
    reads = [moment for moment in heard if moment.startswith("before")]
    assert reads == ["before GetItem", "before Query", "before Query"]  # customer; total, alerts


def test_a_backend_reads_it_for_any_customer_and_a_customer_only_its_own(api, use, pro):
    use({"quantity": 4, "idempotency_key": "a"})

    def read(path, customer, **claims):
        return api("GET", path, customer=customer, claims=claims)

    assert read("/customers/ada/usage?metric=api_calls", "backend", scope="billing/service").json["used"] == 4
    assert read("/usage?metric=api_calls", "bob").status == 404  # he has no plan
    assert read("/usage?metric=api_calls", "backend", scope="billing/service").status == 403


def test_what_has_not_changed_is_not_sent_again(api, use, pro):
    etag = api("GET", "/usage?metric=api_calls").headers["etag"]
    assert api("GET", "/usage?metric=api_calls", headers={"if-none-match": etag}).status == 304
    use({"idempotency_key": "a"})
    assert api("GET", "/usage?metric=api_calls", headers={"if-none-match": etag}).json["used"] == 1


@pytest.mark.parametrize(
    ("asked", "field"), [("", "metric"), ("?metric=", "metric"), ("?metric=api_calls&start=2026-01-01", "start")]
)
def test_a_question_that_is_not_understood_is_refused(api, pro, asked, field):
    refused = api("GET", f"/usage{asked}")

    assert (refused.status, refused.json["code"], refused.json["fields"][0]["field"]) == (400, "malformed", field)


def test_a_metric_that_the_plan_does_not_have_is_not_found(api, pro):
    assert api("GET", "/usage?metric=robots").json["code"] == "not_found"


@pytest.mark.parametrize("action", ["get_usage", "get_entitlements", "check_entitlement", "record_usage"])
def test_what_is_called_most_starts_without_stripe_and_reads_without_a_bodys_library(action):
    paths = [path for path in sys.path if path]
    code = f"import sys; sys.path[:0] = {paths!r}; import {action}; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert importlib.import_module(action) and "stripe" not in loaded
    assert "pydantic" not in loaded and ("msgspec" in loaded) == (action == "record_usage")
