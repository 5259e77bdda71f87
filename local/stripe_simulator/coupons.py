"""Coupons, the promotion codes that stand for them, and whether a customer may redeem one."""

import re
from fractions import Fraction
from typing import Any
from uuid import uuid4

from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import absent, invalid
from local.stripe_simulator.forms import Shape, choice, flag, free, merged, need, text, whole
from local.stripe_simulator.periods import DAY
from local.stripe_simulator.proration import rounded
from local.stripe_simulator.routes import route

LONGEST = 5 * 365 * DAY  # how far in the future an end may be set
CODE = re.compile(r"[a-zA-Z0-9\-_]+")


def percent(value: Any, name: str) -> float:
    try:
        said = float(str(value))
    except ValueError:
        raise invalid(f"Invalid decimal: {value}", name, "parameter_invalid_float") from None
    if not 0 < said <= 100:
        raise invalid("This value must be greater than 0 and less than or equal to 100.", name)
    return said


COUPON: dict[str, Shape] = {
    "amount_off": whole,
    "currency": text,
    "duration": choice("forever", "once", "repeating"),
    "duration_in_months": whole,
    "id": text,
    "max_redemptions": whole,
    "metadata": free,
    "name": text,
    "percent_off": percent,
    "redeem_by": whole,
}


@route("POST", "/v1/coupons", "coupon", COUPON)
def create_coupon(account: Account, params: dict[str, Any]) -> Record:
    """Either `percent_off`, or `amount_off` with its currency."""
    id = params.get("id") or uuid4().hex[:8].upper()
    if any(coupon["id"] == id for coupon in account.all("coupon")):
        raise invalid("Coupon already exists.", "id", "resource_already_exists")
    if ("percent_off" in params) == ("amount_off" in params):
        raise invalid("You must pass either `percent_off` or `amount_off`, and not both.", "percent_off")
    if "amount_off" in params:
        need(params, "currency")
    duration, months = params.get("duration", "once"), params.get("duration_in_months")
    if duration == "repeating" and not months:
        raise absent("duration_in_months")
    if duration != "repeating" and months:
        raise invalid("`duration_in_months` can only be used with `duration=repeating`.", "duration_in_months")
    for name in ("amount_off", "duration_in_months", "max_redemptions"):
        _positive(params, name)
    _ahead(account, params, "redeem_by")
    coupon: Record = {
        "id": id,
        "object": "coupon",
        "amount_off": params.get("amount_off"),
        "created": account.now(),
        "currency": params["currency"].lower() if "amount_off" in params else None,
        "duration": duration,
        "duration_in_months": months,
        "livemode": False,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": params.get("metadata") or {},
        "name": params.get("name"),
        "percent_off": params.get("percent_off"),
        "redeem_by": params.get("redeem_by"),
        "retired": False,
        "times_redeemed": 0,
        "valid": True,
    }
    account.emit("coupon.created", account.add(coupon))
    account.look_at(coupon, coupon["redeem_by"])
    return coupon


def _positive(params: dict[str, Any], name: str) -> None:
    if params.get(name, 1) < 1:
        raise invalid("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")


def _ahead(account: Account, params: dict[str, Any], name: str) -> None:
    at = params.get(name)
    if at is None:
        return
    if at <= account.now():
        wanted = f"The parameter `{name}` expects a unix timestamp representing a date and time in the future."
        raise invalid(f"{wanted} You specified the value `{at}` which is in the past.", name)
    if at > account.now() + LONGEST:
        raise invalid("Invalid timestamp: can be no more than five years in the future.", name)


