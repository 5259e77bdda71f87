"""Products and prices: flat and tiered, immutable but for their labels."""

from typing import Any

from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import absent, invalid
from local.stripe_simulator.forms import Shape, choice, clearable, flag, free, merged, need, text, whole
from local.stripe_simulator.routes import route

PRODUCT: dict[str, Shape] = {
    "active": flag,
    "description": text,
    "images": [text],
    "marketing_features": [{"name": text}],
    "metadata": free,
    "name": text,
    "statement_descriptor": text,
    "tax_code": text,
    "unit_label": text,
    "url": text,
}


@route("POST", "/v1/products", "product", PRODUCT | {"id": text, "type": choice("good", "service")})
def create_product(account: Account, params: dict[str, Any]) -> Record:
    id = params.pop("id", None) or new_id("product")
    if id in account.tables["product"]:
        raise invalid(f"Product already exists: '{id}'", "id", "resource_already_exists")
    need(params, "name")
    now = account.now()
    product: Record = {
        "id": id,
        "object": "product",
        "active": True,
        "created": now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": "",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": now,
        "url": None,
        **params,
    }
    account.emit("product.created", account.add(product))
    return product


@route("GET", "/v1/products/{product}", "product")
def retrieve_product(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("product", id)


@route("POST", "/v1/products/{product}", "product", PRODUCT | {"default_price": text})
def update_product(account: Account, id: str, params: dict[str, Any]) -> Record:
    product = account.get("product", id)
    if (
        params.get("default_price")
        and account.get("price", params["default_price"], "default_price", 400)["product"] != id
    ):
        raise invalid("The price specified is not a price of this product.", "default_price")
    with account.changing(product):
        metadata = merged(product["metadata"], params.pop("metadata", {}))
        cleared = {name: None if value == "" else value for name, value in params.items()}
        product.update(cleared, metadata=metadata, updated=account.now())
    return product


@route("DELETE", "/v1/products/{product}", "product")
def delete_product(account: Account, id: str, params: dict[str, Any]) -> Record:
    product = account.get("product", id)
    if any(price["product"] == id for price in account.all("price")):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.")
    account.emit("product.deleted", product)
    account.remove(product)
    return {"id": id, "object": "product", "deleted": True}


@route("GET", "/v1/products", "product", {"active": flag, "ids": [text]}, listed=True)
def list_products(account: Account, params: dict[str, Any]) -> Record:
    def fits(product: Record) -> bool:
        return params.get("active") in (None, product["active"]) and product["id"] in params.get("ids", [product["id"]])

    return page("/v1/products", account.all("product"), params, fits)


# Prices

RECURRING: dict[str, Shape] = {
    "interval": choice("day", "week", "month", "year"),
    "interval_count": whole,
    "usage_type": choice("licensed"),
}
TIER: dict[str, Shape] = {"up_to": text, "unit_amount": whole, "flat_amount": whole}
LABELS: dict[str, Shape] = {
    "active": flag,
    "lookup_key": text,
    "metadata": free,
    "nickname": text,
    "tax_behavior": choice("exclusive", "inclusive", "unspecified"),
    "transfer_lookup_key": flag,
}


def _currencies(value: Any, name: str) -> dict[str, int]:
    """Other currencies, each to its amount; tiers of their own are not simulated."""
    if not isinstance(value, dict) or not all(
        isinstance(said, dict) and [*said] == ["unit_amount"] for said in value.values()
    ):
        raise invalid(f"Invalid hash: {name}", name)
    return {code: whole(said["unit_amount"], f"{name}[{code}]") for code, said in value.items()}


AMOUNTS: dict[str, Shape] = {
    "currency_options": _currencies,
    "billing_scheme": choice("per_unit", "tiered"),
    "currency": text,
    "product": text,
    "product_data": PRODUCT | {"id": text},
    "recurring": RECURRING,
    "tiers": [TIER],
    "tiers_mode": choice("graduated", "volume"),
    "unit_amount": whole,
}


@route("POST", "/v1/prices", "price", LABELS | AMOUNTS)
def create_price(account: Account, params: dict[str, Any]) -> Record:
    currency, scheme = need(params, "currency").lower(), params.get("billing_scheme", "per_unit")
    amount = params.get("unit_amount")
    if scheme == "per_unit" and amount is None:
        raise absent("unit_amount")
    if scheme == "tiered" and amount is not None:
        raise invalid("You may not specify `unit_amount` on a tiered price.", "unit_amount")
    tiers = _tiers(params) if scheme == "tiered" else None
    _claim_key(account, params)
    if "product_data" in params:
        product = create_product(account, params["product_data"])["id"]
    else:
        product = account.get("product", need(params, "product"), "product", 400)["id"]
    recurring = params.get("recurring")
    price: Record = {
        "id": new_id("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": scheme,
        "created": account.now(),
        "currency": currency,
        "currency_options": {
            code: _option(cents) for code, cents in {currency: amount, **params.get("currency_options", {})}.items()
        },
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": params.get("lookup_key"),
        "metadata": params.get("metadata") or {},
        "nickname": params.get("nickname"),
        "product": product,
        "recurring": _recurring(recurring) if recurring else None,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers": tiers,
        "tiers_mode": params.get("tiers_mode") if tiers else None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": None if amount is None else str(amount),
    }
    account.emit("price.created", account.add(price))
    return price


def _option(amount: int | None) -> Record:
    decimal = None if amount is None else str(amount)
    option: Record = {"custom_unit_amount": None, "tax_behavior": "unspecified"}
    return option | {"unit_amount": amount, "unit_amount_decimal": decimal}


def _recurring(said: dict[str, Any]) -> Record:
    need(said, "interval")
    return {"interval_count": 1, "meter": None, "trial_period_days": None, "usage_type": "licensed", **said}


def _tiers(params: dict[str, Any]) -> list[Record]:
    """Tiers in the order of their upper ends; the last has none."""
    need(params, "tiers_mode")
    tiers = []
    for said in need(params, "tiers"):
        unit, flat = said.get("unit_amount"), said.get("flat_amount")
        if unit is None and flat is None:
            raise invalid("Each tier must specify `unit_amount` or `flat_amount`.", "tiers")
        tiers.append(
            {
                "flat_amount": flat,
                "flat_amount_decimal": None if flat is None else str(flat),
                "unit_amount": unit,
                "unit_amount_decimal": None if unit is None else str(unit),
                "up_to": None if need(said, "up_to") == "inf" else int(said["up_to"]),
            }
        )
    ends = [tier["up_to"] for tier in tiers]
    if ends[-1] is not None or None in ends[:-1] or sorted(ends[:-1]) != ends[:-1]:
        raise invalid("Tiers must be in ascending order and the last must have `up_to` set to `inf`.", "tiers")
    return tiers


def _claim_key(account: Account, params: dict[str, Any], claimant: str | None = None) -> None:
    """A lookup key is held by one active price; it moves only when the call says so."""
    key = params.get("lookup_key")
    holder = next((price for price in account.all("price") if key and price["lookup_key"] == key), None)
    if holder is None or holder["id"] == claimant:
        return
    if not params.get("transfer_lookup_key"):
        raise invalid(f"A price (`{holder['id']}`) already uses that lookup key.", "lookup_key")
    with account.changing(holder):
        holder["lookup_key"] = None


@route("GET", "/v1/prices/{price}", "price")
def retrieve_price(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("price", id)


@route("POST", "/v1/prices/{price}", "price", LABELS)
def update_price(account: Account, id: str, params: dict[str, Any]) -> Record:
    price = account.get("price", id)
    _claim_key(account, params, id)
    params.pop("transfer_lookup_key", None)
    with account.changing(price):
        metadata = merged(price["metadata"], params.pop("metadata", {}))
        price.update({name: None if value == "" else value for name, value in params.items()}, metadata=metadata)
    return price


def delete_price(account: Account, id: str) -> None:
    """In the dashboard; the API has no call for it. Only one that was never used."""
    if any(item["price"]["id"] == id for one in account.all("subscription") for item in one["items"]["data"]):
        raise invalid("This price cannot be deleted because it has been used.")
    price = account.get("price", id)
    account.emit("price.deleted", price)
    account.remove(price)


PRICES: dict[str, Shape] = {
    "active": flag,
    "currency": text,
    "lookup_keys": [text],
    "product": text,
    "recurring": {"interval": text, "usage_type": text},
    "type": clearable(choice("one_time", "recurring")),
}


@route("GET", "/v1/prices", "price", PRICES, listed=True)
def list_prices(account: Account, params: dict[str, Any]) -> Record:
    keys, terms = params.get("lookup_keys"), params.get("recurring", {})
    if keys and len(keys) > 10:
        raise invalid("You may only specify up to 10 lookup keys.", "lookup_keys")

    def fits(price: Record) -> bool:
        same = all(params.get(name) in (None, price[name]) for name in ("active", "currency", "product", "type"))
        found = not keys or price["lookup_key"] in keys
        return same and found and all((price["recurring"] or {}).get(name) == value for name, value in terms.items())

    return page("/v1/prices", account.all("price"), params, fits)
