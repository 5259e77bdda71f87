"""What Stripe tells us. An event is a hint that something changed, never the change itself."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from billing.errors import Forged, Malformed

TOLERANCE = 300  # seconds, both ways: Stripe's own library lets the future pass


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """The envelope alone: no personal data travels through the queue."""

    id: str
    type: str
    created: int
    object_id: str | None
    customer: str | None  # cus_...
    subscription: str | None
    livemode: bool
    api_version: str | None

    @property
    def group(self) -> str:
        """Events of one group are handled one after the other."""
        return self.customer or self.object_id or self.id


def envelope(event: dict) -> WebhookEvent:
    """Of a snapshot event, of whatever type; Malformed if it is none (Stripe's thin events are not)."""
    try:
        return _envelope(event)
    except (AttributeError, KeyError, TypeError):
        raise Malformed("this is no snapshot event of Stripe's API v1") from None


def _envelope(event: dict) -> WebhookEvent:
    about = event["data"]["object"]
    kind, parent = about.get("object"), (about.get("parent") or {}).get("subscription_details") or {}
    of = about.get("id") if kind == "subscription" else about.get("subscription") or parent.get("subscription")
    of = of or about.get("released_subscription")  # of a schedule that has let go of it
    return WebhookEvent(
        id=event["id"],
        type=event["type"],
        created=event["created"],
        object_id=about.get("id"),
        customer=about.get("id") if kind == "customer" else about.get("customer"),
        subscription=of,
        livemode=event["livemode"],
        api_version=event.get("api_version"),
    )


def verify(body: bytes, header: str, secrets: list[str], at: int) -> None:
    """The body is Stripe's, of now, and untouched; else Forged. While a secret is rolled there are several."""
    fields = [field.partition("=")[::2] for field in header.split(",")]
    stamp = next((value for name, value in fields if name == "t"), "")
    if not re.fullmatch(r"[0-9]{1,12}", stamp) or abs(at - int(stamp)) > TOLERANCE:
        raise Forged("the signature is not of now")
    signed = stamp.encode() + b"." + body
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets if secret]
    given = [value.encode() for name, value in fields if name == "v1"]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in given):
        raise Forged("the signature is not Stripe's")
