"""Many events at once, through the deployed stack: API Gateway, the queue, and a processor that is one at a time."""

import json
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from random import Random
from urllib.parse import urlsplit

import pytest
from stripe import WebhookSignature

CONNECTIONS = 8
PATIENCE_S = 150
SEED = 20261123
KEPT = ("customer.subscription.", "invoice.paid", "invoice.finalized")  # types that are never without effect


@pytest.fixture
def silent(stack, stripe, settle):
    """Stripe makes events, and delivers none."""
    settle()
    [endpoint] = stripe.webhook_endpoints.list().data
    stripe.webhook_endpoints.update(endpoint.id, {"disabled": True})
    yield
    stripe.webhook_endpoints.update(endpoint.id, {"disabled": False})


def at_once(work, jobs):
    """Each worker has a connection of its own, and takes the next job when it is through with one."""
    left, done = deque(jobs), []

    def worker(_):
        with work() as act:
            while True:
                try:
                    job = left.popleft()
                except IndexError:
                    return
                done.append(act(job))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(worker, range(CONNECTIONS)))
    return done


@pytest.fixture
def ask(stack):
    api = urlsplit(stack.api_url)

    @contextmanager
    def connected():
        connection = HTTPConnection(api.netloc, timeout=60)

        def send(method, path, body, headers):
            connection.request(method, api.path + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

        yield send
        connection.close()

    return connected


@pytest.fixture
def subscribers(stack, ask, plans):
    """subscribers(n): so many new customers with a subscription; their subscriptions' ids, by their names with us."""

    def make(names):
        order = json.dumps({"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"})

        @contextmanager
        def work():
            with ask() as send:

                def subscribe(name):
                    status, body = send(
                        "POST", "/subscription", order, {"authorization": f"Bearer {stack.token(name)}"}
                    )
                    assert status == 200, body
                    return name, json.loads(body)["id"]

                yield subscribe

        return dict(at_once(work, names))

    return make


@pytest.fixture
def told(stack):
    """What Stripe has made known of a customer of its own, in its order."""

    def read():
        found = {}
        for event in stack.simulator.events.values():
            about = event["data"]["object"]
            whose = about["id"] if about["object"] == "customer" else about.get("customer")
            found.setdefault(whose, []).append(event)
        return found

    return read


@pytest.fixture
def send(stack, ask):
    """The events are sent, signed, over eight connections, and all are taken."""

    @contextmanager
    def work():
        with ask() as post:

            def deliver(event):
                body = json.dumps(event)
                signature = WebhookSignature.generate_signature_header(body, stack.webhook_secret, int(time.time()))
                return post("POST", "/webhooks/stripe", body, {"stripe-signature": signature})[0]

            yield deliver

    def run(events):
        assert Counter(at_once(work, events)) == {200: len(events)}

    return run


@pytest.fixture
def burst(stack, send, records):
    """The events are sent; returns when the queue is empty: how often Stripe was asked."""
    counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

    def waiting(queue):
        attributes = stack.client("sqs").get_queue_attributes(
            QueueUrl=stack.outputs[queue], AttributeNames=list(counts)
        )["Attributes"]
        return sum(int(attributes[count]) for count in counts)

    def run(events):
        asked, began = len(stack.simulator.calls), time.monotonic()
        send(events)
        sent = time.monotonic() - began
        while waiting("WebhookQueue") and time.monotonic() - began < PATIENCE_S:
            time.sleep(0.1)
        took = time.monotonic() - began
        gets = Counter(call.path.split("/")[2] for call in stack.simulator.calls[asked:] if call.method == "GET")
        print(f"{len(events)} events sent in {sent:.1f} s, handled in {took:.1f} s: {len(events) / took:.0f} a second")
        print(f"fetched: {dict(gets)}")
        assert (waiting("WebhookQueue"), waiting("DeadWebhookQueue")) == (0, 0)
        _none_is_left(records, events)
        return gets.total()

    return run


def _none_is_left(records, events):
    rows = {row["id"]: row for row in records("WebhookEvents")}
    became = {(event["type"], rows[event["id"]]["outcome"], int(rows[event["id"]]["attempts"])) for event in events}
    assert {(outcome, attempts) for _, outcome, attempts in became} == {("done", 0), ("ignored", 0)}
    assert {outcome for type, outcome, _ in became if type.startswith(KEPT)} == {"done"}


@pytest.fixture
def equal(stack, records):
    """On record for each of them is what Stripe has."""

    def compare(subscriptions):
        ours = {}
        for item in records("Subscriptions"):
            if (item["sk"], item["pk"].partition("#")[0]) == ("customer", "customer"):
                ours[item["pk"].removeprefix("customer#")] = item["subscription"]["theirs"]
        for name, id in subscriptions.items():
            theirs = stack.simulator.subscriptions[id]
            [item] = theirs["items"]["data"]
            wanted = {name: theirs[name] for name in ("id", "status", "cancel_at_period_end", "latest_invoice")}
            wanted |= {"quantity": item["quantity"], "price": item["price"]["id"], "item": item["id"]}
            wanted |= {"current_period_end": item["current_period_end"], "cancelled_at": theirs["canceled_at"]}
            assert {key: ours[name][key] for key in wanted} == wanted

    return compare


def change(stack, subscription, quantity):
    """In Stripe's dashboard, and nothing is charged for it."""
    item = stack.simulator.subscriptions[subscription]["items"]["data"][0]["id"]
    said = {"items": {"0": {"id": item, "quantity": str(quantity)}}, "proration_behavior": "none"}
    status, answer = stack.simulator.handle("POST", f"/v1/subscriptions/{subscription}", said)
    assert status == 200, answer


def test_two_hundred_events_of_one_customer(stack, silent, subscribers, told, burst, equal):
    made = subscribers(["one"])
    subscription = made["one"]
    stripe_id, quantity = stack.simulator.subscriptions[subscription]["customer"], 6
    while len(told()[stripe_id]) < 200:
        change(stack, subscription, quantity)
        quantity = quantity + 1 if quantity < 45 else 6
    events = told()[stripe_id]

    fetched = burst(events)
    assert len(events) == 200 and 2 * fetched <= len(events)
    equal(made)


def test_two_thousand_events_of_two_hundred_customers(stack, silent, subscribers, told, burst, equal):
    made = subscribers([f"customer-{number}" for number in range(200)])
    random = Random(SEED)
    print(f"seed {SEED}")
    for subscription in made.values():
        for _ in range(3):
            change(stack, subscription, random.randrange(1, 50))
    known = told()
    theirs = [stack.simulator.subscriptions[subscription]["customer"] for subscription in made.values()]
    events = [event for customer in theirs for event in known[customer][-10:]]

    fetched = burst(events)
    assert len(events) == 2000 and 2 * fetched <= len(events)
    equal(made)


def test_a_poison_event_holds_up_its_customer_for_no_longer_than_its_five_attempts(
    stack, silent, subscribers, told, send, records, equal
):
    made = subscribers(["poisoned"])
    subscription = made["poisoned"]
    stripe_id, invoice = (stack.simulator.subscriptions[subscription][name] for name in ("customer", "latest_invoice"))
    for quantity in range(6, 26):
        change(stack, subscription, quantity)
    *_, poison = (event for event in told()[stripe_id] if event["type"] == "invoice.paid")
    good = told()[stripe_id][-20:]
    stack.simulator.fault("failed", method="GET", path=f"/v1/invoices/{invoice}", times=1000)

    def outcomes():
        return {row["id"]: row["outcome"] for row in records("WebhookEvents")}

    send([*good[:10], poison, *good[10:]])
    deadline = time.monotonic() + PATIENCE_S
    while outcomes().get(poison["id"]) != "failed" and time.monotonic() < deadline:
        time.sleep(0.2)
    stack.simulator.faults.clear()
    became = outcomes()
    assert became[poison["id"]] == "failed" and {became.get(event["id"]) for event in good} == {"done"}
    equal(made)
