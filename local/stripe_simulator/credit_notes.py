"""Credit notes: an invoice that is less than it said, before it is paid or after."""

from typing import Any

from local.stripe_simulator import balances, collection, invoices, refunds
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, listed, page
from local.stripe_simulator.errors import absent, invalid
from local.stripe_simulator.forms import Shape, choice, free, merged, need, text, whole
from local.stripe_simulator.routes import route

KIND = "credit_note"
CREATE: dict[str, Shape] = {
    "amount": whole,
    "credit_amount": whole,
    "email_type": choice("credit_note", "none"),
    "invoice": text,
    "memo": text,
    "metadata": free,
    "reason": choice("duplicate", "fraudulent", "order_change", "product_unsatisfactory"),
    "refund_amount": whole,
}
PARTS = ("credit_amount", "refund_amount")


@route("POST", "/v1/credit_notes", KIND, CREATE)
def create(account: Account, params: dict[str, Any]) -> Record:
    """Of an open invoice, it lowers what is due. Of a paid one, its parts go to the card and to the balance."""
    invoice = account.get("invoice", need(params, "invoice"), "invoice", 400)
    customer = account.tables["customer"][invoice["customer"]]
    if invoice["status"] not in ("open", "paid"):
        raise invalid(f"You cannot issue a credit note for an invoice that is {invoice['status']}.", "invoice")
    before = invoice["status"] == "open"
    amount, parts = params.get("amount"), {name: params.get(name, 0) for name in PARTS}
    charge = refunds.charge_of(account, invoices.intent_of(account, invoice))
    if amount is None:
        raise absent("amount")
    if amount <= 0 or min(parts.values()) < 0:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if sum(parts.values()) != (0 if before else amount):
        raise invalid(
            "The sum of `credit_amount` and `refund_amount` must equal the post payment amount of the credit note.",
            "amount",
        )
    if amount > _creditable(invoice, before):
        raise invalid("The amount of the credit note is greater than what is left of the invoice.", "amount")
    if parts["refund_amount"] > refunds.refundable(charge):
        raise refunds.too_much(parts["refund_amount"], charge)
    note = account.add(_record(account, invoice, customer, amount, before, params))
    if charge and parts["refund_amount"]:
        back = refunds.refund(account, charge, parts["refund_amount"])
        note["refunds"] = [{"amount_refunded": back["amount"], "refund": back["id"], "type": "refund"}]
    if parts["credit_amount"]:
        fields = {"credit_note": note["id"], "invoice": invoice["id"]}
        credit = balances.book(account, customer, -parts["credit_amount"], "credit_note", **fields)
        note["customer_balance_transaction"] = credit["id"]
    account.emit("credit_note.created", note)
    _move(account, invoice, amount, before)
    return note


def _creditable(invoice: Record, before: bool) -> int:
    if before:
        return invoice["amount_remaining"]
    names = ("pre_payment_credit_notes_amount", "post_payment_credit_notes_amount")
    return invoice["total"] - sum(invoice[name] for name in names)


def _move(account: Account, invoice: Record, amount: int, before: bool) -> None:
    """Write a credit note on its invoice, or with a negative amount take it off again."""
    name = "pre_payment_credit_notes_amount" if before else "post_payment_credit_notes_amount"
    with account.changing(invoice):
        invoice[name] += amount
        if before:
            invoice["amount_due"] -= amount
            invoice["amount_remaining"] -= amount
    if not before:
        return
    intent = invoices.intent_of(account, invoice)
    if not invoice["amount_remaining"]:
        collection.settle(account, invoice, out_of_band=True)
    elif intent:
        intent["amount"] = invoice["payments"]["data"][0]["amount_requested"] = invoice["amount_due"]


def _record(
    account: Account, invoice: Record, customer: Record, amount: int, before: bool, params: dict[str, Any]
) -> Record:
    id, now = new_id(KIND), account.now(invoice)
    place = 1 + sum(one["invoice"] == invoice["id"] for one in account.of(KIND, customer["id"]))
    return {
        "id": id,
        "object": KIND,
        "amount": amount,
        "amount_shipping": 0,
        "created": now,
        "currency": invoice["currency"],
        "customer": customer["id"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": now,
        "invoice": invoice["id"],
        "lines": listed(f"/v1/credit_notes/{id}/lines", []),
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": params.get("metadata") or {},
        "number": f"{invoice['number']}-CN-{place:02d}",
        "out_of_band_amount": None,
        "pdf": f"https://pay.stripe.com/credit_notes/acct_simulator/{id}/pdf?s=ap",
        "post_payment_amount": 0 if before else amount,
        "pre_payment_amount": amount if before else 0,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": "pre_payment" if before else "post_payment",
        "voided_at": None,
    }


@route("GET", "/v1/credit_notes/{credit_note}", KIND)
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get(KIND, id)


@route("GET", "/v1/credit_notes", KIND, {"customer": text, "invoice": text}, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    def fits(note: Record) -> bool:
        return all(params.get(name) in (None, note[name]) for name in ("customer", "invoice"))

    return page("/v1/credit_notes", account.all(KIND), params, fits)


@route("POST", "/v1/credit_notes/{credit_note}", KIND, {"memo": text, "metadata": free})
def update(account: Account, id: str, params: dict[str, Any]) -> Record:
    note = account.get(KIND, id)
    with account.changing(note):
        note["memo"] = params.get("memo", note["memo"]) or None
        note["metadata"] = merged(note["metadata"], params.get("metadata", {}))
    return note


@route("POST", "/v1/credit_notes/{credit_note}/void", KIND)
def void(account: Account, id: str, params: dict[str, Any]) -> Record:
    """Only while its invoice is still open: what was paid out stays paid out."""
    note = account.get(KIND, id)
    invoice = account.tables["invoice"][note["invoice"]]
    if note["status"] == "void" or invoice["status"] != "open":
        raise invalid("You can only void a credit note that is issued, of an open invoice.", "id")
    note.update(status="void", voided_at=account.now(note))
    account.emit("credit_note.voided", note)
    _move(account, invoice, -note["amount"], before=True)
    return note
