"""What a customer may now, from the records; remembered for those who count, who must prove it when they write."""

import os
import time
from collections.abc import Callable

from billing import customer_table, plan_table, usage_table
from billing.customers import Customer
from billing.entitlements import Ended, Standing, standing_of
from billing.errors import NotFound, Unavailable
from billing.periods import Period
from billing.plans import Plan

FRESH = 60  # seconds
MOST = 1000  # customers
ASKEW = 300  # seconds: how far clocks and a memory of FRESH may lie apart

_known: dict[str, tuple[float, Customer]] = {}


def of(id: str, at: int) -> Standing:
    """As remembered: only for a write that is refused if the terms have moved. Grace is told at every asking."""
    read_at, customer = _known.get(id, (0.0, None))
    if not customer or time.monotonic() - read_at >= FRESH:
        return afresh(id, at)
    return _standing(customer, at)


def remembered(id: str, at: int) -> Standing | None:
    """However old the memory is, of plans too: for when nothing newer can be had. None: there is none."""
    _, customer = _known.get(id, (0.0, None))
    try:
        return _standing(customer, at, plan_table.remembered) if customer else None
    except Unavailable:
        return None


def afresh(id: str, at: int) -> Standing:
    """As it stands on record."""
    customer = customer_table.find(id, at)
    _known.pop(id, None)
    if len(_known) >= MOST:
        _known.pop(next(iter(_known)), None)
    _known[id] = time.monotonic(), customer
    return _standing(customer, at)


def moved(before: Customer, after: Customer) -> list[dict]:
    """
    Writes that shut the totals that a caller on the old terms may still be counting into; to be made along with the
    customer. None, if the terms are still the same.
    """
    if after.terms == before.terms:
        return []
    plan_table.forget()
    instants = (after.updated_at - ASKEW, after.updated_at + ASKEW)
    totals = dict.fromkeys(total for at in instants for total in _standing(before, at).open_totals(at))
    return [usage_table.on_terms(after.id, *total, str(after.terms)) for total in totals]


def _standing(customer: Customer, at: int, current: Callable[[str], Plan] = plan_table.current) -> Standing:
    subscription, plan = customer.subscription, bought(customer)
    access = subscription is not None and subscription.access(plan, at)[0]
    default, had = None if access else _default(current), subscription.had if subscription else []
    before = [plan_table.version(slug, version) for slug, version in had]
    return standing_of(customer, plan, default, at, _ending(customer), before)


def _ending(customer: Customer) -> Ended | None:
    """The last period that ended: what is of it counts there, also while nobody has come to close it."""
    ending = customer.ending
    if not ending:
        return None
    plan = plan_table.version(ending.plan, ending.version)
    return Ended(plan, Period(ending.start, ending.end), ending.due)


def ended(customer: str) -> list[Ended]:
    """All periods that have ended and are billed by usage, by each plan there was in them, the last one first."""
    return [
        Ended(plan_table.version(slug, version), Period(closing.start, closing.end), closing.due)
        for closing in customer_table.closings(customer)
        for slug, version in reversed(closing.plans)
    ]


def bought(customer: Customer) -> Plan | None:
    """The version of the plan that its subscription has; None: it has none of ours."""
    subscription = customer.subscription
    if not subscription or subscription.plan is None or subscription.plan_version is None:
        return None
    try:
        return plan_table.version(subscription.plan, subscription.plan_version)
    except NotFound:
        return None


def _default(current: Callable[[str], Plan]) -> Plan | None:
    """The default plan as it can be had now; None if there is none, or it has been retired."""
    slug = os.environ["DEFAULT_PLAN"]
    try:
        return current(slug) if slug else None
    except NotFound:
        return None
