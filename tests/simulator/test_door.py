"""The HTTP door and the controls behind it."""

import ast
import base64
import http.client
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe._encode import _api_encode

from local.stripe_simulator import Simulator, serve
from local.stripe_simulator.errors import Refused
from local.stripe_simulator.forms import Shape, decode, free, read, text, whole

KEY = "sk_test_simulator"


def send(world, method, path, body=None, **headers):
    line = http.client.HTTPConnection("127.0.0.1", world.port, timeout=5)
    line.request(method, path, body, headers)
    answer = line.getresponse()
    return answer.status, json.loads(answer.read()), answer.headers


def test_only_the_api_key_opens_the_door(world):
    for wrong in (
        {},
        {"Authorization": "Bearer sk_test_other"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer "},
    ):
        assert send(world, "GET", "/v1/customers", **wrong)[0] == 401
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    for right in (f"Bearer {KEY}", f"Basic {basic}"):
        assert send(world, "GET", "/v1/customers", Authorization=right)[0] == 200
    with pytest.raises(stripe.AuthenticationError):
        stripe.StripeClient("sk_test_other", base_addresses={"api": world.base}).v1.customers.list()


def test_answers_carry_the_headers_of_stripe(world):
    bearer = {"Authorization": f"Bearer {KEY}", "Stripe-Version": stripe.api_version, "Idempotency-Key": "k"}
    _, _, headers = send(world, "POST", "/v1/customers", "email=a", **bearer)
    assert headers["Request-Id"].startswith("req_") and headers["Idempotency-Key"] == "k"
    assert headers["Stripe-Version"] == stripe.api_version
    assert send(world, "POST", "/v1/customers", "email=a", **bearer)[2]["Idempotent-Replayed"] == "true"
    assert send(world, "GET", "/v1/customers", **bearer | {"Stripe-Version": "2020-08-27"})[0] == 400


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/nothing"), ("DELETE", "/v1/prices/price_1"), ("GET", "/"), ("POST", "/v2/x")]
)
def test_an_unknown_route_is_a_404_in_the_words_of_stripe(world, method, path):
    status, body, _ = send(world, method, path, Authorization=f"Bearer {KEY}")
    assert status == 404 and body["error"]["message"].startswith(f"Unrecognized request URL ({method}: {path})")


def test_an_unknown_parameter_is_named(world):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.v1.customers.create({"address": {"planet": "Earth"}})
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "address[planet]")


ITEM = st.fixed_dictionaries(
    {
        "price": st.text(min_size=1),
        "quantity": st.integers(),
        "metadata": st.dictionaries(st.sampled_from(["a", "0", "change_id"]), st.text(), min_size=1),
    }
)


@settings(max_examples=50, deadline=None)
@given(st.lists(ITEM, min_size=1, max_size=11))
def test_a_form_of_the_library_is_read_as_it_was_meant(items):
    form = urlencode(list(_api_encode({"items": items})))
    shape: dict[str, Shape] = {"items": [{"price": text, "quantity": whole, "metadata": free}]}
    assert read(decode(form), shape) == {"items": items}


@pytest.mark.parametrize("form", ["a=1&a[b]=2", "a[b]=2&a[b][c]=3"])
def test_a_form_that_contradicts_itself_is_refused(form):
    with pytest.raises(Refused):
        decode(form)


def test_connections_are_kept_and_shared_by_many_threads(world):
    line = http.client.HTTPConnection("127.0.0.1", world.port, timeout=5)
    for _ in range(3):
        line.request("GET", "/v1/customers", headers={"Authorization": f"Bearer {KEY}"})
        socket = line.sock
        assert line.getresponse().read() and line.sock is socket
    with ThreadPoolExecutor(20) as crowd:
        list(crowd.map(lambda n: world.v1.customers.create({"email": f"{n}"}), range(60)))
    assert len({one["email"] for one in world.simulator.customers.values()}) == 60
    assert len(world.told("customer.created")) == 60


def test_a_crowd_on_one_balance_loses_nothing(world):
    customer = world.customer()
    made = world.subscribe(customer, world.price(100))
    item = made.items.data[0].id
    change = {"items": [{"id": item, "quantity": 2}], "proration_behavior": "none"}
    with ThreadPoolExecutor(10) as crowd:
        list(
            crowd.map(
                lambda n: world.v1.subscriptions.update(made.id, change | {"metadata": {f"k{n}": "1"}}), range(30)
            )
        )
    assert len(world.simulator.subscriptions[made.id]["metadata"]) == 30


def test_shutting_down_waits_for_nobody_and_frees_the_port():
    simulator = Simulator()
    server = serve(simulator)
    line = http.client.HTTPConnection("127.0.0.1", server.server_port)
    line.connect()
    began = time.monotonic()
    server.shutdown()
    assert time.monotonic() - began < 5  # it does not wait for the open line
    serve(Simulator(), server.server_port).shutdown()


# Controls


def test_faults_are_asked_for_and_taken_back_over_http(world):
    fault = json.dumps({"kind": "failed", "path": "/v1/customers", "times": 2})
    assert send(world, "POST", "/_simulator/faults", fault)[0] == 200
    with pytest.raises(stripe.APIError):
        world.v1.customers.list()
    assert send(world, "DELETE", "/_simulator/faults")[0] == 200
    assert not world.v1.customers.list().data
    for wrong in ('{"kind": "earthquake"}', '{"sort": "failed"}', "not json"):
        assert send(world, "POST", "/_simulator/faults", wrong)[0] == 400


def test_calls_and_idleness_are_seen_over_http(world):
    world.v1.customers.create({"email": "a"}, {"idempotency_key": "k"})
    call = send(world, "GET", "/_simulator/calls")[1]["calls"][-1]
    assert (call["method"], call["path"], call["key"], call["status"]) == ("POST", "/v1/customers", "k", 200)
    assert call["params"] == {"email": "a"}
    assert send(world, "GET", "/_simulator/idle?wait=1")[1] == {"idle": True}
    world.v1.webhook_endpoints.create({"url": "http://127.0.0.1:1/", "enabled_events": ["*"]})
    world.simulator.fault("delay", type="customer.created", seconds=5)
    world.customer(card=None)
    assert send(world, "GET", "/_simulator/idle")[1] == {"idle": False}


def test_an_event_is_sent_again_and_time_ticks_over_http(world):
    world.v1.webhook_endpoints.create({"url": "http://127.0.0.1:1/", "enabled_events": ["*"]})
    world.customer(card=None)
    event = next(iter(world.simulator.events))
    assert send(world, "POST", f"/_simulator/deliver/{event}")[0] == 200
    assert send(world, "POST", "/_simulator/deliver/evt_0")[0] == 404
    made = world.subscribe(world.customer(), world.price())
    world.now[0] += 32 * 86_400
    assert send(world, "POST", "/_simulator/tick")[0] == 200
    assert len([one for one in world.simulator.invoices.values() if one["customer"] == made.customer]) == 2


def test_it_runs_as_a_program_and_stops_when_asked():
    command = [sys.executable, "-m", "local.stripe_simulator", "--port", "0", "--api-key", "sk_test_x"]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as program:
        assert program.stdout
        address = program.stdout.readline().split()[-1]
        client = stripe.StripeClient("sk_test_x", base_addresses={"api": address})
        assert client.v1.customers.create({"email": "a"}).id
        program.terminate()
        assert program.wait(5) == 0


def test_it_imports_nothing_but_the_standard_library_and_itself():
    folder = Path(__file__).parents[2] / "local" / "stripe_simulator"
    names = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign and all(name.startswith("local.stripe_simulator") for name in foreign)
