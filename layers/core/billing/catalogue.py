"""
Bringing a plan into the catalogue: a draft takes its number, Stripe makes its price, then the pointer moves; or a price
that Stripe had before us becomes the one of a version.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from billing import dynamodb, gateway, log, plan_table, records, webhook_table
from billing.api import Request
from billing.errors import Malformed, NotFound, PriceTaken, PriceUnfit, Stale
from billing.plans import SLUG, Plan
from billing.prices import agree
from billing.webhooks import WebhookEvent


def sell(offer: Plan, request: Request, on_sale: bool = True) -> Plan:
    """
    From now on this is what the slug stands for; answers the version that is, which is not new if it was sold already.

    Whoever dies on the way leaves a draft, and the next one who wants the same goes on with it. An offer with a price
    adopts that one; it may be only for those who have it (not `on_sale`): then the slug stands for what it did.
    """
    if not re.fullmatch(SLUG, offer.slug):
        raise Malformed.of([("slug", f"as {SLUG}")])
    if not (on_sale or offer.price):
        raise Malformed.of([("on_sale", "what is not on sale is of those who have it: name their stripe_price")])
    told = plan_table.claim(offer.slug, request.key, request.fingerprint, request.at) if request.key else None
    if told:
        return plan_table.version(offer.slug, told)
    for _ in range(records.TRIES):
        try:
            return _adopt(offer, request, on_sale) if offer.price else _sell(offer, request)
        except Stale:
            continue
    raise Stale("the plan keeps moving")


def _adopt(offer: Plan, request: Request, on_sale: bool) -> Plan:
    price, before = offer.price or "", plan_table.pointer(offer.slug)
    known = plan_table.by_price(price)
    if known and not (known.slug == offer.slug and known.offers(offer)):
        raise PriceTaken(f"{price} is of version {known.version} of plan {known.slug}, which says something else")
    sold = before["version"] if before and not before["retired"] else None
    if known and (not on_sale or known.version == sold):
        if request.key:
            plan_table.remember(known, request.key, request.fingerprint, request.at)
        return known
    try:
        theirs = gateway.price(price)
        agree(theirs, offer, on_sale)
    except NotFound as unknown:
        raise PriceUnfit("unknown: Stripe has no such price") from unknown
    if known:
        plan_table.publish(known, before, _along(known, request))
        return known
    last = plan_table.latest(offer.slug)
    adopted = replace(offer, version=last.version + 1 if last else 1, product=theirs.product)
    plan_table.adopt(adopted, before, on_sale, _along(adopted, request))
    return adopted


def _along(plan: Plan, request: Request) -> list[dict]:
    return [plan_table.answered(plan, request.key, request.fingerprint, request.at)] if request.key else []


def _sell(offer: Plan, request: Request) -> Plan:
    before, last = plan_table.pointer(offer.slug), plan_table.latest(offer.slug)
    if before and (sold := plan_table.version(offer.slug, before["version"])).offers(offer):
        if before["retired"] or request.key:
            plan_table.publish(sold, before, _along(sold, request))
        return sold
    if last and not last.price and last.offers(offer):
        draft = last
    else:
        draft = replace(offer, version=last.version + 1 if last else 1)
        plan_table.add(draft)
    priced = replace(draft, price=gateway.publish(draft), product=gateway.product_of(draft.slug))
    plan_table.publish(priced, before, _along(priced, request))
    return priced


def inspect(events: Sequence[WebhookEvent], at: int) -> None:
    """
    Whether what is on sale here can still be sold: a price or product may have been archived, or a price deleted, in
    Stripe's dashboard. The operator is told, once for each event; the next `sell` does not mend it by itself.
    """
    for event in events:
        if webhook_table.finished(event):
            continue
        for plan in _unsellable(event):
            log.alarmed("unsellable_plan", plan=plan.slug, version=plan.version, price=plan.price, event=event.id)
        dynamodb.transact([webhook_table.mark(event, "done")])


def _unsellable(event: WebhookEvent) -> list[Plan]:
    about = event.object_id or "none"
    if event.type.startswith("product."):
        plans = _sold_of(about)
        return plans if plans and gateway.archived(about) else []
    plan = _sold(about)
    return [plan] if plan and not gateway.sellable(about) else []


def _sold_of(product: str) -> list[Plan]:
    """The plans on sale at prices of this product: of another use of the account it may have ever so many."""
    plan_table.forget()
    plans = [plan_table.version(slug, number) for slug, number in plan_table.in_force().items()]
    return [plan for plan in plans if (plan.product or gateway.product_of(plan.slug)) == product]


def _sold(price: str) -> Plan | None:
    """The plan that is on sale at this price."""
    plan = plan_table.by_price(price)
    found = plan_table.pointer(plan.slug) if plan else None
    return plan if plan and found and (found["version"], found["retired"]) == (plan.version, False) else None
