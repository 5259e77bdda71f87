"""Webhooks: real posts to a real endpoint, signed, tried again, and disturbed on request."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import pytest
import stripe


class Endpoint:
    """Takes posts and keeps them; `answers` are its next status codes, then 200."""

    def __init__(self):
        self.posts, self.answers, self._lock = [], [], Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with endpoint._lock:
                    endpoint.posts.append((body, self.headers["Stripe-Signature"]))
                    status = endpoint.answers.pop(0) if endpoint.answers else 200
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format, *args): ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks"
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def events(self):
        with self._lock:
            return [json.loads(body) for body, _ in self.posts]

    def types(self):
        return [event["type"] for event in self.events()]


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


@pytest.fixture
def listening(world, endpoint):
    made = world.v1.webhook_endpoints.create(
        {"url": endpoint.url, "enabled_events": ["*"], "api_version": stripe.api_version}
    )
    world.secret, world.endpoint = made.secret, made.id
    return world


def settled(world):
    assert world.simulator.wait_idle(5)


def test_an_event_arrives_signed_by_the_real_time_and_the_library_takes_it(listening, endpoint):
    customer = listening.customer(card=None)
    settled(listening)
    body, signature = endpoint.posts[0]
    event = stripe.Webhook.construct_event(body.decode(), signature, listening.secret)
    assert (event.type, event.data.object["id"], event.api_version) == (
        "customer.created",
        customer,
        stripe.api_version,
    )
    assert event.created == 1_800_000_000
    assert abs(int(signature.split(",")[0].removeprefix("t=")) - time.time()) < 5
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body.decode() + " ", signature, listening.secret)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body.decode(), signature, "whsec_other")


def test_an_event_names_the_call_it_goes_back_to(listening, endpoint):
    listening.v1.customers.create({"email": "a"}, {"idempotency_key": "mine"})
    settled(listening)
    assert endpoint.events()[0]["request"]["idempotency_key"] == "mine"


def test_an_endpoint_gets_only_the_types_it_enabled(world, endpoint):
    params = {"url": endpoint.url, "enabled_events": ["product.created", "price.created"]}
    made = world.v1.webhook_endpoints.create(params)
    world.price()
    world.customer(card=None)
    settled(world)
    assert sorted(endpoint.types()) == ["price.created", "product.created"]
    world.v1.webhook_endpoints.update(made.id, {"disabled": True})
    world.price()
    settled(world)
    assert len(endpoint.posts) == 2


def test_the_secret_is_shown_once(listening):
    assert listening.secret.startswith("whsec_")
    assert "secret" not in listening.v1.webhook_endpoints.list().data[0]
    listening.v1.webhook_endpoints.delete(listening.endpoint)
    assert not listening.v1.webhook_endpoints.list().data


@pytest.mark.parametrize("refusal", [500, 400, 302])
def test_what_is_not_acknowledged_is_sent_again(listening, endpoint, refusal):
    endpoint.answers = [refusal, refusal]
    listening.customer(card=None)
    settled(listening)
    assert len({event["id"] for event in endpoint.events()}) == 1 and len(endpoint.posts) == 3
    assert listening.v1.events.list({"delivery_success": True}).data


def test_what_is_never_acknowledged_is_given_up_and_found_in_the_list(listening, endpoint):
    endpoint.answers = [500] * 3
    listening.customer(card=None)
    settled(listening)
    lost = listening.v1.events.list({"delivery_success": False}).data
    assert [(one.type, one.pending_webhooks) for one in lost] == [("customer.created", 1)]
    assert len(endpoint.posts) == 3
    listening.simulator.deliver(lost[0].id)
    settled(listening)
    assert len(endpoint.posts) == 4 and not listening.v1.events.list({"delivery_success": False}).data


def test_an_endpoint_that_is_down_costs_nothing_but_deliveries(world):
    world.v1.webhook_endpoints.create({"url": "http://127.0.0.1:1/", "enabled_events": ["*"]})
    assert world.customer(card=None)
    settled(world)
    assert world.v1.events.list({"delivery_success": False}).data


def test_a_dropped_event_never_arrives(listening, endpoint):
    listening.simulator.fault("drop", type="product\\.")
    listening.price()
    settled(listening)
    assert endpoint.types() == ["price.created"]
    assert [one.type for one in listening.v1.events.list({"delivery_success": False}).data] == ["product.created"]


def test_a_duplicated_event_arrives_twice_with_one_id(listening, endpoint):
    listening.simulator.fault("duplicate", type="customer.created")
    listening.customer(card=None)
    settled(listening)
    first, second = endpoint.events()
    assert first["id"] == second["id"]


def test_a_delayed_event_arrives_late(listening, endpoint):
    listening.simulator.fault("delay", type="product.created", seconds=0.3)
    listening.price()
    assert not listening.simulator.wait_idle(0.1)
    assert endpoint.types() == ["price.created"]
    settled(listening)
    assert endpoint.types() == ["price.created", "product.created"]


def test_a_reordered_event_is_overtaken_by_the_next(listening, endpoint):
    listening.simulator.fault("reorder", type="product.created")
    listening.price()
    settled(listening)
    assert endpoint.types() == ["price.created", "product.created"]


def test_a_reordered_event_that_nothing_overtakes_arrives_all_the_same(listening, endpoint):
    listening.simulator.fault("reorder", type="customer.created")
    listening.customer(card=None)
    settled(listening)
    assert endpoint.types() == ["customer.created"]


def test_a_snapshot_shows_the_object_as_it_was_then(listening, endpoint):
    made = listening.subscribe(listening.customer(), listening.price())
    settled(listening)
    snapshots = [one for one in endpoint.events() if one["data"]["object"]["id"] == made.id]
    states = {one["type"]: one["data"]["object"]["status"] for one in snapshots}
    assert states == {"customer.subscription.created": "incomplete", "customer.subscription.updated": "active"}
    updated = next(one for one in snapshots if one["type"].endswith("updated"))
    assert updated["data"]["previous_attributes"] == {"status": "incomplete"}
