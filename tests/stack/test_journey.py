"""A customer's way through all of it: over HTTP, and back from Stripe by its webhooks."""

import json

import pytest

from local.demo import Tale, Wrong
from local.outside import Listener


def usage(person, quantity, key):
    return {"customer_id": person.name, "metric_id": "api_calls", "quantity": quantity, "idempotency_key": key}


def test_a_customer_subscribes_uses_grows_upgrades_cancels_and_stays(stack, call, ada, eventually):
    service = stack.token("backend", "billing/service")
    eventually(ada.ours, ada.theirs())
    assert ada.theirs()["quantity"] == 5 and list(ada.theirs()["invoices"].values()) == ["paid"]

    events = {"events": [usage(ada, 40, "a"), usage(ada, 2, "b"), usage(ada, 40, "a")]}
    counted = call("POST", "/usage", service, events)
    again = call("POST", "/usage", service, events)
    assert [event["duplicate"] for event in counted.json["events"]] == [False, False, True]
    assert [event["duplicate"] for event in again.json["events"]] == [True, True, True]
    assert ada.ask("GET", "/usage?metric=api_calls").json["used"] == 42
    left = ada.ask("GET", "/entitlements/api_calls").json
    assert (left["allowed"], left["used"], left["remaining"]) == (True, 42, 958)
    assert ada.ask("GET", "/entitlements/reports").json["allowed"] is True
    assert ada.ask("GET", "/entitlements/sso").json["allowed"] is False

    grown = ada.ask("PUT", "/subscription/seats", {"quantity": 8})
    assert (grown.status, grown.json["seats"], grown.json["billed"]) == (200, 8, "now")
    eventually(ada.ours, ada.theirs())

    upgraded = ada.ask("PUT", "/subscription/plan", {"plan_slug": "pro"})
    proration = upgraded.json["proration"]
    assert (upgraded.status, upgraded.json["plan"], upgraded.json["seats"]) == (200, "pro", 8)
    assert proration["charge_cents"] > proration["credit_cents"] > 0
    eventually(ada.ours, ada.theirs())
    billed = {each["total_cents"]: each for each in ada.ask("GET", "/invoices").json["invoices"]}
    assert (billed[proration["net_cents"]]["status"], len(billed)) == ("paid", 3)
    assert ada.ask("GET", "/entitlements/sso").json["allowed"] is True
    assert ada.ask("GET", "/entitlements/api_calls").json["remaining"] == 5000 - 42

    leaving = ada.ask("POST", "/subscription/cancel")
    assert (leaving.json["status"], leaving.json["cancel_at_period_end"]) == ("active", True)
    staying = ada.ask("POST", "/subscription/resume")
    assert (staying.json["status"], staying.json["cancel_at_period_end"]) == ("active", False)
    eventually(ada.ours, ada.theirs())
    assert ada.theirs()["status"] == "active" and set(ada.theirs()["invoices"].values()) == {"paid"}
    assert ada.record["pending"] is None


def test_the_end_comes_by_webhook_and_takes_access_with_it(ada, stripe, eventually):
    stripe.subscriptions.cancel(ada.theirs()["id"])
    eventually(ada.ours, ada.theirs())
    assert ada.theirs()["status"] == "canceled"
    assert ada.ask("GET", "/subscription").json["code"] == "not_found"
    denied = ada.ask("GET", "/entitlements/reports").json
    assert (denied["allowed"], denied["reason"]) == (False, "canceled")


def test_a_month_passes_at_stripe_and_a_failed_payment_is_known_by_its_webhook(ada, stripe, eventually):
    [customer], subscription = ada.at_stripe(), ada.theirs()
    card = stripe.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer}).id
    stripe.subscriptions.update(subscription["id"], {"default_payment_method": card})
    clocks = stripe.test_helpers.test_clocks
    began = stripe.subscriptions.retrieve(subscription["id"]).created
    clock = clocks.create({"frozen_time": began, "customer": customer}).id
    clocks.advance(clock, {"frozen_time": subscription["current_period_end"] + 2 * 3600})

    eventually(lambda: ada.ask("GET", "/subscription").json["status"], "past_due")
    eventually(ada.ours, ada.theirs())
    told = ada.ask("GET", "/subscription").json
    assert (told["access"], told["access_reason"]) == (True, "grace")
    assert sorted(ada.theirs()["invoices"].values()) == ["open", "paid"]


def here(path):
    return path.replace("{id}", "nobody").replace("{slug}", "nosuch").replace("{feature}", "reports")


def body_of(method, path):
    """The least that a route reads."""
    bodies = {"/subscription": {"plan_slug": "nosuch"}, "/plan": {"plan_slug": "nosuch"}, "/seats": {"quantity": 1}}
    said = next((body for end, body in bodies.items() if path.endswith(end)), {})
    return None if method in ("GET", "DELETE") else said


