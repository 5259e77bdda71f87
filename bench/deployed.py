"""
What is deployed, to be called as Lambda calls it: the built artifact, the settings of its functions, and a request for
each; before an AWS and a Stripe that answer by TLS, in which Ada has five seats of a plan.
"""

import itertools
import json
import os
import shutil
import sysconfig
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import certifi

from bench.front import Certificate, Tape, front
from bench.sandbox import Sandbox, runtime, sandbox
from bench.world import SETTINGS, WEBHOOK_SECRET, World, http, simulator
from local import artifacts
from local.dynamodb_local import dynamodb_local
from local.ministack import ROOT, ministack
from local.stack import BUILD, build

TWINS = ROOT / "bench/twins"
BARE, LEAN = "bare", "check_entitlement, lean client"
NAIVE_USAGE, NAIVE_CHECK, NAIVE_WEBHOOK = "naive usage", "naive check", "naive webhook"
REQUESTS = {  # of twins: the module, and the function that they are asked the same as
    BARE: ("bare", "list_plans"),
    LEAN: ("lean", "check_entitlement"),
    NAIVE_USAGE: ("naive", "record_usage"),
    NAIVE_CHECK: ("naive", "check_entitlement"),
    NAIVE_WEBHOOK: ("naive", "receive_webhook"),
}
SEATS = {"name": "Seats", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
SEATS |= {"price_per_seat_cents": 1000, "included_seats": 1, "max_seats": 10_000, "features": ["sso"]}
SEATS |= {"limits": {"max_api_calls": 10**9}, "metrics": {"api_calls": {}}}
NAIVE = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
}
HERE = "http://localhost/back"
APART = {"cancel_subscription", "pause_subscription", "resume_subscription", "withdraw_change"}  # of another customer
FUNCTIONS = sorted(path.stem for path in (ROOT / "functions").glob("*.py"))


class Program(NamedTuple):
    """What a process finds on its path, and in its environment."""

    paths: list[str]
    settings: dict[str, str]


class Deployed:
    """Starts what is deployed, and the twins that it is compared with; and makes what they are asked."""

    def __init__(self, world: World, ours: Program, twins: Program, lean: Program, tape: Tape):
        self.world, self.ours, self.twins, self.lean, self.tape = world, ours, twins, lean, tape
        self._number = itertools.count(1)
        self._routes = {
            resource["Properties"]["Handler"].removesuffix(".handler"): resource["Properties"]
            for resource in world.template["Resources"].values()
            if "Handler" in resource.get("Properties", {})
        }
        world.ask("put_plan", "PUT", "/plans/seats", SEATS, slug="seats")
        order = {"plan_slug": "seats", "payment_method": "pm_card_visa", "quantity": 5}
        for customer in ("bob", "ada"):
            world.ask("subscribe", "POST", "/subscription", order, customer=customer)
        self.used = self._used()
        world.ask("record_usage", "POST", "/usage", {"events": [self.used]})
        self.event = next(event for event in world.told() if event["type"] == "customer.subscription.created")
        price = self.event["data"]["object"]["items"]["data"][0]["price"]["id"]
        run = world.ask("start_reconciliation", "POST", "/reconcile", {})["run"]
        self.found = {"slug": "seats", "feature": "api_calls", "id": "ada", "version": "1", "price": price, "run": run}
        self.theirs = self.event["data"]["object"]["customer"]
        world.db.create_table(TableName="Naive", **NAIVE)

    def started(self, name: str) -> AbstractContextManager[Sandbox]:
        """One of our functions, or a twin."""
        module, program = REQUESTS[name][0] if name in REQUESTS else name, self.ours
        if name in REQUESTS:
            program = self.lean if module == "lean" else self.twins
        return sandbox(f"{module}.handler", *program)

    def calls_stripe(self, function: str) -> bool:
        """By its policies: who may read the key."""
        reads = "StripeSecret" in json.dumps(self._routes[function]["Policies"], default=str)
        return reads and function != "receive_webhook"

    def request(self, function: str) -> dict:
        """A new one: nothing that it asks for has been done before."""
        if function in REQUESTS:
            return self.request(REQUESTS[function][1])
        number = next(self._number)
        if function == "receive_webhook":
            return self.webhook()
        for event in self._routes[function].get("Events", {}).values():
            if event["Type"] == "HttpApi":
                route = event["Properties"]
                customer = "bob" if function in APART else "ada"
                found = self.found | ({"id": self.event["id"]} if function == "replay_webhook" else {})
                parameters = {name: said for name, said in found.items() if f"{{{name}}}" in route["Path"]}
                body = self._body(function, number)
                query = "metric=api_calls" if function == "get_usage" else ""
                return http(route["Method"], route["Path"], body, customer, query, **parameters)
        return self._worker(function, number)

    def webhook(self) -> dict:
        """Never seen before."""
        return self.signed(http("POST", "/webhooks/stripe", self.event | {"id": f"evt_{next(self._number):016x}"}))

    def signed(self, request: dict) -> dict:
        """The same, signed now if it has to be."""
        from stripe import WebhookSignature

        if request.get("rawPath") != "/webhooks/stripe":
            return request
        signature = WebhookSignature.generate_signature_header(request["body"], WEBHOOK_SECRET, int(time.time()))
        return request | {"headers": request["headers"] | {"stripe-signature": signature}}

    def _used(self) -> dict:
        key = f"key-{next(self._number)}"
        return {"customer_id": "ada", "metric_id": "api_calls", "quantity": 1, "idempotency_key": key}

    def _corrected(self, number: int) -> dict:
        mistaken = self.used["idempotency_key"]
        return {"customer_id": "ada", "idempotency_key": f"c{number}", "corrects": mistaken, "reason": "bench"}

    def _body(self, function: str, number: int) -> dict | None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        bodies: dict[str, dict] = {
            "record_usage": {"events": [self._used()]},
            "check_usage": {"customer_id": "ada", "metric_id": "api_calls", "quantity": 1},
            "change_seats": {"quantity": 5 + number},
            "correct_usage": self._corrected(number),
            "explain_usage": {"customer_id": "ada", "metric_id": "api_calls", "at": now},
            "link_customer": {"stripe_customer": self.theirs},
            "create_checkout": {"plan_slug": "seats", "success_url": HERE, "cancel_url": HERE},
            "quote_change": {"quantity": 5 + number},
            "put_plan": SEATS,
            "update_customer": {"name": f"Ada {number}"},
            "cancel_subscription": {},
            "pause_subscription": {},
            "change_plan": {"plan_slug": "seats", "quantity": 5 + number},
            "create_portal": {"return_url": HERE},
            "subscribe": {"plan_slug": "seats", "payment_method": "pm_card_visa"},
            "override_limits": {"limits": {"max_api_calls": 10**9 + number}},
        }
        return bodies.get(function)

    def _worker(self, function: str, number: int) -> dict:
        subscription = self.event["data"]["object"]["id"]
        bounced = {"eventType": "Bounce", "bounce": {"bounceType": "Permanent"}}
        bounced["mail"] = {"destination": ["ada@example.com"], "tags": {"stripe_customer": [self.theirs]}}
        events: dict[str, dict] = {
            "process_webhook": self.world.batch([self.event | {"id": f"evt_{number:016x}"}]),
            "bury_webhook": self.world.batch([self.event | {"id": f"evt_{number:016x}"}]),
            "take_dunning_step": {"customer": "ada", "subject": "in_1", "step": 0},
            "close_period": {"customer": "ada", "subscription": subscription, "start": 1},
            "remind": {"customer": "ada", "kind": "card", "subject": "card", "step": "0"},
            "send_mail": {"customer": "ada", "sequence": 1},
            "publish_events": {"customer": "ada"},
            "reconcile": {"time": f"2026-01-01T00:{number % 60:02}:00Z"},
            "sweep": {},
            "note_bounce": {"detail": bounced},
        }
        return events.get(function, {"Records": []})


