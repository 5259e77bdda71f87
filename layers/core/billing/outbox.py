"""
The outbox: what has happened stands on record in the transaction that made it so, and waits there to be published; so
does the mail that is sent of it.
"""

import os
from collections.abc import Sequence

from billing import dynamodb, mails
from billing.domain_events import Happened

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
EVENT, MAIL = "event", "mail"  # what an item of the index `held` waits for


def writes(customer: str, told: int, happened: Sequence[Happened], at: int) -> list[dict]:
    """The next events of a customer whose last was `told`, each with its mail. No event takes the place of another."""
    switched_on = os.environ["MAILS"].split(",")
    written = []
    for sequence, each in enumerate(happened, told + 1):
        about = {"customer": customer, "sequence": sequence, "at": at, "since": at}
        event = about | {"type": each.type, "data": each.data, "waits": EVENT}
        kind = mails.kind_of(each.type, each.data)
        if kind in switched_on:
            event["mail"] = kind
            mail = _key(customer, MAIL, sequence) | about | {"kind": kind, "waits": MAIL}
            written.append(dynamodb.put(TABLE, mail, "attribute_not_exists(pk)"))
        written.append(dynamodb.put(TABLE, _key(customer, EVENT, sequence) | event, "attribute_not_exists(pk)"))
    return written


def _key(customer: str, kind: str, sequence: int) -> dict:
    return {"pk": f"customer#{customer}", "sk": f"{kind}#{sequence:012}"}
