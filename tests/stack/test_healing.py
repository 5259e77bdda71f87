"""Sweep, reconciliation and replay as deployed: each with no more than its own policy, and enough of it."""

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from botocore.exceptions import ClientError

HEALERS = ("Sweep", "Reconcile", "StartReconciliation", "GetReconciliation", "ListWebhookEvents", "ReplayWebhook")


@pytest.fixture
def operator(stack, call):
    """operator("POST", "/reconcile", {"dry_run": True}): with a token of scope billing/admin; what a 200 says."""
    token = stack.token("operator", "billing/admin")

    def ask(method, path, body=None):
        answer = call(method, path, token, body)
        assert answer.status == 200, answer
        return answer.json

    return ask


@contextmanager
def ages_ago(stack):
    """Stripe's clock is five minutes behind: of what happens there meanwhile, no news is warm any more."""
    account = stack.simulator._account
    usual, account.clock = account.clock, lambda: time.time() - 300
    try:
        yield
    finally:
        account.clock = usual


@pytest.fixture
def eve(stack, someone, plans, settle):
    """She has five seats of the team plan, paid, for five minutes."""
    eve = someone()
    with ages_ago(stack):
        answer = eve.ask(
            "POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
        )
        assert answer.status == 200
    settle()
    return eve


def grow(stack, person, seats, delivered=False):
    """In Stripe's dashboard, five minutes ago; Stripe's events of it are lost."""
    subscription = person.theirs()["id"]
    item = stack.simulator.subscriptions[subscription]["items"]["data"][0]["id"]
    known = set(stack.simulator.events)
    lost = stack.simulator.fault("drop", times=1000)
    try:
        with ages_ago(stack):
            said = {"items": {"0": {"id": item, "quantity": str(seats)}}, "proration_behavior": "none"}
            assert stack.simulator.handle("POST", f"/v1/subscriptions/{subscription}", said)[0] == 200
    finally:
        stack.simulator.faults.clear()
    assert lost.times < 1000
    [event] = [each for id, each in stack.simulator.events.items() if id not in known]
    return event


def row(records, event):
    return [(each["outcome"], int(each["attempts"])) for each in records("WebhookEvents") if each["id"] == event["id"]]


def test_what_was_dropped_on_the_way_is_found_by_the_sweep_and_applied(stack, eve, records, invoke, eventually):
    event = grow(stack, eve, 9)
    assert (eve.ours()["quantity"], row(records, event)) == (5, [])

    invoke("Sweep")
    eventually(lambda: row(records, event), [("done", 0)])
    assert (eve.ours(), eve.ours()["quantity"]) == (eve.theirs(), 9)


def test_a_second_sweep_sends_nothing_anew(stack, eve, records, invoke, settle):
    grow(stack, eve, 9)
    invoke("Sweep")
    settle()
    before = records("WebhookEvents"), eve.record

    invoke("Sweep")
    settle()
    assert (records("WebhookEvents"), eve.record) == before


def test_a_change_whose_maker_has_died_is_settled_by_the_sweep(stack, ada, invoke, settle):
    settle()
    with lost_answers(stack, f"/v1/subscriptions/{ada.theirs()['id']}"):
        assert ada.ask("PUT", "/subscription/seats", {"quantity": 8}).status == 503
    settle()
    assert ada.record["pending"]
    ours = stack.client("dynamodb"), stack.outputs["SubscriptionsTable"]
    _age(*ours, f"customer#{ada.name}", 60)

    invoke("Sweep")
    settle()
    assert ada.record["pending"] is None and ada.ours() == ada.theirs()
    assert ada.ours()["quantity"] == 8


@contextmanager
def lost_answers(stack, path):
    """Stripe does what it is asked to do, and nobody hears of it; nor do its events come."""
    stack.simulator.fault("timeout", method="POST", path=path + "$")
    stack.simulator.fault("unreachable", method="POST", path=path + "$", times=9)  # or it would be told what was done
    stack.simulator.fault("drop", times=1000)
    try:
        yield
    finally:
        stack.simulator.faults.clear()


