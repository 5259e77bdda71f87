"""The calls on invoices, invoice items and the payments of invoices."""

from typing import Any

from local.stripe_simulator import collection, invoices, limits, payments, proration
from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record, page, shown
from local.stripe_simulator.errors import Refused, absent, invalid
from local.stripe_simulator.forms import Shape, choice, clearable, flag, free, merged, need, text, whole
from local.stripe_simulator.periods import DAY, HOUR
from local.stripe_simulator.routes import route

CREATE: dict[str, Shape] = {
    "auto_advance": flag,
    "automatic_tax": {"enabled": flag},
    "collection_method": choice("charge_automatically", "send_invoice"),
    "currency": text,
    "customer": text,
    "days_until_due": whole,
    "default_payment_method": text,
    "description": text,
    "due_date": whole,
    "footer": text,
    "metadata": free,
    "pending_invoice_items_behavior": choice("exclude", "include"),
    "subscription": text,
}


@route("POST", "/v1/invoices", "invoice", CREATE)
def create(account: Account, params: dict[str, Any]) -> Record:
    """
    A manual draft; of a subscription, it takes what waits for that subscription.

    One that advances by itself is finalized an hour later, whatever is on it by then.
    """
    customer = account.get("customer", need(params, "customer"), "customer", 400)
    id = params.get("subscription")
    subscription = account.get("subscription", id, "subscription", 400) if id else None
    method = params.get("default_payment_method")
    fields = {name: params[name] for name in ("currency", "description", "footer", "metadata") if name in params}
    sent = params.get("collection_method") == "send_invoice"
    days = params.get("days_until_due")
    if sent and not days and "due_date" not in params:
        raise absent("days_until_due")
    advances = params.get("auto_advance", False)
    fields |= {
        "auto_advance": advances,
        "automatically_finalizes_at": account.now(customer) + HOUR if advances else None,
        "collection_method": params.get("collection_method", "charge_automatically"),
        "default_payment_method": payments.owned(account, customer, method)["id"] if method else None,
        "due_date": params.get("due_date") or (account.now(customer) + days * DAY if days else None),
    }
    if "automatic_tax" in params:
        fields["taxed"] = params["automatic_tax"].get("enabled", False)
    if subscription:
        limits.new_invoice(account, subscription)
    invoice = invoices.draft(account, customer, subscription, "manual", [], **fields)
    if subscription is None and params.get("pending_invoice_items_behavior") == "include":
        for waiting in invoices.pending(account, customer["id"], None):
            _put_on(account, invoice, waiting)
    return invoice


def _put_on(account: Account, invoice: Record, waiting: Record) -> None:
    waiting["invoice"] = invoice["id"]
    with account.changing(invoice):
        invoice["lines"]["data"].append(invoices.line_of(waiting))
        invoices.reckon(account, invoice)


@route("GET", "/v1/invoices/{invoice}", "invoice")
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("invoice", id, "invoice")


LABELS: dict[str, Shape] = {"auto_advance": flag, "description": text, "footer": text, "metadata": free}


@route("POST", "/v1/invoices/{invoice}", "invoice", LABELS)
def update(account: Account, id: str, params: dict[str, Any]) -> Record:
    invoice = account.get("invoice", id, "invoice")
    fixed = sorted(set(params) - {"metadata", "auto_advance"})
    if invoice["status"] != "draft" and fixed:
        raise invalid("Finalized invoices can't be updated in this way.", fixed[0], "invoice_not_editable")
    with account.changing(invoice):
        metadata = merged(invoice["metadata"], params.pop("metadata", {}))
        if invoice["status"] == "draft" and "auto_advance" in params:
            invoice["automatically_finalizes_at"] = invoice["created"] + HOUR if params["auto_advance"] else None
        invoice.update({name: None if value == "" else value for name, value in params.items()}, metadata=metadata)
        if not invoice["auto_advance"]:
            invoice["next_payment_attempt"] = None
    account.look_at(invoice, invoice["automatically_finalizes_at"])
    return invoice


FILTERS: dict[str, Shape] = {
    "collection_method": text,
    "customer": text,
    "status": choice("draft", "open", "paid", "uncollectible", "void"),
    "subscription": text,
}


