"""Money back to the card it came from."""

from typing import Any

from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import Refused, absent, invalid
from local.stripe_simulator.forms import Shape, choice, free, merged, text, whole
from local.stripe_simulator.routes import route

CREATE: dict[str, Shape] = {
    "amount": whole,
    "charge": text,
    "metadata": free,
    "payment_intent": text,
    "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
}


def refundable(charge: Record | None) -> int:
    return charge["amount"] - charge["amount_refunded"] if charge else 0


def charge_of(account: Account, intent: Record | None) -> Record | None:
    """What was collected for a payment; nothing yet, or nothing by card, is None."""
    return account.tables["charge"].get(intent["latest_charge"] or "") if intent else None


def refund(account: Account, charge: Record, amount: int, **fields: Any) -> Record:
    """It succeeds at once."""
    made: Record = {
        "id": new_id("refund"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.now(charge),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
        **fields,
    }
    account.emit("refund.created", account.add(made))
    with account.changing(charge, "charge.refunded"):
        charge["amount_refunded"] += amount
        charge["refunded"] = not refundable(charge)
    return made


@route("POST", "/v1/refunds", "refund", CREATE)
def create(account: Account, params: dict[str, Any]) -> Record:
    """Of all that is left, unless it says how much. The invoice that was paid does not hear of it."""
    charge = _charge(account, params)
    amount = params.get("amount", refundable(charge))
    if not refundable(charge):
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if amount <= 0:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if amount > refundable(charge):
        raise too_much(amount, charge)
    said = {"metadata": params.get("metadata") or {}, "reason": params.get("reason")}
    return refund(account, charge, amount, **said)


def too_much(amount: int, charge: Record | None) -> Refused:
    left = refundable(charge)
    return invalid(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", "amount")


def _charge(account: Account, params: dict[str, Any]) -> Record:
    if ("charge" in params) == ("payment_intent" in params):
        raise absent("payment_intent")
    if "charge" in params:
        return account.get("charge", params["charge"], "charge", 400)
    intent = account.get("payment_intent", params["payment_intent"], "payment_intent", 400)
    charge = charge_of(account, intent)
    if not charge:
        raise invalid(f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
    return charge


@route("GET", "/v1/refunds/{refund}", "refund")
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("refund", id)


@route("POST", "/v1/refunds/{refund}", "refund", {"metadata": free})
def update(account: Account, id: str, params: dict[str, Any]) -> Record:
    made = account.get("refund", id)
    with account.changing(made):
        made["metadata"] = merged(made["metadata"], params.get("metadata", {}))
    return made


@route("GET", "/v1/refunds", "refund", {"charge": text, "payment_intent": text}, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    def fits(made: Record) -> bool:
        return all(params.get(name) in (None, made[name]) for name in ("charge", "payment_intent"))

    return page("/v1/refunds", account.all("refund"), params, fits)
