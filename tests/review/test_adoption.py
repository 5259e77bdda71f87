"""What adoption promises, tried where it may not be so."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import process_webhook
from billing import customer_table, webhook_table
from billing.webhooks import WebhookEvent
from local.adopt import Wishes, adopt, matched
from local.tollgate import Answer, Refused, Tollgate
from tests.functions.at_stripe import Death, ask

ADMIN = {"claims": {"scope": "billing/admin"}}
ORDER = {"plan_slug": "team", "payment_method": "pm_card_visa"}
OFFER = {"name": "Old", "billing_interval": "month", "currency": "usd", "base_price_cents": 900}
OFFER |= {"price_per_seat_cents": 900, "included_seats": 1}
FLAT = {"recurring": {"interval": "month"}, "currency": "usd", "unit_amount": "900", "product_data": {"name": "Old"}}


def record(customer="ada"):
    return customer_table.find(customer, 0)


def link(api, stripe_customer, customer="ada"):
    return api("PUT", f"/customers/{customer}/stripe-customer", {"stripe_customer": stripe_customer}, **ADMIN)


def made_past_us(stripe, **said):
    paying = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    return ask(stripe, "POST", "/v1/customers", **paying | said)["id"]


def subscribed_past_us(stripe, customer, price, **said):
    items = [{"price": price, "quantity": "1"}]
    return ask(stripe, "POST", "/v1/subscriptions", customer=customer, items=items, **said)["id"]


# The route


# Prices


# The command


def test_a_customer_that_cannot_be_asked_about_does_not_keep_the_others_from_being_placed(run, old, send, told):
    def broken(method, path, body, key):
        if method == "GET" and path == "/customers/over/stripe-customer":
            return Answer(500, {"message": "Internal Server Error"})
        return send(method, path, body, key)

    try:
        run(by=Tollgate(broken, lambda seconds: None))
    except Refused:
        pass  # what it comes to is asserted
    assert customer_table.owner(old.customers["plain0"]) == "plain0"
    assert [line for line in told if old.customers["over"] in line]


def test_whoever_became_a_customer_here_is_none_that_was_left(tollgate, account, past, told, api, plans):
    """The account is placed whole; from then on people subscribe here, and a run tells that all is placed."""
    assert api("POST", "/subscription", ORDER, customer="new").status == 200
    wishes = Wishes(matched("metadata:tenant"), set(), {}, apply=True)

    assert adopt(tollgate, account, wishes, told.append) == 0, told


def test_a_price_that_is_to_be_on_sale_now_is_put_on_sale_or_told_not_to_be(run, old, api, told):
    flat = next(price for price, said in old.said.items() if said["slug"] == "team" and said.get("on_sale"))
    del old.said[flat]["on_sale"]
    run()
    assert api("GET", "/plans/team").status == 404
    old.said[flat]["on_sale"] = True
    run()

    on_sale = api("GET", "/plans/team").status == 200
    assert on_sale or [line for line in told if line.split()[0] == flat]


def test_a_record_that_says_what_stripe_does_not_is_no_customer_that_is_there_already(
    tollgate,
    account,
    past,
    told,
    api,
    stripe,
    moments,
    context,
):
    """
    Cancelled between Stripe's answer and the link, whose maker died before he asked again: the event was nobody's.
    The Stripe customer has named ours all along.
    """
    price = past.price(**{name: value for name, value in FLAT.items() if name != "product_data"})
    customer = past.customer(None, metadata={"customer": "ada"})
    subscription = past.subscribe(customer, price)
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}
    assert api("PUT", "/plans/old", OFFER | {"stripe_price": price}).status == 200

    def cancelled():
        ask(stripe, "DELETE", f"/v1/subscriptions/{subscription}")
        event = WebhookEvent(
            "evt_1", "customer.subscription.deleted", 1, subscription, customer, subscription, False, None
        )
        (sample,) = json.loads(Path("events/sqs.json").read_text())["Records"]
        process_webhook.handler({"Records": [sample | {"body": json.dumps(asdict(event))}]}, context)
        assert webhook_table.find("evt_1").outcome == "ignored"

        def die():
            raise Death

        moments.once("after TransactWriteItems", die)

    moments.once("before TransactWriteItems", cancelled)
    with pytest.raises(Death):
        link(api, customer)
    assert record().live().theirs.status == "active"

    adopt(tollgate, account, Wishes(matched("metadata:customer"), set(), said, apply=True), told.append)
    assert api("GET", "/subscription").status == 404, told
