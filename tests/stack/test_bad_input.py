"""Whatever is sent to the deployed API: refused by its name, or safe to send again; and nothing happened meanwhile."""

import json
from datetime import UTC, datetime

import pytest

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
PLAN = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
EVENT = {"customer_id": "ada", "metric_id": "api_calls", "quantity": 1, "idempotency_key": "k"}
HUGE = 10**30


@pytest.fixture(scope="module")
def tokens(stack):
    scopes = {"service": "billing/service", "admin": "billing/admin"}
    return {"customer": stack.token("nobody")} | {who: stack.token(who, scope) for who, scope in scopes.items()}


@pytest.mark.parametrize(
    ("who", "route", "body", "field"),
    [
        pytest.param("customer", "POST /subscription", b"{", "body", id="malformed JSON"),
        pytest.param("customer", "POST /subscription", b"\xff\xfe", "body", id="no UTF-8"),
        pytest.param("customer", "POST /subscription", b"[]", "body", id="no object"),
        pytest.param("customer", "POST /subscription", b"[" * 100_000, "body", id="depth without end"),
        pytest.param("customer", "POST /subscription", {}, "plan_slug", id="nothing"),
        pytest.param("customer", "POST /subscription", ORDER | {"quantity": "5"}, "quantity", id="text for a number"),
        pytest.param("customer", "POST /subscription", ORDER | {"quantity": 0}, "quantity", id="no seats"),
        pytest.param("customer", "POST /subscription", ORDER | {"quantity": HUGE}, "quantity", id="10^30 seats"),
        pytest.param("customer", "POST /subscription", ORDER | {"plan_slug": ["team"]}, "plan_slug", id="a list"),
        pytest.param("customer", "POST /subscription", ORDER | {"seats": 5}, "seats", id="unknown field"),
        pytest.param("customer", "PUT /subscription/seats", {"quantity": HUGE}, "quantity", id="a change to 10^30"),
        pytest.param("customer", "PUT /subscription/seats", {"quantity": 1.5}, "quantity", id="half a seat"),
        pytest.param("customer", "PUT /subscription/plan", {"plan_slug": "../pro"}, "plan_slug", id="a path"),
        pytest.param("customer", "POST /subscription/cancel", {"immediately": "yes"}, "immediately", id="yes"),
        pytest.param("customer", "PUT /customer", {"email": "nobody"}, "email", id="no address"),
        pytest.param("customer", "PUT /customer", {"address": {"country": "Utopia"}}, "address.country", id="nested"),
        pytest.param("customer", "GET /usage", None, "metric", id="a missing parameter"),
        pytest.param("customer", "GET /usage?metric=api_calls&month=5", None, "month", id="an unknown parameter"),
        pytest.param("service", "POST /usage", {"events": []}, "events", id="no events"),
        pytest.param("service", "POST /usage", {"events": [EVENT] * 101}, "events", id="101 events"),
        pytest.param("service", "POST /usage", {"events": [EVENT], "at": 1}, "at", id="beside the events"),
        pytest.param("admin", "PUT /plans/new", PLAN | {"base_price_cents": HUGE}, "base_price_cents", id="a price"),
        pytest.param("admin", "PUT /plans/new", PLAN | {"base_price_cents": -1}, "base_price_cents", id="a gift"),
        pytest.param("admin", "PUT /plans/new", PLAN | {"billing_interval": "week"}, "billing_interval", id="a week"),
        pytest.param("admin", "PUT /plans/new", PLAN | {"limits": {"max_x": -1}}, "limits.max_x", id="a limit"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field_and_nothing_happens(
    call, tokens, nothing_happens, who, route, body, field
):
    method, path = route.split()
    with nothing_happens():
        answer = call(method, path, tokens[who], body)
    assert (answer.status, answer.json["status"], answer.json["code"]) == (400, 400, "malformed")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["fields"][0]["field"] == field and field in answer.json["detail"]


@pytest.mark.parametrize(
    ("who", "route"),
    [
        ("customer", "POST /subscription"),
        ("customer", "PUT /customer"),
        ("service", "POST /usage"),
        ("admin", "PUT /plans/new"),
    ],
)
def test_ten_megabytes_are_refused_unread(call, tokens, nothing_happens, who, route):
    method, path = route.split()
    with nothing_happens():
        answer = call(method, path, tokens[who], json.dumps({"plan_slug": "x" * 10_000_000}).encode())
    assert answer.status == 400  # API Gateway's own 413 begins beyond that
    assert answer.json["fields"] == [{"field": "body", "message": "at most 262144 bytes"}]


def test_ten_megabytes_are_no_webhook_either(call, nothing_happens):
    with nothing_happens():
        assert call("POST", "/webhooks/stripe", body=b"x" * 10_000_000).status == 400


@pytest.mark.parametrize("key", ["x" * 256, "café", " "], ids=["256 characters", "no ASCII", "nothing"])
def test_an_idempotency_key_that_is_none_is_refused(call, tokens, nothing_happens, key):
    headers = {"idempotency-key": key.encode().decode("latin-1")}
    with nothing_happens():
        answer = call("POST", "/subscription", tokens["customer"], ORDER, headers)
    assert (answer.status, answer.json["fields"][0]["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"quantity": HUGE}, "quantity"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": "1"}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"timestamp": datetime.fromtimestamp(0, UTC).isoformat()}, "timestamp"),
        ({"timestamp": 0}, "timestamp"),
        ({"timestamp": "9999-12-31T23:59:59Z"}, "timestamp"),
        ({"customer_id": ""}, "customer_id"),
        ({"idempotency_key": "x" * 256}, "idempotency_key"),
        ({"metric_id": None}, "metric_id"),
        ({"metadata": {"x": "y" * 3000}}, "metadata"),
        ({"price": 1}, "price"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_bad_event_is_rejected_by_its_field_and_its_neighbour_counts(stack, call, ada, tokens, records, wrong, field):
    good = EVENT | {"customer_id": ada.name}
    answer = call("POST", "/usage", tokens["service"], {"events": [good | {"idempotency_key": "bad"} | wrong, good]})
    bad, neighbour = answer.json["events"]
    assert (answer.status, bad["status"], bad["field"]) == (200, "rejected", field)
    assert (neighbour["status"], ada.ask("GET", "/usage?metric=api_calls").json["used"]) == ("recorded", 1)
    assert [item["key"] for item in records("Usage") if item.get("customer") == ada.name] == ["k"]
    alone = call("POST", "/usage", tokens["service"], {"events": [good | {"idempotency_key": "bad"} | wrong]})
    assert (alone.status, alone.json["code"]) == (400, "malformed")
    assert alone.json["fields"][0]["field"] == f"events.0.{field}"


def test_a_rule_that_says_no_writes_nothing(ada, settle, nothing_happens):
    settle()
    with nothing_happens():
        too_many = ada.ask("PUT", "/subscription/seats", {"quantity": 51})
        another = ada.ask("POST", "/subscription", {"plan_slug": "pro"})
        nothing = ada.ask("POST", "/subscription/resume")
    assert (too_many.status, too_many.json["code"]) == (422, "seats_out_of_range")
    assert (another.status, another.json["code"]) == (409, "already_subscribed")
    assert (nothing.status, nothing.json["code"]) == (422, "nothing_to_resume")


@pytest.mark.parametrize("fault", ["unreachable", "failed", "failed_after", "timeout", "rate_limit"])
def test_when_stripe_fails_the_outcome_is_unknown_and_a_retry_is_safe(stack, someone, plans, settle, eventually, fault):
    ada, simulator = someone(), stack.simulator
    assert ada.ask("PUT", "/customer", {"name": "Ada"}).status == 200
    simulator.fault(fault, method="POST", path="/v1/subscriptions$", times=3 if fault == "rate_limit" else 1)
    if fault in ("unreachable", "timeout"):  # and so it does not answer the library's own retry
        simulator.fault("unreachable", method="POST", path="/v1/subscriptions$")
    key = {"idempotency-key": "once"}
    first = ada.ask("POST", "/subscription", ORDER, key)
    settle()
    held = ada.record["pending"]
    simulator.faults.clear()
    retried = [ada.ask("POST", "/subscription", ORDER, key) for _ in range(3)]

    if fault == "failed_after":
        assert (first.status, first.json["status"]) == (200, "active")  # it has been looked for, and found
    else:
        assert (first.status, first.json["status"]) == (503, 503)
        assert int(first.headers["retry-after"]) > 0
    if fault in ("failed_after", "timeout"):
        assert held is None  # it had happened, and the webhook has said so
    else:
        assert held["wish"]["action"] == "subscribe"
    # A 500 is kept under its key: Stripe says it again, until the next attempt takes another key.
    assert [each.status for each in retried] == ([503, 200, 200] if fault == "failed" else [200, 200, 200])
    assert (retried[-1].json["status"], retried[-1].json["seats"]) == ("active", 5)
    eventually(ada.ours, ada.theirs())  # which finds one subscription, or fails
    assert list(ada.theirs()["invoices"].values()) == ["paid"] and ada.record["pending"] is None


def test_when_stripe_fails_in_a_change_it_is_charged_once(stack, ada, eventually):
    simulator = stack.simulator
    simulator.fault("timeout", method="POST", path="/v1/subscriptions/sub_")
    simulator.fault("unreachable", method="POST", path="/v1/subscriptions/sub_", times=1000)
    unknown = ada.ask("PUT", "/subscription/seats", {"quantity": 9})
    simulator.faults.clear()
    assert (unknown.status, unknown.headers["retry-after"]) == (503, "5")
    again = ada.ask("PUT", "/subscription/seats", {"quantity": 9})
    assert (again.status, again.json["seats"]) == (200, 9)
    eventually(ada.ours, ada.theirs())
    assert list(ada.theirs()["invoices"].values()) == ["paid", "paid"]
