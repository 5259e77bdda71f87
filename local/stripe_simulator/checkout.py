"""Checkout: a page on which a customer subscribes. Its other side, the browser's, is `complete`."""

from typing import Any

from local.stripe_simulator import collection, payments, previews, proration, subscribing
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, listed, page
from local.stripe_simulator.errors import invalid
from local.stripe_simulator.forms import ADDRESS, Shape, choice, flag, free, need, text, whole
from local.stripe_simulator.periods import DAY
from local.stripe_simulator.routes import route

PATH, KIND = "/v1/checkout/sessions", "checkout.session"
SHORTEST, LONGEST = 1_800, DAY
KEEPS = choice("auto", "never")


def gone(value: Any, name: str) -> None:
    raise invalid(
        "`payment_method_types` is no longer supported: use dynamic payment methods.",
        name,
        "payment_method_types_no_longer_supported",
    )


CREATE: dict[str, Shape] = {
    "allow_promotion_codes": flag,
    "automatic_tax": {"enabled": flag},
    "cancel_url": text,
    "client_reference_id": text,
    "customer": text,
    "discounts": [{"coupon": text, "promotion_code": text}],
    "customer_update": {"address": KEEPS, "name": KEEPS, "shipping": KEEPS},
    "expires_at": whole,
    "line_items": [{"price": text, "quantity": whole}],
    "locale": text,
    "metadata": free,
    "mode": choice("subscription"),
    "payment_method_collection": choice("always", "if_required"),
    "payment_method_types": gone,
    "subscription_data": {name: subscribing.CREATE[name] for name in ("billing_mode", "metadata", "trial_settings")}
    | {"trial_period_days": whole},
    "success_url": text,
    "tax_id_collection": {"enabled": flag},
}


@route("POST", PATH, KIND, CREATE)
def create(account: Account, params: dict[str, Any]) -> Record:
    for name in ("mode", "success_url"):
        need(params, name)
    customer = account.get("customer", need(params, "customer"), "customer", 400)
    now = account.now(customer)
    expires = params.get("expires_at", now + LONGEST)
    if not now + SHORTEST <= expires <= now + LONGEST:
        raise invalid(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            "expires_at",
        )
    wishes = need(params, "line_items")
    prices = [account.get("price", need(one, "price"), "line_items[0][price]", 400) for one in wishes]
    if not all(price["recurring"] and price["active"] for price in prices):
        raise invalid("The simulator's Checkout takes active recurring prices only.", "line_items")
    keeps, taxed = params.get("customer_update", {}), params.get("automatic_tax", {}).get("enabled", False)
    if taxed and not _located(customer) and keeps.get("address") != "auto":
        raise invalid(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to "
            "the Customer or set `customer_update[address]` to 'auto'.",
            "automatic_tax",
            "customer_tax_location_invalid",
        )
    if params.get("tax_id_collection", {}).get("enabled") and keeps.get("name") != "auto":
        raise invalid(
            "Tax ID collection requires updating business name on the customer. To enable tax ID collection for an "
            "existing customer, please set `customer_update[name]` to `auto`.",
            "customer_update",
        )
    if "discounts" in params and params.get("allow_promotion_codes"):
        raise invalid("You may only specify one of these parameters: allow_promotion_codes, discounts.", "discounts")
    terms = {
        "automatic_tax": {"enabled": taxed},
        "customer": customer["id"],
        "discounts": params.get("discounts", []),
        "items": [{"price": one["price"], "quantity": one.get("quantity", 1)} for one in wishes],
        **params.get("subscription_data", {}),
    }
    invoice = _first_invoice(account, customer, terms)
    session = account.add(_record(account, customer, prices, params, terms, invoice, expires))
    account.books[session["id"]] = terms
    account.look_at(session, expires)
    return session


def _located(customer: Record) -> bool:
    return bool(customer["address"] and customer["address"]["country"])


def _first_invoice(account: Account, customer: Record, terms: Record) -> Record:
    """What subscribing by these terms would cost now."""
    days = terms.get("trial_period_days")
    trial = {"trial_end": account.now(customer) + days * DAY} if days else {}
    asked = {
        "automatic_tax": {"enabled": terms["automatic_tax"]["enabled"] and _located(customer)},
        "customer": customer["id"],
        "discounts": terms["discounts"],
        "subscription_details": {"items": terms["items"], **trial},
    }
    return previews.create(account, asked)