def _age(dynamodb, table, pk, seconds):
    """A hold was made so many seconds earlier."""
    change = "SET since = since - :s, pending.held_at = pending.held_at - :s, pending.sent_at = pending.sent_at - :s"
    key, values = {"pk": {"S": pk}, "sk": {"S": "customer"}}, {":s": {"N": str(seconds)}}
    dynamodb.update_item(TableName=table, Key=key, UpdateExpression=change, ExpressionAttributeValues=values)


def drift(report, person):
    """Of her subscription alone: others of this stack's customers may differ, too."""
    return [each for each in report["drift"] if each["object"] == person.theirs()["id"]]


@pytest.fixture
def reconciled(operator):
    """POST /reconcile, and all pages of GET /reconcile/{run}."""

    def run(dry_run):
        begun = operator("POST", "/reconcile", {"dry_run": dry_run})
        assert begun["finished_at"], begun
        report = operator("GET", f"/reconcile/{begun['run']}")
        page = report
        while page["next"]:
            page = operator("GET", f"/reconcile/{begun['run']}?cursor={page['next']}")
            report["drift"] += page["drift"]
        return report

    return run


def test_a_dry_run_tells_and_another_repairs(stack, eve, reconciled):
    grow(stack, eve, 9)

    [told] = drift(reconciled(dry_run=True), eve)
    assert (told["customer"], told["classes"], told["repaired"]) == (eve.name, ["quantity"], False)
    assert (told["before"]["quantity"], told["after"]["quantity"]) == (5, 9)
    assert eve.ours()["quantity"] == 5

    [told] = drift(reconciled(dry_run=False), eve)
    assert told["repaired"] and eve.ours() == eve.theirs()
    assert drift(reconciled(dry_run=True), eve) == []


def test_the_nightly_run_repairs_what_moves_usage_and_invoices_along(stack, eve, operator, invoke, call, records):
    """Another plan, an invoice and usage that is on record under the old terms: all that a repair writes."""
    event = {"customer_id": eve.name, "metric_id": "api_calls", "quantity": 3, "idempotency_key": "once"}
    service = stack.token("backend", "billing/service")
    assert call("POST", "/usage", service, {"events": [event]}).status == 200
    subscription = stack.simulator.subscriptions[eve.theirs()["id"]]
    [price] = {item["price"] for item in records("Plans") if item.get("slug") == "pro" and item.get("price")}
    said = {"items": {"0": {"id": subscription["items"]["data"][0]["id"], "price": price, "quantity": "2"}}}
    stack.simulator.fault("drop", times=1000)
    with ages_ago(stack):
        assert stack.simulator.handle("POST", f"/v1/subscriptions/{subscription['id']}", said)[0] == 200
    stack.simulator.faults.clear()
    assert eve.ours()["price"] != price

    run = f"nightly-{int(time.time())}T030000Z"
    invoke("Reconcile", {"time": run.removeprefix("nightly-")})
    report = operator("GET", f"/reconcile/{run}")
    assert report["finished_at"] and not report["dry_run"]
    [told] = drift(report, eve)
    assert (told["classes"], told["repaired"]) == (["plan", "quantity"], True)
    assert {name: eve.ours()[name] for name in ("price", "quantity")} == {"price": price, "quantity": 2}
    assert eve.ask("GET", "/usage?metric=api_calls").json["used"] == 3


def test_a_customer_that_stripe_has_deleted_is_let_go_by_the_nightly_run(stack, eve, operator, invoke):
    [stripe_id] = eve.at_stripe()
    stack.simulator.fault("drop", times=1000)
    with ages_ago(stack):
        assert stack.simulator.handle("DELETE", f"/v1/customers/{stripe_id}")[0] == 200
    stack.simulator.faults.clear()

    run = f"{int(time.time())}T040000Z"
    invoke("Reconcile", {"time": run})
    report = operator("GET", f"/reconcile/nightly-{run}")
    assert {each["object"] for each in report["drift"] if each["customer"] == eve.name and each["repaired"]} == {
        stripe_id,
        eve.record["subscription"]["theirs"]["id"],
    }
    assert eve.record["stripe_id"] is None and eve.record["subscription"]["theirs"]["status"] == "canceled"


