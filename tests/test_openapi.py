"""docs/openapi.yaml says what the template, the functions' models, the errors and the answers say, and nothing else."""

import importlib
import inspect
import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from billing import api as door
from billing import dynamodb, errors, statement_table, usage, webhook_table
from billing.holds import nameable
from billing.statements import Statement
from billing.webhooks import WebhookEvent

DOCUMENT = yaml.safe_load(Path("docs/openapi.yaml").read_text())
METHODS = ("get", "put", "post", "delete")
OPERATIONS = {
    (method.upper(), path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
SERVICE = "billing/service"


# JSON Schema, as much of it as the document uses: what is not known here is an error, not a pass.

TELLS_NOTHING = {"description", "default", "example"}
KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
}


def at(reference):
    found = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def is_a(kind, value):
    return isinstance(value, KINDS[kind]) and not (kind == "integer" and isinstance(value, bool))


def moment(value):
    return value.endswith("Z") and datetime.fromisoformat(value)


FORMATS = {"date-time": moment, "date": date.fromisoformat, "uri": lambda value: re.match("https://", value)}
CHECKS = {
    "type": lambda said, value: any(is_a(kind, value) for kind in ([said] if isinstance(said, str) else said)),
    "const": lambda said, value: value == said and type(value) is type(said),
    "enum": lambda said, value: value in said,
    "pattern": lambda said, value: not isinstance(value, str) or re.search(said, value),
    "format": lambda said, value: not isinstance(value, str) or FORMATS[said](value),
    "minimum": lambda said, value: not is_a("integer", value) or value >= said,
    "maximum": lambda said, value: not is_a("integer", value) or value <= said,
    "minLength": lambda said, value: not isinstance(value, str) or len(value) >= said,
    "maxLength": lambda said, value: not isinstance(value, str) or len(value) <= said,
    "minItems": lambda said, value: not isinstance(value, list) or len(value) >= said,
    "maxItems": lambda said, value: not isinstance(value, list) or len(value) <= said,
    "maxProperties": lambda said, value: not isinstance(value, dict) or len(value) <= said,
    "required": lambda said, value: not isinstance(value, dict) or set(said) <= value.keys(),
    "anyOf": lambda said, value: any(not faults(schema, value) for schema in said),
}


def faults(schema, value, where="", known=frozenset()):
    """Where a value is not as a schema has it. A field that the schema does not name is a fault, too."""
    found = []
    named = known | names_in(schema)
    for keyword, said in schema.items():
        if keyword == "$ref":
            found += faults(at(said), value, where, named)
        elif keyword == "allOf":
            found += [fault for part in said for fault in faults(part, value, where, named)]
        elif keyword == "items" and isinstance(value, list):
            found += [fault for n, each in enumerate(value) for fault in faults(said, each, f"{where}[{n}]")]
        elif keyword == "properties" and isinstance(value, dict):
            for name in said.keys() & value.keys():
                found += faults(said[name], value[name], f"{where}.{name}")
            found += [f"{where}.{name}: not told of" for name in value.keys() - named]
        elif keyword == "patternProperties" and isinstance(value, dict):
            ((pattern, inner),) = said.items()
            found += [f"{where}.{name}: no such name" for name in value if not re.search(pattern, name)]
            found += [fault for name, each in value.items() for fault in faults(inner, each, f"{where}.{name}")]
        elif keyword == "additionalProperties" and said and isinstance(value, dict):
            found += [fault for name, each in value.items() for fault in faults(said, each, f"{where}.{name}")]
        elif keyword in CHECKS:
            try:
                good = CHECKS[keyword](said, value)
            except ValueError:  # of a date
                good = False
            found += [] if good else [f"{where}: {value!r} and {keyword} {said!r}"]
        else:
            assert keyword in TELLS_NOTHING | {"items", "properties", "patternProperties", "additionalProperties"}
    return found


def names_in(schema):
    found = set(schema.get("properties", ()))
    for part in [*schema.get("allOf", ()), *([at(schema["$ref"])] if "$ref" in schema else ())]:
        found |= names_in(part)
    return found


def body_of(answer, kind="application/json"):
    """What an answer, or a request, of the document has as its content of a kind."""
    return (at(answer["$ref"]) if "$ref" in answer else answer).get("content", {}).get(kind)


def examples_of(content):
    return [content["example"]] if "example" in content else [each["value"] for each in content["examples"].values()]


# The routes


def test_every_route_of_the_template_is_told_and_no_other(routes):
    assert OPERATIONS.keys() == {(method, path) for method, _, path, _ in routes}


def is_twin(method, path):
    """Of a route that a customer has: what is an operator's alone has none."""
    return path.startswith("/customers/{id}/") and (method, path.removeprefix("/customers/{id}")) in OPERATIONS


def test_an_operation_is_named_after_its_function_and_once(routes):
    named = {(method, path): file for method, _, path, file in routes}
    for (method, path), operation in OPERATIONS.items():
        twin = "_of" if is_twin(method, path) else ""
        assert operation["operationId"] == named[method, path] + twin
    assert len({operation["operationId"] for operation in OPERATIONS.values()}) == len(OPERATIONS)


def test_what_needs_which_token_is_as_in_the_template(template):
    wanted = {}
    for resource in template["Resources"].values():
        for event in resource.get("Properties", {}).get("Events", {}).values():
            if event["Type"] == "HttpApi":
                route = event["Properties"]
                auth = route.get("Auth", {})
                scopes = [{"token": auth.get("AuthorizationScopes", [])}]
                wanted[route["Method"], route["Path"]] = [] if auth.get("Authorizer") == "NONE" else scopes
    told = {route: each.get("security", DOCUMENT["security"]) for route, each in OPERATIONS.items()}

    assert told == wanted


def test_a_twin_is_the_same_but_for_its_customer():
    of_a_customer = {route: each for route, each in OPERATIONS.items() if route[1].startswith("/customers/{id}/")}
    twins = {route: each for route, each in of_a_customer.items() if is_twin(*route)}
    alone = {each["operationId"]: each["security"] for route, each in of_a_customer.items() if route not in twins}
    assert alone.pop("list_events") == [{"token": ["billing/service"]}]  # of the bus, which the product's backend hears
    assert list(alone.values()) == [[{"token": ["billing/admin"]}]] * len(alone)
    for (method, path), twin in twins.items():
        own = OPERATIONS[method, path.removeprefix("/customers/{id}")]
        assert twin == own | {"operationId": twin["operationId"], "security": twin["security"]}
    assert twins


def parameters(path, operation):
    listed = [*DOCUMENT["paths"][path].get("parameters", ()), *operation.get("parameters", ())]
    return [at(each["$ref"]) if "$ref" in each else each for each in listed]


def test_what_stands_in_a_path_is_told():
    for (_, path), operation in OPERATIONS.items():
        told = {each["name"] for each in parameters(path, operation) if each["in"] == "path" and each["required"]}
        assert told == set(re.findall(r"{(\w+)}", path))


def test_what_is_read_knows_what_you_have_and_what_is_written_takes_a_key():
    for (method, path), operation in OPERATIONS.items():
        headers = {each["name"] for each in parameters(path, operation) if each["in"] == "header"}
        assert ("If-None-Match" in headers) == ("304" in operation["responses"]) == (method == "GET")
        keyless = {"quote_change", "record_usage", "receive_webhook", "retire_plan", "create_portal", "replay_webhook"}
        keyless |= {
            "link_customer",
            "override_limits",
            "enable_event_endpoint",
        }  # what is put whole is the same however often it is put
        keyless |= {"check_usage", "explain_usage", "correct_usage"}  # nothing is written, or by a key in the body
        writes = method != "GET" and operation["operationId"].removesuffix("_of") not in keyless
        assert ("Idempotency-Key" in headers) == writes


# The bodies


def model_of(file):
    """What a function is given is one of; None: it takes no body."""
    given = list(inspect.signature(importlib.import_module(file).handler).parameters.values())[1:]
    return given[0].annotation if given and hasattr(given[0].annotation, "read") else None


def schema_of(model):
    """With a pattern as JSON Schema has it (bodies.matching), and a choice that may be null in pydantic's words."""
    if hasattr(model, "model_json_schema"):
        return model.model_json_schema()
    said = json.loads(json.dumps(msgspec.json.schema(model)).replace(r'\\Z"', '$"'))
    return said | said["$defs"][model.__name__]


def plain(schema: dict[str, Any], defined) -> dict[str, Any]:
    """A schema without what is said in another way: names, references, and types that may be null."""
    if "$ref" in schema:
        schema = defined(schema["$ref"]) | {name: said for name, said in schema.items() if name != "$ref"}
    said: dict[str, Any] = {
        name: value for name, value in schema.items() if name not in ("title", "description", "example", "$defs")
    }
    if isinstance(said.get("type"), list):
        kind, null = said["type"]
        assert null == "null"
        rest = {name: value for name, value in said.items() if name not in ("type", "default")}
        said = {"anyOf": [rest | {"type": kind}, {"type": "null"}]} | {k: said[k] for k in ("default",) if k in said}
    for name in ("properties", "patternProperties"):
        if name in said:
            said[name] = {key: plain(each, defined) for key, each in said[name].items()}
    if "anyOf" in said:
        said["anyOf"] = [plain(each, defined) for each in said["anyOf"]]
    if items := said.pop("items", None):
        said["items"] = plain(items, defined)
    if "enum" in said:
        said = {"type": "string"} | said | {"enum": sorted(said["enum"])}
    if required := said.pop("required", None):
        said["required"] = sorted(required)
    return said


def test_what_a_function_reads_is_what_is_told(routes):
    for method, _, path, file in routes:
        model, body = model_of(file), OPERATIONS[method, path].get("requestBody")
        if not model:
            assert body is None or file == "receive_webhook"
            continue
        wanted = schema_of(model)
        told = plain(body["content"]["application/json"]["schema"], at)
        if file == "record_usage":  # each event is read by itself: usage.read
            del told["properties"]["events"]["items"]
        defined = lambda reference, wanted=wanted: wanted["$defs"][reference.rsplit("/", 1)[1]]  # noqa: E731
        assert told == plain(wanted, defined), file
        assert body.get("required", False) == (method == "PUT" or bool(wanted.get("required")))


def readable(event):
    try:
        return bool(usage.read(event, 1_800_000_000))
    except usage.Unfit:
        return False


EVENT = {"customer_id": "ada", "metric_id": "calls", "quantity": 1, "idempotency_key": "k"}


@pytest.mark.parametrize(
    "said",
    [{name: value} for name in ("customer_id", "idempotency_key") for value in ("", "é", "x" * 255, "x" * 256, 1, None)]
    + [{"quantity": value} for value in (0, 1, usage.MOST, usage.MOST + 1, "1", True, None)]
    + [{"timestamp": value} for value in (None, "2026-11-23T12:00:00Z", "2026-11-23", 0)]
    + [{"metadata": value} for value in (None, {}, {"a": "b"}, {"a": 1}, [])]
    + [{"price": 1}],
    ids=repr,
)
def test_an_event_is_told_as_it_is_read(said):
    event = EVENT | said
    assert (faults({"$ref": "#/components/schemas/Event"}, event) == []) == readable(event)


def test_what_an_event_needs_is_told():
    told = DOCUMENT["components"]["schemas"]["Event"]
    assert told["properties"].keys() == usage.FIELDS
    needed = {name for name in EVENT if not readable({**EVENT, name: None})}
    assert set(told["required"]) == needed - {"quantity"}
    assert readable({name: said for name, said in EVENT.items() if name != "quantity"} | {"value": "v"})
    assert nameable(" ~") and not nameable("\x1f") and not nameable("\x7f")  # as the pattern has it


# The errors


def test_every_code_is_told_with_its_status():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BillingError)]
    bases = {errors.BillingError, errors.Conflict, errors.Rejected}  # only their kinds are raised
    wanted = {}
    for kind in kinds:
        if kind not in bases:
            status = next(status for base, status in door.STATUS.items() if issubclass(kind, base))
            wanted.setdefault(status, set()).add(kind.code)
    told = {}
    for schema in DOCUMENT["components"]["schemas"].values():
        for part in schema.get("allOf", ()):
            if "code" in part.get("properties", {}):
                told[part["properties"]["status"]["const"]] = set(part["properties"]["code"]["enum"])

    assert told == wanted


