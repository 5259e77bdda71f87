"""Eight callers at once through the deployed API. More would only start more processes: fifty race in tests/races."""

import json
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import Barrier
from urllib.parse import urlsplit

import pytest

N = 8
ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


@pytest.fixture
def race(stack):
    """race(route, token, bodies): the same request with each body, all at once, from connections and Lambdas that are
    warm; what each was answered: status, headers, content."""

    def run(route, token, bodies):
        method, path = route.split()
        api, start = urlsplit(stack.api_url), Barrier(len(bodies))

        def ask(connection, body):
            connection.request(method, api.path + path, body, {"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())

        def runner(body):
            connection = HTTPConnection(api.netloc, timeout=60)
            start.wait()
            assert ask(connection, "[]")[0] == 400  # all at once, so that there is a Lambda for each
            start.wait()
            told = ask(connection, json.dumps(body))
            connection.close()
            return told

        with ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(runner, bodies))

    return run


@pytest.fixture
def slow_stripe(stack):
    """So that calls overlap."""
    stack.simulator.latency = 0.15
    yield stack.simulator
    stack.simulator.latency = 0.0


def test_eight_clicks_at_once_are_one_subscription(someone, plans, race, slow_stripe, eventually):
    ada = someone()
    answers = race("POST /subscription", ada.token, [ORDER] * N)
    statuses = {status for status, _, _ in answers}
    assert 200 in statuses and statuses <= {200, 409, 503}
    assert all(headers["retry-after"] for status, headers, _ in answers if status != 200)
    again = ada.ask("POST", "/subscription", ORDER)
    told = {content["id"] for status, _, content in answers if status == 200}

    assert (again.status, told) == (200, {again.json["id"]})
    assert len(ada.at_stripe()) == 1
    eventually(ada.ours, ada.theirs())  # which finds one subscription, or fails
    assert list(ada.theirs()["invoices"].values()) == ["paid"] and ada.record["pending"] is None


def test_of_eight_seat_changes_at_once_each_winner_asks_stripe_once(ada, race, settle, slow_stripe, eventually):
    settle()
    subscription, before = ada.theirs()["id"], len(slow_stripe.calls)
    answers = race("PUT /subscription/seats", ada.token, [{"quantity": seats} for seats in range(10, 10 + N)])
    changed = [call for call in slow_stripe.calls[before:] if call.path == f"/v1/subscriptions/{subscription}"]
    changes = [call for call in changed if call.method == "POST"]
    winners = [content["seats"] for status, _, content in answers if status == 200]
    losers = [(status, int(headers["retry-after"]) > 0) for status, headers, _ in answers if status != 200]

    assert 1 <= len(winners) < N and losers == [(409, True)] * len(losers)
    assert sorted(int(call.params["items"]["0"]["quantity"]) for call in changes) == sorted(winners)
    assert len({call.key for call in changes}) == len(winners)
    eventually(ada.ours, ada.theirs())
    assert ada.theirs()["quantity"] in winners
    assert ada.ask("GET", "/subscription").json["seats"] == ada.theirs()["quantity"]
    assert ada.record["pending"] is None


def test_eight_copies_of_one_event_are_counted_once_and_told_the_same(stack, ada, race):
    event = {"customer_id": ada.name, "metric_id": "api_calls", "quantity": 3, "idempotency_key": "once"}
    answers = race("POST /usage", stack.token("backend", "billing/service"), [{"events": [event]}] * N)
    told = [content["events"][0] for _, _, content in answers]

    assert [status for status, _, _ in answers] == [200] * N
    assert sorted(each.pop("duplicate") for each in told) == [False] + [True] * (N - 1)
    assert all(each == told[0] and each["status"] == "recorded" for each in told)
    assert ada.ask("GET", "/usage?metric=api_calls").json["used"] == 3


def test_a_hard_limit_is_never_passed_by_eight_at_once(stack, ada, race):
    def event(number):
        return {"customer_id": ada.name, "metric_id": "api_calls", "quantity": 300, "idempotency_key": str(number)}

    token = stack.token("backend", "billing/service")
    answers = race("POST /usage", token, [{"events": [event(number)]} for number in range(N)])
    told = sorted(content["events"][0]["status"] for _, _, content in answers)
    assert told == ["over_limit"] * (N - 3) + ["recorded"] * 3  # of 1000
    assert ada.ask("GET", "/usage?metric=api_calls").json["used"] == 900


def test_one_event_under_eight_dedup_ids_at_once_has_one_effect_and_one_marker(
    stack, ada, records, settle, slow_stripe
):
    settle()
    slow_stripe.fault("drop", type="invoice", times=1000)
    assert ada.ask("PUT", "/subscription/seats", {"quantity": 6}).status == 200
    settle()
    slow_stripe.faults.clear()
    [new] = ada.theirs()["invoices"].keys() - ada.ours()["invoices"].keys()
    paid = [each for each in slow_stripe.events.values() if each["type"] == "invoice.paid"]
    [event] = [each for each in paid if each["data"]["object"]["id"] == new]
    envelope = {name: event[name] for name in ("id", "type", "created", "livemode", "api_version")}
    envelope |= {"object_id": new, "customer": ada.at_stripe()[0], "subscription": ada.theirs()["id"]}
    before = ada.record

    functions = stack.client("lambda")
    deployed = functions.list_functions()["Functions"]
    [name] = [each["FunctionName"] for each in deployed if each["Handler"] == "process_webhook.handler"]
    start = Barrier(N)

    def process(number):
        def invoke(records):
            answer = functions.invoke(FunctionName=name, Payload=json.dumps({"Records": records}))
            return answer.get("FunctionError"), json.loads(answer["Payload"].read())

        message = {"messageId": f"m{number}", "receiptHandle": f"r{number}", "body": json.dumps(envelope)}
        message |= {"attributes": {"ApproximateReceiveCount": "1", "MessageDeduplicationId": f"other-{number}"}}
        start.wait()
        invoke([])  # all at once, so that there is a Lambda for each
        start.wait()
        return invoke([message])

    with ThreadPoolExecutor(N) as pool:
        answers = list(pool.map(process, range(N)))
    markers = [each for each in records("WebhookEvents") if each["id"] == event["id"]]

    assert answers == [(None, {"batchItemFailures": []})] * N
    assert [each["outcome"] for each in markers] == ["done"]
    assert (ada.record["version"], ada.ours()) == (before["version"] + 1, ada.theirs())
