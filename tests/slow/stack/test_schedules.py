"""What Lambda's limit cuts short is carried on by a schedule that the function's own role has made, and that comes."""

import time

import pytest

CARRIED_ON_S = 100  # a schedule is a minute away, and MiniStack looks every ten seconds


@pytest.fixture
def slow_stripe(stack):
    """Three calls fill a slice."""
    stack.simulator.latency = 4.5
    yield stack.simulator
    stack.simulator.latency = 0.0


@pytest.fixture
def carried_on(schedules):
    """What each hands in, by its name; those of a customer's own days are another matter."""
    days = ("dunning-", "trial-", "card-", "access-", "close-")
    return lambda: {name: said for name, said in schedules().items() if not name.startswith(days)}


@pytest.fixture
def run(stack, call):
    """What GET /reconcile/{run} tells."""
    admin = stack.token("operator", "billing/admin")

    def find(id):
        answer = call("GET", f"/reconcile/{id}", admin)
        assert answer.status == 200, answer
        return answer.json

    return find


def through(run, ids):
    deadline = time.monotonic() + CARRIED_ON_S
    while time.monotonic() < deadline and not all(run(id)["finished_at"] for id in ids):
        time.sleep(1)
    return [run(id)["finished_at"] is not None for id in ids]


def test_runs_of_each_function_are_cut_short_and_carried_on(
    stack, ada, call, invoke, settle, slow_stripe, carried_on, run
):
    """The nightly one by Reconcile, an operator's by StartReconciliation, one that stands still by Sweep."""
    slow_stripe.latency = 0.0
    settle()
    slow_stripe.latency = 4.5
    admin = stack.token("operator", "billing/admin")
    begun = call("POST", "/reconcile", admin, {"dry_run": False})
    assert (begun.status, begun.json["finished_at"]) == (200, None)
    invoke("Reconcile", {"time": "2026-11-24T03:00:00Z"})
    slow_stripe.latency = 0.0
    _begin(stack, "nightly-dead", ago=700)
    invoke("Sweep")

    ids = [begun.json["run"], "nightly-20261124T030000Z", "nightly-dead"]
    made = carried_on()
    assert sorted(said["run"] for said in made.values()) == sorted(ids)
    assert {name.rpartition("-")[0] for name in made} == set(ids)
    assert through(run, ids) == [True] * 3
    assert carried_on() == {}  # each comes once, and is gone


def _begin(stack, id, ago):
    """A run whose maker has died."""
    at = int(time.time()) - ago
    item = {
        "pk": {"S": "runs"},
        "sk": {"S": id},
        "id": {"S": id},
        "dry_run": {"BOOL": False},
        "stage": {"S": "customers"},
    }
    item |= {name: {"N": "0"} for name in ("compared", "under_way", "found", "repaired", "version")}
    item |= {"after": {"NULL": True}, "finished_at": {"NULL": True}}
    item |= {name: {"N": str(at)} for name in ("started_at", "touched_at")}
    stack.client("dynamodb").put_item(TableName=stack.outputs["SubscriptionsTable"], Item=item)


def test_a_sweep_that_is_cut_short_is_carried_on(stack, stripe, settle, invoke, records, carried_on, slow_stripe):
    """Two pages of a hundred events fit; there are four."""
    slow_stripe.latency = 0.0
    settle()
    invoke("Sweep")
    settle()
    slow_stripe.fault("drop", times=10_000)
    customer = stripe.customers.create({"name": "someone"})
    known = set(slow_stripe.events)
    for number in range(400):
        slow_stripe.handle("POST", f"/v1/customers/{customer.id}", {"metadata": {"number": str(number)}})
    slow_stripe.faults.clear()
    lost = slow_stripe.events.keys() - known
    assert len(lost) == 400

    slow_stripe.latency = 6.5
    invoke("Sweep")
    slow_stripe.latency = 0.0
    [said] = carried_on().values()
    assert said == {"after": None}
    deadline = time.monotonic() + CARRIED_ON_S
    while time.monotonic() < deadline and not lost <= {row["id"] for row in records("WebhookEvents")}:
        time.sleep(1)
    settle()
    assert lost <= {row["id"] for row in records("WebhookEvents") if row["outcome"] in ("done", "ignored")}
    assert carried_on() == {}