def _record(
    account: Account,
    customer: Record,
    prices: list[Record],
    params: dict[str, Any],
    terms: Record,
    invoice: Record,
    expires: int,
) -> Record:
    id = new_id(KIND)
    lines = [_line(account, price, one) for price, one in zip(prices, terms["items"], strict=True)]
    taxed, collects = terms["automatic_tax"]["enabled"], params.get("tax_id_collection")
    return {
        "id": id,
        "object": KIND,
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": params.get("allow_promotion_codes"),
        "automatic_tax": {"enabled": taxed, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": account.now(customer),
        "currency": prices[0]["currency"],
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer": customer["id"],
        "customer_account": None,
        "customer_creation": None,
        "customer_details": None,
        "customer_email": None,
        "discounts": _discounts(terms),
        "expires_at": expires,
        "invoice": None,
        "invoice_creation": None,
        "line_items": listed(f"{PATH}/{id}/line_items", lines),
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": params.get("metadata") or {},
        "mode": "subscription",
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "payment_method_options": None,
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": params["success_url"],
        "tax_id_collection": {"enabled": collects["enabled"], "required": "never"} if collects else None,
        "ui_mode": "hosted_page",
        "url": f"https://checkout.stripe.com/c/pay/{id}",
        "wallet_options": None,
        **_amounts(invoice),
    }


def _amounts(invoice: Record) -> Record:
    totals = {
        "amount_discount": sum(one["amount"] for one in invoice["total_discount_amounts"]),
        "amount_shipping": 0,
        "amount_tax": sum(one["amount"] for one in invoice["total_taxes"]),
    }
    return {"amount_subtotal": invoice["subtotal"], "amount_total": invoice["total"], "total_details": totals}


def _discounts(terms: Record) -> list[Record]:
    return [{"coupon": None, "promotion_code": None, **one} for one in terms["discounts"]]


def _line(account: Account, price: Record, wish: Record) -> Record:
    amount = proration.total(price, wish["quantity"])
    return {
        "id": new_id("item"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": account.tables["product"][price["product"]]["name"],
        "price": price,
        "quantity": wish["quantity"],
    }


@route("GET", PATH + "/{session}", KIND)
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get(KIND, id, "session")


@route("GET", PATH + "/{session}/line_items", "item", listed=True)
def list_lines(account: Account, id: str, params: dict[str, Any]) -> Record:
    lines = account.get(KIND, id, "session")["line_items"]["data"]
    return page(f"{PATH}/{id}/line_items", reversed(lines), params, lambda line: True)


FILTERS: dict[str, Shape] = {"customer": text, "status": choice("complete", "expired", "open"), "subscription": text}


@route("GET", PATH, KIND, FILTERS, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    def fits(session: Record) -> bool:
        return all(params.get(name) in (None, session[name]) for name in FILTERS)

    return page(PATH, account.all(KIND), params, fits)


@route("POST", PATH + "/{session}/expire", KIND)
def expire(account: Account, id: str, params: dict[str, Any]) -> Record:
    session = account.get(KIND, id, "session")
    _refuse_unless_open(session, "expired")
    _expire(account, session)
    return session


def _refuse_unless_open(session: Record, what: str) -> None:
    if session["status"] != "open":
        raise invalid(
            f"Only Checkout Sessions with a status in ['open'] can be {what}. This Checkout Session has a status of "
            f"{session['status']}.",
            "session",
        )


def _expire(account: Account, session: Record) -> None:
    session.update(status="expired", url=None)
    account.emit("checkout.session.expired", session)


def advance(account: Account, session: Record) -> None:
    """Nobody came."""
    if session["status"] == "open" and session["expires_at"] <= account.now(session):
        _expire(account, session)


# The browser


def complete(account: Account, id: str, method: str, code: str | None) -> str:
    """
    The customer gives a card, passes 3-D Secure if it asks, and subscribes: the subscription's id.

    Refused where the card is declined: then the page stays open, and nothing has been made. No card is asked for
    where nothing is due and the session collects one only `if_required`. A promotion code is its words, or its id.
    """
    session = account.get(KIND, id, "session")
    _refuse_unless_open(session, "completed")
    customer, terms = account.get("customer", session["customer"]), account.books[id]
    if terms["automatic_tax"]["enabled"] and not _located(customer):
        with account.changing(customer):
            customer["address"] = dict.fromkeys(ADDRESS) | {"country": "US", "postal_code": "10001", "state": "NY"}
    if code:
        terms = terms | {"discounts": [{"promotion_code": _code(account, session, code)}]}
    invoice = _first_invoice(account, customer, terms)
    card = None
    if invoice["amount_due"] or session["payment_method_collection"] == "always":
        card = payments.issue(account, method, customer)
        refusal = payments.would_refuse(account, card, authenticated=True) if invoice["amount_due"] else None
        if refusal:
            raise refusal
        payments.give(account, card, customer)
    paying = {"default_payment_method": card["id"]} if card else {}
    asked = terms | paying | {"payment_behavior": "default_incomplete"}
    subscription = subscribing.create(account, asked)
    invoice = account.tables["invoice"][subscription["latest_invoice"]]
    paid = bool(invoice["amount_due"])
    if paid:
        collection.collect(account, invoice, card, authenticated=True)
    session.update(
        customer_details=_details(customer),
        discounts=_discounts(terms),
        invoice=invoice["id"],
        payment_status="paid" if paid else "no_payment_required",
        status="complete",
        subscription=subscription["id"],
        url=None,
        **_amounts(invoice),
    )
    account.emit("checkout.session.completed", session)
    return subscription["id"]


def _code(account: Account, session: Record, words: str) -> str:
    if not session["allow_promotion_codes"]:
        raise invalid("This page takes no promotion codes.")
    for code in account.all("promotion_code"):
        if code["active"] and words.upper() in (code["code"].upper(), code["id"].upper()):
            return code["id"]
    raise invalid("This code is invalid.", "promotion_code")


def _details(customer: Record) -> Record:
    same = {name: customer[name] for name in ("address", "email", "name", "phone", "tax_exempt")}
    return same | {"business_name": None, "individual_name": None, "tax_ids": []}
