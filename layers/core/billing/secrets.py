"""The door to Secrets Manager: what Stripe knows us by, and the product's own URL."""

import json
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from billing import aws, log, signatures
from billing.errors import Misconfigured

FRESH = 60  # seconds: a webhook secret that is added while another is rolled is seen within a minute

_known: dict[str, tuple[float, Any]] = {}  # by the setting that names the secret: since when, and what it says


def stripe() -> dict:
    """`api_key`, and `webhook_secrets`: two while one is rolled, and Stripe signs with both for a day."""
    return _kept("STRIPE_SECRET", _stripe)


def endpoint() -> list[bytes]:
    """The keys that what the product's own URL is told is signed with: all of them."""
    return _kept("EVENT_SECRET", _endpoint)


def _kept[T](setting: str, read: Callable[[dict], T]) -> T:
    """
    What is known goes on being used while the secret cannot be read, or makes no sense, and the operator is told; if
    nothing is known, Misconfigured.
    """
    if setting not in _known or time.monotonic() - _known[setting][0] >= FRESH:
        try:
            said = read(json.loads(manager().get_secret_value(SecretId=os.environ[setting])["SecretString"]))
        except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as unread:
            log.alarmed("secret_unread", setting=setting, reason=type(unread).__name__)
            if setting not in _known:
                raise Misconfigured("the secret cannot be read") from unread
            said = _known[setting][1]
        _known[setting] = time.monotonic(), said
    return _known[setting][1]


def _stripe(said: dict) -> dict:
    keys = [_text(each) for each in _list(said["webhook_secrets"])]
    return {"api_key": _text(said["api_key"]), "webhook_secrets": keys}


def _endpoint(said: dict) -> list[bytes]:
    keys = [signatures.key(_text(each)) for each in _list(said["secrets"])]
    if not keys:
        raise ValueError("there is none to sign with")
    return keys


def _list(said: object) -> list:
    if not isinstance(said, list):
        raise TypeError("each character of a text would be a secret")
    return said


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise TypeError("a secret is a text")
    return said


@cache
def manager():
    return aws.client("secretsmanager", read_timeout=3)
