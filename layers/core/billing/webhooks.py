"""What Stripe tells us. An event is a hint that something changed, never the change itself."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import asdict, dataclass, fields

from billing.errors import Forged, Malformed

API_VERSION = "2026-10-28.endive"  # in whose words Stripe's objects are read, and its endpoint is to speak
TOLERANCE = 300  # seconds, both ways: Stripe's own library lets the future pass
LONGEST = 255  # characters of an id at Stripe
LATEST = 10**11  # epoch seconds: what is beyond is no time


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
    invoice: str | None = None  # that a payment or a credit note is of, or that a page has led to

    @property
    def group(self) -> str:
        """Events of one group are handled one after the other."""
        return self.customer or self.object_id or self.id

    @property
    def billed(self) -> str | None:
        """The invoice that is to be looked at."""
        return self.object_id if self.type.startswith("invoice.") else self.invoice


def envelope(event: dict) -> WebhookEvent:
    """
    Of a snapshot event, of whatever type; Malformed if it is none (Stripe's thin events are not), or if a field is not
    what it is to be: what goes on from here can be queued and kept.
    """
    try:
        made = _envelope(event)
        snapshot = event["object"] == "event"
    except (AttributeError, KeyError, TypeError):
        raise Malformed("this is no snapshot event of Stripe's API v1") from None
    if not snapshot:
        raise Malformed("this is no snapshot event of Stripe's API v1")
    return _checked(made)


def _checked(event: WebhookEvent) -> WebhookEvent:
    if wrong := [name for name, value in asdict(event).items() if not _sound(name, value)]:
        raise Malformed(f"no event of Stripe's has such a {wrong[0]}")
    return event


def _sound(name: str, value: object) -> bool:
    match name:
        case "id" | "type":
            return isinstance(value, str) and re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{LONGEST}}}", value) is not None
        case "created":
            return type(value) is int and 0 < value < LATEST  # True is an int, too
        case "livemode":
            return isinstance(value, bool)
    # Some objects are called what their maker liked (coupons, products).
    return value is None or (isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable())


def opened(sent) -> WebhookEvent:
    """
    An envelope that comes out of the queue, put there by this code, or by an older or newer one: what it does not know
    it leaves out. Malformed if it is none.
    """
    names = [field.name for field in fields(WebhookEvent)]
    try:
        event = WebhookEvent(**{name: value for name, value in sent.items() if name in names})
    except (AttributeError, TypeError):
        raise Malformed("this is no envelope of an event") from None
    return _checked(event)


def _envelope(event: dict) -> WebhookEvent:
    about, before = event["data"]["object"], event["data"].get("previous_attributes") or {}
    invoice = about.get("invoice")
    kind, parent = about.get("object"), (about.get("parent") or {}).get("subscription_details") or {}
    of = about.get("id") if kind == "subscription" else about.get("subscription") or parent.get("subscription")
    of = of or about.get("released_subscription")  # of a schedule that has let go of it
    return WebhookEvent(
        id=event["id"],
        type=event["type"],
        created=event["created"],
        object_id=about.get("id"),
        customer=about.get("id") if kind == "customer" else about.get("customer") or before.get("customer"),
        subscription=of,
        livemode=event["livemode"],
        api_version=event.get("api_version"),
        invoice=invoice if isinstance(invoice, str) else None,
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