@route("GET", "/v1/coupons/{coupon}", "coupon")
def retrieve_coupon(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("coupon", id, "coupon")


@route("GET", "/v1/coupons", "coupon", listed=True)
def list_coupons(account: Account, params: dict[str, Any]) -> Record:
    return page("/v1/coupons", account.all("coupon"), params, lambda coupon: True)


@route("POST", "/v1/coupons/{coupon}", "coupon", {"metadata": free, "name": text})
def update_coupon(account: Account, id: str, params: dict[str, Any]) -> Record:
    coupon = account.get("coupon", id, "coupon")
    with account.changing(coupon):
        coupon["metadata"] = merged(coupon["metadata"], params.get("metadata", {}))
        coupon["name"] = params.get("name", coupon["name"]) or None
    return coupon


@route("DELETE", "/v1/coupons/{coupon}", "coupon")
def delete_coupon(account: Account, id: str, params: dict[str, Any]) -> Record:
    """No one can redeem it any more. Who has, keeps the discount, and it still shows its coupon."""
    coupon = account.get("coupon", id, "coupon")
    coupon.update(retired=True, valid=False)
    account.emit("coupon.deleted", coupon)
    _close_codes(account, coupon)
    return {"id": id, "object": "coupon", "deleted": True}


# Promotion codes

RESTRICTIONS: dict[str, Shape] = {
    "first_time_transaction": flag,
    "minimum_amount": whole,
    "minimum_amount_currency": text,
}
PROMOTION_CODE: dict[str, Shape] = {
    "active": flag,
    "code": text,
    "customer": text,
    "expires_at": whole,
    "max_redemptions": whole,
    "metadata": free,
    "promotion": {"coupon": text, "type": choice("coupon")},
    "restrictions": RESTRICTIONS,
}


@route("POST", "/v1/promotion_codes", "promotion_code", PROMOTION_CODE)
def create_promotion_code(account: Account, params: dict[str, Any]) -> Record:
    """Without a code, one is made up."""
    promotion = need(params, "promotion")
    if "coupon" not in promotion:
        raise invalid("You must pass promotion.coupon when passing promotion", "promotion.coupon")
    need(promotion, "type")
    coupon = account.get("coupon", promotion["coupon"], "promotion[coupon]", 400)
    customer = params.get("customer")
    if customer:
        account.get("customer", customer, "customer", 400)
    code = params.get("code") or uuid4().hex[:8].upper()
    if not CODE.fullmatch(code):
        pattern = r"/\A[a-zA-Z0-9\-_]+\z/"
        raise invalid(
            f"This value must match the regex pattern. ({pattern} does not match for the value {code}).", "code"
        )
    _ahead(account, params, "expires_at")
    _positive(params, "max_redemptions")
    for name, last in (("expires_at", coupon["redeem_by"]), ("max_redemptions", coupon["max_redemptions"])):
        if last is not None and params.get(name, 0) > last:
            raise invalid(f"The `{name}` of a promotion code cannot exceed that of its coupon.", name)
    restrictions = {name: params.get("restrictions", {}).get(name) for name in RESTRICTIONS}
    if (restrictions["minimum_amount"] is None) != (restrictions["minimum_amount_currency"] is None):
        raise invalid("`minimum_amount` and `minimum_amount_currency` go together.", "restrictions[minimum_amount]")
    record: Record = {
        "id": new_id("promotion_code"),
        "object": "promotion_code",
        "active": params.get("active", True) and coupon["valid"],
        "code": code,
        "created": account.now(),
        "customer": customer,
        "customer_account": None,
        "expires_at": params.get("expires_at"),
        "livemode": False,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": params.get("metadata") or {},
        "promotion": {"coupon": coupon["id"], "type": "coupon"},
        "restrictions": restrictions | {"first_time_transaction": bool(restrictions["first_time_transaction"])},
        "times_redeemed": 0,
    }
    _claim(account, record)
    account.emit("promotion_code.created", account.add(record))
    account.look_at(record, record["expires_at"])
    return record


def _claim(account: Account, record: Record) -> None:
    """A code is unique, whatever its case, among the active ones that a customer could use."""
    for other in account.all("promotion_code"):
        same = other["code"].lower() == record["code"].lower() and other["id"] != record["id"]
        meets = None in (other["customer"], record["customer"]) or other["customer"] == record["customer"]
        if record["active"] and other["active"] and same and meets:
            raise invalid(f"An active promotion code with `code: {record['code']}` already exists.")


@route("GET", "/v1/promotion_codes/{promotion_code}", "promotion_code")
def retrieve_promotion_code(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("promotion_code", id, "promotion_code")


CODES: dict[str, Shape] = {"active": flag, "code": text, "coupon": text, "customer": text}


@route("GET", "/v1/promotion_codes", "promotion_code", CODES, listed=True)
def list_promotion_codes(account: Account, params: dict[str, Any]) -> Record:
    if "coupon" in params:
        account.get("coupon", params["coupon"], "coupon", 400)

    def fits(record: Record) -> bool:
        same = all(params.get(name) in (None, record[name]) for name in ("active", "customer"))
        coded = params.get("code", record["code"]).lower() == record["code"].lower()
        return same and coded and params.get("coupon") in (None, record["promotion"]["coupon"])

    return page("/v1/promotion_codes", account.all("promotion_code"), params, fits)


@route("POST", "/v1/promotion_codes/{promotion_code}", "promotion_code", {"active": flag, "metadata": free})
def update_promotion_code(account: Account, id: str, params: dict[str, Any]) -> Record:
    record = account.get("promotion_code", id, "promotion_code")
    if params.get("active"):
        if not account.tables["coupon"][record["promotion"]["coupon"]]["valid"] or _spent(account, record):
            raise invalid("This promotion code cannot be reactivated: it can no longer be redeemed.", "active")
        _claim(account, record | {"active": True})
    with account.changing(record):
        record["active"] = params.get("active", record["active"])
        record["metadata"] = merged(record["metadata"], params.get("metadata", {}))
    return record


def _spent(account: Account, record: Record) -> bool:
    """Past its time, or redeemed as often as it may be."""
    late = (record["expires_at"] or account.now(record) + 1) <= account.now(record)
    return late or record["times_redeemed"] >= (record["max_redemptions"] or record["times_redeemed"] + 1)


# Redeeming


def redeemable(account: Account, customer: Record, id: str, param: str, currency: str) -> Record:
    """The coupon of this id, which this customer may have now. Refuses it in Stripe's words."""
    coupon, now = account.get("coupon", id, param, 400), account.now(customer)
    if (coupon["redeem_by"] or now + 1) <= now:
        raise invalid(f"Coupon expired: {id}", param, "coupon_expired")
    if not coupon["valid"]:
        raise invalid(f"Coupon {id} is used up and cannot be applied.", param)
    if coupon["currency"] not in (None, currency):
        raise invalid(f"The coupon is in {coupon['currency']}, the subscription in {currency}.", param)
    return coupon


def redeemable_code(
    account: Account, customer: Record, id: str, param: str, currency: str, subtotal: int | None
) -> Record:
    """
    The promotion code of this id, which this customer may use now for a coupon that is redeemable too.

    `subtotal` is what the first invoice of a new subscription comes to; None for one that is there already, where
    Stripe refuses any minimum amount.
    """
    record, now = account.get("promotion_code", id, param, 400), account.now(customer)
    refusal, rules = "This promotion code cannot be redeemed because", record["restrictions"]
    if record["max_redemptions"] is not None and record["times_redeemed"] >= record["max_redemptions"]:
        raise invalid(f"{refusal} it has been used the maximum number of times.", param)
    if (record["expires_at"] or now + 1) <= now:
        raise invalid(f"{refusal} it has expired.", param, "coupon_expired")
    redeemable(account, customer, record["promotion"]["coupon"], param, currency)
    if not record["active"]:
        raise invalid(f"{refusal} it is inactive.", param)
    if record["customer"] not in (None, customer["id"]):
        raise invalid(f"{refusal} it belongs to another customer.", param)
    if rules["first_time_transaction"] and _bought(account, customer):
        raise invalid(f"{refusal} the associated customer has prior transactions.", param)
    if rules["minimum_amount"] is not None:
        if subtotal is None:
            raise invalid(
                "This promotion code cannot be redeemed on a subscription update because it uses the "
                "`minimum_amount` restriction and the amount may change.",
                param,
            )
        if rules["minimum_amount_currency"] != currency or subtotal < rules["minimum_amount"]:
            raise invalid(f"{refusal} the minimum amount is not reached.", param)
    return record


def _bought(account: Account, customer: Record) -> bool:
    """Whether an invoice of the customer was finalized and not voided."""
    return any(invoice["status"] not in ("draft", "void") for invoice in account.of("invoice", customer["id"]))


def count(account: Account, coupon: Record, code: Record | None) -> None:
    """Redeemed once more. The last redemption ends a coupon, with all its codes, or a code."""
    for record in (coupon, code):
        if record:
            with account.changing(record):
                record["times_redeemed"] += 1
                if record["times_redeemed"] == record["max_redemptions"]:
                    record["valid" if record is coupon else "active"] = False
    if not coupon["valid"]:
        _close_codes(account, coupon)


def _close_codes(account: Account, coupon: Record) -> None:
    for record in account.all("promotion_code"):
        if record["promotion"]["coupon"] == coupon["id"] and record["active"]:
            with account.changing(record):
                record["active"] = False


def advance_coupon(account: Account, coupon: Record) -> None:
    """Its last moment has come."""
    with account.changing(coupon):
        coupon["valid"] = False
    _close_codes(account, coupon)


def advance_code(account: Account, record: Record) -> None:
    with account.changing(record):
        record["active"] = False


def taken(coupon: Record, amounts: list[int]) -> list[int]:
    """
    What a coupon takes off each of these amounts, none of them negative.

    A percentage is rounded for each; a sum of money is shared by amount, rounded down, and the last takes the rest.
    """
    if coupon["percent_off"] is not None:
        part = Fraction(str(coupon["percent_off"])) / 100
        return [rounded(amount * part) for amount in amounts]
    total = sum(amounts)
    off = min(coupon["amount_off"], total)
    shares = [off * amount // total if total else 0 for amount in amounts]
    left = off - sum(shares)
    for place in reversed(range(len(amounts))):
        more = min(left, amounts[place] - shares[place])
        shares[place], left = shares[place] + more, left - more
    return shares
