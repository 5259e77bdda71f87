"""POST /webhooks/stripe: verify, enqueue, 200. To any other answer Stripe comes back, for three days."""

import base64
import json
import os
import time

from billing import log, queue, secrets
from billing.errors import Forged, Malformed
from billing.webhooks import API_VERSION, envelope, verify


def handler(request: dict, context) -> dict:
    try:
        body = _verified(request)
    except Forged as forged:
        log.counted("SignatureFailures", reason=str(forged))
        return _refused(forged)
    try:
        event = envelope(_json(body))
    except Malformed as unknown:
        log.alarmed("no_event", reason=str(unknown))
        return _refused(unknown)
    about = {"event": event.id, "type": event.type}
    if event.livemode != (os.environ["LIVE"] == "true"):
        log.alarmed("other_mode", **about, livemode=event.livemode)
        return _refused(Forged("an event of the other mode: the endpoint is wired to the wrong stage"))
    if event.api_version != API_VERSION:  # it goes on: nothing but ids is read
        log.warning("other_version", **about, theirs=event.api_version, ours=API_VERSION)

    queue.send(event)  # what goes wrong here is not caught: a 500 brings the event back
    log.info("enqueued", **about)
    return {"statusCode": 200}


def _refused(refusal: Malformed) -> dict:
    problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "code": refusal.code}
    headers = {"content-type": "application/problem+json"}
    return {"statusCode": 400, "headers": headers, "body": json.dumps(problem | {"detail": str(refusal)})}


def _verified(request: dict) -> bytes:
    body = _raw(request)
    signature = request["headers"].get("stripe-signature", "")
    verify(body, signature, secrets.stripe()["webhook_secrets"], at=int(time.time()))
    return body


def _json(body: bytes):
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("the body is no JSON") from None


def _raw(request: dict) -> bytes:
    """The bytes that Stripe has signed."""
    text = request.get("body") or ""
    try:
        return base64.b64decode(text, validate=True) if request.get("isBase64Encoded") else text.encode()
    except ValueError:
        raise Forged("the body is no base64") from None