@pytest.fixture
def failed(stack, eve, invoke, records):
    """An event of Eve's whose invoice Stripe could not show, five times."""
    [invoice] = eve.theirs()["invoices"]
    event = next(
        each
        for each in stack.simulator.events.values()
        if each["type"] == "invoice.paid" and each["data"]["object"]["id"] == invoice
    )
    stack.client("dynamodb").delete_item(TableName=stack.outputs["WebhookEventsTable"], Key={"id": {"S": event["id"]}})
    envelope = {name: event[name] for name in ("id", "type", "created", "livemode", "api_version")}
    envelope |= {"object_id": invoice, "customer": eve.at_stripe()[0], "subscription": eve.theirs()["id"]}
    message = {"messageId": "m", "receiptHandle": "r", "body": json.dumps(envelope)}
    message |= {"attributes": {"ApproximateReceiveCount": "1", "MessageDeduplicationId": event["id"]}}
    stack.simulator.fault("failed", method="GET", path=f"/v1/invoices/{invoice}", times=1000)
    for _ in range(4):
        assert invoke("ProcessWebhook", {"Records": [message]}) == {"batchItemFailures": [{"itemIdentifier": "m"}]}
    assert invoke("ProcessWebhook", {"Records": [message]}) == {"batchItemFailures": []}
    stack.simulator.faults.clear()
    assert row(records, event) == [("failed", 5)]
    return event


def test_what_has_failed_is_listed_replayed_and_done(stack, operator, failed, records, eventually):
    listed = operator("GET", f"/webhook-events?status=failed&type={failed['type']}")["events"]
    [told] = [each for each in listed if each["id"] == failed["id"]]
    assert (told["outcome"], told["attempts"], told["replays"]) == ("failed", 5, 0)

    assert operator("POST", f"/webhook-events/{failed['id']}/replay")["replayed"] is True
    eventually(lambda: row(records, failed), [("done", 0)])
    assert operator("POST", f"/webhook-events/{failed['id']}/replay")["replayed"] is False
    assert failed["id"] not in {each["id"] for each in operator("GET", "/webhook-events")["events"]}


