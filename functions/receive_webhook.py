"""POST /webhooks/stripe: verify, enqueue, 200. To any other answer Stripe comes back, for three days."""

import base64
import json
import logging
import os
import time

from billing import queue, secrets
from billing.errors import Forged, Malformed
from billing.metrics import ANOMALIES, embedded
from billing.webhooks import API_VERSION, envelope, verify

logger = logging.getLogger()  # Lambda writes it as JSON, `extra` included; Powertools would double the cold start
logger.setLevel(logging.INFO)
logging.getLogger("botocore").setLevel(logging.WARNING)


def handler(request: dict, context) -> dict:
    try:
        body = _verified(request)
    except Forged as forged:
        logger.warning("SignatureFailures", extra={"reason": str(forged)} | _measured("SignatureFailures"))
        return _refused(forged)
    try:
        event = envelope(_json(body))
    except Malformed as unknown:
        logger.error("no_event", extra={"reason": str(unknown)} | _measured(ANOMALIES))
        return _refused(unknown)
    about = {"event": event.id, "type": event.type}
    if event.livemode != (os.environ["LIVE"] == "true"):
        logger.error("other_mode", extra=about | {"livemode": event.livemode} | _measured(ANOMALIES))
        return _refused(Forged("an event of the other mode: the endpoint is wired to the wrong stage"))
    if event.api_version != API_VERSION:  # it goes on: nothing but ids is read
        logger.warning("other_version", extra=about | {"theirs": event.api_version, "ours": API_VERSION})

    queue.send(event)  # what goes wrong here is not caught: a 500 brings the event back
    logger.info("enqueued", extra=about)
    return {"statusCode": 200}


def _measured(metric: str) -> dict:
    return embedded(metric, 1, os.environ["STACK"], time.time())


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
