"""How the product knows that a webhook is ours: Standard Webhooks 1.0, symmetric."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import quote

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a key


def key(secret: str) -> bytes:
    """Of a secret as it is handed over, `whsec_` and base64. ValueError: it is none."""
    if not secret.startswith(PREFIX):
        raise ValueError("a secret begins with whsec_")
    found = b64decode(secret.removeprefix(PREFIX), validate=True)
    if not SHORTEST <= len(found) <= LONGEST:
        raise ValueError("a secret is 24 to 64 bytes in base64")
    return found


def name(id: str) -> str:
    """
    An event's id as it may be signed. A full stop would let what is of one field be taken for the next one's, and an id
    of ours may be made of an e-mail address: what is neither letter, digit nor any of `_:@-` is in percent.
    """
    return quote(id, safe=":@").replace(".", "%2E").replace("~", "%7E")


def headers(id: str, at: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """
    Of an attempt at an instant: the id stays the same, time and signatures do not. A signature by each key, so that
    whoever knows the old one or the new one may check it while it is changed.
    """
    content = f"{name(id)}.{at}.".encode() + body
    signed = (b64encode(hmac.digest(key, content, sha256)).decode() for key in keys)
    return {
        "webhook-id": name(id),
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{each}" for each in signed),
    }
