"""The door to API Gateway: `endpoint` makes a Lambda handler of a plain function."""

import json
import os
import time
from functools import wraps
from hashlib import sha256
from http import HTTPStatus
from typing import NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

from billing.errors import (
    BillingError,
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    PaymentDeclined,
    QuoteStale,
    Rejected,
    Unavailable,
    Undecided,
)
from billing.holds import digest, nameable
from billing.metrics import ANOMALIES, embedded

STATUS = {Malformed: 400, PaymentDeclined: 402, Forbidden: 403, NotFound: 404, Conflict: 409}
STATUS |= {Rejected: 422, Unavailable: 503}
LARGEST = 256 * 1024  # bytes of a body

logger = Logger()


def counted(what: str, value: float = 1, **keys) -> None:
    """
    A metric's value: what has happened so often, or how much there is of it; `what` is in CamelCase.

    It is a WARNING, so that a log level that leaves out what is usual does not leave out the metrics.
    """
    logger.warning(what, stacklevel=3, **keys | _measured(what, value))


def alarmed(what: str, **keys) -> None:
    """Something that somebody has to look at. What is to be done about `what` stands in docs/runbook.md."""
    logger.error(what, stacklevel=3, **keys | _measured(ANOMALIES, 1))


def _measured(metric: str, value: float) -> dict:
    return embedded(metric, value, os.environ["STACK"], time.time())


class Request(NamedTuple):
    customer: str  # from the verified token; from the path only for our own backend; never from a body. "": of no one
    key: str | None  # the caller's Idempotency-Key
    fingerprint: str  # of the action and what it was given: the same key must come with the same
    path: dict[str, str]
    query: dict[str, str]
    at: int  # epoch seconds: here the clock enters the house
    actor: str = ""  # whose token it is


def endpoint(body=None, of_customer: bool = True):
    """
    `body` is a pydantic model of what the action is given; this door uses it without importing pydantic.

    The action answers what becomes the JSON of a 200, or raises a BillingError. What is read carries an ETag.
    """

    def decorate(action):
        @wraps(action)
        @logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
        def handler(event, context):
            http = APIGatewayProxyEventV2(event)
            try:
                customer = _customer(http) if of_customer else ""
                given = [_read(body, http)] if body else _none(http)
                fingerprint = digest(action.__module__, *(each.model_dump_json() for each in given))
                path, query = http.path_parameters, http.query_string_parameters
                request = Request(customer, _key(http), fingerprint, path, query, int(time.time()), _actor(http))
                content = action(request, *given)
            except BillingError as refusal:
                return _problem(refusal, http.route_key)
            logger.info("answered", route=http.route_key, status=200)
            return _found(http, content) if http.http_method == "GET" else _answer(200, content)

        return handler

    return decorate


def _customer(http: APIGatewayProxyEventV2) -> str:
    if named := http.path_parameters.get("id"):  # API Gateway has asked this route's token for our scope
        customer = named
    else:
        claims = http.request_context.authorizer.jwt_claim if http.request_context.authorizer else {}
        scopes = f"{claims.get('scope', '')} {claims.get('scp', '')}"  # issuers use either; a list comes as "[a b]"
        if any(scope.startswith("billing/") for scope in scopes.replace("[", " ").replace("]", " ").split()):
            raise Forbidden("a service names its customer in the path")
        customer = claims.get(os.environ["CUSTOMER_CLAIM"], "")
    if not nameable(customer):
        raise Forbidden("this names no customer: 1 to 255 printable ASCII characters")
    return customer


def _actor(http: APIGatewayProxyEventV2) -> str:
    authorizer = http.request_context.authorizer
    return (authorizer.jwt_claim or {}).get("sub", "") if authorizer else ""


def _key(http: APIGatewayProxyEventV2) -> str | None:
    key = http.headers.get("idempotency-key")
    if key is not None and not nameable(key):
        raise Malformed.of([("Idempotency-Key", "1 to 255 printable ASCII characters")])
    return key


def _read(body, http: APIGatewayProxyEventV2):
    if len((http.body or "").encode(errors="replace")) > LARGEST:
        raise Malformed.of([("body", f"at most {LARGEST} bytes")])
    if not http.body and http.http_method == "PUT":
        raise Malformed.of([("body", "is missing: what is put is put whole")])
    try:
        return body.model_validate_json(http.decoded_body if http.body else "{}")
    except ValueError as invalid:  # pydantic's own error is one, and so is text that is no UTF-8
        found = getattr(invalid, "errors", lambda: [{"loc": (), "msg": "not JSON in UTF-8"}])()
        raise Malformed.of([(".".join(map(str, each["loc"])) or "body", each["msg"]) for each in found]) from invalid


def _none(http: APIGatewayProxyEventV2) -> list:
    if (http.body or "").strip() not in ("", "{}"):
        raise Malformed.of([("body", "none is expected here")])
    return []


def _answer(status: int, content: dict, kind: str = "application/json", **headers) -> dict:
    return {"statusCode": status, "headers": {"content-type": kind, **headers}, "body": json.dumps(content)}


def _found(http: APIGatewayProxyEventV2, content: dict) -> dict:
    answer = _answer(200, content)
    etag = f'"{sha256(answer["body"].encode()).hexdigest()[:32]}"'
    known = {each.strip().removeprefix("W/") for each in http.headers.get("if-none-match", "").split(",")}
    if known & {etag, "*"}:
        return {"statusCode": 304, "headers": {"etag": etag}}
    answer["headers"]["etag"] = etag
    return answer


def _problem(refusal: BillingError, route: str | None) -> dict:
    """RFC 9457, with our stable `code`, and the fields that could not be read."""
    status = next(status for kind, status in STATUS.items() if isinstance(refusal, kind))
    log = logger.error if status == HTTPStatus.SERVICE_UNAVAILABLE else logger.info
    log("refused", route=route, status=status, code=refusal.code)
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    content |= {"code": refusal.code, "detail": str(refusal)}
    if isinstance(refusal, Malformed) and refusal.fields:
        content["fields"] = refusal.fields
    if isinstance(refusal, QuoteStale):
        content["quote"] = refusal.quote
    if isinstance(refusal, Undecided):
        content["events"] = refusal.events
    later = {"retry-after": str(refusal.retry_after)} if refusal.retry_after else {}
    return _answer(status, content, "application/problem+json", **later)