def test_a_status_has_its_own_problem():
    for operation in OPERATIONS.values():
        for status, answer in operation["responses"].items():
            if content := body_of(answer, "application/problem+json"):
                own = at(content["schema"]["$ref"])["allOf"][1]["properties"]["status"]["const"]
                assert str(own) == status


# The answers


def test_the_examples_are_as_they_are_told():
    told = 0
    for operation in OPERATIONS.values():
        for body in (operation.get("requestBody", {}), *operation["responses"].values()):
            for kind in ("application/json", "application/problem+json"):
                content = body_of(body, kind)
                for example in examples_of(content) if content and content.keys() & {"example", "examples"} else ():
                    assert faults(content["schema"], example) == []
                    told += 1
    assert told > len(OPERATIONS)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, True),
        ({"type": ["integer", "null"]}, "1"),
        ({"properties": {"a": {}}}, {"b": 1}),
        ({"allOf": [{"properties": {"a": {}}}, {"required": ["b"]}]}, {"a": 1}),
        ({"anyOf": [{"type": "null"}, {"enum": ["x"]}]}, "y"),
        ({"additionalProperties": {"const": True}}, {"a": 1}),
        ({"items": {"maxLength": 1}}, ["a", "bc"]),
        ({"format": "date-time"}, "2026-11-23"),
        ({"format": "date"}, "2026-02-30"),
        ({"$ref": "#/components/schemas/Time"}, "yesterday"),
    ],
)
def test_the_check_finds_what_is_wrong(schema, value):
    assert faults(schema, value)


