"""The door to Secrets Manager: what Stripe knows us by."""

import json
import logging
import os
import time
from functools import cache

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from billing.errors import Misconfigured
from billing.metrics import ANOMALIES, embedded

FRESH = 60  # seconds: a webhook secret that is added while another is rolled is seen within a minute

logger = logging.getLogger()  # also where there is no Powertools; Lambda writes `extra` into the line

_stripe: tuple[float, dict] | None = None


def stripe() -> dict:
    """
    `api_key`, and `webhook_secrets`: two while one is rolled, and Stripe signs with both for a day.

    What is known goes on being used while the secret cannot be read, or makes no sense, and the operator is told; if
    nothing is known, Misconfigured.
    """
    global _stripe
    if not _stripe or time.monotonic() - _stripe[0] >= FRESH:
        try:
            known = _read(manager().get_secret_value(SecretId=os.environ["STRIPE_SECRET"])["SecretString"])
        except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as unread:
            logger.error(
                "secret_unread",
                extra={"reason": type(unread).__name__} | embedded(ANOMALIES, 1, os.environ["STACK"], time.time()),
            )
            if not _stripe:
                raise Misconfigured("the secret of Stripe cannot be read") from unread
            known = _stripe[1]
        _stripe = time.monotonic(), known
    return _stripe[1]


def _read(text: str) -> dict:
    said = json.loads(text)
    keys = said["webhook_secrets"]
    if not isinstance(keys, list) or not all(isinstance(each, str) for each in [said["api_key"], *keys]):
        raise TypeError("each character of a text would be a secret")
    return {"api_key": said["api_key"], "webhook_secrets": keys}


@cache
def manager():
    return boto3.client("secretsmanager", config=Config(connect_timeout=1, read_timeout=3))