@route("GET", "/v1/invoices", "invoice", FILTERS, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    def fits(invoice: Record) -> bool:
        subscription = invoices.subscription_of(account, invoice)
        billed = params.get("subscription") in (None, subscription and subscription["id"])
        asked = any(params.get(name) for name in ("customer", "subscription"))
        same = all(params.get(name) in (None, invoice[name]) for name in ("collection_method", "customer", "status"))
        return billed and same and (asked or invoice["test_clock"] is None)

    customer = params.get("customer")
    return page("/v1/invoices", account.of("invoice", customer) if customer else account.all("invoice"), params, fits)


@route("DELETE", "/v1/invoices/{invoice}", "invoice")
def delete(account: Account, id: str, params: dict[str, Any]) -> Record:
    invoice = account.get("invoice", id, "invoice")
    if invoice["status"] != "draft" or invoice["parent"]:
        raise invalid("You can only delete draft invoices that are not of a subscription.", code="invoice_not_editable")
    account.emit("invoice.deleted", invoice)
    account.remove(invoice)
    for item in account.of("invoiceitem", invoice["customer"]):
        if item["invoice"] == id:
            account.remove(item)
    return {"id": id, "object": "invoice", "deleted": True}


@route("GET", "/v1/invoices/{invoice}/lines", "line_item", listed=True)
def list_lines(account: Account, id: str, params: dict[str, Any]) -> Record:
    """Of an invoice or of a preview, in their order."""
    preview = account.tables["preview"].get(id)
    lines = (preview or account.get("invoice", id, "invoice"))["lines"]["data"]
    return page(f"/v1/invoices/{id}/lines", reversed(lines), params, lambda line: True)


@route("POST", "/v1/invoices/{invoice}/finalize", "invoice", {"auto_advance": flag})
def finalize(account: Account, id: str, params: dict[str, Any]) -> Record:
    """Of an invoice that advances by itself, the payment is tried at once."""
    invoice = account.get("invoice", id, "invoice")
    invoices.finalize(account, invoice)
    invoice["auto_advance"] = params.get("auto_advance", invoice["auto_advance"])
    if not invoice["amount_due"]:
        collection.settle(account, invoice)
    elif invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically":
        collection.collect(account, invoice)
    return invoice


PAY: dict[str, Shape] = {"off_session": flag, "paid_out_of_band": flag, "payment_method": text}


@route("POST", "/v1/invoices/{invoice}/pay", "invoice", PAY)
def pay(account: Account, id: str, params: dict[str, Any]) -> Record:
    """A refused charge is a 402, and counted on the invoice all the same."""
    invoice = account.get("invoice", id, "invoice")
    if invoice["status"] == "draft":
        invoices.finalize(account, invoice)
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(f"This invoice can't be paid because it is {invoice['status']}.", code="invoice_not_payable")
    if params.get("paid_out_of_band"):
        collection.settle(account, invoice, out_of_band=True)
        return invoice
    customer, said = account.tables["customer"][invoice["customer"]], params.get("payment_method")
    refusal = collection.collect(account, invoice, payments.owned(account, customer, said) if said else None)
    if refusal:
        raise _refused(account, invoice, refusal)
    return invoice


def _refused(account: Account, invoice: Record, refusal: Refused) -> Refused:
    intent = invoices.intent_of(account, invoice)
    if intent and intent["status"] == "requires_action":
        message = "Payment for this invoice requires additional user action before it can be completed successfully."
        return Refused(402, message, type="card_error", code="invoice_payment_intent_requires_action")
    return refusal


@route("POST", "/v1/invoices/{invoice}/void", "invoice")
def void(account: Account, id: str, params: dict[str, Any]) -> Record:
    invoice = account.get("invoice", id, "invoice")
    collection.void(account, invoice)
    return invoice


@route("POST", "/v1/invoices/{invoice}/mark_uncollectible", "invoice")
def mark_uncollectible(account: Account, id: str, params: dict[str, Any]) -> Record:
    invoice = account.get("invoice", id, "invoice")
    collection.write_off(account, invoice)
    return invoice


@route("POST", "/v1/invoices/{invoice}/send", "invoice")
def send(account: Account, id: str, params: dict[str, Any]) -> Record:
    invoice = account.get("invoice", id, "invoice")
    if invoice["status"] == "draft":
        invoices.finalize(account, invoice)
    if invoice["status"] != "open":
        raise invalid(f"You can't send an invoice that is {invoice['status']}.", code="invoice_not_editable")
    account.emit("invoice.sent", invoice)
    return invoice


# Items that wait for an invoice

MOST_ITEMS = 250  # on one invoice
MOST_CENTS = 99_999_999  # in one amount (docs: Currencies, Minimum and maximum charge amounts)

ITEM: dict[str, Shape] = {
    "amount": whole,
    "currency": text,
    "customer": text,
    "description": text,
    "discountable": flag,
    "invoice": text,
    "metadata": free,
    "period": {"end": whole, "start": whole},
    "price_data": {"currency": text, "product": text, "unit_amount": whole},
    "pricing": {"price": text},
    "quantity": whole,
    "subscription": text,
}


@route("POST", "/v1/invoiceitems", "invoiceitem", ITEM)
def create_item(account: Account, params: dict[str, Any]) -> Record:
    """Waits for the next invoice, or stands on the draft that is named."""
    invoice = account.get("invoice", params["invoice"], "invoice", 400) if params.get("invoice") else None
    if invoice and invoice["status"] != "draft":
        raise invalid("Invalid invoice: This invoice is no longer editable", code="invoice_not_editable")
    owner = invoice["customer"] if invoice else need(params, "customer")
    if params.get("customer") not in (None, owner):
        raise invalid("The invoice is of another customer.", "customer")
    customer = account.get("customer", owner, "customer", 400)
    price = (
        account.get("price", need(params["pricing"], "price"), "pricing[price]", 400) if "pricing" in params else None
    )
    fields = {name: params[name] for name in ("description", "discountable", "metadata", "period") if name in params}
    if "period" in fields and need(fields["period"], "end") < need(fields["period"], "start"):
        raise invalid("The end of the period must be greater than or equal to its start.", "period[end]")
    if params.get("subscription"):
        of = account.get("subscription", params["subscription"], "subscription", 400)
        details = {"subscription": of["id"], "subscription_item": None}
        fields["parent"] = {"subscription_details": details, "type": "subscription_details"}
    quantity = params.get("quantity", 1)
    amount, currency, named = _worth(account, params, price, quantity, customer)
    if abs(amount) > MOST_CENTS:
        raise invalid(f"The amount must be at most {MOST_CENTS}.", "amount", "amount_too_large")
    if invoice and currency != invoice["currency"]:
        raise invalid(f"The currency of the invoice is {invoice['currency']}.", "currency")
    if invoice and len(invoice["lines"]["data"]) >= MOST_ITEMS:
        raise invalid(f"An invoice can have at most {MOST_ITEMS} items.", "invoice")
    item = invoices.invoice_item(
        account, customer, amount, currency, **fields, pricing=named, quantity=quantity, quantity_decimal=str(quantity)
    )
    account.emit("invoiceitem.created", account.add(item))
    if invoice:
        _put_on(account, invoice, item)
    return item


def _worth(
    account: Account, params: dict[str, Any], price: Record | None, quantity: int, customer: Record
) -> tuple[int, str, Record | None]:
    """Amount, currency and pricing, by whichever way they were said."""
    if price:
        if price["type"] != "one_time":
            raise invalid(
                "The price specified is set to `type=recurring` but this field only accepts `one_time`.",
                "pricing[price]",
            )
        return proration.total(price, quantity), price["currency"], invoices.pricing(price, price["unit_amount"])
    if "price_data" in params:
        said = params["price_data"]
        account.get("product", need(said, "product"), "price_data[product]", 400)
        return need(said, "unit_amount") * quantity, need(said, "currency"), None
    if "amount" not in params:
        raise absent("amount")
    return params["amount"], params.get("currency") or customer["currency"] or need(params, "currency"), None


@route("GET", "/v1/invoiceitems/{invoiceitem}", "invoiceitem")
def retrieve_item(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("invoiceitem", id, "invoiceitem")


@route("GET", "/v1/invoiceitems", "invoiceitem", {"customer": text, "invoice": text, "pending": flag}, listed=True)
def list_items(account: Account, params: dict[str, Any]) -> Record:
    def fits(item: Record) -> bool:
        same = all(params.get(name) in (None, item[name]) for name in ("customer", "invoice"))
        return same and params.get("pending") in (None, item["invoice"] is None)

    customer = params.get("customer")
    items = account.of("invoiceitem", customer) if customer else account.all("invoiceitem")
    return page("/v1/invoiceitems", items, params, fits)


@route("DELETE", "/v1/invoiceitems/{invoiceitem}", "invoiceitem")
def delete_item(account: Account, id: str, params: dict[str, Any]) -> Record:
    item = account.get("invoiceitem", id, "invoiceitem")
    invoice = account.tables["invoice"].get(item["invoice"] or "")
    if invoice and invoice["status"] != "draft":
        raise invalid("You cannot delete an invoice item that is on a finalized invoice.", code="invoice_not_editable")
    if invoice:
        with account.changing(invoice):
            lines = invoice["lines"]["data"]
            lines[:] = [line for line in lines if _item_of(line) != id]
            invoices.reckon(account, invoice)
    account.emit("invoiceitem.deleted", item)
    account.remove(item)
    return {"id": id, "object": "invoiceitem", "deleted": True}


def _item_of(line: Record) -> str | None:
    parent = line["parent"]
    return parent[parent["type"]]["invoice_item"]


# Payments

PAYMENTS: dict[str, Shape] = {
    "invoice": text,
    "payment": {"payment_intent": text, "type": choice("payment_intent")},
    "status": clearable(choice("canceled", "open", "paid")),
}


@route("GET", "/v1/invoice_payments", "invoice_payment", PAYMENTS, listed=True)
def list_payments(account: Account, params: dict[str, Any]) -> Record:
    intent = params.get("payment", {}).get("payment_intent")

    def fits(payment: Record) -> bool:
        same = all(params.get(name) in (None, payment[name]) for name in ("invoice", "status"))
        return same and intent in (None, payment["payment"]["payment_intent"])

    asked = account.tables["payment_intent"].get(intent or "")
    found = _payments_of(account, asked["customer"]) if asked else account.all("invoice_payment")
    return page("/v1/invoice_payments", found, params, fits)


def _payments_of(account: Account, customer: str) -> list[Record]:
    return [payment for invoice in account.of("invoice", customer) for payment in invoice["payments"]["data"]]


CONFIRM: dict[str, Shape] = {
    "client_secret": text,
    "off_session": flag,
    "payment_method": text,
    "return_url": text,
    "use_stripe_sdk": flag,
}


@route("POST", "/v1/payment_intents/{payment_intent}/confirm", "payment_intent", CONFIRM)
def confirm(account: Account, id: str, params: dict[str, Any]) -> Record:
    """
    Stands for the browser with its client secret: the customer gives a card, and passes 3-D Secure if it asks.

    A card that is refused is a 402. One that is charged is attached to the customer.
    """
    intent = account.get("payment_intent", id, "intent")
    if intent["status"] in ("succeeded", "canceled"):
        raise invalid(f"This PaymentIntent is already {intent['status']}.", code="payment_intent_unexpected_state")
    customer = account.get("customer", intent["customer"], "customer", 400)
    method = payments.issue(account, params.get("payment_method") or need(intent, "payment_method"), customer)
    invoice = next(
        account.tables["invoice"][payment["invoice"]]
        for payment in _payments_of(account, customer["id"])
        if payment["payment"]["payment_intent"] == id
    )
    refusal = collection.collect(account, invoice, method, authenticated=not params.get("off_session", False))
    if refusal:
        refusal.body["error"]["payment_intent"] = shown(intent)
        raise refusal
    payments.give(account, method, customer)
    return intent


def pay_on_page(account: Account, id: str, method: str | None) -> None:
    intent = invoices.intent_of(account, account.get("invoice", id, "invoice"))
    if not intent:
        raise invalid("There is nothing to pay on this invoice.", code="invoice_not_payable")
    confirm(account, intent["id"], {"payment_method": method} if method else {})