ROUTES = [
    ("POST", "/reconcile", {"dry_run": True}),
    ("GET", "/reconcile/no-such-run", None),
    ("GET", "/webhook-events", None),
    ("POST", "/webhook-events/evt_1/replay", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[f"{route[0]} {route[1]}" for route in ROUTES])
def test_they_are_the_operators_alone(stack, call, nothing_happens, method, path, body):
    with nothing_happens():
        assert call(method, path, None, body).status == 401
        for scope in (None, "billing/service", "billing/administrator"):
            assert call(method, path, stack.token("ada", scope), body).status == 403


def test_what_never_was_is_404_for_the_operator_too(stack, call):
    admin = stack.token("operator", "billing/admin")
    assert call("GET", "/reconcile/no-such-run", admin).json["code"] == "not_found"
    assert call("POST", "/webhook-events/evt_never/replay", admin).json["code"] == "not_found"


@dataclass(frozen=True)
class World:
    """What a denied call would be about."""

    tables: dict[str, str]
    queue: str
    group: str

    key = {"pk": {"S": "nobody"}, "sk": {"S": "nothing"}}  # noqa: RUF012
    id = {"id": {"S": "evt_nobody"}}  # noqa: RUF012

    def get(self, table):
        key = self.id if table == "WebhookEvents" else self.key
        return "dynamodb", "get_item", {"TableName": self.tables[table], "Key": key}

    def put(self, table):
        item = self.id if table == "WebhookEvents" else self.key
        return "dynamodb", "put_item", {"TableName": self.tables[table], "Item": item}

    def delete(self, table):
        key = self.id if table == "WebhookEvents" else self.key
        return "dynamodb", "delete_item", {"TableName": self.tables[table], "Key": key}

    def scan(self, table):
        return "dynamodb", "scan", {"TableName": self.tables[table]}

    def send(self):
        body = {"MessageBody": "{}", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
        return "sqs", "send_message", {"QueueUrl": self.queue} | body

    def receive(self):
        return "sqs", "receive_message", {"QueueUrl": self.queue}

    def secret(self):
        return "secretsmanager", "get_secret_value", {"SecretId": "tollgate/stripe"}

    def schedule(self, group):
        target = {
            "Arn": "arn:aws:lambda:eu-west-1:000000000000:function:f",
            "RoleArn": "arn:aws:iam::000000000000:role/r",
        }
        said = {"Name": "other", "GroupName": group, "ScheduleExpression": "rate(1 minute)", "Target": target}
        return "scheduler", "create_schedule", said | {"FlexibleTimeWindow": {"Mode": "OFF"}}

    def unschedule(self):
        return "scheduler", "delete_schedule", {"Name": "other", "GroupName": self.group}


@pytest.fixture
def world(stack):
    tables = {name: stack.outputs[f"{name}Table"] for name in ("Plans", "Subscriptions", "Usage", "WebhookEvents")}
    group = stack.client("cloudformation").describe_stack_resource(
        StackName=stack.stack_name, LogicalResourceId="Schedules"
    )["StackResourceDetail"]["PhysicalResourceId"]
    return World(tables, stack.outputs["WebhookQueue"], group)


MAY_NOT = {
    "Sweep": [
        lambda w: w.delete("Subscriptions"),
        lambda w: w.scan("Subscriptions"),
        lambda w: w.put("WebhookEvents"),
        lambda w: w.get("Usage"),
        lambda w: w.put("Plans"),
        lambda w: w.receive(),
        lambda w: w.schedule("default"),
        lambda w: w.unschedule(),
    ],
    "Reconcile": [
        lambda w: w.delete("Subscriptions"),
        lambda w: w.get("WebhookEvents"),
        lambda w: w.put("WebhookEvents"),
        lambda w: w.put("Plans"),
        lambda w: w.send(),
        lambda w: w.schedule("default"),
        lambda w: w.unschedule(),
    ],
    "StartReconciliation": [
        lambda w: w.delete("Subscriptions"),
        lambda w: w.get("WebhookEvents"),
        lambda w: w.send(),
        lambda w: w.schedule("default"),
    ],
    "GetReconciliation": [lambda w: w.put("Subscriptions"), lambda w: w.get("WebhookEvents"), lambda w: w.secret()],
    "ListWebhookEvents": [
        lambda w: w.get("WebhookEvents"),
        lambda w: w.put("WebhookEvents"),
        lambda w: w.get("Subscriptions"),
        lambda w: w.send(),
        lambda w: w.secret(),
    ],
    "ReplayWebhook": [
        lambda w: w.put("WebhookEvents"),
        lambda w: w.delete("WebhookEvents"),
        lambda w: w.get("Subscriptions"),
        lambda w: w.receive(),
        lambda w: w.secret(),
    ],
}


@pytest.mark.parametrize("function", HEALERS)
def test_a_healer_may_do_what_its_policy_says_and_nothing_else(as_function, world, function):
    for told in MAY_NOT[function]:
        service, action, said = told(world)
        client = as_function(function, service)
        with pytest.raises(ClientError) as refused:
            getattr(client, action)(**said)
        assert "AccessDenied" in refused.value.response["Error"]["Code"], (function, service, action)


@pytest.mark.parametrize("function", ["Sweep", "Reconcile", "StartReconciliation"])
def test_what_may_be_cut_short_may_make_schedules_of_its_own_group(stack, as_function, world, function):
    _, _, said = world.schedule(world.group)
    made = said | {"Name": f"by-{function}", "ScheduleExpression": "at(2099-01-01T00:00:00)"}
    as_function(function, "scheduler").create_schedule(**made)  # which MiniStack has to be taught, see ministack_boot

    everything = stack.client("scheduler")
    assert made["Name"] in {each["Name"] for each in everything.list_schedules(GroupName=world.group)["Schedules"]}
    everything.delete_schedule(Name=made["Name"], GroupName=world.group)
