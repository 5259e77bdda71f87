"""The world of the tests: the template's tables in moto, a Stripe of our own, its callers. Nothing is autouse."""

import gc
import importlib
import json
import logging
import os
import re
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from itertools import count, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from moto import mock_aws
from moto.core.serialize import AttributePicker
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict

from local import tables
from local.tables import TABLES

os.environ.update(TABLES)
os.environ.update(dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x"), AWS_DEFAULT_REGION="eu-west-1")
os.environ.update(CUSTOMER_CLAIM="sub", STRIPE_SECRET="stripe", LIVE="false", DEFAULT_PLAN="", WEBHOOK_QUEUE="")
os.environ.update(STRIPE_TAX="false", RETURN_HOSTS="app.example.com,localhost")
os.environ.update(SCHEDULES="schedules", SCHEDULER_ROLE="arn:aws:iam::1:role/s")
os.environ.update(RECONCILE_FUNCTION="arn:aws:lambda:eu-west-1:1:function:reconcile", STACK="tollgate-test")
os.environ.update(CLOSE_FUNCTION="arn:aws:lambda:eu-west-1:1:function:close_period", MAILS="")
os.environ.update(DUNNING_FUNCTION="arn:aws:lambda:eu-west-1:1:function:take_dunning_step")
os.environ.update(MAIL_FUNCTION="arn:aws:lambda:eu-west-1:1:function:send_mail", BILLING_PAGE="", MAIL_SET="mails")
os.environ.update(dict.fromkeys(("MAIL_FROM", "MAIL_REPLY_TO", "MAIL_NAME", "MAIL_FOOTER"), ""), MAIL_COLOUR="#000000")
os.environ.update(MAIL_LOCALE="en")
os.environ.update(REMIND_FUNCTION="arn:aws:lambda:eu-west-1:1:function:remind")
os.environ.update(PUBLISH_FUNCTION="arn:aws:lambda:eu-west-1:1:function:publish_events")
os.environ.update(BUS="tollgate-events", EVENT_URL="", EVENT_SECRET="endpoint")
os.environ.update(DELIVERY_QUEUE="", DEAD_DELIVERY_QUEUE="")

import billing.api
from billing import alerting, bus, dynamodb, gateway, plan_table, queue, scheduler, secrets, standing, webhook_table
from billing import aws as way
from billing.webhooks import envelope
from local.dynamodb_local import dynamodb_local
from local.ministack import ministack
from local.stripe_simulator import Simulator, serve

gc.set_threshold(50_000, 20, 20)  # most of what dies here dies by itself: a tenth less time

logging.getLogger("tollgate").setLevel(logging.INFO)  # as Lambda has it

SECRET = {"api_key": "sk_test_x", "webhook_secrets": ["whsec_test_old", "whsec_test"]}
TEAM = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
TEAM |= {"price_per_seat_cents": 1000, "included_seats": 1, "max_seats": 50, "features": ["reports"]}
TEAM |= {"downgrades": "now"}  # what has to wait is said where it has
TEAM |= {"limits": {"max_api_calls": 1000, "max_projects": 10}, "metrics": {"api_calls": {}}}
PRO = TEAM | {"name": "Pro", "base_price_cents": 10_000, "features": ["reports", "sso"], "max_seats": None}
PRO |= {"limits": {"max_api_calls": None, "max_projects": 100}}


# moto copies all that is on record for each transaction. Values are never changed in place, so they need no copies.
DynamoType.__deepcopy__ = lambda self, memo: self


def copied(self: Any, memo: dict) -> Any:
    copy: Any = Item.__new__(Item)
    copy.hash_key, copy.range_key, copy.attrs = self.hash_key, self.range_key, LimitedSizeDict()
    dict.update(copy.attrs, self.attrs)
    return copy


Item.__deepcopy__ = copied
sized: Any = LimitedSizeDict
weighed = sized.__setitem__


def put_in(self: Any, key: str, value: Any) -> None:
    """moto weighs a whole item for each of its attributes: only one with a heavy one is too large here."""
    text = getattr(value, "value", None)
    (weighed if isinstance(text, str) and len(text) > 100_000 else dict.__setitem__)(self, key, value)


sized.__setitem__ = put_in

# moto looks for each of the ten kinds that a value may be of under every name that it might have. It has one.
KINDS = {"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"}
looked_up = AttributePicker.__call__
AttributePicker.__call__ = lambda self, context: (
    context.obj.get(context.key) if context.key in KINDS and isinstance(context.obj, dict) else looked_up(self, context)
)


class Moments(list):
    """Listeners, told whenever this process speaks to AWS or Stripe: "before PutItem", "after post"."""

    def tell(self, when, name):
        for listener in self[:]:
            listener(f"{when} {name}")

    def once(self, moment, act):
        def listener(now):
            if now == moment:
                self.remove(listener)
                act()

        self.append(listener)


@pytest.fixture(scope="session")
def template():
    return tables.template()


@pytest.fixture(scope="session")
def routes(template):
    """(method, pattern of the path, path, the function's file), in the order of the template."""
    found = []
    for resource in template["Resources"].values():
        for event in resource.get("Properties", {}).get("Events", {}).values():
            if event["Type"] == "HttpApi":
                route = event["Properties"]
                pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route["Path"]) + "$")
                file = resource["Properties"]["Handler"].removesuffix(".handler")
                found.append((route["Method"], pattern, route["Path"], file))
    return found


