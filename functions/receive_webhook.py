"""POST /webhooks/stripe: verify, enqueue, 200. To any other answer Stripe comes back, for three days."""

import base64
import json
import logging
import os
import time

from billing import queue, secrets
from billing.errors import Forged, Malformed
from billing.webhooks import envelope, verify

logger = logging.getLogger()  # Lambda writes it as JSON, `extra` included; Powertools would double the cold start
logger.setLevel(logging.INFO)
logging.getLogger("botocore").setLevel(logging.WARNING)


def handler(request: dict, context) -> dict:
    signature = request["headers"].get("stripe-signature", "")
    try:
        body = _raw(request)
        verify(body, signature, secrets.stripe()["webhook_secrets"], at=int(time.time()))
        event = envelope(_json(body))
        if event.livemode != (os.environ["LIVE"] == "true"):
            raise Forged("an event of the other mode: the endpoint is wired to the wrong stage")
    except Malformed as refusal:  # forged, or nothing that we understand
        logger.warning("refused", extra={"code": refusal.code, "reason": str(refusal)})
        problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "code": refusal.code}
        headers = {"content-type": "application/problem+json"}
        return {"statusCode": 400, "headers": headers, "body": json.dumps(problem | {"detail": str(refusal)})}

    queue.send(event)  # what goes wrong here is not caught: a 500 brings the event back
    logger.info("enqueued", extra={"event": event.id, "type": event.type})
    return {"statusCode": 200}


def _json(body: bytes):
    try:
        return json.loads(body)
    except ValueError:
        raise Malformed("the body is no JSON") from None


def _raw(request: dict) -> bytes:
    """The bytes that Stripe has signed."""
    text = request.get("body") or ""
    try:
        return base64.b64decode(text, validate=True) if request.get("isBase64Encoded") else text.encode()
    except ValueError:
        raise Forged("the body is no base64") from None
