"""What an answer shows of a record: fields that must be asked for, expansions, pages."""

from collections.abc import Callable, Iterable
from typing import Any

from local.stripe_simulator.errors import invalid
from local.stripe_simulator.forms import inside

type Record = dict[str, Any]
type Lookup = Callable[[str, str], Record]

ASKED_FOR = {
    "checkout.session": ("line_items",),
    "coupon": ("retired",),
    "invoice": ("payments", "confirmation_secret"),
    "price": ("currency_options",),
    "webhook_endpoint": ("secret",),
}
NULL_UNLESS_ASKED = {"price": ("tiers",), "plan": ("tiers",)}
NESTED = (dict, list)
LINES = 10  # of an invoice, that an answer shows; the others are behind the url of the list
LINKS: dict[str, dict[str, str | None]] = {
    "billing_portal.configuration": {},
    "billing_portal.session": {"configuration": "billing_portal.configuration"},
    "charge": {"customer": "customer", "payment_intent": "payment_intent"},
    "checkout.session": {
        "customer": "customer",
        "discounts.coupon": "coupon",
        "discounts.promotion_code": "promotion_code",
        "invoice": "invoice",
        "line_items": None,
        "line_items.data": "item",
        "subscription": "subscription",
    },
    "credit_note": {
        "customer": "customer",
        "customer_balance_transaction": "customer_balance_transaction",
        "invoice": "invoice",
        "refunds.refund": "refund",
    },
    "customer": {"invoice_settings.default_payment_method": "payment_method", "test_clock": "test_helpers.test_clock"},
    "customer_balance_transaction": {"credit_note": "credit_note", "customer": "customer", "invoice": "invoice"},
    "coupon": {},
    "discount": {"customer": "customer", "promotion_code": "promotion_code", "source.coupon": "coupon"},
    "event": {},
    "invoice": {
        "confirmation_secret": None,
        "customer": "customer",
        "default_payment_method": "payment_method",
        "discounts": "discount",
        "lines.data": "line_item",
        "parent.subscription_details.subscription": "subscription",
        "payments": None,
        "payments.data": "invoice_payment",
        "test_clock": "test_helpers.test_clock",
        "total_discount_amounts.discount": "discount",
    },
    "invoice_payment": {"invoice": "invoice", "payment.payment_intent": "payment_intent"},
    "invoiceitem": {"customer": "customer", "invoice": "invoice", "pricing.price_details.price": "price"},
    "item": {"price": "price"},
    "payment_intent": {"customer": "customer", "latest_charge": "charge", "payment_method": "payment_method"},
    "line_item": {
        "discount_amounts.discount": "discount",
        "pricing.price_details.price": "price",
        "subscription": "subscription",
    },
    "payment_method": {"customer": "customer"},
    "plan": {"product": "product", "tiers": None},
    "price": {"currency_options": None, "product": "product", "tiers": None},
    "product": {"default_price": "price"},
    "refund": {"charge": "charge", "customer": "customer", "payment_intent": "payment_intent"},
    "promotion_code": {"customer": "customer", "promotion.coupon": "coupon"},
    "setup_intent": {"customer": "customer", "payment_method": "payment_method"},
    "subscription": {
        "customer": "customer",
        "default_payment_method": "payment_method",
        "discounts": "discount",
        "items.data": "subscription_item",
        "latest_invoice": "invoice",
        "pending_setup_intent": "setup_intent",
        "pending_update.discounts": "discount",
        "pending_update.subscription_items": "subscription_item",
        "schedule": "subscription_schedule",
        "test_clock": "test_helpers.test_clock",
    },
    "subscription_item": {"plan": "plan", "price": "price"},
    "subscription_schedule": {
        "customer": "customer",
        "default_settings.default_payment_method": "payment_method",
        "phases.default_payment_method": "payment_method",
        "phases.discounts.coupon": "coupon",
        "phases.discounts.discount": "discount",
        "phases.discounts.promotion_code": "promotion_code",
        "phases.items.price": "price",
        "subscription": "subscription",
        "test_clock": "test_helpers.test_clock",
    },
    "tax_id": {"customer": "customer"},
    "test_helpers.test_clock": {},
    "webhook_endpoint": {},
}


