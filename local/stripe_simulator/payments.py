"""Payment methods made of Stripe's test tokens, and the payment and setup intents that use them."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from uuid import uuid4

from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page, shown
from local.stripe_simulator.errors import Refused, declined, invalid
from local.stripe_simulator.forms import ADDRESS, Shape, clearable, flag, free, merged, need, text, whole
from local.stripe_simulator.routes import route

HARD = {  # declines after which nothing is charged again by itself until there is another card (docs: Smart Retries)
    "authentication_required",
    "highest_risk_level",
    "incorrect_number",
    "lost_card",
    "pickup_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "stolen_card",
    "transaction_not_allowed",
}


@dataclass(frozen=True)
class Card:
    """How a test card behaves. `refusal` is the decline code of a charge; some are refused when attached."""

    token: str
    last4: str
    brand: str = "visa"
    attaches: bool = True
    refusal: str | None = None
    needs_authentication: bool = False

    def declines(self, authenticated: bool) -> str | None:
        """The decline code of a charge, or none. A bank that asks for 3-D Secure is content once that is passed."""
        asks = self.needs_authentication or self.refusal == "authentication_required"
        if asks and not authenticated:
            return "authentication_required"
        return None if self.refusal == "authentication_required" else self.refusal


CARDS = {
    card.token: card
    for card in (
        Card("pm_card_visa", "4242"),
        Card("pm_card_mastercard", "4444", brand="mastercard"),
        Card("pm_card_amex", "0005", brand="amex"),
        Card("pm_card_discover", "1117", brand="discover"),
        Card("pm_card_diners", "0004", brand="diners"),
        Card("pm_card_jcb", "0505", brand="jcb"),
        Card("pm_card_chargeDeclined", "0002", attaches=False, refusal="generic_decline"),
        Card("pm_card_visa_chargeDeclined", "0002", attaches=False, refusal="generic_decline"),
        Card("pm_card_chargeDeclinedInsufficientFunds", "9995", attaches=False, refusal="insufficient_funds"),
        Card("pm_card_visa_chargeDeclinedInsufficientFunds", "9995", attaches=False, refusal="insufficient_funds"),
        Card("pm_card_visa_chargeDeclinedLostCard", "9987", attaches=False, refusal="lost_card"),
        Card("pm_card_visa_chargeDeclinedStolenCard", "9979", attaches=False, refusal="stolen_card"),
        Card("pm_card_chargeDeclinedExpiredCard", "0069", attaches=False, refusal="expired_card"),
        Card("pm_card_chargeDeclinedIncorrectCvc", "0127", attaches=False, refusal="incorrect_cvc"),
        Card("pm_card_chargeDeclinedProcessingError", "0119", attaches=False, refusal="processing_error"),
        Card("pm_card_chargeCustomerFail", "0341", refusal="generic_decline"),
        Card("pm_card_authenticationRequired", "3184", needs_authentication=True),
        Card("pm_card_threeDSecure2Required", "3220", needs_authentication=True),
        *(
            Card(f"pm_card_chargeCustomerFail_{code}", "0341", refusal=code)
            for code in sorted(HARD | {"expired_card", "insufficient_funds", "processing_error"})
        ),
    )
}
BILLING: Shape = {"address": clearable(ADDRESS), "email": text, "name": text, "phone": text}


def _card(token: str) -> Card | None:
    """
    The card of a token. One with a word of your own behind it, as `pm_card_visa_ada`, is another card like it; that of
    `pm_card_chargeCustomerFail_lost_card` is declined with this code once it is attached. Both are the simulator's
    convenience: Stripe has no such tokens.
    """
    known = CARDS.get(token) or CARDS.get("_".join(token.split("_")[:3]))
    return replace(known, token=token) if known else None


def issue(account: Account, id: str, customer: Record) -> Record:
    """The payment method of this id, free or this customer's; of a test token, a new one. Some cards are refused."""
    card = _card(id)
    if card and not card.attaches:
        raise declined(card.refusal or "generic_decline")
    method = _new(account, card, customer) if card else account.get("payment_method", id, "payment_method", 400)
    if method["customer"] not in (None, customer["id"]):
        raise invalid("The payment method you provided has already been attached to a customer.", "payment_method")
    return method


