"""
What the parts of the bench call the functions in: an AWS and a Stripe, each in a process of its own, and the functions
loaded in this one, which is theirs alone.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from bench.meter import Meter
from local import tables
from local.ministack import ROOT

sys.path += [str(ROOT / "layers/core"), str(ROOT / "functions")]

STRIPE_KEY, WEBHOOK_SECRET = "sk_test_bench", "whsec_bench"
FUNCTION = "arn:aws:lambda:eu-west-1:1:function:"
FUNCTIONS = {"RECONCILE_FUNCTION": "reconcile", "CLOSE_FUNCTION": "close_period", "REMIND_FUNCTION": "remind"}
FUNCTIONS |= {"DUNNING_FUNCTION": "take_dunning_step", "MAIL_FUNCTION": "send_mail"}
FUNCTIONS |= {"PUBLISH_FUNCTION": "publish_events"}
SETTINGS = tables.TABLES | {setting: FUNCTION + name for setting, name in FUNCTIONS.items()}
SETTINGS |= {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
SETTINGS |= {"AWS_EC2_METADATA_DISABLED": "true", "CUSTOMER_CLAIM": "sub", "DEFAULT_PLAN": "", "LIVE": "false"}
SETTINGS |= {"STRIPE_SECRET": "stripe", "STRIPE_TAX": "false", "STACK": "bench"}
SETTINGS |= {"SCHEDULES": "schedules", "SCHEDULER_ROLE": "arn:aws:iam::1:role/schedules", "BUS": "events"}
SETTINGS |= {"MAILS": "", "EVENT_URL": "", "RETURN_HOSTS": "localhost"}
TEAM = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
TEAM |= {"limits": {"max_api_calls": 10**9}, "metrics": {"api_calls": {}}, "features": ["reports"]}
CONTEXT = SimpleNamespace(
    function_name="bench",
    memory_limit_in_mb=512,
    invoked_function_arn=f"{FUNCTION}bench",
    aws_request_id="bench",
    get_remaining_time_in_millis=lambda: 25_000,
)


def settle(**settings: str) -> None:
    """What the functions read when they are loaded. Their logs are made, and not shown."""
    os.environ |= SETTINGS | settings
    sys.stdout = open(os.devnull, "w")


@contextmanager
def simulator() -> Iterator[str]:
    """A Stripe; answers its base address."""
    command = [sys.executable, "-m", "local.stripe_simulator", "--port", "0", "--api-key", STRIPE_KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


class World:
    """
    What the template makes, as far as the functions see, in an AWS that is empty; and the functions, called as AWS
    does. One to a process: they remember whom they have met.
    """

    def __init__(self, stripe_base: str, **settings: str):
        settle(STRIPE_API_BASE=stripe_base, **settings)
        import boto3
        import stripe

        from billing import dynamodb

        self.db, self.template, self.stripe_base = dynamodb.db(), tables.template(), stripe_base
        self.meter = Meter(self.db, self.template)
        self.stripe: Any = stripe.StripeClient(STRIPE_KEY, base_addresses={"api": stripe_base}).v1
        tables.make(self.db, self.template)
        queue = boto3.client("sqs").create_queue(QueueName="webhooks.fifo", Attributes={"FifoQueue": "true"})
        os.environ["WEBHOOK_QUEUE"] = queue["QueueUrl"]
        secret = {"api_key": STRIPE_KEY, "webhook_secrets": [WEBHOOK_SECRET]}
        boto3.client("secretsmanager").create_secret(Name="stripe", SecretString=json.dumps(secret))
        boto3.client("scheduler").create_schedule_group(Name="schedules")
        boto3.client("events").create_event_bus(Name="events")

    def ask(self, function: str, method: str, path: str, body: dict | None = None, **said: Any) -> dict:
        """What it answers; it has to be a 200. `said`: parameters of the path, `customer` of the token, `query`."""
        return answered(self.function(function)(http(method, path, body, **said), CONTEXT))

    def function(self, name: str) -> Any:
        return importlib.import_module(name).handler

    def sell(self) -> None:
        self.ask("put_plan", "PUT", "/plans/team", TEAM, slug="team")

    def subscribe(self, customer: str) -> dict:
        """What Stripe has of it then."""
        order = {"plan_slug": "team", "payment_method": "pm_card_visa"}
        self.ask("subscribe", "POST", "/subscription", order, customer=customer)
        newest, *_ = self.stripe.subscriptions.list({"limit": 1}).data
        return newest.to_dict(for_json=True)

    def told(self, most: int = 100) -> list[dict]:
        """The last of Stripe's events, the newest first."""
        return [each.to_dict(for_json=True) for each in self.stripe.events.list({"limit": most}).data]

    def batch(self, events: Sequence[dict]) -> dict:
        """As the queue hands them over."""
        from billing.webhooks import envelope

        (sample,) = json.loads((ROOT / "events/sqs.json").read_text())["Records"]
        bodies = [(event["id"], json.dumps(asdict(envelope(event)))) for event in events]
        return {"Records": [sample | {"messageId": id, "body": body} for id, body in bodies]}

    def process(self, batch: dict) -> None:
        again = self.function("process_webhook")(batch, CONTEXT)["batchItemFailures"]
        if again:
            raise SystemExit(f"NOT SO: {len(again)} events were not processed")


def http(
    method: str, path: str, body: dict | None = None, customer: str = "backend", query: str = "", **parameters: str
) -> dict:
    """As API Gateway hands it over."""
    event = json.loads((ROOT / "events/http.json").read_text())
    event |= {"routeKey": f"{method} {path}", "rawPath": path, "rawQueryString": query, "pathParameters": parameters}
    event |= {"queryStringParameters": dict(each.split("=") for each in query.split("&") if each)}
    event |= {"body": json.dumps(body) if body is not None else None}
    event["requestContext"]["http"] |= {"method": method, "path": path}
    event["requestContext"]["authorizer"]["jwt"]["claims"] = {"sub": customer}
    return event


def answered(answer: dict) -> dict:
    if answer["statusCode"] != 200:
        raise SystemExit(f"NOT SO: answered {answer['statusCode']}: {answer.get('body')}")
    return json.loads(answer["body"])


def taken(act: Any, *args: Any) -> tuple[float, float]:
    """Seconds of CPU of this process and of time."""
    wall, cpu = time.perf_counter(), time.process_time()
    act(*args)
    return time.process_time() - cpu, time.perf_counter() - wall