def shown(value: Any) -> Any:
    """A copy as an answer without `expand` shows it. Of what was deleted, only that is shown."""
    if isinstance(value, list):
        return [shown(one) if one.__class__ in NESTED else one for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("deleted") is True:
        return {name: value[name] for name in ("id", "object", "deleted")}
    copy = {name: shown(one) if one.__class__ in NESTED else one for name, one in value.items()}
    kind = value.get("object")
    if isinstance(kind, str):
        if kind == "invoice" and len(copy["lines"]["data"]) > LINES:
            copy["lines"] |= {"data": copy["lines"]["data"][:LINES], "has_more": True}
        for name in ASKED_FOR.get(kind, ()):
            copy.pop(name, None)
        for name in NULL_UNLESS_ASKED.get(kind, ()):
            if name in copy:
                copy[name] = None
    return copy


def expanded(record: Record, paths: Iterable[str], lookup: Lookup) -> Record:
    """A copy that also shows what `paths` ask for; `check` has found them good."""
    answer = shown(record)
    for path in paths:
        if record["object"] == "list":
            for one, copy in zip(record["data"], answer["data"], strict=True):
                _expand(one, copy, one["object"], path.split(".")[1:], lookup)
        else:
            _expand(record, answer, record["object"], path.split("."), lookup)
    return answer


def check(kind: str, paths: Iterable[str], listed: bool) -> None:
    """Refuse what cannot be expanded before any work is done, whatever the answer will hold."""
    for path in paths:
        parts = path.split(".")
        if len(parts) > 4:
            raise invalid(f"You cannot expand more than 4 levels of a property ({path}).", "expand")
        good = _leads_somewhere(kind, parts[1:]) and parts[0] == "data" if listed else _leads_somewhere(kind, parts)
        if not good:
            raise invalid(f"This property cannot be expanded ({path}).", "expand")


def _leads_somewhere(kind: str, parts: list[str]) -> bool:
    link = ""
    for part in parts:
        link = f"{link}.{part}" if link else part
        target = LINKS[kind].get(link)
        if target:
            kind, link = target, ""
        elif not any(known == link or known.startswith(f"{link}.") for known in LINKS[kind]):
            return False
    return bool(parts) and (not link or link in LINKS[kind])


def _expand(record: Record, answer: Record, kind: str, parts: list[str], lookup: Lookup, link: str = "") -> None:
    part, *rest = parts
    link = f"{link}.{part}" if link else part
    value, target = record.get(part), LINKS[kind].get(link)
    if target and isinstance(value, list):
        value = [lookup(target, one) if isinstance(one, str) else one for one in value]
    if target and isinstance(value, str):
        value = lookup(target, value)
    if not _is_open(answer.get(part)):
        answer[part] = shown(value)
    if rest and value:
        pairs = zip(value, answer[part], strict=False) if isinstance(value, list) else [(value, answer[part])]
        for one, copy in pairs:
            _expand(one, copy, target or kind, rest, lookup, "" if target else link)


def _is_open(value: Any) -> bool:
    """Whether an answer already shows objects here, and no longer their ids."""
    return isinstance(value, dict) or (isinstance(value, list) and not any(isinstance(one, str) for one in value))


def listed(url: str, data: list[Record], has_more: bool = False) -> Record:
    return {"object": "list", "url": url, "has_more": has_more, "data": data}


def page(url: str, records: Iterable[Record], params: dict[str, Any], fits: Callable[[Record], bool]) -> Record:
    """One page of what fits, newest first. `records` come in the order of their creation."""
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise invalid("This value must be between 1 and 100 (inclusive).", "limit", "parameter_invalid_integer")
    after, before = params.get("starting_after"), params.get("ending_before")
    found = [
        one
        for one in reversed(list(records))
        if inside(one.get("created", one.get("date", 0)), params.get("created")) and fits(one)
    ]
    ids = [one["id"] for one in found]
    if before:
        end = ids.index(before) if before in ids else _unknown_cursor("ending_before", before)
        start = max(0, end - limit)
        return listed(url, found[start:end], has_more=start > 0)
    start = 0 if not after else (ids.index(after) + 1 if after in ids else _unknown_cursor("starting_after", after))
    return listed(url, found[start : start + limit], has_more=len(found) > start + limit)


def _unknown_cursor(name: str, id: str) -> int:
    raise invalid(f"No such object: '{id}'", name, "resource_missing")
