"""Every object that the simulator answers has the fields that the installed library declares, and no others."""

import json
import types
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, ForwardRef, Literal, TypeVar, Union, get_args, get_origin

import pytest
import stripe
from stripe import ListObject, StripeObject

from local.stripe_simulator import Settings, Simulator

START = 1_800_000_000
CLASSES = {
    "billing_portal.configuration": stripe.billing_portal.Configuration,
    "billing_portal.session": stripe.billing_portal.Session,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "credit_note": stripe.CreditNote,
    "customer": stripe.Customer,
    "customer_balance_transaction": stripe.CustomerBalanceTransaction,
    "coupon": stripe.Coupon,
    "discount": stripe.Discount,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "invoice_payment": stripe.InvoicePayment,
    "invoiceitem": stripe.InvoiceItem,
    "item": stripe.LineItem,
    "line_item": stripe.InvoiceLineItem,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "plan": stripe.Plan,
    "price": stripe.Price,
    "product": stripe.Product,
    "refund": stripe.Refund,
    "promotion_code": stripe.PromotionCode,
    "setup_intent": stripe.SetupIntent,
    "subscription": stripe.Subscription,
    "subscription_item": stripe.SubscriptionItem,
    "subscription_schedule": stripe.SubscriptionSchedule,
    "tax_id": stripe.TaxId,
    "test_helpers.test_clock": stripe.test_helpers.TestClock,
    "webhook_endpoint": stripe.WebhookEndpoint,
}
HAND_WRITTEN = {"dispute": stripe.Dispute, "radar.early_fraud_warning": stripe.radar.EarlyFraudWarning}
ELSEWHERE = {
    "CardResource": stripe.Card,
    "Configuration": stripe.billing_portal.Configuration,
    "RefundResource": stripe.Refund,
    "Session": stripe.checkout.Session,
    "TestClock": stripe.test_helpers.TestClock,
}


