"""How Stripe says no: one exception, one constructor for each kind of answer."""

from typing import Any


class Refused(Exception):
    """An answer that is not 2xx. `body` is what Stripe sends with it."""

    def __init__(self, status: int, message: str, *, type: str = "invalid_request_error", **fields: Any):
        super().__init__(message)
        self.status = status
        said = {"type": type, "message": message, **fields}
        self.body = {"error": {name: value for name, value in said.items() if value is not None}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refused:
    return Refused(400, message, param=param, code=code)


def absent(param: str) -> Refused:
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


def missing(kind: str, id: str, param: str = "id", status: int = 404) -> Refused:
    """404 when the path names it. Stripe answers 400 when another parameter does."""
    return Refused(status, f"No such {kind}: '{id}'", code="resource_missing", param=param)


def unrecognized(method: str, path: str) -> Refused:
    hint = "Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
    return Refused(404, f"Unrecognized request URL ({method}: {path}). {hint}")


def declined(decline_code: str, **fields: Any) -> Refused:
    """What the bank says is an error code of its own, or a reason of `card_declined`."""
    words = {
        "authentication_required": "Your card was declined. This transaction requires authentication.",
        "expired_card": "Your card has expired.",
        "incorrect_cvc": "Your card's security code is incorrect.",
        "incorrect_number": "Your card number is incorrect.",
        "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    }
    code = decline_code if decline_code in words else "card_declined"
    words["insufficient_funds"] = "Your card has insufficient funds."
    message = words.get(decline_code, "Your card was declined.")
    return Refused(402, message, type="card_error", code=code, decline_code=decline_code, **fields)


def busy(code: str) -> Refused:
    """429: `rate_limit`, or `lock_timeout` when another request holds the object."""
    return Refused(429, "Request rate limit exceeded, or another request holds this object.", code=code)


def failed() -> Refused:
    return Refused(500, "An unknown error occurred", type="api_error")
