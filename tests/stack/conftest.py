"""The real template on a local AWS, once for all tests of this folder: they run in one worker of pytest-xdist."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from boto3.dynamodb.types import TypeDeserializer
from stripe import StripeClient

from local.stack import Stack, local_stack

ORIGIN = "https://app.example.com"
PATIENCE_S = 30
TEAM = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
TEAM |= {"price_per_seat_cents": 1000, "included_seats": 1, "max_seats": 50, "features": ["reports"]}
TEAM |= {"limits": {"max_api_calls": 1000}, "metrics": {"api_calls": {}}}
TEAM |= {"downgrades": "now"}
PRO = TEAM | {"name": "Pro", "base_price_cents": 10_000, "features": ["reports", "sso"]}
PRO |= {"limits": {"max_api_calls": 5000}}


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with local_stack(AllowedOrigins=ORIGIN, MailFrom="billing@acme.example", Mails="usage_threshold") as stack:
        yield stack


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    json: Any


@pytest.fixture(scope="session")
def call(stack) -> Callable[..., Answer]:
    """call("PUT", "/subscription/seats", token, {"quantity": 3}, {"idempotency-key": "k"}): any status is an answer."""

    def send(method: str, path: str, token: str | None = None, body: Any = None, headers: dict | None = None) -> Answer:
        said = {"authorization": f"Bearer {token}"} if token else {}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(stack.api_url + path, content, said | (headers or {}), method=method)
        try:
            answer: Any = urlopen(request, timeout=40)
        except HTTPError as refused:
            answer = refused
        with answer:
            text = answer.read()
        return Answer(answer.status, answer.headers, json.loads(text) if text else None)

    return send


@pytest.fixture(scope="session")
def plans(stack, call) -> None:
    admin = stack.token("operator", "billing/admin")
    for slug, plan in {"team": TEAM, "pro": PRO}.items():
        assert call("PUT", f"/plans/{slug}", admin, plan).status == 200


@pytest.fixture(scope="session")
def stripe(stack):
    """What an operator does at Stripe, past us."""
    return StripeClient(stack.stripe.api_key, base_addresses={"api": stack.stripe_base}).v1


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """eventually(look, wanted): what `look` sees becomes that, in time."""

    def wait(look: Callable[[], Any], wanted: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (seen := look()) != wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        assert seen == wanted

    return wait


@pytest.fixture(scope="session")
def records(stack) -> Callable[..., list[dict]]:
    """records(): all items of all tables; records("Usage"): of one; records("Usage", "E#1"): of one partition."""
    pages = {name: stack.client("dynamodb").get_paginator(name) for name in ("scan", "query")}

    def read(table: str, pk: str | None = None) -> list[dict]:
        asked: dict[str, Any] = {"TableName": stack.outputs[f"{table}Table"], "ConsistentRead": True}
        if pk:
            asked |= {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": pk}}}
        found = pages["query" if pk else "scan"].paginate(**asked)
        return [TypeDeserializer().deserialize({"M": item}) for page in found for item in page["Items"]]

    def find(*which: str) -> list[dict]:
        tables = ("Plans", "Subscriptions", "Usage", "WebhookEvents")
        return read(*which) if which else [item for table in tables for item in read(table)]

    return find


@pytest.fixture(scope="session")
def settle(stack, records, eventually) -> Callable[[], None]:
    """Returns when Stripe has delivered all it had to tell, and we have handled it and told of it."""
    counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    sqs, url = stack.client("sqs"), stack.outputs["WebhookQueue"]

    def waiting() -> int:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(counts))["Attributes"]
        return sum(int(found[count]) for count in counts)

    def untold() -> list[dict]:
        return [item for item in records("Subscriptions") if item.get("waits") in ("event", "mail")]

    def wait() -> None:
        assert stack.simulator.wait_idle(PATIENCE_S)
        eventually(waiting, 0)
        eventually(untold, [])

    return wait


@pytest.fixture
def nothing_happens(stack, records, settle) -> Callable[[], Any]:
    """`with nothing_happens():` nothing is written, and Stripe is looked at, at most."""

    def asked() -> int:
        return sum(call.method != "GET" for call in list(stack.simulator.calls))

    @contextmanager
    def watch():
        settle()
        before, calls = records(), asked()
        yield
        settle()
        assert (records(), asked()) == (before, calls)

    return watch


@dataclass
class Person:
    """A customer whom no other test knows."""

    stack: Stack
    call: Callable[..., Answer]
    records: Callable[..., list[dict]]
    name: str
    token: str

    def ask(self, method: str, path: str, body: Any = None, headers: dict | None = None) -> Answer:
        return self.call(method, path, self.token, body, headers)

    def items(self) -> dict[str, dict]:
        return {item["sk"]: item for item in self.records("Subscriptions", f"customer#{self.name}")}

    @property
    def record(self) -> dict:
        return self.items()["customer"]

    def ours(self) -> dict:
        """What we have on record of her subscription and invoices, in Stripe's words."""
        items = self.items()
        said = items["customer"]["subscription"]["theirs"]
        names = ("id", "status", "price", "quantity", "cancel_at_period_end", "cancelled_at", "current_period_end")
        invoices = {item["id"]: item["status"] for sk, item in items.items() if sk.startswith("invoice#")}
        return {name: said[name] for name in names} | {"invoices": invoices}

    def theirs(self) -> dict:
        """What Stripe has."""
        simulator, [customer] = self.stack.simulator, self.at_stripe()
        [said] = [each for each in simulator.subscriptions.values() if each["customer"] == customer]
        [item] = said["items"]["data"]
        invoices = {each["id"]: each["status"] for each in simulator.invoices.values() if each["customer"] == customer}
        return {
            **{name: said[name] for name in ("id", "status", "cancel_at_period_end")},
            "price": item["price"]["id"],
            "quantity": item["quantity"],
            "cancelled_at": said["canceled_at"],
            "current_period_end": item["current_period_end"],
            "invoices": invoices,
        }

    def at_stripe(self) -> list[str]:
        """All of Stripe's customers that are this one."""
        all = self.stack.simulator.customers.values()
        return [each["id"] for each in all if not each.get("deleted") and each["metadata"].get("customer") == self.name]


