"""The door to API Gateway: `endpoint` makes a Lambda handler of a plain function."""

import base64
import json
import os
import time
from functools import wraps
from hashlib import sha256
from http import HTTPStatus
from typing import NamedTuple

from billing import log
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

STATUS = {Malformed: 400, PaymentDeclined: 402, Forbidden: 403, NotFound: 404, Conflict: 409}
STATUS |= {Rejected: 422, Unavailable: 503}
LARGEST = 256 * 1024  # bytes of a body


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
    `body` is a kind of bodies.Body, or of offers.Document: what the action is given; none loads neither.

    The action answers what becomes the JSON of a 200, or raises a BillingError. What is read carries an ETag.
    """

    def decorate(action):
        @wraps(action)
        def handler(http: dict, context) -> dict:
            with log.of_request(http["requestContext"]["requestId"]):
                try:
                    customer = _customer(http) if of_customer else ""
                    given = [_read(body, http)] if body else _none(http)
                    fingerprint = digest(action.__module__, *(each.said() for each in given))
                    path, query = _path(http), http.get("queryStringParameters") or {}
                    request = Request(customer, _key(http), fingerprint, path, query, int(time.time()), _actor(http))
                    content = action(request, *given)
                except BillingError as refusal:
                    return _problem(refusal, http["routeKey"])
                log.info("answered", route=http["routeKey"], status=200)
                return _found(http, content) if _method(http) == "GET" else _answer(200, content)

        return handler

    return decorate


def _method(http: dict) -> str:
    return http["requestContext"]["http"]["method"]


def _path(http: dict) -> dict[str, str]:
    return http.get("pathParameters") or {}


def _claims(http: dict) -> dict[str, str]:
    """Of the token that API Gateway has verified; a route that takes none has none."""
    return http["requestContext"].get("authorizer", {}).get("jwt", {}).get("claims") or {}


def _customer(http: dict) -> str:
    if named := _path(http).get("id"):  # API Gateway has asked this route's token for our scope
        customer = named
    else:
        claims = _claims(http)
        scopes = f"{claims.get('scope', '')} {claims.get('scp', '')}"  # issuers use either; a list comes as "[a b]"
        if any(scope.startswith("billing/") for scope in scopes.replace("[", " ").replace("]", " ").split()):
            raise Forbidden("a service names its customer in the path")
        customer = claims.get(os.environ["CUSTOMER_CLAIM"], "")
    if not nameable(customer):
        raise Forbidden("this names no customer: 1 to 255 printable ASCII characters")
    return customer


def _actor(http: dict) -> str:
    return _claims(http).get("sub", "")


def _key(http: dict) -> str | None:
    key = http["headers"].get("idempotency-key")
    if key is not None and not nameable(key):
        raise Malformed.of([("Idempotency-Key", "1 to 255 printable ASCII characters")])
    return key


def _read(body, http: dict):
    text = http.get("body") or ""
    if len(text.encode(errors="replace")) > LARGEST:
        raise Malformed.of([("body", f"at most {LARGEST} bytes")])
    if not text and _method(http) == "PUT":
        raise Malformed.of([("body", "is missing: what is put is put whole")])
    try:
        given = base64.b64decode(text, validate=True) if http.get("isBase64Encoded") else text.encode()
    except ValueError as invalid:
        raise Malformed.of([("body", "not JSON in UTF-8")]) from invalid
    return body.read(given or b"{}")


def _none(http: dict) -> list:
    if (http.get("body") or "").strip() not in ("", "{}"):
        raise Malformed.of([("body", "none is expected here")])
    return []


def _answer(status: int, content: dict, kind: str = "application/json", **headers) -> dict:
    return {"statusCode": status, "headers": {"content-type": kind, **headers}, "body": json.dumps(content)}


def _found(http: dict, content: dict) -> dict:
    answer = _answer(200, content)
    etag = f'"{sha256(answer["body"].encode()).hexdigest()[:32]}"'
    known = {each.strip().removeprefix("W/") for each in http["headers"].get("if-none-match", "").split(",")}
    if known & {etag, "*"}:
        return {"statusCode": 304, "headers": {"etag": etag}}
    answer["headers"]["etag"] = etag
    return answer


def _problem(refusal: BillingError, route: str | None) -> dict:
    """RFC 9457, with our stable `code`, and the fields that could not be read."""
    status = next(status for kind, status in STATUS.items() if isinstance(refusal, kind))
    say = log.error if status == HTTPStatus.SERVICE_UNAVAILABLE else log.info
    say("refused", route=route, status=status, code=refusal.code)
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
