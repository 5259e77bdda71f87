"""Customers, what they owe or are owed (`balance`), and their tax ids."""

import re
from typing import Any

from local.stripe_simulator import balances, payments, subscriptions
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import invalid, missing
from local.stripe_simulator.forms import ADDRESS, Shape, choice, clearable, free, merged, need, text, whole
from local.stripe_simulator.routes import route

FIELDS: dict[str, Shape] = {
    "address": clearable(ADDRESS),
    "balance": whole,
    "description": text,
    "email": text,
    "invoice_prefix": text,
    "invoice_settings": {"default_payment_method": text, "footer": text},
    "metadata": free,
    "name": text,
    "phone": text,
    "preferred_locales": [text],
    "shipping": clearable({"address": ADDRESS, "name": text, "phone": text}),
    "tax_exempt": choice("", "none", "exempt", "reverse"),
}
TAX_ID: dict[str, Shape] = {"type": text, "value": text}
PLAIN = ("description", "email", "invoice_prefix", "name", "phone")


@route(
    "POST", "/v1/customers", "customer", FIELDS | {"payment_method": text, "tax_id_data": [TAX_ID], "test_clock": text}
)
def create(account: Account, params: dict[str, Any]) -> Record:
    id, clock = new_id("customer"), params.get("test_clock")
    if clock:
        account.get("test_helpers.test_clock", clock, "test_clock", 400)
    customer: Record = {
        "id": id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": 0,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": None,
        "invoice_prefix": id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": clock,
    }
    customer["created"] = account.now(customer)
    card = payments.issue(account, params["payment_method"], customer) if params.get("payment_method") else None
    account.add(customer)
    if card:
        payments.give(account, card, customer)
    try:
        _write(account, customer, params)
    except Exception:
        account.remove(customer)
        raise
    account.emit("customer.created", customer)
    for tax_id in params.get("tax_id_data", []):
        add_tax_id(account, id, tax_id)
    return customer


@route("GET", "/v1/customers/{customer}", "customer")
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    if id not in account.tables["customer"]:
        raise missing("customer", id)
    return account.tables["customer"][id]


@route("POST", "/v1/customers/{customer}", "customer", FIELDS)
def update(account: Account, id: str, params: dict[str, Any]) -> Record:
    customer = account.get("customer", id)
    with account.changing(customer):
        _write(account, customer, params)
    return customer


def _write(account: Account, customer: Record, params: dict[str, Any]) -> None:
    settings = dict(params.get("invoice_settings", {}))
    card = settings.get("default_payment_method")
    if card:
        settings["default_payment_method"] = payments.owned(account, customer, card)["id"]
    customer["invoice_settings"].update({name: value or None for name, value in settings.items()})
    customer.update({name: params[name] or None for name in PLAIN if name in params})
    for name, shape in (("address", ADDRESS), ("shipping", {"address": None, "name": None, "phone": None})):
        if name in params:
            old = customer[name] or dict.fromkeys(shape)
            customer[name] = {**old, **params[name]} if params[name] else None
    if "preferred_locales" in params:
        customer["preferred_locales"] = params["preferred_locales"]
    if params.get("balance", customer["balance"]) != customer["balance"]:
        balances.note(account, customer, params["balance"] - customer["balance"], "adjustment")
    if "tax_exempt" in params:
        customer["tax_exempt"] = params["tax_exempt"] or "none"
    if "metadata" in params:
        customer["metadata"] = merged(customer["metadata"], params["metadata"])


@route("DELETE", "/v1/customers/{customer}", "customer")
def delete(account: Account, id: str, params: dict[str, Any]) -> Record:
    """Cancels its subscriptions at once. What is left answers that it was deleted."""
    customer = account.get("customer", id)
    for subscription in account.of("subscription", id):
        if subscription["status"] not in subscriptions.ENDED:
            subscriptions.end(account, subscription, "canceled")
    for card in account.of("payment_method", id):
        payments.take_back(account, card)
    account.emit("customer.deleted", customer)
    customer["deleted"] = True
    return customer


@route("GET", "/v1/customers", "customer", {"email": text, "test_clock": text}, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    def fits(customer: Record) -> bool:
        in_time = customer["test_clock"] == params.get("test_clock")
        return in_time and params.get("email") in (None, customer["email"])

    return page("/v1/customers", account.all("customer"), params, fits)


QUOTED = r"""(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")"""
CLAUSE = re.compile(rf"(?:metadata\[{QUOTED}\]|(email|name|phone))\s*:\s*{QUOTED}(?:\s+AND\s+|\s*$)")


@route("GET", "/v1/customers/search", "customer", {"query": text, "limit": whole, "page": text}, listed=True)
def search(account: Account, params: dict[str, Any]) -> Record:
    """Clauses joined by AND. Stripe's own index lags behind by up to a minute; this one does not."""
    query = need(params, "query").strip()
    clauses = list(CLAUSE.finditer(query))
    if "".join(clause[0] for clause in clauses) != query:
        raise invalid("We were unable to parse your search query.", "query")

    def fits(customer: Record) -> bool:
        for single_key, double_key, field, single, double in (clause.groups() for clause in clauses):
            key, value = _unquoted(single_key, double_key), _unquoted(single, double)
            if (customer[field] if field else customer["metadata"].get(key)) != value:
                return False
        return True

    found = page("/v1/customers/search", account.all("customer"), {"limit": params.get("limit", 10)}, fits)
    return found | {"object": "search_result", "next_page": None}


def _unquoted(single: str | None, double: str | None) -> str:
    return re.sub(r"\\(.)", r"\1", single if single is not None else double or "")


# Tax ids


@route("POST", "/v1/customers/{customer}/tax_ids", "tax_id", TAX_ID)
def add_tax_id(account: Account, customer: str, params: dict[str, Any]) -> Record:
    owner = account.get("customer", customer, "customer")
    type, value = need(params, "type"), need(params, "value")
    tax_id: Record = {
        "id": new_id("tax_id"),
        "object": "tax_id",
        "country": value[:2].upper() if type == "eu_vat" else type[:2].upper(),
        "created": account.now(owner),
        "customer": customer,
        "customer_account": None,
        "livemode": False,
        "owner": {"customer": customer, "type": "customer"},
        "type": type,
        "value": value,
        "verification": {"status": "verified", "verified_address": None, "verified_name": None},
    }
    account.emit("customer.tax_id.created", account.add(tax_id))
    return tax_id


@route("GET", "/v1/customers/{customer}/tax_ids", "tax_id", listed=True)
def list_tax_ids(account: Account, customer: str, params: dict[str, Any]) -> Record:
    account.get("customer", customer, "customer")
    return page(f"/v1/customers/{customer}/tax_ids", account.of("tax_id", customer), params, lambda tax_id: True)


@route("DELETE", "/v1/customers/{customer}/tax_ids/{tax_id}", "tax_id")
def delete_tax_id(account: Account, customer: str, id: str, params: dict[str, Any]) -> Record:
    tax_id = account.get("tax_id", id)
    if tax_id["customer"] != customer:
        raise missing("tax_id", id)
    account.emit("customer.tax_id.deleted", tax_id)
    account.remove(tax_id)
    return {"id": id, "object": "tax_id", "deleted": True}