def wrong(value: Any, declared: Any, path: str) -> list[str]:
    """What about a value is not as declared; nothing, if all is well."""
    origin, args = get_origin(declared), get_args(declared)
    if declared is Any or isinstance(declared, TypeVar):
        return []
    if isinstance(declared, (str, ForwardRef)):
        name = declared if isinstance(declared, str) else declared.__forward_arg__
        return wrong(value, ELSEWHERE.get(name) or getattr(stripe, name), path)
    if origin in (Union, types.UnionType):
        return wrong_of_union(value, args, path)
    if origin is Literal:
        return [] if value in args else [f"{path}: {value!r} is none of {args}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [fault for place, one in enumerate(value) for fault in wrong(one, args[0], f"{path}[{place}]")]
    if origin and issubclass(origin, ListObject):
        return wrong_of_page(value, args[0], path)
    if origin and issubclass(origin, StripeObject):
        return [] if isinstance(value, dict) else [f"{path}: {value!r} is no hash"]
    if isinstance(declared, type) and issubclass(declared, StripeObject):
        return wrong_of_object(value, declared, path)
    if declared is Decimal:
        return [] if isinstance(value, str) and Decimal(value) is not None else [f"{path}: {value!r} is no decimal"]
    if declared is int:
        return [] if type(value) is int else [f"{path}: {value!r} is no integer"]
    return [] if isinstance(value, declared) else [f"{path}: {value!r} is not {declared}"]


def wrong_of_union(value, arms, path):
    if value is None:
        return [] if type(None) in arms else [f"{path}: null, and must not be"]
    literals = [word for arm in arms if get_origin(arm) is Literal for word in get_args(arm)]
    if literals and isinstance(value, str):  # an open enum: what we answer is of the known words
        return [] if value in literals else [f"{path}: {value!r} is none of {literals}"]
    faults = [wrong(value, arm, path) for arm in arms if arm is not type(None)]
    return [] if [] in faults else min(faults, key=len)


def wrong_of_page(value, declared, path):
    if not isinstance(value, dict) or value.get("object") != "list":
        return [f"{path}: {value!r} is no page"]
    missing = [f"{path}: lacks {name}" for name in ("data", "has_more", "url") if name not in value]
    return missing + wrong(value["data"], list[declared], f"{path}.data")


def wrong_of_object(value, declared, path):
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    fields = {
        name: kind
        for cls in reversed(declared.__mro__)
        for name, kind in getattr(cls, "__annotations__", {}).items()
        if issubclass(cls, StripeObject) and cls is not StripeObject and not name.startswith("_")
        if get_origin(kind) is not ClassVar
    }
    undeclared = [f"{path}: {name} is not declared" for name in value if name not in fields]
    missing = [f"{path}: lacks {name}" for name, kind in fields.items() if name not in value and not optional(kind)]
    return undeclared + missing + [
        fault for name in value if name in fields for fault in wrong(value[name], fields[name], f"{path}.{name}")
    ]  # fmt: skip


def optional(kind):
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def wrong_of_answer(answer, path):
    if answer.get("deleted"):
        return [] if set(answer) == {"id", "object", "deleted"} else [f"{path}: {answer} says more than its end"]
    if answer["object"] in ("list", "search_result"):
        return [fault for one in answer["data"] for fault in wrong_of_answer(one, f"{path}.data")]
    return wrong(answer, CLASSES[answer["object"]], answer["object"])


class Journey:
    """Calls through the plain object, with everything expanded that can be; keeps what was answered."""

    def __init__(self):
        self.simulator = Simulator(now=lambda: START, settings=Settings(tax_percent=19))
        self.answers = []

    def call(self, method, path, *expand, expect=200, **params: Any):
        status, body = self.simulator.handle(method, f"/v1/{path}", params | {"expand": list(expand)})
        assert status == expect, body
        if status == 200:
            self.answers.append(body)
        return body


DISCOUNTED = ("discounts.promotion_code", "discounts.source.coupon", "discounts.customer")
FULL = ("latest_invoice.confirmation_secret", "latest_invoice.payments", "customer")


def schedule(call):
    """A subscription whose card, price and interval change in its next phase."""
    eve = call("POST", "customers", payment_method="pm_card_visa", email="eve@example.com")["id"]
    card = call("GET", "payment_methods", customer=eve)["data"][0]["id"]
    terms = {"currency": "usd", "product": "prod_1", "unit_amount": 1000}
    monthly = call("POST", "prices", **terms, recurring={"interval": "month"})["id"]
    yearly = call("POST", "prices", **terms, recurring={"interval": "year"})["id"]
    items = [{"price": monthly, "metadata": {"of": "plan"}}]
    sub = call("POST", "subscriptions", customer=eve, items=items, default_payment_method=card)["id"]
    made = call("POST", "subscription_schedules", "subscription", "customer", from_subscription=sub)
    first = {name: made["phases"][0][name] for name in ("start_date", "end_date")} | {"items": [{"price": monthly}]}
    off = call("POST", "coupons", percent_off=5, duration="forever")["id"]
    second = {
        "collection_method": "charge_automatically", "discounts": [{"coupon": off}],
        "automatic_tax": {"enabled": False}, "billing_cycle_anchor": "phase_start", "default_payment_method": card,
        "duration": {"interval": "year"}, "items": [{"price": yearly}], "metadata": {"change_id": "d"},
    }  # fmt: skip
    path = f"subscription_schedules/{made['id']}"
    call(
        "POST",
        path,
        "phases.items.price",
        "phases.discounts.coupon",
        phases=[first, second],
        metadata={"change_id": "c"},
    )
    call("GET", "subscriptions", "data.schedule.phases.items", expect=400)
    call("GET", "subscriptions", "data.schedule", customer=eve)
    call("POST", f"{path}/release")
    call("GET", "subscription_schedules", "data.default_settings.default_payment_method", customer=eve)
    call("POST", f"subscriptions/{sub}/pause", bill_for={"unused_time_from": {"type": "now"}})
    same = {"type": "unchanged"}
    call("POST", f"subscriptions/{sub}/resume", "latest_invoice", billing_cycle_anchor=same)
    again = call("POST", "subscription_schedules", from_subscription=sub)["id"]
    call("POST", f"subscription_schedules/{again}/cancel", "subscription.customer")


def credit(call):
    """A paid invoice of which one part goes back to the card, another to the balance."""
    zoe = call("POST", "customers", payment_method="pm_card_visa", balance=-20)["id"]
    card = call("GET", "payment_methods", customer=zoe)["data"][0]["id"]
    item = call("POST", "invoiceitems", "customer", customer=zoe, amount=900, currency="usd")
    bill: Any = {"customer": zoe, "pending_invoice_items_behavior": "include", "default_payment_method": card}
    invoice = call("POST", "invoices", **bill)["id"]
    call("POST", f"invoices/{invoice}/pay", "payments.data.payment.payment_intent")
    call(
        "POST", "credit_notes", "customer", "invoice", "customer_balance_transaction", "refunds.refund",
        invoice=invoice, amount=item["amount"] - 20, credit_amount=80, refund_amount=800, reason="duplicate",
    )  # fmt: skip
    call("GET", "credit_notes", "data.refunds.refund.charge")
    call("GET", "refunds", "data.charge.payment_intent.latest_charge", "data.customer")
    call("GET", f"customers/{zoe}/balance_transactions", "data.customer", "data.credit_note", "data.invoice")


def checkout(call, complete):
    """One page that is paid on, and one that is left."""
    sue = call("POST", "customers", email="sue@example.com", tax_id_data=[{"type": "eu_vat", "value": "DE1"}])["id"]
    price = call("GET", "prices", product="prod_1", type="recurring")["data"][0]["id"]
    page: Any = {
        "mode": "subscription", "customer": sue, "line_items": [{"price": price, "quantity": 2}], "locale": "de",
        "success_url": "https://app.example.com/", "tax_id_collection": {"enabled": True}, "metadata": {"a": "b"},
        "customer_update": {"address": "auto", "name": "auto"}, "automatic_tax": {"enabled": True},
    }  # fmt: skip
    off = call("POST", "coupons", percent_off=5, duration="forever")["id"]
    page["discounts"] = [{"coupon": off}]
    left, paid = (call("POST", "checkout/sessions", "line_items", **page)["id"] for _ in range(2))
    call("POST", f"checkout/sessions/{left}/expire")
    complete(paid)
    call(
        "GET",
        f"checkout/sessions/{paid}",
        "subscription",
        "customer",
        "discounts.coupon",
        "line_items.data.price.product",
    )
    call("GET", f"checkout/sessions/{paid}/line_items")
    call("GET", "checkout/sessions", "data.line_items", customer=sue)


def portal(call):
    """The default page, and one that says everything."""
    features = {
        "customer_update": {"enabled": True, "allowed_updates": ["address", "tax_id"]},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {
            "enabled": True, "cancellation_reason": {"enabled": True, "options": ["unused"]}, "mode": "immediately",
        },
        "subscription_pause": {"enabled": False},
        "subscription_update": {
            "enabled": True, "default_allowed_updates": ["quantity"],
            "products": [{"product": "prod_1", "prices": ["price_1"]}],
        },
    }  # fmt: skip
    made = call("POST", "billing_portal/configurations", features=features, business_profile={"headline": "Bills"})
    call("POST", f"billing_portal/configurations/{made['id']}", metadata={"a": "b"}, default_return_url="https://a.b/")
    kim = call("POST", "customers", payment_method="pm_card_visa")["id"]
    price = call("GET", "prices", product="prod_1", type="recurring")["data"][0]["id"]
    card = call("GET", "payment_methods", customer=kim)["data"][0]["id"]
    sub = call("POST", "subscriptions", customer=kim, items=[{"price": price}], default_payment_method=card)["id"]
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": sub}}
    call("POST", "billing_portal/sessions", customer=kim, configuration=made["id"], flow_data=flow, locale="de")
    call("POST", "billing_portal/sessions", "configuration", customer=kim, return_url="https://app.example.com/")
    call("GET", "billing_portal/configurations", active=True)


@pytest.fixture(scope="module")
def journey():
    """Every kind of object, in every state that changes its fields."""
    to = Journey()
    call = to.call
    call("POST", "webhook_endpoints", url="http://127.0.0.1:9/", enabled_events=["none.at.all"])
    call("POST", "products", id="prod_1", name="Team", metadata={"slug": "team"})
    tiers = [{"up_to": 5, "flat_amount": 5000}, {"up_to": "inf", "unit_amount": 900}]
    monthly = {"currency": "usd", "product": "prod_1", "recurring": {"interval": "month"}}
    tiered = call(
        "POST", "prices", "tiers", "product", **monthly, billing_scheme="tiered", tiers_mode="graduated", tiers=tiers
    )
    flat = call("POST", "prices", **monthly, unit_amount=1000)
    once = call("POST", "prices", currency="usd", product="prod_1", unit_amount=70)
    clock = call("POST", "test_helpers/test_clocks", frozen_time=START, name="a month")
    ada = call(
        "POST", "customers", "invoice_settings.default_payment_method", "test_clock",
        address={"country": "DE", "city": "Berlin"}, shipping={"name": "Ada", "address": {"city": "Berlin"}},
        email="ada@example.com", invoice_settings={"default_payment_method": "pm_card_visa"},
        payment_method="pm_card_visa", preferred_locales=["de"], tax_exempt="reverse",
        tax_id_data=[{"type": "eu_vat", "value": "DE123456789"}], test_clock=clock["id"],
    )["id"]  # fmt: skip
    items = [{"price": tiered["id"], "quantity": 7, "metadata": {"of": "plan"}}]
    half = call("POST", "coupons", percent_off=12.5, duration="repeating", duration_in_months=2, name="Half")["id"]
    five = call("POST", "coupons", amount_off=500, currency="usd", duration="forever", id="FIVE", max_redemptions=9)[
        "id"
    ]
    rules = {"first_time_transaction": True, "minimum_amount": 5, "minimum_amount_currency": "usd"}
    promotion = {"type": "coupon", "coupon": half}
    code = call(
        "POST", "promotion_codes", "promotion.coupon", "customer",
        promotion=promotion, code="HALF", customer=ada, expires_at=START + 86_400, restrictions=rules,
    )["id"]  # fmt: skip
    call("GET", "promotion_codes", "data.promotion.coupon", code="half", active=True)
    discounts = [{"promotion_code": code}, {"coupon": five}]
    sub = call(
        "POST", "subscriptions", *FULL, *DISCOUNTED, "latest_invoice.discounts",
        customer=ada, items=items, metadata={"a": "b"}, discounts=discounts, automatic_tax={"enabled": True},
    )  # fmt: skip
    item = sub["items"]["data"][0]["id"]
    change: Any = {"items": [{"id": item, "price": flat["id"], "quantity": 9}]}
    preview = call(
        "POST", "invoices/create_preview", "discounts.source.coupon", "lines.data.discount_amounts.discount",
        subscription=sub["id"], subscription_details=change, discounts=[{"coupon": five}],
    )  # fmt: skip
    call("GET", f"invoices/{preview['id']}/lines")
    call("POST", "invoices/create_preview", subscription=sub["id"], subscription_details={"cancel_now": True})
    call("POST", f"subscriptions/{sub['id']}", *FULL, **change, proration_behavior="create_prorations")
    call("GET", "invoiceitems", "data.customer", customer=ada, pending=True)
    call("POST", "payment_methods/pm_card_authenticationRequired/attach", "customer", customer=ada)
    call("POST", f"customers/{ada}", invoice_settings={"default_payment_method": "pm_card_authenticationRequired"})
    held = call(
        "POST", f"subscriptions/{sub['id']}", *FULL,
        "pending_update.subscription_items.price", "pending_update.discounts",
        items=[{"id": item, "quantity": 90}], payment_behavior="pending_if_incomplete", discounts=[{"coupon": five}],
        proration_behavior="always_invoice", metadata={"change_id": "c"},
    )  # fmt: skip
    assert held["pending_update"] and held["latest_invoice"]["confirmation_secret"]
    call("POST", f"invoices/{held['latest_invoice']['id']}/pay", expect=402)
    call("GET", f"invoices/{held['latest_invoice']['id']}", "payments.data.payment.payment_intent")
    call("POST", f"invoices/{held['latest_invoice']['id']}/void")
    call("POST", "payment_methods/pm_card_chargeCustomerFail/attach", customer=ada)
    call("POST", f"customers/{ada}", invoice_settings={"default_payment_method": "pm_card_chargeCustomerFail"})
    call("POST", f"test_helpers/test_clocks/{clock['id']}/advance", frozen_time=START + 32 * 86_400)
    call("GET", f"subscriptions/{sub['id']}", *FULL, *DISCOUNTED, "items.data.price.product")
    call("GET", "coupons")
    call("POST", f"promotion_codes/{code}", active=False)
    call("DELETE", f"subscriptions/{sub['id']}/discount")
    call("DELETE", f"coupons/{five}")
    call("GET", "invoices", "data.payments", "data.lines.data.subscription", customer=ada)
    call("POST", f"subscriptions/{sub['id']}", pause_collection={"behavior": "void"}, cancel_at="max_period_end")
    unpaid = call("GET", "invoices", customer=ada, status="open")["data"][0]["id"]
    call("POST", f"invoices/{unpaid}/mark_uncollectible")
    call(
        "DELETE",
        f"subscriptions/{sub['id']}",
        cancellation_details={"comment": "bye", "feedback": "unused"},
        prorate=True,
        invoice_now=True,
    )
    bob = call("POST", "customers", name="Bob", phone="1", test_clock=clock["id"])["id"]
    trial = call(
        "POST", "subscriptions", "pending_setup_intent.customer", "test_clock",
        customer=bob, items=[{"price": flat["id"]}],
        trial_period_days=3, trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    )  # fmt: skip
    call("POST", f"test_helpers/test_clocks/{clock['id']}/advance", frozen_time=START + 36 * 86_400)
    assert call("GET", f"subscriptions/{trial['id']}")["status"] == "paused"
    call(
        "POST",
        f"setup_intents/{trial['pending_setup_intent']['id']}/confirm",
        "payment_method",
        payment_method="pm_card_visa",
    )
    call("POST", f"subscriptions/{trial['id']}/resume")
    call("POST", "invoiceitems", customer=bob, pricing={"price": once["id"]}, quantity=3, description="once")
    one = call("POST", "invoices", customer=bob, pending_invoice_items_behavior="include")
    call("GET", f"invoices/{one['id']}/lines", "data.pricing.price_details.price")
    call("POST", f"invoices/{one['id']}/pay", "payments.data.invoice", paid_out_of_band=True)
    call("GET", "invoice_payments", "data.payment.payment_intent", invoice=one["id"])
    call("GET", "customers/search", query="name:'Bob'")
    checkout(call, to.simulator.complete_checkout)
    credit(call)
    portal(call)
    schedule(call)
    for kind in ("webhook_endpoints", "prices", "products", "test_helpers/test_clocks", f"customers/{ada}/tax_ids"):
        call("GET", kind)
    call("GET", "payment_methods", customer=ada)
    call("POST", f"payment_methods/{call('GET', 'payment_methods', customer=bob)['data'][0]['id']}/detach")
    call("DELETE", f"customers/{bob}")
    call("GET", f"customers/{bob}")
    call("GET", "events", limit=100)
    return to


def test_all_that_is_answered_is_declared_by_the_library(journey):
    faults = [fault for answer in journey.answers for fault in wrong_of_answer(answer, answer["object"])]
    assert not faults


def test_all_that_events_carry_is_declared_by_the_library(journey):
    snapshots = [event["data"]["object"] for event in journey.simulator.events.values()]
    assert not [fault for one in snapshots for fault in wrong_of_answer(one, one["object"])]
    assert not [fault for event in journey.simulator.events.values() for fault in wrong_of_answer(event, "event")]


@pytest.mark.parametrize("path", sorted(Path("events/stripe").glob("*.json")), ids=lambda path: path.stem)
def test_the_sample_events_carry_what_the_library_declares(path):
    event = json.loads(path.read_text())
    about = event["data"]["object"]
    assert not wrong_of_answer(event, "event")
    known = about if "id" in about else about | {"id": "an upcoming invoice has none"}
    assert not wrong(known, (CLASSES | HAND_WRITTEN)[about["object"]], path.stem)


def test_the_journey_meets_every_kind_of_object(journey):
    def kinds(value):
        if isinstance(value, dict):
            yield from [value["object"]] if isinstance(value.get("object"), str) else []
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from kinds(one)

    assert set(kinds(journey.answers)) - {"list", "search_result"} == set(CLASSES)


def test_the_check_itself_finds_what_is_wrong(journey):
    good = next(one for one in journey.answers if one["object"] == "subscription")
    assert not wrong_of_answer(good, "")
    for bad in (
        good | {"current_period_end": 1},
        good | {"status": "fine"},
        good | {"created": "yesterday"},
        good | {"metadata": None},
        {name: value for name, value in good.items() if name != "currency"},
        good | {"items": good["items"] | {"data": [{"id": "si_1"}]}},
    ):
        assert wrong_of_answer(bad, "")
