"""What the local stack takes over from AWS it does as AWS does; the rest of this folder stands on that."""

import json
import os
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from stripe import StripeClient

from local.issuer import Issuer, openid_issuer
from local.stack import other_stripe

SIGNED_IN = "/subscription"  # any customer's route
SCOPED = "/customers/ada/subscription"  # for the product's backend: billing/service


def test_all_tests_of_the_stack_share_one(request):
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    assert alone or request.node.nodeid.endswith("@stack")  # what pytest-xdist groups by, or silently does not


def test_whoever_is_signed_in_gets_through(stack, call):
    assert call("GET", SIGNED_IN, stack.token("ada")).status == 404  # ours: she has not subscribed


def test_nobody_gets_in_without_a_token(call):
    assert call("GET", SIGNED_IN)[0::2] == (401, {"message": "Unauthorized"})


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 600},
        {"aud": "another product"},
        {"aud": None},
        {"iss": "https://elsewhere.example.com"},
    ],
    ids=lambda claims: "-".join(claims),
)
def test_a_token_for_another_time_or_place_is_refused(stack, call, claims):
    assert call("GET", SIGNED_IN, stack.token("ada", **claims)).status == 401


def test_a_foreign_issuer_is_refused_even_with_our_name_on_its_tokens(stack, call):
    with openid_issuer() as foreign:
        assert call("GET", SIGNED_IN, foreign.token("ada")).status == 401
    forger = Issuer(stack.issuer)
    assert call("GET", SIGNED_IN, forger.token("ada")).status == 401


@pytest.mark.parametrize("scope", [None, "billing/admin", "billing/servic"])
def test_a_route_of_the_backend_wants_its_scope(stack, call, scope):
    assert call("GET", SCOPED, stack.token("shop", scope))[0::2] == (403, {"message": "Forbidden"})


def test_one_scope_of_several_is_enough(stack, call):
    answer = call("GET", SCOPED, stack.token("shop", "openid billing/service"))
    assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_the_catalogue_and_the_webhook_need_no_token(stack, call):
    assert call("GET", "/plans").status == 200
    assert call("POST", "/webhooks/stripe", body={"id": "evt_1"}).status == 400  # ours: not signed


def test_every_route_of_the_template_is_there_and_no_other(stack, call, template):
    gateway = stack.client("apigatewayv2")
    pages = gateway.get_paginator("get_routes").paginate(ApiId=stack.outputs["ApiId"])
    routes = sorted(route["RouteKey"] for page in pages for route in page["Items"])
    functions = [each["Properties"] for each in template["Resources"].values() if each["Type"].endswith("::Function")]
    events = [event for function in functions for event in function.get("Events", {}).values()]
    asked = [event["Properties"] for event in events if event["Type"] == "HttpApi"]
    assert routes == sorted(f"{route['Method'].upper()} {route['Path']}" for route in asked)
    assert call("GET", "/nowhere", stack.token("ada"))[0::2] == (404, {"message": "Not Found"})


def test_a_browser_of_our_own_origin_may_ask_and_another_may_not(call):
    def preflight(origin):
        asks = {"origin": origin, "access-control-request-method": "PUT"}
        return call("OPTIONS", "/subscription/seats", headers=asks)

    assert preflight("https://app.example.com").headers["access-control-allow-origin"] == "https://app.example.com"
    assert preflight("https://evil.example.com").headers["access-control-allow-origin"] is None


def test_every_alarm_of_the_template_is_there_and_without_a_topic_tells_nobody(stack, template):
    pages = stack.client("cloudwatch").get_paginator("describe_alarms").paginate()
    alarms = {alarm["AlarmDescription"]: alarm for page in pages for alarm in page["MetricAlarms"]}
    resources = [each for each in template["Resources"].values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    unmet = {"Delivers"}  # of the template's conditions: no EventUrl is given
    here = [each for each in resources if each.get("Condition") not in unmet]
    assert len(resources) - len(here) == 1
    assert alarms.keys() == {each["Properties"]["AlarmDescription"] for each in here}
    assert {len(alarm["AlarmActions"] + alarm["OKActions"]) for alarm in alarms.values()} == {0}


@pytest.fixture
def table(stack):
    return stack.client("cloudformation").describe_stack_resource(
        StackName=stack.stack_name, LogicalResourceId="Subscriptions"
    )["StackResourceDetail"]["PhysicalResourceId"]


def test_a_function_may_do_what_its_policy_says_and_nothing_else(stack, as_function, table):
    key = {"pk": {"S": "nobody"}, "sk": {"S": "nothing"}}
    reader = as_function("GetSubscription", "dynamodb")
    assert "Item" not in reader.get_item(TableName=table, Key=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_item(TableName=table, Item=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        as_function("ReceiveWebhook", "dynamodb").get_item(TableName=table, Key=key)
    assert "Item" not in stack.client("dynamodb").get_item(TableName=table, Key=key)


def test_only_who_speaks_to_stripe_reads_its_key(stack, as_function):
    said = json.loads(stack.client("secretsmanager").get_secret_value(SecretId="tollgate/stripe")["SecretString"])
    assert said["webhook_secrets"] == [stack.webhook_secret]
    with pytest.raises(ClientError, match="AccessDenied"):
        as_function("GetSubscription", "secretsmanager").get_secret_value(SecretId="tollgate/stripe")


def test_what_happens_at_stripe_is_on_record_within_seconds(stack):
    stripe = StripeClient(stack.stripe.api_key, base_addresses={"api": stack.stripe_base})
    customer = stripe.v1.customers.create({"email": "somebody@example.com"})
    table, deadline, rows = stack.outputs["WebhookEventsTable"], time.monotonic() + 20, []
    while time.monotonic() < deadline and not rows:
        scanned = stack.client("dynamodb").scan(TableName=table)["Items"]
        rows = [row for row in scanned if row["object_id"]["S"] == customer.id]
        time.sleep(0.1)
    [row] = rows
    assert (row["type"]["S"], row["outcome"]["S"]) == ("customer.created", "ignored")


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="reads Linux's own list of listeners")
def test_nothing_listens_beyond_this_machine(stack):
    ours = [Path("/proc/self"), *(path for path in Path("/proc").glob("[0-9]*") if _parent(path) == os.getpid())]
    sockets = {link for path in ours for link in map(_target, path.glob("fd/*")) if link.startswith("socket:")}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    listening = {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}
    known = {int(url.rsplit(":", 1)[1]) for url in (stack.aws_endpoint, stack.issuer, stack.stripe_base)}
    assert known <= {int(address.split(":")[1], 16) for address in listening}
    assert {address.split(":")[0] for address in listening} == {"0100007F"}  # 127.0.0.1


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None  # it ended meanwhile


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_another_stripe_is_named_completely_and_never_a_live_one(monkeypatch):
    monkeypatch.delenv("STRIPE_API_BASE", raising=False)
    assert other_stripe() is None
    monkeypatch.setenv("STRIPE_API_BASE", "https://api.stripe.com")
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_1")
    monkeypatch.delenv("STRIPE_WEBHOOK_SECRET", raising=False)
    with pytest.raises(SystemExit, match="takes STRIPE_API_BASE"):
        other_stripe()
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_1")
    with pytest.raises(SystemExit, match="live key"):
        other_stripe()