def scopes(template):
    """Each route's (method, path): the scope it wants; None: a customer's; "": no token at all."""
    found = {}
    for resource in template["Resources"].values():
        for event in resource.get("Properties", {}).get("Events", {}).values():
            if event["Type"] == "HttpApi":
                auth = event["Properties"].get("Auth", {})
                [scope] = auth.get("AuthorizationScopes", ["" if auth.get("Authorizer") == "NONE" else None])
                found[event["Properties"]["Method"], event["Properties"]["Path"]] = scope
    return found


def test_every_route_answers_whoever_may_call_it(stack, call, template):
    odd = {}
    for (method, path), scope in scopes(template).items():
        token = stack.token("nobody", scope) if scope != "" else None
        answer = call(method, here(path), token, body_of(method, path))
        if answer.status >= 500 or answer.status in (401, 403) or answer.json in (None, {"message": "Not Found"}):
            odd[method, path] = answer.status, answer.json
    assert odd == {}


def test_a_route_with_a_scope_refuses_a_token_without_it(stack, call, template, nothing_happens):
    answers, scoped = {}, {route: scope for route, scope in scopes(template).items() if scope}
    with nothing_happens():
        for (method, path), scope in scoped.items():
            other = "billing/admin" if scope == "billing/service" else "billing/service"
            for token in (stack.token("nobody"), stack.token("nobody", other)):
                answers[method, path, token] = call(method, here(path), token, body_of(method, path)).status
    assert set(scoped.values()) == {"billing/service", "billing/admin"}
    assert list(answers.values()) == [403] * 2 * len(scoped)


def test_a_customers_route_refuses_our_own_services(stack, call, template, nothing_happens):
    answers, token = {}, stack.token("nobody", "billing/service")
    with nothing_happens():
        for (method, path), scope in scopes(template).items():
            if scope is None:
                answer = call(method, here(path), token, body_of(method, path))
                answers[method, path] = answer.status, answer.json["code"]
    assert set(answers.values()) == {(403, "forbidden")}


def test_another_customers_data_is_never_seen_or_touched(stack, call, ada, someone, settle):
    call("POST", "/usage", stack.token("backend", "billing/service"), {"events": [usage(ada, 7, "a")]})
    settle()
    before, bob = ada.record, someone()

    assert bob.ask("GET", "/subscription").status == 404
    assert bob.ask("GET", "/invoices").json == {"invoices": [], "next": None}
    assert bob.ask("GET", "/entitlements/reports").json["allowed"] is False
    assert bob.ask("GET", "/usage?metric=api_calls").status == 404  # he has no plan with such a metric
    assert bob.ask("GET", f"/usage?metric=api_calls&customer_id={ada.name}").status == 400
    for route in ("GET /subscription", "GET /invoices", "POST /subscription/cancel", "PUT /subscription/seats"):
        method, path = route.split()
        assert bob.ask(method, f"/customers/{ada.name}{path}").status == 403
        headers = {"x-customer-id": ada.name, "customer": ada.name}
        assert bob.ask(method, path, {"quantity": 2} if method == "PUT" else None, headers).status in (200, 404)
    named = bob.ask("POST", "/subscription", {"plan_slug": "team", "customer_id": ada.name})
    assert (named.status, named.json["fields"][0]["field"]) == (400, "customer_id")
    foreign = bob.ask("POST", "/subscription", {"plan_slug": "team", "payment_method": payment_method(stack, ada)})
    assert (foreign.status, foreign.json["code"]) == (422, "stripe_refused")
    assert ada.record == before and ada.ask("GET", "/usage?metric=api_calls").json["used"] == 7


def payment_method(stack, person):
    return stack.simulator.subscriptions[person.theirs()["id"]]["default_payment_method"]


def test_what_the_functions_say_is_in_their_log(stack, call, eventually):
    assert call("GET", "/plans").status == 200
    found = stack.client("cloudformation").describe_stack_resource(StackName=stack.stack_name, LogicalResourceId="Logs")
    logs, group = stack.client("logs"), found["StackResourceDetail"]["PhysicalResourceId"]

    def said():
        events = logs.filter_log_events(logGroupName=group, filterPattern='"answered"')["events"]
        return {json.loads(event["message"])["level"] for event in events}

    eventually(said, {"INFO"})


def test_the_demo_stops_at_the_first_wrong_answer_and_says_what_came(stack, capsys):
    tale = Tale(stack, Listener(stack, ""))
    with pytest.raises(Wrong, match=r"GET /subscription: status: expected 200\nwhat came: 404 .*not_found"):
        tale.ask("Ada", "GET", "/subscription", see={"status": "active"})
    with pytest.raises(Wrong, match=r'reason: expected "active", came "no_subscription"'):
        tale.ask("Ada", "GET", "/entitlements", see={"reason": "active"})
    with pytest.raises(Wrong, match=r"plan: expected something, came null"):
        tale.ask("Ada", "GET", "/entitlements", see={"plan": ...})
    with pytest.raises(Wrong, match="not so: two is one"):
        tale.true("two is one", 2 == 1)
    told = capsys.readouterr().out
    assert "GET  /subscription" in told and tale.tokens["Ada"] not in told