@pytest.fixture
def moments():
    return Moments()


@pytest.fixture
def context():
    said = {
        "function_name": "f",
        "memory_limit_in_mb": 1,
        "invoked_function_arn": "arn:aws:lambda:eu-west-1:1:function:f",
        "aws_request_id": "r",
    }
    return SimpleNamespace(**said, get_remaining_time_in_millis=lambda: 25_000)


CLIENTS = (dynamodb.db, queue.sqs, secrets.manager, scheduler.scheduler, bus.events)


def forget():
    """What a Lambda has learned and one that has just started has not; the connections stay."""
    for memory in (gateway.connect, gateway.portal_configuration, plan_table.version, plan_table.priced):
        memory.cache_clear()
    secrets._known.clear()
    standing._known.clear()
    alerting._told.clear()
    plan_table.forget()


def forget_all():
    """As a Lambda does that has just started."""
    for client in CLIENTS:
        client.cache_clear()
    forget()


@pytest.fixture
def furnish(template, moments, monkeypatch):
    """Makes of an empty AWS what the template makes of it, as far as the functions see."""

    @contextmanager
    def world():
        forget_all()
        tables.make(dynamodb.db(), template)
        made = queue.sqs().create_queue(QueueName="webhooks.fifo", Attributes={"FifoQueue": "true"})
        monkeypatch.setenv("WEBHOOK_QUEUE", made["QueueUrl"])
        scheduler.scheduler().create_schedule_group(Name="schedules")
        secrets.manager().create_secret(Name="stripe", SecretString=json.dumps(SECRET))
        bus.events().create_event_bus(Name="tollgate-events")
        for client, when in product(CLIENTS, ("before", "after")):

            def hear(model, when=when, **_):
                moments.tell(when, model.name)

            client().meta.events.register(f"{when}-call", hear)
        yield
        forget_all()

    return world


@pytest.fixture
def aws(furnish):
    with mock_aws(), furnish():
        yield


ACCOUNTS = count(10**11)


@pytest.fixture(scope="session")
def ministack_server():
    with ministack() as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb_local_endpoint():
    with dynamodb_local() as endpoint:
        yield endpoint


@pytest.fixture
def apart(request, ministack_server, furnish, monkeypatch):
    """The same world in another process, for threads to share: its tables are MiniStack's or DynamoDB Local's."""

    @contextmanager
    def world(store):
        for name, value in ministack_server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(next(ACCOUNTS)))  # who is new has an AWS of their own, in both
        if store == "dynamodb_local":
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", request.getfixturevalue("dynamodb_local_endpoint"))
        way.session.cache_clear()  # it remembers who it was
        with furnish():
            yield

    return world


@pytest.fixture
def latency():
    """Seconds that Stripe takes for a call."""
    return 0.0


