"""Mails on record: one waits in the index `held` until it is sent, or comes to nothing. Its row is the claim."""

import os
from typing import NamedTuple
from uuid import uuid4

from billing import dynamodb
from billing.domain_events import DomainEvent

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
MAIL = "mail"  # what an item of the index `held` waits for
LEASE = 60  # seconds: more than a function lives
KEPT = 90 * 86_400  # seconds that one which waits no longer is there still


class Mail(NamedTuple):
    """One that is ours alone to send, for a minute."""

    customer: str
    sequence: int  # of the domain event that it is sent of
    kind: str
    at: int  # when that happened
    attempts: int  # that came to nothing
    me: str


def claim(customer: str, sequence: int, at: int) -> Mail | None:
    """None: it waits no longer, or somebody is sending it. Who is killed keeps it no longer from the others."""
    row = dynamodb.get(TABLE, **_key(customer, sequence))
    if not row or row.get("waits") != MAIL:
        return None
    mail = Mail(customer, sequence, row["kind"], row["at"], row.get("attempts", 0), uuid4().hex)
    free = (
        "attribute_not_exists(leased_until) OR leased_until <= :at OR leased_by = :me"  # by the same call, said twice
    )
    values = {"mail": MAIL, "at": at, "until": at + LEASE, "me": mail.me}
    change = "SET leased_until = :until, leased_by = :me"
    write = dynamodb.update(TABLE, _key(customer, sequence), change, f"waits = :mail AND ({free})", **values)
    return None if dynamodb.transact([write]) else mail


def mark(mail: Mail, outcome: str, at: int) -> None:
    """It waits no longer, whatever has come of it."""
    change = "SET outcome = :outcome, sent_at = :at, expires = :expires REMOVE waits, since, leased_until, leased_by"
    _ours(mail, change, outcome=outcome, at=at, expires=at + KEPT)


def release(mail: Mail, error: str) -> None:
    """It waits to be tried again: by Lambda, by the sweep."""
    change = "SET #error = :error ADD attempts :one REMOVE leased_until, leased_by"
    _ours(mail, change, {"#error": "error"}, error=error, one=1)


def waiting(until: int, after: dict | None, most: int = 100) -> tuple[list[tuple[str, int]], dict | None]:
    """Mails that have waited since then, by customer and sequence; and what the next page comes after."""
    page = dynamodb.indexed(TABLE, "held", "waits = :mail AND since <= :until", most, after, mail=MAIL, until=until)
    return [
        (each["pk"].removeprefix("customer#"), int(each["sk"].partition("#")[2])) for each in page.items
    ], page.after


def told(mail: Mail) -> DomainEvent | None:
    """What it is sent of."""
    found = dynamodb.get(TABLE, pk=f"customer#{mail.customer}", sk=f"event#{mail.sequence:012}")
    return DomainEvent(**{name: found[name] for name in DomainEvent.__slots__}) if found else None


def _ours(mail: Mail, change: str, names: dict | None = None, **values) -> None:
    key = _key(mail.customer, mail.sequence)
    dynamodb.transact([dynamodb.update(TABLE, key, change, "leased_by = :me", names, me=mail.me, **values)])


def _key(customer: str, sequence: int) -> dict:
    return {"pk": f"customer#{customer}", "sk": f"mail#{sequence:012}"}
