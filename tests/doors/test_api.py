import io
import json
import logging

import pytest
from awslambdaric.lambda_runtime_log_utils import JsonFormatter

from billing import dynamodb, log


def test_what_was_read_before_and_has_not_changed_is_not_sent_again(api, subscribed):
    first = api("GET", "/subscription")
    again = api("GET", "/subscription", headers={"if-none-match": first.headers["etag"]})
    api("POST", "/subscription/cancel", {})
    changed = api("GET", "/subscription", headers={"if-none-match": first.headers["etag"]})

    weak = api("GET", "/subscription", headers={"if-none-match": f'"x", W/{changed.headers["etag"]}'})

    assert weak.status == 304
    assert (again.status, again.json, again.headers["etag"]) == (304, None, first.headers["etag"])
    assert (changed.status, changed.headers["etag"] != first.headers["etag"]) == (200, True)


def test_a_refusal_is_a_problem_document_with_a_stable_code(api, stripe):
    answer = api("GET", "/subscription")

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "not_found",
        "detail": "no subscription",
    }


def test_a_body_over_256_kb_is_refused_unread(api, stripe):
    answer = api("PUT", "/customer", text='{"name": "' + "x" * 300_000 + '"}')

    assert (answer.status, answer.json["fields"]) == (400, [{"field": "body", "message": "at most 262144 bytes"}])


@pytest.mark.parametrize("text", ["gA==", "not base64!"])
def test_a_body_that_is_no_text_is_refused(api, stripe, text):
    answer = api("PUT", "/customer", text=text, isBase64Encoded=True)

    assert (answer.status, answer.json["fields"][0]["field"]) == (400, "body")


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "a\nb"])
def test_an_idempotency_key_is_printable_ascii(api, stripe, key):
    answer = api("PUT", "/customer", {}, headers={"idempotency-key": key})

    assert (answer.status, answer.json["fields"][0]["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("claims", [{"sub": ""}, {"sub": "x" * 256}, {"sub": "a\nb"}])
def test_a_token_that_names_no_customer_is_refused(api, stripe, claims):
    assert api("GET", "/subscription", claims=claims).status == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "billing/service"},
        {"scope": "openid billing/admin"},
        {"scp": "[openid billing/service]"},
        {"scope": "[billing/service]"},
    ],
    ids=str,
)
def test_a_token_with_a_scope_of_ours_is_refused_on_a_customers_own_route(api, subscribed, claims):
    assert api("GET", "/subscription", claims=claims).status == 403


def test_what_takes_no_body_refuses_one_and_what_is_put_needs_one(api, subscribed):
    for method, path, text in (
        ("POST", "/subscription/resume", '{"rubbish'),
        ("POST", "/subscription/resume", '{"a": 1}'),
        ("DELETE", "/subscription/change", "x"),
        ("PUT", "/customer", None),
    ):
        answer = api(method, path, text=text)
        assert (answer.status, answer.json["fields"][0]["field"]) == (400, "body")


def test_the_store_out_of_reach_is_a_503_with_its_time(api, plans):
    def unreachable(**_):
        raise dynamodb.BotoCoreError

    dynamodb.db().meta.events.register("before-call.dynamodb.GetItem", unreachable)
    answer = api("GET", "/subscription")

    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "unavailable", "5")


@pytest.fixture
def logged():
    """The lines as Lambda writes them."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.terminator = ""  # the formatter ends its lines itself
    handler.setFormatter(JsonFormatter())
    logging.getLogger("tollgate").addHandler(handler)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    logging.getLogger("tollgate").removeHandler(handler)


def test_a_metric_is_a_line_with_its_value_and_its_stack_at_the_top(logged):
    for value in (7, 0):
        log.counted("FailedEvents", value, run="r1")

    for line, value in zip(logged(), (7, 0), strict=True):
        assert (line["message"], line["FailedEvents"], line["Stack"]) == ("FailedEvents", value, "tollgate-test")
        assert (line["level"], line["run"]) == ("WARNING", "r1")
        [metric] = line["_aws"]["CloudWatchMetrics"]
        assert metric["Metrics"] == [{"Name": "FailedEvents", "Unit": "Count"}]
        assert (metric["Namespace"], metric["Dimensions"]) == ("Tollgate", [["Stack"]])
        assert isinstance(line["_aws"]["Timestamp"], int)


def test_what_is_alarmed_is_an_error_of_its_own_name_and_one_anomaly(logged):
    log.alarmed("quote_exceeded", invoice="in_1")

    [line] = logged()
    assert (line["level"], line["message"], line["invoice"]) == ("ERROR", "quote_exceeded", "in_1")
    assert (line["Anomalies"], line["Stack"]) == (1, "tollgate-test")
    assert line["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "Anomalies", "Unit": "Count"}]
