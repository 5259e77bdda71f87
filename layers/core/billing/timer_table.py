"""Timers on record: one waits in the index `held` until what it is for is done, or comes to nothing."""

import os
from collections.abc import Collection, Mapping

from billing import dynamodb
from billing.timers import Timer

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
KEPT = 86_400  # seconds that one which waits no longer is there still, without its work
TIMER = "timer"  # what an item of the index `held` waits for


def writes(customer: str, before: Collection[str], after: Mapping[str, Timer], at: int) -> list[dict]:
    """What puts those on record that were not there before, and takes those off that are no more."""
    come = [timer for name, timer in after.items() if name not in before]
    gone = [name for name in before if name not in after]
    waits = {"customer": customer, "waits": TIMER}
    return [
        *(
            dynamodb.put(TABLE, _key(customer, each.name) | each._asdict() | waits | {"since": each.due})
            for each in come
        ),
        *(dynamodb.put(TABLE, _key(customer, each) | {"expires": at + KEPT}) for each in gone),
    ]


def waiting(until: int, after: dict | None, most: int = 100) -> tuple[list[tuple[str, Timer]], dict | None]:
    """Timers that were due until then, by customer; and what the next page comes after."""
    page = dynamodb.indexed(TABLE, "held", "waits = :timer AND since <= :until", most, after, timer=TIMER, until=until)
    found = [(item["pk"].removeprefix("customer#"), _timer(item["sk"], item["since"])) for item in page.items]
    return found, page.after


def seen(record: dict) -> tuple[str, Timer] | None:
    """As a record of the table's stream tells of it; None: it waits no longer."""
    item = dynamodb.decode(record["dynamodb"].get("NewImage", {}))
    return (item["customer"], _timer(item["sk"], item["due"])) if item.get("waits") == TIMER else None


def _timer(sk: str, due: int) -> Timer:
    _, kind, subject, step = sk.split("#")
    return Timer(kind, subject, step, due)


def _key(customer: str, name: str) -> dict:
    return {"pk": f"customer#{customer}", "sk": f"timer#{name}"}
