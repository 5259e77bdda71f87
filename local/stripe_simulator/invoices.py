"""The invoice record: its lines and amounts, the items that wait for it, its finalization. Collecting is elsewhere."""

from typing import Any

from local.stripe_simulator import balances, discounts, payments, taxes
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, listed
from local.stripe_simulator.errors import invalid
from local.stripe_simulator.periods import DAY, HOUR

SMALLEST_CHARGE = 50  # of any currency: close enough for the two-decimal ones


def pricing(price: Record | None, unit_amount: int | None) -> Record | None:
    """`unit_amount` is null on prorations and on tiers: there the amount alone is authoritative."""
    return price and {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": None if unit_amount is None else str(unit_amount),
    }


def item_line(item: Record, amount: int, period: tuple[int, int], description: str, **fields: Any) -> Record:
    """A line for a subscription item; of its own price and quantity unless the fields say otherwise."""
    quantity, price = fields.pop("quantity", item["quantity"]), fields.pop("price", item["price"])
    proration, credited = fields.pop("proration", False), fields.pop("credited", None)
    return {
        "id": new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": not proration,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": proration,
                "proration_details": {"credited_items": credited},
                "subscription": item["subscription"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": period[1], "start": period[0]},
        "pretax_credit_amounts": [],
        "pricing": pricing(price, None if proration else price["unit_amount"]),
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": item["subscription"],
        "subtotal": amount,
        "taxes": [],
        **fields,
    }


def waiting_item(account: Account, customer: Record, line: Record) -> Record:
    """A proration line that waits for the next invoice, as an invoice item."""
    details = line["parent"]["subscription_item_details"]
    credited = details["proration_details"]["credited_items"]
    waiting = invoice_item(
        account,
        customer,
        line["amount"],
        line["currency"],
        description=line["description"],
        discountable=False,
        parent={
            "subscription_details": {
                "subscription": details["subscription"],
                "subscription_item": details["subscription_item"],
            },
            "type": "subscription_details",
        },
        period=line["period"],
        pricing=line["pricing"],
        proration=True,
        proration_details={
            "credited_items": credited
            and {"invoice_item": None, "invoice_line_item_details": credited, "type": "invoice_line_items"},
            "discount_amounts": line["discount_amounts"],
        },
        quantity=line["quantity"],
        quantity_decimal=line["quantity_decimal"],
    )
    account.emit("invoiceitem.created", account.add(waiting))
    return waiting


def invoice_item(account: Account, customer: Record, amount: int, currency: str, **fields: Any) -> Record:
    """Discounted unless it is a credit, or says that it is not to be."""
    now, discountable = account.now(customer), fields.setdefault("discountable", amount >= 0)
    return {
        "id": new_id("invoiceitem"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "date": now,
        "description": None,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "net_amount": None if discountable else amount,
        "parent": None,
        "period": {"end": now, "start": now},
        "pricing": None,
        "proration": False,
        "proration_details": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": customer["test_clock"],
        **fields,
    }


def line_of(waiting: Record) -> Record:
    """The line that an invoice item becomes."""
    of = (waiting["parent"] or {}).get("subscription_details")
    credited = (waiting["proration_details"] or {}).get("credited_items")
    details = {
        "invoice_item": waiting["id"],
        "proration": waiting["proration"],
        "proration_details": {"credited_items": credited and credited["invoice_line_item_details"]},
        "subscription": of and of["subscription"],
    }
    kind = "subscription_item_details" if of and of["subscription_item"] else "invoice_item_details"
    parent: Record = {"invoice_item_details": None, "subscription_item_details": None, "type": kind}
    parent[kind] = details | ({"subscription_item": of["subscription_item"]} if of and of["subscription_item"] else {})
    shared = ("amount", "currency", "description", "discountable", "metadata", "period", "pricing", "quantity")
    return {
        **{name: waiting[name] for name in shared},
        "id": new_id("line_item"),
        "object": "line_item",
        "discount_amounts": [dict(one) for one in (waiting["proration_details"] or {}).get("discount_amounts", [])],
        "discounts": [],
        "invoice": waiting["invoice"],
        "livemode": False,
        "parent": parent,
        "pretax_credit_amounts": [],
        "quantity_decimal": waiting["quantity_decimal"],
        "subscription": of and of["subscription"],
        "subtotal": waiting["amount"],
        "taxes": [],
    }


def pending(account: Account, customer: str, subscription: str | None) -> list[Record]:
    """Items that wait for the next invoice of this subscription; those of no subscription go with any."""

    def fits(waiting: Record) -> bool:
        of = (waiting["parent"] or {}).get("subscription_details")
        return waiting["invoice"] is None and (of is None or of["subscription"] == subscription)

    return [waiting for waiting in account.of("invoiceitem", customer) if fits(waiting)]


def due(total: int, balance: int) -> tuple[int, int]:
    """What is charged of a total, and the customer's balance after it (negative: a credit)."""
    owed = total + balance
    if total <= 0 or owed < SMALLEST_CHARGE:
        return 0, owed
    return owed, 0


def record(
    account: Account, customer: Record, subscription: Record | None, reason: str, lines: list[Record], **fields: Any
) -> Record:
    """
    A draft, with the discounts of its subscription; with its taxes, too, unless `taxed` says otherwise. Nothing is
    stored and nothing is told: previews end here.
    """
    id, now = fields.get("id") or new_id("invoice"), account.now(customer)
    taxed = fields.pop("taxed", bool(subscription and subscription["automatic_tax"]["enabled"]))
    automatic = subscription is None or subscription["collection_method"] == "charge_automatically"
    invoice: Record = {
        "id": id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Simulator",
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": taxed,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": "charge_automatically" if automatic else "send_invoice",
        "confirmation_secret": None,
        "created": now,
        "currency": lines[0]["currency"]
        if lines
        else (subscription or {}).get("currency") or customer["currency"] or "usd",
        "custom_fields": None,
        "customer": customer["id"],
        "customer_account": None,
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": None,
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [
            {"type": tax_id["type"], "value": tax_id["value"]} for tax_id in account.of("tax_id", customer["id"])
        ],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": discounts.in_force(account, subscription["discounts"], now) if subscription else [],
        "due_date": subscription and subscription["days_until_due"] and now + subscription["days_until_due"] * DAY,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": listed(f"/v1/invoices/{id}/lines", lines),
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": subscription
        and {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "payments": listed("/v1/invoice_payments", []),
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": customer["balance"],
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": customer["test_clock"],
        "threshold_reason": None,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
        **fields,
    }
    reckon(account, invoice)
    return invoice


def reckon(account: Account, invoice: Record) -> None:
    """Bring the amounts of a draft in line with its lines, its discounts, tax, and the customer's balance."""
    lines, customer = invoice["lines"]["data"], account.tables["customer"][invoice["customer"]]
    _discount(account, invoice)
    taxes.levy(account, invoice, customer)
    subtotal = sum(line["amount"] for line in lines)
    untaxed = subtotal - sum(share["amount"] for share in invoice["total_discount_amounts"])
    total = untaxed + sum(tax["amount"] for tax in invoice["total_taxes"])
    amount, _ = due(total, customer["balance"])
    invoice.update(subtotal=subtotal, subtotal_excluding_tax=subtotal, total_excluding_tax=untaxed, total=total)
    invoice.update(amount_due=amount, amount_remaining=amount, starting_balance=customer["balance"])
    for line in lines:
        line["invoice"] = invoice["id"]


def _discount(account: Account, invoice: Record) -> None:
    """Prorations are net already: they name their discounts, with amounts of 0."""
    lines = [line for line in invoice["lines"]["data"] if line["discountable"]]
    shared = discounts.shares(account, invoice["discounts"], [line["amount"] for line in lines])
    for line, shares in zip(lines, shared, strict=True):
        line["discount_amounts"] = shares
        line["pretax_credit_amounts"] = [share | {"type": "discount"} for share in shares]
    off = dict.fromkeys(invoice["discounts"], 0)
    for share in (one for shares in shared for one in shares):
        off[share["discount"]] += share["amount"]
    invoice["total_discount_amounts"] = [{"amount": amount, "discount": id} for id, amount in off.items()]
    invoice["total_pretax_credit_amounts"] = [
        share | {"type": "discount"} for share in invoice["total_discount_amounts"]
    ]


def draft(
    account: Account, customer: Record, subscription: Record | None, reason: str, lines: list[Record], **fields: Any
) -> Record:
    """A stored draft of these lines, and of the items that waited for it. Told."""
    waiting = pending(account, customer["id"], subscription["id"]) if subscription else []
    invoice = record(account, customer, subscription, reason, [*map(line_of, waiting), *lines], **fields)
    account.add(invoice)
    for one in waiting:
        one["invoice"] = invoice["id"]
    customer["currency"] = customer["currency"] or invoice["currency"]
    account.emit("invoice.created", invoice)
    account.look_at(invoice, invoice["automatically_finalizes_at"])
    return invoice


def waiting_for(account: Account, subscription: Record) -> list[Record]:
    """Its own items that wait for an invoice; those of the customer at large stay when it ends."""
    return [item for item in pending(account, subscription["customer"], subscription["id"]) if item["parent"]]


def last(account: Account, subscription: Record) -> None:
    """The draft of what waits for a subscription that has ended; it is finalized an hour later."""
    customer, hour = account.tables["customer"][subscription["customer"]], account.now(subscription) + HOUR
    invoice = draft(account, customer, subscription, "subscription_cycle", [], automatically_finalizes_at=hour)
    subscription["latest_invoice"] = invoice["id"]


def last_by_date(account: Account, subscription: Record) -> None:
    """What waits to be charged is collected when a subscription ends as planned; a credit waits on."""
    if sum(item["amount"] for item in waiting_for(account, subscription)) > 0:
        last(account, subscription)


def finalize(account: Account, invoice: Record, credits: bool = True) -> None:
    """
    Number it, fix its amounts, use the customer's balance, and make the payment that is to be collected.

    Without `credits` a negative total does not reach the balance: so it was recorded of cancelled subscriptions.
    """
    if invoice["status"] != "draft":
        raise invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.", code="invoice_not_editable"
        )
    customer = account.tables["customer"][invoice["customer"]]
    now, start = account.now(invoice), customer["balance"]
    reckon(account, invoice)
    amount, end = due(invoice["total"], start) if credits else (0, start)
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    base = f"https://invoice.stripe.com/i/acct_simulator/{invoice['id']}"
    invoice.update(
        automatically_finalizes_at=None,
        effective_at=now,
        ending_balance=end,
        hosted_invoice_url=f"{base}?s=ap",
        invoice_pdf=f"{base}/pdf?s=ap",
        number=number,
        starting_balance=start,
        status="open",
    )
    invoice["status_transitions"]["finalized_at"] = now
    if end != start:
        kind = "applied_to_invoice" if abs(end) < abs(start) else "invoice_too_small"
        balances.book(account, customer, end - start, kind, invoice=invoice["id"])
    if amount:
        request_payment(account, invoice, customer)
    account.emit("invoice.finalized", invoice)
    subscription = subscription_of(account, invoice)
    if subscription:
        discounts.spend(account, subscription, invoice)


def request_payment(account: Account, invoice: Record, customer: Record) -> None:
    intent = payments.intend(
        account, customer, invoice["amount_due"], invoice["currency"], f"Invoice {invoice['number']}"
    )
    payment: Record = {
        "id": new_id("invoice_payment"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_due"],
        "created": account.now(invoice),
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
    invoice["payments"]["data"].append(account.add(payment))
    invoice["confirmation_secret"] = {"client_secret": intent["client_secret"], "type": "payment_intent"}


def intent_of(account: Account, invoice: Record) -> Record | None:
    """The payment that stands for what is due; none where nothing is due."""
    paid_by = [payment["payment"]["payment_intent"] for payment in invoice["payments"]["data"] if payment["is_default"]]
    return account.tables["payment_intent"][paid_by[0]] if paid_by else None


def subscription_of(account: Account, invoice: Record) -> Record | None:
    details = (invoice["parent"] or {}).get("subscription_details")
    return account.tables["subscription"].get(details["subscription"]) if details else None