class Clock:
    """Our time and Stripe's. It runs, unless it is stopped; and may be put forward."""

    def __init__(self):
        self.ahead, self.stopped = 0, None

    def stop(self):
        self.stopped = time.time()

    def now(self):
        return (self.stopped or time.time()) + self.ahead

    def pass_by(self, **span):
        self.ahead += timedelta(**span).total_seconds()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    entries = (
        billing.api,
        webhook_table,
        *map(importlib.import_module, ("process_webhook", "sweep", "reconcile", "close_period")),
        *map(importlib.import_module, ("take_dunning_step", "remind", "set_timer", "publish_events")),
        *map(importlib.import_module, ("send_mail", "note_bounce")),
    )
    for entry in entries:
        monkeypatch.setattr(entry, "time", SimpleNamespace(time=clock.now, monotonic=time.monotonic))
    return clock


@pytest.fixture
def stripe(aws, moments, latency, clock, monkeypatch):
    class Wire(gateway.Wire):
        def request(self, method, *args, **kwargs):
            moments.tell("before", method)
            answer = super().request(method, *args, **kwargs)
            moments.tell("after", method)
            return answer

    simulator = Simulator(now=clock.now, latency=latency)
    server = serve(simulator)
    monkeypatch.setattr(gateway, "Wire", Wire)
    monkeypatch.setenv("STRIPE_API_BASE", f"http://127.0.0.1:{server.server_port}")
    gateway.connect.cache_clear()
    yield simulator
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(stripe, context, routes):
    """Calls the function that the template has for a route, as API Gateway would."""

    def call(method, path, body=None, text=None, customer="ada", key=None, claims=None, headers=None, **request):
        path, _, asked = path.partition("?")
        file, parameters = next(
            (file, found.groupdict())
            for verb, pattern, _, file in routes
            if verb == method and (found := pattern.match(path))
        )
        event = json.loads(Path("events/http.json").read_text())
        event |= {"rawPath": path, "rawQueryString": asked, "queryStringParameters": dict(parse_qsl(asked))}
        event |= {"body": text if body is None else json.dumps(body), "pathParameters": parameters} | request
        event["headers"] |= (headers or {}) | ({"idempotency-key": key} if key else {})
        event["requestContext"]["http"] |= {"method": method, "path": path}
        event["requestContext"]["authorizer"]["jwt"]["claims"] = {"sub": customer} | (claims or {})
        answer = importlib.import_module(file).handler(event, context)
        content = json.loads(answer["body"]) if answer.get("body") else None
        return SimpleNamespace(status=answer["statusCode"], headers=answer["headers"], json=content)

    return call


@pytest.fixture
def plans(api):
    for slug, plan in {"team": TEAM, "pro": PRO}.items():
        assert api("PUT", f"/plans/{slug}", plan).status == 200


@pytest.fixture
def subscribed(api, plans, stripe):
    """Ada has five seats of the team plan, paid."""
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    answer = api("POST", "/subscription", order)
    assert (answer.status, answer.json["status"]) == (200, "active")
    stripe.calls.clear()
    return answer.json


@pytest.fixture
def said(stripe):
    """What Stripe has been asked to do since the last `stripe.calls.clear()`: counts of "METHOD /path/without/ids"."""

    def count(method="POST"):
        paths = (urlsplit(call.path).path for call in stripe.calls if call.method == method)
        return Counter(re.sub(r"/[a-z]+_[A-Za-z0-9]{6,}", "/{id}", path) for path in paths)

    return count


@pytest.fixture
def received(aws):
    """What waits in the queue, as it is delivered."""

    def receive():
        url = os.environ["WEBHOOK_QUEUE"]
        found = queue.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])
        names = ("MessageId", "ReceiptHandle", "Body", "Attributes")
        messages = found.get("Messages", [])
        return {"Records": [{name[0].lower() + name[1:]: m[name] for name in names} for m in messages]}

    return receive


@pytest.fixture
def enqueued(received):
    """A batch of sample events, by the name of their type."""

    def enqueue(*names, **fields):
        for name in names:
            queue.send(envelope(json.loads(Path(f"events/stripe/{name}.json").read_text()) | fields))
        return received()

    return enqueue
