"""
The outbox: what has happened stands on record in the transaction that made it so, and waits there to be published; so
does the mail that is sent of it.
"""

import os
from collections.abc import Sequence
from dataclasses import fields

from billing import dynamodb, mails
from billing.domain_events import DomainEvent, Happened

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
EVENT, MAIL = "event", "mail"  # what an item of the index `held` waits for
PAGE = 50  # events that are read at once
KEPT = 90 * 86_400  # seconds after it was published, for whoever has missed it
FIELDS = [field.name for field in fields(DomainEvent)]


def writes(customer: str, told: int, happened: Sequence[Happened], at: int) -> list[dict]:
    """The next events of a customer whose last was `told`, each with its mail. No event takes the place of another."""
    switched_on = os.environ["MAILS"].split(",")
    written = []
    for sequence, each in enumerate(happened, told + 1):
        about = {"customer": customer, "sequence": sequence, "at": at, "since": at}
        event = about | {"type": each.type, "data": each.data, "waits": EVENT}
        kind = None if each.silent else mails.kind_of(each.type, each.data)
        if kind in switched_on:
            event["mail"] = kind
            mail = _key(customer, MAIL, sequence) | about | {"kind": kind, "waits": MAIL}
            written.append(dynamodb.put(TABLE, mail, "attribute_not_exists(pk)"))
        written.append(dynamodb.put(TABLE, _key(customer, EVENT, sequence) | event, "attribute_not_exists(pk)"))
    return written


def unpublished(customer: str) -> list[DomainEvent]:
    """In sequence. What is published is so up to one, for whoever publishes goes by the sequence, too."""
    found: list[DomainEvent] = []
    while True:
        before = _key(customer, EVENT, found[-1].sequence)["sk"] if found else None
        page = dynamodb.query(TABLE, f"customer#{customer}", f"{EVENT}#", newest=PAGE, before=before)
        waiting = [_event(item) for item in page if item.get("waits") == EVENT]
        found += waiting
        if not page or len(waiting) < len(page):
            return found[::-1]


def is_published(event: DomainEvent, at: int) -> None:
    """From then on it does not wait, and is kept for a while; it may have been said by another publisher."""
    change = "SET published_at = :at, expires = :expires REMOVE waits, since"
    key, values = _key(event.customer, EVENT, event.sequence), {"at": at, "expires": at + KEPT, "event": EVENT}
    dynamodb.transact([dynamodb.update(TABLE, key, change, "waits = :event", **values)])


def later(customer: str, sequence: int, most: int) -> list[DomainEvent]:
    """The first `most` of those that came after one, published or not."""
    after = _key(customer, EVENT, sequence)["sk"]
    return [_event(item) for item in dynamodb.following(TABLE, f"customer#{customer}", f"{EVENT}#", after, most)]


def waiting(until: int, after: dict | None, most: int = 100) -> tuple[list[tuple[str, int]], dict | None]:
    """
    Customer and sequence of events that have waited since then or longer, the oldest first; and what the next page
    comes after. The index is a moment behind.
    """
    page = dynamodb.indexed(TABLE, "held", "waits = :event AND since <= :until", most, after, event=EVENT, until=until)
    found = [(item["pk"].removeprefix("customer#"), int(item["sk"].removeprefix(f"{EVENT}#"))) for item in page.items]
    return found, page.after


def woken(record: dict) -> str:
    """The customer that a record of the table's stream is about."""
    return record["dynamodb"]["Keys"]["pk"]["S"].removeprefix("customer#")


def _event(item: dict) -> DomainEvent:
    return DomainEvent(**{name: item[name] for name in FIELDS if name in item})


def _key(customer: str, kind: str, sequence: int) -> dict:
    return {"pk": f"customer#{customer}", "sk": f"{kind}#{sequence:012}"}