def _new(account: Account, card: Card, customer: Record | None) -> Record:
    method: Record = {
        "id": new_id("payment_method"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
            "email": None,
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "display_brand": card.brand,
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": sha256(card.token.encode()).hexdigest()[:16],
            "funding": "credit",
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": account.now(customer),
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    account.cards[method["id"]] = card
    return account.add(method)


def give(account: Account, method: Record, customer: Record) -> Record:
    if method["customer"] is None:
        account.move(method, customer["id"])
        account.emit("payment_method.attached", method)
    return method


def take_back(account: Account, method: Record) -> None:
    with account.changing(method, "payment_method.detached"):
        account.move(method, None)


def owned(account: Account, customer: Record, id: str) -> Record:
    """The customer's own payment method; by a test token, the newest that was made of it."""
    mine = account.of("payment_method", customer["id"])
    found = [method for method in mine if id in (method["id"], account.cards[method["id"]].token)]
    if not found:
        hint = "The payment method must be attached to the customer."
        raise invalid(
            f"The customer does not have a payment method with the ID {id}. {hint}",
            "default_payment_method",
            "resource_missing",
        )
    return found[-1]


@route("POST", "/v1/payment_methods/{payment_method}/attach", "payment_method", {"customer": text})
def attach(account: Account, id: str, params: dict[str, Any]) -> Record:
    customer = account.get("customer", need(params, "customer"), "customer", 400)
    return give(account, issue(account, id, customer), customer)


@route("POST", "/v1/payment_methods/{payment_method}/detach", "payment_method")
def detach(account: Account, id: str, params: dict[str, Any]) -> Record:
    method = account.get("payment_method", id)
    if method["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer = account.tables["customer"][method["customer"]]
    take_back(account, method)
    with account.changing(customer):
        if customer["invoice_settings"]["default_payment_method"] == id:
            customer["invoice_settings"]["default_payment_method"] = None
    for subscription in account.of("subscription", customer["id"]):
        if subscription["default_payment_method"] == id:
            with account.changing(subscription):
                subscription["default_payment_method"] = None
    return method


@route("GET", "/v1/payment_methods/{payment_method}", "payment_method")
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    """Of a test token, a new one of that card, of nobody."""
    card = _card(id)
    return _new(account, card, None) if card else account.get("payment_method", id)


CHANGE: dict[str, Shape] = {
    "billing_details": BILLING,
    "card": {"exp_month": whole, "exp_year": whole},
    "metadata": free,
}


@route("POST", "/v1/payment_methods/{payment_method}", "payment_method", CHANGE)
def update(account: Account, id: str, params: dict[str, Any]) -> Record:
    """A card that expires works on all the same: only `Simulator.card_behaves` changes what the bank says."""
    method = account.get("payment_method", id)
    if not 1 <= params.get("card", {}).get("exp_month", 1) <= 12:
        raise invalid("Your card's expiration month is invalid.", "card[exp_month]", "invalid_expiry_month")
    with account.changing(method):
        method["card"] = method["card"] | params.get("card", {})
        method["metadata"] = merged(method["metadata"], params.get("metadata", {}))
        for name, value in params.get("billing_details", {}).items():
            method["billing_details"][name] = (
                {**method["billing_details"]["address"], **value} if name == "address" else value
            )
    return method


def renew(account: Account, id: str) -> None:
    """The bank has sent the customer a new card, which works, and the network told Stripe its number."""
    method = account.get("payment_method", id)
    behave(account, id)
    fingerprint = sha256(method["card"]["fingerprint"].encode()).hexdigest()[:16]
    with account.changing(method, "payment_method.automatically_updated"):
        method["card"] = method["card"] | {"exp_year": method["card"]["exp_year"] + 4, "fingerprint": fingerprint}


def behave(account: Account, id: str, refusal: str | None = None, needs_authentication: bool = False) -> None:
    account.get("payment_method", id)
    account.cards[id] = replace(account.cards[id], refusal=refusal, needs_authentication=needs_authentication)


@route("GET", "/v1/payment_methods", "payment_method", {"customer": text, "type": text}, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    mine = account.of("payment_method", need(params, "customer"))
    return page("/v1/payment_methods", mine, params, lambda method: params.get("type") in (None, method["type"]))


@route("GET", "/v1/customers/{customer}/payment_methods", "payment_method", {"type": text}, listed=True)
def list_of_customer(account: Account, customer: str, params: dict[str, Any]) -> Record:
    account.get("customer", customer, "customer")
    return list_all(account, params | {"customer": customer})


# Intents


def intend(account: Account, customer: Record, amount: int, currency: str, description: str | None = None) -> Record:
    """A payment that waits for a payment method."""
    id = new_id("payment_intent")
    intent: Record = {
        "id": id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{id}_secret_{uuid4().hex[:24]}",
        "confirmation_method": "automatic",
        "created": account.now(customer),
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "description": description,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": None,
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "setup_future_usage": "off_session",
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    account.emit("payment_intent.created", account.add(intent))
    return intent


def charge(account: Account, intent: Record, method: Record, authenticated: bool = False) -> Refused | None:
    """
    Try to collect. Answers why not; the intent then needs an action, or another payment method.

    Where 3-D Secure is needed there is no error on the intent, for the payment has not failed yet (inferred). The
    decline `authentication_required` is that of a bank that was not asked in the customer's presence.
    """
    card: Card = account.cards[method["id"]]
    code = card.declines(authenticated)
    intent.update(payment_method=method["id"], next_action=None, last_payment_error=None)
    if code and card.needs_authentication and not authenticated:
        intent.update(status="requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}})
        account.emit("payment_intent.requires_action", intent)
        return declined(code, payment_method=shown(method))
    if code:
        refusal = declined(code, payment_method=shown(method))
        intent.update(status="requires_payment_method", last_payment_error=refusal.body["error"])
        account.emit("payment_intent.payment_failed", intent)
        return refusal
    charged = account.add(_charge(account, intent, method))
    intent.update(status="succeeded", amount_received=intent["amount"], latest_charge=charged["id"])
    account.emit("payment_intent.succeeded", intent)
    return None


def hard_decline(intent: Record, method: Record) -> Refused | None:
    """What this card met last on this payment, if that was for good. A card that the bank renewed is another."""
    error = intent["last_payment_error"] or {}
    met = error.get("payment_method")
    same = met and (met["id"], met["card"]["fingerprint"]) == (method["id"], method["card"]["fingerprint"])
    hard = same and error["decline_code"] in HARD
    return declined(error["decline_code"], payment_method=met) if hard else None


def _charge(account: Account, intent: Record, method: Record) -> Record:
    amount = intent["amount"]
    return {
        "id": new_id("charge"),
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "amount_refunded": 0,
        "balance_transaction": None,
        "billing_details": dict(method["billing_details"]),
        "captured": True,
        "created": account.now(intent),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "paid": True,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "receipt_url": None,
        "refunded": False,
        "status": "succeeded",
    }


@route("GET", "/v1/charges/{charge}", "charge")
def retrieve_charge(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("charge", id)


def would_refuse(account: Account, method: Record | None, authenticated: bool = False) -> Refused | None:
    """What a charge would say, without trying it."""
    card: Card | None = account.cards[method["id"]] if method else None
    if card is None:
        hint = "Please set a default payment method or default source on the customer."
        return invalid(f"This customer has no attached payment source or default payment method. {hint}")
    code = card.declines(authenticated)
    return declined(code) if code else None


def cancel(account: Account, intent: Record, reason: str) -> None:
    intent.update(status="canceled", canceled_at=account.now(intent), cancellation_reason=reason, next_action=None)
    account.emit("payment_intent.canceled", intent)


@route("GET", "/v1/payment_intents/{payment_intent}", "payment_intent", {"client_secret": text})
def retrieve_intent(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("payment_intent", id, "intent")


def set_up(account: Account, customer: Record) -> Record:
    """A payment method that is still to be given, where there is nothing to pay yet."""
    id = new_id("setup_intent")
    intent: Record = {
        "id": id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": f"{id}_secret_{uuid4().hex[:24]}",
        "created": account.now(customer),
        "customer": customer["id"],
        "customer_account": None,
        "description": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": None,
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }
    account.emit("setup_intent.created", account.add(intent))
    return intent


@route("GET", "/v1/setup_intents/{setup_intent}", "setup_intent", {"client_secret": text})
def retrieve_setup(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("setup_intent", id, "intent")


CONFIRM_SETUP: dict[str, Shape] = {
    "payment_method": text,
    "client_secret": text,
    "return_url": text,
    "use_stripe_sdk": flag,
}


@route("POST", "/v1/setup_intents/{setup_intent}/confirm", "setup_intent", CONFIRM_SETUP)
def confirm_setup(account: Account, id: str, params: dict[str, Any]) -> Record:
    """Stands for the browser: the customer gives a payment method, and it becomes the default of what waits for it."""
    intent = account.get("setup_intent", id, "intent")
    if intent["status"] != "requires_payment_method":
        raise invalid(
            "You cannot confirm this SetupIntent because it has already succeeded.",
            code="setup_intent_unexpected_state",
        )
    customer = account.get("customer", intent["customer"])
    method = give(account, issue(account, need(params, "payment_method"), customer), customer)
    intent.update(status="succeeded", payment_method=method["id"])
    account.emit("setup_intent.succeeded", intent)
    for subscription in account.of("subscription", customer["id"]):
        if subscription["pending_setup_intent"] == id:
            with account.changing(subscription):
                subscription.update(default_payment_method=method["id"], pending_setup_intent=None)
    return intent