@contextmanager
def deployed() -> Iterator[Deployed]:
    build()
    with ExitStack() as stack:
        aws, store = stack.enter_context(ministack()), stack.enter_context(dynamodb_local())
        stripe, folder = stack.enter_context(simulator()), Path(stack.enter_context(TemporaryDirectory()))
        certificate, tape = Certificate(folder), Tape()
        near = aws.environment | {"AWS_ENDPOINT_URL_DYNAMODB": store, "AWS_ACCESS_KEY_ID": str(10**11)}
        world = World(stripe, **near)
        behind = {"AWS_ENDPOINT_URL": aws.endpoint, "AWS_ENDPOINT_URL_DYNAMODB": store, "STRIPE_API_BASE": stripe}
        fronts = {name: stack.enter_context(front(certificate, url, tape)) for name, url in behind.items()}
        settings = {name: os.environ[name] for name in (*SETTINGS, *near, "WEBHOOK_QUEUE", "PATH")} | fronts
        settings |= {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13", "AWS_SESSION_TOKEN": "bench"}
        lambdas, ours = runtime(folder / "runtime"), _copied(folder / "ours", certificate)
        trusted, amazon = folder / "trusted.pem", str(Path(ours[-1]) / artifacts.ROOTS)
        trusted.write_text(Path(certifi.where()).read_text() + certificate.text)
        yield Deployed(
            world,
            Program([*ours, lambdas], settings | {"AWS_CA_BUNDLE": amazon}),
            Program([str(TWINS), sysconfig.get_path("purelib")], settings | {"AWS_CA_BUNDLE": str(trusted)}),
            Program([str(TWINS), *ours, lambdas], settings | {"TRUSTED": amazon}),
            tape,
        )


def _copied(folder: Path, certificate: Certificate) -> list[str]:
    """A function's folder and both layers', which trust our certificate beside all that they trust."""
    built = BUILD / "artifacts"
    sources = [artifacts.functions(built)[0], *(built / layer / "python" for layer in artifacts.LAYERS)]
    paths = [shutil.copytree(source, folder / str(place)) for place, source in enumerate(sources)]
    for bundle in (artifacts.ROOTS, "certifi/cacert.pem", "stripe/data/ca-certificates.crt"):
        with (paths[-1] / bundle).open("a") as trusted:
            trusted.write(certificate.text)
    return [str(path) for path in paths]
