"""A Stripe account that was made past Tollgate, and the real functions behind the tool's door."""

from typing import NamedTuple
from urllib.parse import unquote

import pytest

from billing import gateway
from local.adopt import Wishes, adopt, matched
from local.stripe_account import Account
from local.tollgate import Answer
from tests.catalogue.conftest import asked, told, tollgate, url, waited  # noqa: F401
from tests.functions.at_stripe import ask

FLAT = {"recurring": {"interval": "month"}, "currency": "usd", "unit_amount": "900"}
TIERS = [{"up_to": "5", "flat_amount": "5000", "unit_amount": "0"}, {"up_to": "inf", "unit_amount": "900"}]
TIERED = {"recurring": {"interval": "year"}, "currency": "usd", "billing_scheme": "tiered"}
TIERED |= {"tiers_mode": "graduated", "tiers": TIERS}
FEATURES = {"features": ["reports"], "limits": {"max_api_calls": 1000}}


@pytest.fixture
def send(api, asked):  # noqa: F811
    def to_functions(method, path, body, key):
        asked.append(f"{method} {path}")
        scopes = {"scope": "billing/admin billing/service"}
        answer = api(method, unquote(path), body, key=key, claims=scopes)  # as API Gateway has path parameters
        later = answer.headers.get("retry-after")
        return Answer(answer.status, answer.json, float(later) if later else None)

    return to_functions


@pytest.fixture
def account(stripe, waited):  # noqa: F811
    return Account(gateway.connect("sk_test_x"), waited.append)


class Past:
    """What is done at Stripe past us."""

    def __init__(self, stripe):
        self.stripe = stripe

    def price(self, **terms):
        product = {} if "product" in terms else {"product_data": {"name": "Old"}}
        return ask(self.stripe, "POST", "/v1/prices", **product | terms)["id"]

    def customer(self, id=None, **said):
        card = "pm_card_visa"
        paying = {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
        metadata = {"metadata": {"tenant": id}} if id else {}
        return ask(self.stripe, "POST", "/v1/customers", **paying | metadata | said)["id"]

    def subscribe(self, customer, price, quantity="1", **said):
        items = [{"price": price, "quantity": quantity}]
        return ask(self.stripe, "POST", "/v1/subscriptions", **{"customer": customer, "items": items} | said)["id"]

    def is_so(self, kind, id, **fields):
        """What the simulator cannot be asked for."""
        self.stripe._account.tables[kind][id].update(fields)


@pytest.fixture
def past(stripe):
    return Past(stripe)


class Old(NamedTuple):
    """The account: customers by a word for their kind, and prices by another."""

    customers: dict
    prices: dict
    said: dict  # of the file of prices


@pytest.fixture
def old(past, api):
    """Thirty-odd customers, some of every kind."""
    prices = {
        "flat": past.price(**FLAT),
        "tiered": past.price(**TIERED),
        "older": past.price(**FLAT | {"unit_amount": "700"}),
    }
    prices |= {
        "unnamed": past.price(**FLAT | {"unit_amount": "800"}),
        "weekly": past.price(**FLAT | {"recurring": {"interval": "week"}}),
    }
    prices |= {
        "volume": past.price(**TIERED | {"tiers_mode": "volume"}),
        "euros": past.price(**FLAT | {"currency": "eur"}),
    }
    prices |= {"metered": past.price(**FLAT), "packaged": past.price(**FLAT)}
    customers = {}

    def has(kind, *bought, **said):
        customers[kind] = past.customer(said.pop("id", kind), **said)
        return [past.subscribe(customers[kind], prices[price], **terms) for price, terms in bought]

    for number in range(8):
        has(f"plain{number}", ("flat", {"quantity": str(number + 1)}))
    for number in range(4):
        has(f"yearly{number}", ("tiered", {"quantity": "7"}))
    for number in range(3):
        has(f"older{number}", ("older", {}))
    has("nothing")
    has("on trial", ("flat", {"trial_period_days": "14"}))
    has("incomplete", ("flat", {"payment_behavior": "default_incomplete"}))
    has("two", ("flat", {}), ("tiered", {}))
    (cancelling,) = has("cancelling", ("flat", {}))
    ask(past.stripe, "POST", f"/v1/subscriptions/{cancelling}", cancel_at_period_end="true")
    (over,) = has("over", ("flat", {}))
    ask(past.stripe, "DELETE", f"/v1/subscriptions/{over}")
    has("classic", ("flat", {"billing_mode": {"type": "classic"}}))
    has("sent", ("flat", {"collection_method": "send_invoice", "days_until_due": "30"}))
    has("several", ("flat", {"items": [{"price": prices[each], "quantity": "1"} for each in ("flat", "older")]}))
    for kind in ("unnamed", "weekly", "volume", "euros", "metered", "packaged"):
        has(kind, (kind, {}))
    (odd,) = has("other currency", ("flat", {}))
    past.is_so("subscription", odd, currency="eur")
    (shared,) = has("shared", ("flat", {}))
    past.is_so("subscription", shared, transfer_data={"destination": "acct_1", "amount_percent": None})
    has("no seats", ("flat", {"quantity": "0"}))
    has("twin", ("flat", {}), id="same")
    has("other twin", id="same")
    has("named", ("flat", {}), metadata={"tenant": "named", "customer": "someone else"})
    has("nobody", id=None)
    has("nobody pays", ("flat", {}), id=None)
    has("unfit", ("flat", {}), id="é")
    gone = past.customer("gone")
    ask(past.stripe, "DELETE", f"/v1/customers/{gone}")
    metered = past.stripe._account.tables["price"][prices["metered"]]["recurring"]
    metered.update(usage_type="metered", meter="mtr_1")
    past.is_so("price", prices["packaged"], transform_quantity={"divide_by": 10, "round": "up"})
    ask(past.stripe, "POST", f"/v1/prices/{prices['older']}", active="false")
    said = {
        prices["flat"]: {"slug": "team", "name": "Team", "on_sale": True} | FEATURES,
        prices["older"]: {"slug": "team", "name": "Team of old"} | FEATURES,
        prices["tiered"]: {"slug": "yearly", "name": "Yearly", "on_sale": True} | FEATURES,
        prices["euros"]: {"slug": "euros", "name": "Euros", "on_sale": True} | FEATURES,
    }
    past.stripe.calls.clear()
    return Old(customers, prices, said)


CARRIED = {f"plain{number}" for number in range(8)} | {f"yearly{number}" for number in range(4)}
CARRIED |= {f"older{number}" for number in range(3)} | {"euros"}
CARRIED |= {"nothing", "on trial", "incomplete", "two", "cancelling", "over"}
LEFT = {
    "classic": "classic",
    "sent": "by_invoice",
    "several": "several_items",
    "unnamed": "no_plan",
    "weekly": "no_plan",
    "volume": "no_plan",
    "metered": "metered",
    "packaged": "no_plan",
    "other currency": "currency",
    "shared": "connect",
    "no seats": "no_seats",
    "twin": "duplicate",
    "other twin": "duplicate",
    "named": "names_another",
    "nobody pays": "no_id",
    "unfit": "unfit_id",
}


@pytest.fixture
def run(tollgate, account, told, old):  # noqa: F811
    def adopted(apply=True, by=None, **wishes):
        told.clear()
        wishes = {"ids": matched("metadata:tenant"), "named": set(), "said": old.said} | wishes
        return adopt(by or tollgate, account, Wishes(apply=apply, **wishes), told.append)

    return adopted
