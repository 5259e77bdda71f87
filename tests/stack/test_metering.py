"""Usage counted, corrected, closed and billed by the deployed functions, each with its own rights alone."""

import time

import pytest

CALLS = {"enforcement": "soft", "price": {"model": "unit", "included": 10, "unit_amount": "50"}}
PEOPLE = {"enforcement": "soft", "aggregation": "unique", "price": {"model": "unit", "unit_amount": "100"}}
METERED = {"name": "Metered", "billing_interval": "month", "currency": "usd", "base_price_cents": 1000}
METERED |= {"metrics": {"calls": CALLS, "people": PEOPLE, "projects": {"kind": "held", "reset": "never"}}}
METERED |= {"limits": {"max_calls": 100, "max_people": 5, "max_projects": 2}}


@pytest.fixture
def eve(stack, call, someone):
    """She pays for what she uses."""
    assert call("PUT", "/plans/metered", stack.token("operator", "billing/admin"), METERED).status == 200
    eve = someone()
    order = {"plan_slug": "metered", "payment_method": "pm_card_visa"}
    assert eve.ask("POST", "/subscription", order).json["status"] == "active"
    return eve


@pytest.fixture
def send(stack, call, eve):
    def post(path, scope="billing/service", method="POST", **said):
        body = said if path.startswith("/customers") else {"customer_id": eve.name} | said
        return call(method, path, stack.token("backend", scope), body)

    return post


@pytest.fixture
def use(stack, call, eve):
    def post(*events):
        given = [{"customer_id": eve.name, "idempotency_key": str(n)} | each for n, each in enumerate(events)]
        answer = call("POST", "/usage", stack.token("backend", "billing/service"), {"events": given})
        return [each["status"] for each in answer.json["events"]]

    return post


@pytest.fixture
def usage_billed(stack, eve):
    """The lines for usage at Stripe, by metric: what each comes to, and the status of its invoice."""

    def read():
        invoices = {each["id"]: each["status"] for each in stack.simulator.invoices.values()}
        mine = [each for each in stack.simulator.invoice_items.values() if each["customer"] in eve.at_stripe()]
        found = [each for each in mine if "usage" in each["metadata"]]
        return {
            each["metadata"]["usage"].split(":")[1]: (each["amount"], invoices.get(each["invoice"])) for each in found
        }

    return read


def test_what_was_used_is_billed_when_the_subscription_ends(stack, eve, use, send, invoke, settle, usage_billed):
    events = [{"metric_id": "calls", "quantity": 16}, {"metric_id": "calls", "quantity": 9}]
    events += [{"metric_id": "people", "value": name} for name in ("ann", "bob", "ann")]
    events += [{"metric_id": "projects", "quantity": n} for n in (2, 1, -1)]
    assert use(*events) == [*["recorded"] * 6, "over_limit", "recorded"]

    assert send("/usage/check", metric_id="projects", quantity=2).json["allowed"] is False
    limits = send(f"/customers/{eve.name}/limits", "billing/admin", "PUT", limits={"max_projects": None})
    assert (limits.status, limits.json["limits"]) == (200, {"max_projects": None})
    assert send("/usage/check", metric_id="projects", quantity=2).json["allowed"] is True
    fixed = send("/usage/corrections", "billing/admin", corrects="1", idempotency_key="fix", quantity=4, reason="unit")
    assert (fixed.status, fixed.json["status"]) == (200, "amended")
    span = "start=2026-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"
    assert eve.ask("GET", f"/usage?metric=people&{span}").json["used"] == 2

    assert eve.ask("POST", "/subscription/cancel", {"immediately": True}).json["status"] == "canceled"
    closing = due(stack, eve, ago=1)  # before its own schedule comes, in a minute
    settle()
    invoke("ClosePeriod", closing)
    assert usage_billed() == {"calls": (10 * 50, "paid"), "people~unique": (200, "paid")}
    instant = int(eve.record["ending"]["start"])
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant))
    told = send("/usage/explain", "billing/admin", metric_id="calls", at=when).json
    [statement] = told["statements"]
    assert (statement["proven"], statement["quantity"], statement["amount_cents"]) == (True, 20, 500)


def test_a_renewal_has_its_schedule_and_the_sweep_arranges_what_had_none(
    stack, stripe, eve, use, invoke, settle, usage_billed, schedules
):
    subscription = eve.theirs()["id"]
    use({"metric_id": "calls", "quantity": 30})
    time.sleep(1.1)  # periods are told apart by the second
    stripe.subscriptions.update(subscription, {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none"})
    settle()
    [name] = [each for each in schedules() if each.startswith(f"close-{subscription}-")]
    due(stack, eve, ago=600)
    invoke("Sweep")
    [again] = [each for each in schedules() if each.startswith(f"{name}-")]

    invoke("ClosePeriod", schedules()[again])
    assert usage_billed() == {"calls": (1000, "paid")}


def due(stack, person, ago):
    """Her period that has ended was to be closed so many seconds ago; what closes it."""
    [key] = [sk for sk in person.items() if sk.startswith("closing#")]
    _, subscription, start = key.split("#")
    then = {":then": {"N": str(int(time.time()) - ago)}}
    stack.client("dynamodb").update_item(
        TableName=stack.outputs["SubscriptionsTable"],
        Key={"pk": {"S": f"customer#{person.name}"}, "sk": {"S": key}},
        UpdateExpression="SET due = :then, since = :then",
        ExpressionAttributeValues=then,
    )
    return {"customer": person.name, "subscription": subscription, "start": int(start)}
