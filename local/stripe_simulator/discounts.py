"""Discounts: what a subscription has redeemed, from when until when, and what it takes off lines and prorations."""

from local.stripe_simulator import coupons
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, shown
from local.stripe_simulator.errors import invalid
from local.stripe_simulator.forms import Shape, clearable, text
from local.stripe_simulator.periods import boundary

SHAPE: Shape = clearable([{"coupon": text, "discount": text, "promotion_code": text}])
MOST = 20  # on one subscription


def wished(
    account: Account,
    customer: Record,
    subscription: Record | None,
    said: list[dict[str, str]] | str | None,
    currency: str,
    subtotal: int | None = None,
) -> list[str]:
    """
    The discounts that the subscription would have: a list replaces those it has, "" clears, [] and None change nothing.

    Refuses what cannot be redeemed. What is new is not redeemed yet: `put` does that. `subtotal` is what a new
    subscription's first invoice comes to.
    """
    held = subscription["discounts"] if subscription else []
    if said is None or said == []:
        return list(held)
    if len(said) > MOST:
        raise invalid(f"A subscription can have at most {MOST} discounts.", "discounts")
    return [
        _wished(account, customer, subscription, held, one, f"discounts[{place}]", currency, subtotal)
        for place, one in enumerate(said)
        if isinstance(one, dict)
    ]


def _wished(
    account: Account,
    customer: Record,
    subscription: Record | None,
    held: list[str],
    said: dict[str, str],
    param: str,
    currency: str,
    subtotal: int | None,
) -> str:
    if len(said) != 1:
        raise invalid("Each discount is one of `coupon`, `promotion_code` and `discount`.", param)
    [(kind, id)] = said.items()
    param = f"{param}[{kind}]"
    if kind == "discount":
        if id not in held:
            raise invalid(f"No such discount: '{id}'", param, "resource_missing")
        return id
    code = None
    if kind == "promotion_code":
        code = coupons.redeemable_code(account, customer, id, param, currency, subtotal)
        coupon = account.tables["coupon"][code["promotion"]["coupon"]]
    else:
        coupon = coupons.redeemable(account, customer, id, param, currency)
    now, months = account.now(customer), coupon["duration_in_months"]
    discount: Record = {
        "id": new_id("discount"),
        "object": "discount",
        "checkout_session": None,
        "customer": customer["id"],
        "customer_account": None,
        "end": boundary(now, "month", months, 1) if months else None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": code and code["id"],
        "source": {"coupon": coupon["id"], "type": "coupon"},
        "start": now,
        "subscription": subscription and subscription["id"],
        "subscription_item": None,
    }
    return account.add(discount)["id"]


def coupon_of(account: Account, id: str) -> Record:
    return account.tables["coupon"][account.tables["discount"][id]["source"]["coupon"]]


def in_force(account: Account, ids: list[str], at: int) -> list[str]:
    return [id for id in ids if (account.tables["discount"][id]["end"] or at + 1) > at]


def shares(account: Account, ids: list[str], amounts: list[int]) -> list[list[Record]]:
    """For each amount, what each discount takes off it. One after the other: the second discounts what is left."""
    left = [max(amount, 0) for amount in amounts]
    found: list[list[Record]] = [[] for _ in amounts]
    for id in ids:
        for place, off in enumerate(coupons.taken(coupon_of(account, id), left)):
            found[place].append({"amount": off, "discount": id})
            left[place] -= off
    return found


def nets(account: Account, ids: list[str], amounts: list[int]) -> list[int]:
    return [
        amount - sum(share["amount"] for share in taken)
        for amount, taken in zip(amounts, shares(account, ids, amounts), strict=True)
    ]


def net(line: Record) -> int:
    return line["amount"] - sum(share["amount"] for share in line["discount_amounts"])


def put(account: Account, subscription: Record, ids: list[str]) -> None:
    """Give the subscription these discounts and no others: new ones are redeemed and told of, missing ones end."""
    old, subscription["discounts"] = subscription["discounts"], ids
    gone = [account.tables["discount"][id] for id in old if id not in ids]
    new = [account.tables["discount"][id] for id in ids if id not in old]
    for discount in new:
        discount["subscription"] = subscription["id"]
        code = discount["promotion_code"]
        coupons.count(account, coupon_of(account, discount["id"]), code and account.tables["promotion_code"][code])
    if len(gone) == len(new) == 1:
        before, after = shown(gone[0]), shown(new[0])
        previous = {name: before[name] for name in before if before[name] != after[name]}
        account.emit("customer.discount.updated", new[0], previous)
        return
    for discount in gone:
        account.emit("customer.discount.deleted", discount)
    for discount in new:
        account.emit("customer.discount.created", discount)


def expire(account: Account, subscription: Record) -> None:
    """Take off what has ended by now."""
    left = in_force(account, subscription["discounts"], account.now(subscription))
    if left != subscription["discounts"]:
        with account.changing(subscription):
            put(account, subscription, left)


def spend(account: Account, subscription: Record, invoice: Record) -> None:
    """A coupon of duration `once` is used up when the first invoice that it took something off is finalized."""
    used = {
        share["discount"]
        for line in invoice["lines"]["data"]
        for share in line["discount_amounts"]
        if share["amount"] or not line["discountable"]
    }
    left = [
        id
        for id in subscription["discounts"]
        if id not in used or coupon_of(account, id)["duration"] != "once"
    ]  # fmt: skip
    if left != subscription["discounts"]:
        with account.changing(subscription):
            put(account, subscription, left)
