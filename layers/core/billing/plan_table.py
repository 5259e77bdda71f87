"""
Plans on record: immutable versions, a pointer to the one in force, and which version a Stripe price belongs to.

A version never changes once it has its price, so it is remembered for good; the pointer for a minute, where nothing
is bought.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

from billing import dynamodb
from billing.errors import KeyReused, NotChangeable, NotFound, PlanRetired, Stale
from billing.plans import Metric, Plan
from billing.rating import Rate, Tier
from billing.subscriptions import Subscription

TABLE = os.environ["PLANS_TABLE"]
DAY = 86_400
FRESH = 60  # seconds that the catalogue in force is remembered

_catalogue: tuple[float, dict[str, int]] = (0.0, {})


def in_force() -> dict[str, int]:
    """Slug to version of all that can be bought now."""
    global _catalogue
    read_at, known = _catalogue
    if time.monotonic() - read_at >= FRESH or not read_at:
        pointers = dynamodb.query(TABLE, "plans")
        known = {pointer["sk"]: pointer["version"] for pointer in pointers if not pointer["retired"]}
        _catalogue = time.monotonic(), known
    return known


def current(slug: str) -> Plan:
    """The version in force. One that is not remembered may be new: the record is asked once more."""
    known = in_force()
    if slug not in known:
        forget()
        known = in_force()
    if slug not in known:
        raise NotFound(f"no plan {slug}")
    return version(slug, known[slug])


def remembered(slug: str) -> Plan:
    """The version that was in force when that was last read, however long ago."""
    _, known = _catalogue
    if slug not in known:
        raise NotFound(f"no plan {slug} is remembered")
    return version(slug, known[slug])


def on_sale(slug: str) -> Plan:
    """The version in force on record: what is bought, or moved to, is decided on no memory of another price."""
    found = pointer(slug)
    if not found:
        raise NotFound(f"no plan {slug}")
    if found["retired"]:
        raise PlanRetired(f"plan {slug} is no longer sold")
    return version(slug, found["version"])


@cache
def version(slug: str, number: int) -> Plan:
    plan = draft(slug, number)
    if not plan or not plan.price:
        raise NotFound(f"no plan {slug}, version {number}")
    return plan


def of(subscription: Subscription) -> Plan:
    """The version that a subscription has, be it retired; refused if its price is not of our catalogue."""
    if subscription.plan is None or subscription.plan_version is None:
        raise NotChangeable("the plan of this subscription is not in the catalogue")
    return version(subscription.plan, subscription.plan_version)


@cache
def priced(price: str) -> Plan:
    """The version that a Stripe price was made for."""
    found = dynamodb.get(TABLE, pk=f"price#{price}", sk="plan")
    if not found:
        raise NotFound(f"no plan has the price {price}")
    return version(found["slug"], found["version"])


def by_price(price: str) -> Plan | None:
    """The plan that a subscription has; None: its price is not of our catalogue."""
    try:
        return priced(price)
    except NotFound:
        return None


def draft(slug: str, number: int) -> Plan | None:
    found = dynamodb.get(TABLE, pk=f"plan#{slug}", sk=_sort(number))
    return _plan(found) if found else None


def latest(slug: str) -> Plan | None:
    """The version with the highest number, be it a draft."""
    found = dynamodb.query(TABLE, f"plan#{slug}", "version#", newest=1)
    return _plan(found[0]) if found else None


def pointer(slug: str) -> dict | None:
    """{version, retired} as it stands now."""
    return dynamodb.get(TABLE, pk="plans", sk=slug)


def claim(slug: str, key: str, fingerprint: str, at: int) -> int | None:
    """An Idempotency-Key means one offer for a day. Answers the version that it has led to, if it has."""
    refused = dynamodb.transact([_claim(slug, key, fingerprint, at, None, "attribute_not_exists(pk) OR expires < :at")])
    if not refused or not refused[0].item:
        return None
    stood = refused[0].item
    if stood["fingerprint"] != fingerprint:
        raise KeyReused("this Idempotency-Key has been used for another plan")
    return stood["version"]


def answered(plan: Plan, key: str, fingerprint: str, at: int) -> dict:
    """The write that says what a key has led to."""
    return _claim(plan.slug, key, fingerprint, at, plan.version)


def remember(plan: Plan, key: str, fingerprint: str, at: int) -> None:
    """What a key has led to, where nothing else was to be written."""
    dynamodb.transact([answered(plan, key, fingerprint, at)])


def add(plan: Plan) -> None:
    """A draft takes its number for good; Stale if another has taken it."""
    item = _key(plan) | asdict(plan)
    if dynamodb.transact([dynamodb.put(TABLE, item, "attribute_not_exists(pk)")]):
        raise Stale(f"version {plan.version} of plan {plan.slug} has been taken")


def publish(plan: Plan, before: dict | None, along: Sequence[dict] = ()) -> None:
    """The draft gets its price, and the pointer moves to it; Stale if that has moved from where it was `before`."""
    written = [dynamodb.put(TABLE, _key(plan) | asdict(plan)), dynamodb.put(TABLE, _belongs(plan))]
    _flip(_pointing(plan), before, [*written, *along])


def adopt(plan: Plan, before: dict | None, on_sale: bool, along: Sequence[dict] = ()) -> None:
    """
    A version with a price that Stripe had before us, all at once; and the pointer moves to it if it is to be on sale.
    Stale if its number or its price has been taken, or the pointer has moved.
    """
    version = dynamodb.put(TABLE, _key(plan) | asdict(plan), "attribute_not_exists(pk)")
    belongs = dynamodb.put(TABLE, _belongs(plan), "attribute_not_exists(pk)")
    if on_sale:
        _flip(_pointing(plan), before, [version, belongs, *along])
    elif dynamodb.transact([version, belongs, *along]):
        raise Stale("the version or its price has been taken meanwhile")


def retire(slug: str, before: dict) -> None:
    """No one can buy it any more; whoever has it keeps it."""
    _flip(before | {"retired": True}, before, [])


def _flip(moved: dict, before: dict | None, along: list[dict]) -> None:
    unmoved, values = "attribute_not_exists(pk)", {}
    if before:
        unmoved, values = "version = :version AND retired = :retired", {k: before[k] for k in ("version", "retired")}
    if dynamodb.transact([dynamodb.put(TABLE, moved, unmoved, **values), *along]):
        raise Stale("the plan has been changed meanwhile")
    forget()


def forget() -> None:
    """The catalogue in force is read anew."""
    global _catalogue
    _catalogue = (0.0, {})


def _claim(slug: str, key: str, fingerprint: str, at: int, version: int | None, free: str | None = None) -> dict:
    item = {"pk": f"plan#{slug}", "sk": f"key#{key}", "fingerprint": fingerprint, "version": version}
    return dynamodb.put(TABLE, item | {"expires": at + DAY}, free, **({"at": at} if free else {}))


def _pointing(plan: Plan) -> dict:
    return {"pk": "plans", "sk": plan.slug, "version": plan.version, "retired": False}


def _belongs(plan: Plan) -> dict:
    return {"pk": f"price#{plan.price}", "sk": "plan", "slug": plan.slug, "version": plan.version}


def _key(plan: Plan) -> dict:
    return {"pk": f"plan#{plan.slug}", "sk": _sort(plan.version)}


def _sort(number: int) -> str:
    return f"version#{number:06}"


def _plan(item: dict) -> Plan:
    fields = {name: value for name, value in item.items() if name not in ("pk", "sk")}
    plan = Plan(**fields)
    return replace(plan, metrics={id: _metric(metric) for id, metric in fields.get("metrics", {}).items()})


def _metric(fields: dict[str, Any]) -> Metric:
    said = fields.get("price")
    price: Any = _rate(said) if said else None
    return Metric(**fields | {"price": price})


def _rate(fields: dict[str, Any]) -> Rate:
    tiers: Any = [Tier(**tier) for tier in fields["tiers"]]
    return Rate(**fields | {"tiers": tiers})
