"""Bringing a plan into the catalogue: a draft takes its number, Stripe makes its price, then the pointer moves."""

import re
from dataclasses import replace

from billing import gateway, plan_table, records
from billing.api import Request
from billing.errors import Malformed, Stale
from billing.plans import SLUG, Plan


def sell(offer: Plan, request: Request) -> Plan:
    """
    From now on this is what the slug stands for; answers the version that is, which is not new if it was sold already.

    Whoever dies on the way leaves a draft, and the next one who wants the same goes on with it.
    """
    if not re.fullmatch(SLUG, offer.slug):
        raise Malformed.of([("slug", f"as {SLUG}")])
    told = plan_table.claim(offer.slug, request.key, request.fingerprint, request.at) if request.key else None
    if told:
        return plan_table.version(offer.slug, told)
    for _ in range(records.TRIES):
        try:
            return _sell(offer, request)
        except Stale:
            continue
    raise Stale("the plan keeps moving")


def _sell(offer: Plan, request: Request) -> Plan:
    def along(plan: Plan) -> list[dict]:
        return [plan_table.answered(plan, request.key, request.fingerprint, request.at)] if request.key else []

    before, last = plan_table.pointer(offer.slug), plan_table.latest(offer.slug)
    if before and (sold := plan_table.version(offer.slug, before["version"])).offers(offer):
        if before["retired"] or request.key:
            plan_table.publish(sold, before, along(sold))
        return sold
    if last and not last.price and last.offers(offer):
        draft = last
    else:
        draft = replace(offer, version=last.version + 1 if last else 1)
        plan_table.add(draft)
    priced = replace(draft, price=gateway.publish(draft))
    plan_table.publish(priced, before, along(priced))
    return priced
