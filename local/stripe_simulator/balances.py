"""What a customer owes or is owed (`balance`, negative: a credit), and each movement of it, on record."""

from typing import Any

from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import invalid, missing
from local.stripe_simulator.forms import Shape, free, need, text, whole
from local.stripe_simulator.routes import route

PATH, KIND = "/v1/customers/{customer}/balance_transactions", "customer_balance_transaction"


def note(account: Account, customer: Record, amount: int, type: str, **fields: Any) -> Record:
    """Move the balance. The caller tells of it."""
    customer["balance"] += amount
    return account.add(
        {
            "id": new_id(KIND),
            "object": KIND,
            "amount": amount,
            "checkout_session": None,
            "created": account.now(customer),
            "credit_note": None,
            "currency": customer["currency"] or "usd",
            "customer": customer["id"],
            "customer_account": None,
            "description": None,
            "ending_balance": customer["balance"],
            "invoice": None,
            "livemode": False,
            "metadata": {},
            "type": type,
            **fields,
        }
    )


def book(account: Account, customer: Record, amount: int, type: str, **fields: Any) -> Record:
    with account.changing(customer):
        return note(account, customer, amount, type, **fields)


CREATE: dict[str, Shape] = {"amount": whole, "currency": text, "description": text, "metadata": free}


@route("POST", PATH, KIND, CREATE)
def create(account: Account, customer: str, params: dict[str, Any]) -> Record:
    owner, currency = account.get("customer", customer, "customer"), need(params, "currency")
    if not need(params, "amount"):
        raise invalid("The amount must not be 0.", "amount", "parameter_invalid_integer")
    if owner["currency"] not in (None, currency):
        raise invalid(f"The balance of this customer is in {owner['currency']}.", "currency")
    said = {"description": params.get("description"), "metadata": params.get("metadata") or {}}
    with account.changing(owner):
        owner["currency"] = currency
        return note(account, owner, params["amount"], "adjustment", **said)


@route("GET", PATH, KIND, {"invoice": text}, listed=True)
def list_all(account: Account, customer: str, params: dict[str, Any]) -> Record:
    account.get("customer", customer, "customer")

    def fits(transaction: Record) -> bool:
        return params.get("invoice") in (None, transaction["invoice"])

    return page(PATH.format(customer=customer), account.of(KIND, customer), params, fits)


@route("GET", PATH + "/{transaction}", KIND)
def retrieve(account: Account, customer: str, id: str, params: dict[str, Any]) -> Record:
    transaction = account.get(KIND, id, "transaction")
    if transaction["customer"] != customer:
        raise missing(KIND, id, "transaction")
    return transaction
