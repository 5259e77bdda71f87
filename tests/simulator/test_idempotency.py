"""Idempotency keys: what was answered once is answered again, and nothing is done twice."""

from threading import Thread

import pytest
import stripe

from local.stripe_simulator import Simulator

START = 1_800_000_000
DAY = 86_400


def post(simulator, path, params, key: str | None = "k"):
    return simulator.handle("POST", f"/v1/{path}", params, key)


@pytest.fixture
def now():
    return [float(START)]


@pytest.fixture
def simulator(now):
    return Simulator(now=lambda: now[0])


def test_the_same_key_and_parameters_are_answered_again_and_done_once(simulator):
    first = simulator.answer("POST", "/v1/customers", {"email": "a"}, "k")
    again = simulator.answer("POST", "/v1/customers", {"email": "a"}, "k")
    assert again.body == first.body and len(simulator.customers) == 1
    assert again.headers["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first.headers
    assert [call.replayed for call in simulator.calls] == [False, True]


def test_the_stored_answer_stands_whatever_happened_since(simulator):
    _, made = post(simulator, "customers", {"email": "a"})
    post(simulator, f"customers/{made['id']}", {"email": "b"}, "other")
    assert post(simulator, "customers", {"email": "a"})[1]["email"] == "a"


def test_the_same_key_with_other_parameters_or_another_path_is_a_400(simulator):
    post(simulator, "customers", {"email": "a"})
    for path, params in (("customers", {"email": "b"}), ("products", {"email": "a"})):
        status, body = post(simulator, path, params)
        assert (status, body["error"]["type"]) == (400, "idempotency_error")
    assert len(simulator.customers) == 1


def test_keys_are_forgotten_after_a_day_and_not_before(simulator, now):
    _, first = post(simulator, "customers", {})
    now[0] += DAY - 1
    assert post(simulator, "customers", {})[1] == first
    now[0] += 1
    assert post(simulator, "customers", {})[1]["id"] != first["id"]


def test_a_decline_is_stored(simulator):
    _, customer = post(simulator, "customers", {}, None)
    path, params = "payment_methods/pm_card_chargeDeclined/attach", {"customer": customer["id"]}
    answers = [simulator.answer("POST", f"/v1/{path}", params, "k") for _ in range(2)]
    assert [answer.status for answer in answers] == [402, 402]
    assert answers[1].headers["Idempotent-Replayed"] == "true"


def test_a_failure_is_stored_before_the_work_and_after_it(simulator):
    for kind, made in (("failed", 0), ("failed_after", 1)):
        simulator.fault(kind, path="/v1/customers")
        before = len(simulator.customers)
        answers = [post(simulator, "customers", {}, kind) for _ in range(2)]
        assert [status for status, _ in answers] == [500, 500]
        assert len(simulator.customers) - before == made


@pytest.mark.parametrize(
    ("path", "params", "status"), [("customers", {"nonsense": "x"}, 400), ("customers/cus_0", {}, 404)]
)
def test_what_was_refused_before_the_work_is_not_stored(simulator, path, params, status):
    assert post(simulator, path, params)[0] == status
    assert post(simulator, "customers", {})[0] == 200


def test_a_rate_limit_is_not_stored(simulator):
    simulator.fault("rate_limit")
    assert [post(simulator, "customers", {})[0] for _ in range(2)] == [429, 200]


def test_keys_count_for_posts_only(simulator):
    _, customer = post(simulator, "customers", {}, None)
    path = f"/v1/customers/{customer['id']}"
    assert [simulator.handle("DELETE", path, {}, "k")[0] for _ in range(2)] == [200, 404]
    assert simulator.calls[-1].key is None


def test_a_key_that_is_at_work_is_a_409_and_afterwards_replayed():
    simulator = Simulator(latency=0.2)
    answers = []
    calls = [Thread(target=lambda: answers.append(post(simulator, "customers", {"email": "a"}))) for _ in range(5)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    statuses = sorted(status for status, _ in answers)
    assert statuses == [200, 409, 409, 409, 409] and len(simulator.customers) == 1
    refused = next(body for status, body in answers if status == 409)
    assert refused["error"]["code"] == "idempotency_key_in_use"
    assert post(simulator, "customers", {"email": "a"})[0] == 200 and len(simulator.customers) == 1


def test_the_library_repeats_a_lost_answer_under_its_key_and_makes_one_object(world):
    world.simulator.fault("timeout", path="/v1/customers")
    patient = stripe.StripeClient("sk_test_simulator", base_addresses={"api": world.base}, max_network_retries=1)
    made = patient.v1.customers.create({"email": "a"})
    assert list(world.simulator.customers) == [made.id]
    assert [(call.status, call.replayed) for call in world.simulator.calls] == [(None, False), (200, True)]