@pytest.fixture
def someone(stack, call, records) -> Callable[[], Person]:
    def born() -> Person:
        name = f"someone-{token_hex(4)}"
        return Person(stack, call, records, name, stack.token(name))

    return born


@pytest.fixture
def ada(someone, plans) -> Person:
    """She has five seats of the team plan, paid."""
    ada = someone()
    answer = ada.ask("POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"})
    assert (answer.status, answer.json["status"]) == (200, "active")
    return ada


@pytest.fixture
def news(stack, ada, settle) -> Callable[[], list[dict]]:
    """How Stripe has told, from now on, of changes to Ada's subscription: its events, in their order."""
    settle()
    known, subscription = set(stack.simulator.events), ada.theirs()["id"]

    def find():
        fresh = [each for id, each in stack.simulator.events.items() if id not in known]
        about = [each for each in fresh if each["data"]["object"]["id"] == subscription]
        return [each for each in about if each["type"] == "customer.subscription.updated"]

    return find


@pytest.fixture
def as_function(stack):
    """A client with what IAM gives to one function."""

    def client(function: str, service: str):
        found = stack.client("cloudformation").describe_stack_resource(
            StackName=stack.stack_name, LogicalResourceId=f"{function}Role"
        )
        role = stack.client("iam").get_role(RoleName=found["StackResourceDetail"]["PhysicalResourceId"])["Role"]["Arn"]
        lent = stack.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        keys = {"aws_access_key_id": lent["AccessKeyId"], "aws_secret_access_key": lent["SecretAccessKey"]}
        return stack.client(service, **keys, aws_session_token=lent["SessionToken"])

    return client


@pytest.fixture
def invoke(stack):
    """invoke("Sweep", {}): what a deployed function answers; it must not fail."""

    def call(function: str, event: dict | None = None):
        found = stack.client("cloudformation").describe_stack_resource(
            StackName=stack.stack_name, LogicalResourceId=function
        )
        name = found["StackResourceDetail"]["PhysicalResourceId"]
        answer = stack.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event or {}))
        said = answer["Payload"].read()
        assert "FunctionError" not in answer, said
        return json.loads(said) if said else None

    return call


@pytest.fixture
def schedules(stack):
    """The schedules that are to come: what each hands in, by its name."""

    def read():
        group = stack.client("cloudformation").describe_stack_resource(
            StackName=stack.stack_name, LogicalResourceId="Schedules"
        )["StackResourceDetail"]["PhysicalResourceId"]
        made = stack.client("scheduler").list_schedules(GroupName=group)["Schedules"]
        found = [stack.client("scheduler").get_schedule(GroupName=group, Name=each["Name"]) for each in made]
        return {each["Name"]: json.loads(each["Target"]["Input"]) for each in found}

    return read