@pytest.fixture
def told(api, routes):
    """As `api`, and every answer is held to what the document says of it."""
    seen = set()

    def call(method, path, body=None, **request):
        answer = api(method, path, body, **request)
        route = next(each for verb, pattern, each, _ in routes if verb == method and pattern.match(path.split("?")[0]))
        operation = OPERATIONS[method, route]
        listed = operation["responses"][str(answer.status)]
        kind = answer.headers.get("content-type")
        if kind:
            assert faults(body_of(listed, kind)["schema"], answer.json) == [], (method, path, answer.json)
        named = at(listed["$ref"]) if "$ref" in listed else listed
        told_headers = {header.lower() for header in named.get("headers", {})}
        assert set(answer.headers) - {"content-type"} <= told_headers
        if body is not None and answer.status == 200 and route != "/usage":  # there a bad event is no bad request
            assert faults(operation["requestBody"]["content"]["application/json"]["schema"], body) == []
        seen.add((operation["operationId"], answer.status))
        return answer

    call.seen = seen
    return call


def test_a_customers_life_is_answered_as_it_is_told(told, stripe, clock):
    """One answer of every operation at least, and one of every error that can be had without an outage."""
    service = {"claims": {"scope": SERVICE}}
    team = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000, "max_seats": 9}
    team |= {"price_per_seat_cents": 1000, "features": ["reports"], "limits": {"max_calls": 100, "max_seats": None}}
    team |= {"metrics": {"calls": {}, "exports": {"reset": "never", "enforcement": "soft"}}}
    told("PUT", "/plans/team", team)
    told("PUT", "/plans/team", {"name": ""})
    told("PUT", "/plans/pro", team | {"base_price_cents": 9000})
    etag = told("GET", "/plans").headers["etag"]
    told("GET", "/plans", headers={"if-none-match": etag})
    told("GET", "/plans/team")
    told("GET", "/plans/none")

    told("GET", "/subscription")
    told("GET", "/subscription", **service)
    told("GET", "/entitlements")
    told("GET", "/entitlements/reports")
    told("PUT", "/customer", {"email": "ada@example.com", "address": {"city": "London"}})
    told("POST", "/subscription", {"plan_slug": "team"}, customer="bob")
    told("POST", "/subscription", {"plan_slug": "team", "payment_method": "pm_card_chargeDeclined"}, customer="eve")
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    assert told("POST", "/subscription", order, key="k").json["status"] == "active"
    told("POST", "/subscription", {"plan_slug": "pro"}, key="k")
    told("POST", "/subscription/resume")

    quote = told("POST", "/subscription/quote", {"quantity": 8}).json["quote_id"]
    told("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quote})
    told("PUT", "/subscription/seats", {"quantity": 99})
    told("PUT", "/subscription/plan", {"plan_slug": "pro", "effective": "period_end"})
    told("GET", "/subscription")
    told("DELETE", "/subscription/change")
    _, coupon = stripe.handle("POST", "/v1/coupons", {"duration": "once", "amount_off": "500", "currency": "usd"})
    promotion = {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "SPRING"}
    assert stripe.handle("POST", "/v1/promotion_codes", promotion)[0] == 200
    told("PUT", "/subscription/discount", {"promotion_code": "SPRING"})
    told("GET", "/invoices/upcoming")
    told("GET", "/invoices?limit=1")
    told("POST", "/subscription/pause", {"resumes_at": "2100-01-01T00:00:00Z"})
    told("POST", "/subscription/resume")

    event = EVENT | {"timestamp": None, "metadata": {"a": "b"}}
    others = [{"quantity": 2}, {"quantity": 101, "idempotency_key": "l"}, {"metric_id": "no"}]
    others.append({"quantity": 0, "idempotency_key": "z"})
    told("POST", "/usage", {"events": [event]}, **service)
    answers = told("POST", "/usage", {"events": [event, *(event | other for other in others)]}, **service).json
    assert {each["status"] for each in answers["events"]} == {"recorded", "conflict", "over_limit", "rejected"}
    for asked in ("/usage?metric=calls", "/usage?metric=exports", "/usage?metric=none", "/entitlements/calls"):
        told("GET", asked)
    for asked in ("/entitlements", "/entitlements/reports", "/entitlements/max_seats", "/entitlements/none"):
        told("GET", asked)

    for asked in ("2026-11-23T00:00:00Z", "x"):
        told("GET", f"/usage?metric=calls&start={asked}&end=2026-11-24T00:00:00Z")
    for metric in ("calls", "none"):
        told("POST", "/usage/check", {"customer_id": "ada", "metric_id": metric, "quantity": 1}, **service)
    admin = {"claims": {"scope": "billing/admin"}}
    fix = {"customer_id": "ada", "idempotency_key": "f", "corrects": "k", "reason": "wrong unit"}
    for other in ({}, {"quantity": 3}, {"corrects": "none", "idempotency_key": "g"}, {"idempotency_key": "g"}):
        told("POST", "/usage/corrections", fix | other, **admin)
    stated = Statement("ada", "calls", "sub_1", 0, 9, 0, "team", 1, "sum", 0, 0, 0, "usd", 0, 0, False, 9, "nothing")
    dynamodb.transact([statement_table.put(stated)])
    for instant in ("1970-01-01T00:00:05Z", "1970-01-01T00:00:09Z"):
        told("POST", "/usage/explain", {"customer_id": "ada", "metric_id": "calls", "at": instant}, **admin)
    told("PUT", "/customers/ada/limits", {"limits": {"max_calls": 7}}, **admin)

    back = "https://app.example.com/back"
    told("POST", "/checkout", {"plan_slug": "team", "success_url": back, "cancel_url": back}, customer="kim")
    told("POST", "/checkout", {"plan_slug": "team", "success_url": back, "cancel_url": "https://x.com"}, customer="kim")
    told("POST", "/portal", {"return_url": back})
    told("GET", "/plans/team/versions/1/subscriptions")
    event = WebhookEvent("evt_1", "invoice.paid", 1_795_000_000, "in_1", "cus_1", None, False, None)
    for _ in range(5):
        webhook_table.failed(event, "KeyError")
    for asked in ("/webhook-events", "/webhook-events?status=done"):
        told("GET", asked)
    for id in ("evt_1", "evt_2"):
        told("POST", f"/webhook-events/{id}/replay")
    clock.pass_by(minutes=5)
    run = told("POST", "/reconcile", {}, key="r").json["run"]
    told("POST", "/reconcile", {"dry_run": False}, key="r")
    assert told("GET", f"/reconcile/{run}").json["drift"]
    told("GET", "/reconcile/none")
    (price,) = [each["id"] for each in stripe.prices.values() if each["product"] == "tollgate_team"]
    told("GET", f"/stripe-prices/{price}/plan")
    told("PUT", "/plans/other", team | {"stripe_price": price})
    told("PUT", "/plans/other", team | {"stripe_price": "price_none", "on_sale": False})
    for asked in ("limit=3", "after=3&limit=100", "after=x"):
        told("GET", f"/customers/ada/events?{asked}", **service)
    told("GET", "/event-endpoint", **admin)
    told("POST", "/event-endpoint/enable", **admin)
    told("GET", "/customers/ada/stripe-customer", **admin)
    told("GET", "/customers/max/stripe-customer", **admin)
    _, old = stripe.handle("POST", "/v1/customers", {"name": "Max"})
    for customer in (old["id"], "cus_none", *stripe.customers):
        told("PUT", "/customers/max/stripe-customer", {"stripe_customer": customer}, **admin)
    told("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"})
    told("DELETE", "/plans/pro")
    told("POST", "/webhooks/stripe", {})

    stripe.fault("unreachable", times=4)
    told("GET", "/invoices")
    done = {name for name, status in told.seen if status == 200}
    wanted = {each["operationId"] for route, each in OPERATIONS.items() if not is_twin(*route)}
    assert done == wanted - {"receive_webhook"}  # its events are signed: tests/functions/test_receive_webhook.py
    assert {status for _, status in told.seen} == {200, 304, 400, 402, 403, 404, 409, 422, 503}
