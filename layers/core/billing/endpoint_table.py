"""How the product's own URL does, on record. A URL that takes what it is told is not written of."""

import os

from billing import dynamodb
from billing.endpoints import Endpoint
from billing.holds import digest

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
FIELDS = ("failing_since", "failures", "disabled_at", "reason")


def find(url: str) -> Endpoint:
    found = dynamodb.get(TABLE, **_key(url)) or {}
    return Endpoint(**{name: found[name] for name in FIELDS if name in found})


def failed(url: str, at: int) -> None:
    change = "SET failing_since = if_not_exists(failing_since, :at) ADD failures :one"
    dynamodb.transact([dynamodb.update(TABLE, _key(url), change, at=at, one=1)])


def disable(url: str, reason: str, since: int, at: int) -> bool:
    """Whether it was not yet, and has taken nothing since then."""
    fails = "attribute_not_exists(disabled_at) AND failing_since <= :since"
    change = "SET disabled_at = :at, reason = :reason"
    values = {"at": at, "since": since, "reason": reason}
    return not dynamodb.transact([dynamodb.update(TABLE, _key(url), change, fails, **values)])


def works(url: str) -> None:
    """It has taken something: unless it is disabled, all is well."""
    enabled = "attribute_not_exists(disabled_at)"
    dynamodb.transact([dynamodb.update(TABLE, _key(url), "REMOVE failing_since, failures", enabled)])


def enable(url: str) -> None:
    """Whatever there was."""
    dynamodb.transact([dynamodb.update(TABLE, _key(url), f"REMOVE {', '.join(FIELDS)}")])


def _key(url: str) -> dict:
    """Of this URL: another one begins anew."""
    return {"pk": "endpoint", "sk": digest(url)}
