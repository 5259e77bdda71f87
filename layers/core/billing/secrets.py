"""The door to Secrets Manager: what Stripe knows us by."""

import json
import os
import time
from functools import cache

import boto3

FRESH = 60  # seconds: a webhook secret that is added while another is rolled is seen within a minute

_stripe: tuple[float, dict] | None = None


def stripe() -> dict:
    """`api_key`, and `webhook_secrets`: two while one is rolled, and Stripe signs with both for a day."""
    global _stripe
    if not _stripe or time.monotonic() - _stripe[0] >= FRESH:
        said = manager().get_secret_value(SecretId=os.environ["STRIPE_SECRET"])
        _stripe = time.monotonic(), json.loads(said["SecretString"])
    return _stripe[1]


def forget() -> None:
    """The next question is asked again."""
    global _stripe
    _stripe = None


@cache
def manager():
    return boto3.client("secretsmanager")
