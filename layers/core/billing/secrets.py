"""The door to Secrets Manager: what Stripe knows us by."""

import json
import os
import time
from functools import cache

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from billing.errors import Misconfigured

FRESH = 60  # seconds: a webhook secret that is added while another is rolled is seen within a minute

_stripe: tuple[float, dict] | None = None


def stripe() -> dict:
    """
    `api_key`, and `webhook_secrets`: two while one is rolled, and Stripe signs with both for a day.

    What is known goes on being used while the secret cannot be read; if nothing is, Misconfigured.
    """
    global _stripe
    if not _stripe or time.monotonic() - _stripe[0] >= FRESH:
        try:
            said = json.loads(manager().get_secret_value(SecretId=os.environ["STRIPE_SECRET"])["SecretString"])
            known = {"api_key": said["api_key"], "webhook_secrets": said["webhook_secrets"]}
        except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as unread:
            if not _stripe:
                raise Misconfigured("the secret of Stripe cannot be read") from unread
            known = _stripe[1]
        _stripe = time.monotonic(), known
    return _stripe[1]


@cache
def manager():
    return boto3.client("secretsmanager", config=Config(connect_timeout=1, read_timeout=3))
