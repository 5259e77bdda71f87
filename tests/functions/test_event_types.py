"""Each type of event that is handled: what our record becomes by it alone, if all the others were lost."""

import logging
from random import Random
from typing import get_args

import pytest
import stripe as library

import process_webhook
from billing import customer_table
from tests.functions.at_stripe import ask, batch, pays_with, row, sample

SEED = 20261123
TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}
TEAM = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 9000}


@pytest.fixture
def bill(stripe, subscribed, hear):
    """An invoice of 9 dollars beside the subscription, open and on record; all that led to it has been heard."""
    customer = record().stripe_id
    ask(stripe, "POST", "/v1/invoiceitems", customer=customer, amount="900", currency="usd")
    made = ask(stripe, "POST", "/v1/invoices", customer=customer, pending_invoice_items_behavior="include")
    ask(stripe, "POST", f"/v1/invoices/{made['id']}/finalize")
    hear()
    return made["id"]


@pytest.fixture
def alarms(caplog):
    """The ERROR lines so far of a code: their keys."""
    return lambda code: [vars(each) for each in caplog.records if (each.levelno, each.msg) == (logging.ERROR, code)]


def record(customer="ada"):
    return customer_table.find(customer, 0)


def kept(id):
    (found,) = [invoice for invoice in customer_table.invoices("ada", 50) if invoice.id == id]
    return found.status, found.amount_due_cents, found.amount_paid_cents


def card(stripe, subscription):
    method = stripe.subscriptions[subscription]["default_payment_method"]
    return stripe.payment_methods[method]["card"]["fingerprint"]


def seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})


def price_of(stripe, slug):
    return next(id for id, each in stripe.prices.items() if each["lookup_key"] == f"tollgate_{slug}")


# Invoices


@pytest.mark.parametrize("type", ["credit_note.created", "invoice.updated"])
def test_a_credit_note_lowers_what_is_due_and_voided_it_is_due_again(stripe, bill, hear, type):
    note = ask(stripe, "POST", "/v1/credit_notes", invoice=bill, amount="400")
    assert kept(bill) == ("open", 900, 0)
    hear(type)
    assert kept(bill) == ("open", 500, 0)

    ask(stripe, "POST", f"/v1/credit_notes/{note['id']}/void")
    hear(type.replace("created", "voided"))
    assert kept(bill) == ("open", 900, 0)


def test_a_payment_names_its_invoice_and_that_its_customer(stripe, bill, hear):
    ask(stripe, "POST", f"/v1/invoices/{bill}/pay", payment_method="pm_card_visa")
    (told,) = [id for id, each in stripe.events.items() if each["data"]["object"].get("invoice") == bill]
    hear("invoice_payment.paid")

    assert kept(bill) == ("paid", 900, 900) and row(told) == ["done", 0]


def test_a_payment_brings_its_subscription_up_to_date(api, plans, stripe, hear):
    order = {"plan_slug": "team", "payment_method": "pm_card_authenticationRequired"}
    subscription = api("POST", "/subscription", order).json["id"]
    pays_with(stripe, subscription, "pm_card_visa")
    ask(stripe, "POST", f"/v1/invoices/{stripe.subscriptions[subscription]['latest_invoice']}/pay")
    assert record().subscription.theirs.status == "incomplete"
    hear("invoice_payment.paid")

    assert record().subscription.theirs.status == "active"


def test_a_payment_of_another_systems_customer_or_of_an_invoice_that_is_gone_is_ignored(process, stripe, plans):
    other = ask(stripe, "POST", "/v1/customers", email="x@example.com", payment_method="pm_card_visa")["id"]
    ask(stripe, "POST", "/v1/invoiceitems", customer=other, amount="900", currency="usd")
    made = ask(stripe, "POST", "/v1/invoices", customer=other, pending_invoice_items_behavior="include")["id"]
    foreign, gone = sample("invoice_payment.paid", **{"in": made}), sample("invoice_payment.paid") | {"id": "evt_gone"}
    nothing = sample("invoice_payment.paid") | {"id": "evt_nothing"}
    nothing["data"]["object"]["invoice"] = None

    assert process(batch([foreign, gone, nothing])) == []
    assert [row(each["id"]) for each in (foreign, gone, nothing)] == [["ignored", 0]] * 3


@pytest.mark.parametrize("type", ["invoice.overdue", "invoice.overpaid", "invoice.updated"])
def test_an_invoice_is_on_record_by_whichever_of_its_events_arrives(process, stripe, subscribed, type):
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    event = sample(type, cus=record().stripe_id, sub=subscribed["id"], **{"in": invoice})

    assert customer_table.invoices("ada", 50) == [] and process(batch([event])) == []
    assert kept(invoice) == ("paid", 6000, 6000)


def test_what_was_lost_is_found_some_days_before_the_renewal(process, stripe, subscribed):
    seats(stripe, subscribed["id"], 9)
    event = sample("invoice.upcoming", cus=record().stripe_id, sub=subscribed["id"])

    assert process(batch([event])) == [] and record().subscription.theirs.quantity == 9
    assert row(event["id"]) == ["done", 0]


# Cards


@pytest.mark.parametrize("type", ["setup_intent.succeeded", "payment_method.attached"])
def test_a_trial_that_gets_its_card_has_its_one_trial_on_it(api, stripe, hear, type):
    api("PUT", "/plans/trial", TRIAL)
    subscription = api("POST", "/subscription", {"plan_slug": "trial"}).json["id"]
    hear()
    intent = stripe.subscriptions[subscription]["pending_setup_intent"]
    ask(stripe, "POST", f"/v1/setup_intents/{intent}/confirm", payment_method="pm_card_visa")
    assert (record().subscription.theirs.fingerprint, record().trial_card) == (None, None)
    hear(type)

    assert record().subscription.theirs.fingerprint == record().trial_card == card(stripe, subscription)


def test_a_card_that_is_taken_away_is_on_record_no_more(stripe, subscribed, hear):
    method = pays_with(stripe, subscribed["id"], "pm_card_mastercard")
    hear()
    assert record().subscription.theirs.fingerprint == card(stripe, subscribed["id"])
    ask(stripe, "POST", f"/v1/payment_methods/{method}/detach")
    hear("payment_method.detached")

    assert record().subscription.theirs.fingerprint is None


def test_a_card_that_the_bank_has_renewed_has_another_fingerprint(stripe, subscribed, hear):
    method = pays_with(stripe, subscribed["id"], "pm_card_mastercard")
    hear()
    before = record().subscription.theirs.fingerprint
    stripe.renew_card(method)
    hear("payment_method.automatically_updated")

    assert record().subscription.theirs.fingerprint == card(stripe, subscribed["id"]) != before


# The operator is told


@pytest.mark.parametrize(
    ("type", "code"),
    [
        ("charge.dispute.created", "disputed"),
        ("radar.early_fraud_warning.created", "fraud_warning"),
        ("refund.failed", "refund_failed"),
    ],
)
def test_the_operator_is_told_once_and_nothing_is_on_record(process, stripe, subscribed, alarms, caplog, type, code):
    event, before = sample(type), record()

    assert process(batch([event, event])) == [] and process(batch([event])) == []
    (told,) = alarms(code)
    assert (told["event"], told["object"]) == (event["id"], event["data"]["object"]["id"])
    assert record() == before and row(event["id"]) == ["done", 0]
    assert "ada@example.com" not in caplog.text


def drafted(stripe, id):
    item = {"customer": record(id).stripe_id, "amount": "900", "currency": "usd"}
    ask(stripe, "POST", "/v1/invoiceitems", **item)
    made = {"customer": item["customer"], "pending_invoice_items_behavior": "include"}
    return ask(stripe, "POST", "/v1/invoices", **made)["id"]


def test_an_invoice_that_cannot_be_finalized_is_told_while_it_is_a_draft(process, stripe, subscribed, alarms):
    draft = drafted(stripe, "ada")
    event = sample("invoice.finalization_failed", cus=record().stripe_id, **{"in": draft})
    assert process(batch([event])) == []
    (told,) = alarms("finalization_failed")
    assert (told["object"], told["customer"]) == (draft, record().stripe_id)

    ask(stripe, "POST", f"/v1/invoices/{draft}/finalize")
    late = event | {"id": "evt_late"}
    assert process(batch([late])) == [] and row("evt_late") == ["ignored", 0]
    assert len(alarms("finalization_failed")) == 1


def test_an_invoice_that_stripe_does_not_collect_is_told_while_it_is_open(process, stripe, bill, alarms):
    event = sample("invoice.payment_attempt_required", cus=record().stripe_id, **{"in": bill})
    assert process(batch([event])) == [] and len(alarms("payment_attempt_required")) == 1

    ask(stripe, "POST", f"/v1/invoices/{bill}/pay", payment_method="pm_card_visa")
    assert process(batch([event | {"id": "evt_late"}])) == [] and row("evt_late") == ["ignored", 0]
    assert len(alarms("payment_attempt_required")) == 1


@pytest.mark.parametrize("type", ["invoice.finalization_failed", "invoice.payment_attempt_required"])
def test_an_invoice_of_another_systems_customer_is_not_told(process, stripe, alarms, type):
    assert process(batch([sample(type)])) == [] and row(f"evt_{type}") == ["ignored", 0]
    assert stripe.calls == [] and alarms(type.partition(".")[2]) == []


# The catalogue


def test_a_price_that_was_archived_while_its_plan_is_on_sale_is_told(plans, stripe, hear, alarms):
    hear()
    price = price_of(stripe, "team")
    ask(stripe, "POST", f"/v1/prices/{price}", active="false")
    hear()

    (told,) = alarms("unsellable_plan")
    assert (told["plan"], told["version"], told["price"]) == ("team", 1, price)


def test_a_price_that_was_deleted_while_its_plan_is_on_sale_is_told(plans, stripe, hear, alarms):
    hear()
    price = price_of(stripe, "team")
    stripe.delete_price(price)
    hear("price.deleted")

    assert [told["price"] for told in alarms("unsellable_plan")] == [price]


def test_an_archived_product_takes_its_plan_with_it(api, plans, stripe, hear, alarms):
    old, new = price_of(stripe, "team"), api("PUT", "/plans/team", TEAM) and price_of(stripe, "team")
    hear()
    ask(stripe, "POST", "/v1/products/tollgate_team", active="false")
    hear()

    assert [(told["price"], told["version"]) for told in alarms("unsellable_plan")] == [(new, 2)] and old != new


def test_a_price_of_an_archived_product_cannot_be_sold_either(plans, stripe, hear, alarms):
    ask(stripe, "POST", "/v1/products/tollgate_team", active="false")
    ask(stripe, "POST", f"/v1/prices/{price_of(stripe, 'team')}", nickname="x")
    hear("price.updated")

    assert [told["plan"] for told in alarms("unsellable_plan")] == ["team"]


def test_of_plans_that_are_sold_and_prices_that_are_not_nothing_is_told(api, plans, stripe, hear, alarms):
    older = price_of(stripe, "team")
    assert api("PUT", "/plans/team", TEAM).json["version"] == 2  # moves the lookup key, and names the product
    ask(stripe, "POST", f"/v1/prices/{older}", active="false")
    assert api("DELETE", "/plans/pro").status == 200
    ask(stripe, "POST", f"/v1/prices/{price_of(stripe, 'pro')}", active="false")
    foreign = ask(stripe, "POST", "/v1/products", name="Shirts")["id"]
    price = ask(stripe, "POST", "/v1/prices", product=foreign, currency="usd", unit_amount="1")["id"]
    ask(stripe, "POST", f"/v1/prices/{price}", active="false")
    ask(stripe, "POST", f"/v1/products/{foreign}", active="false")
    ask(stripe, "POST", f"/v1/prices/{price_of(stripe, 'team')}", active="false")
    ask(stripe, "POST", f"/v1/prices/{price_of(stripe, 'team')}", active="true")  # by mistake, and back

    assert hear() == set() and alarms("unsellable_plan") == []
    told = [id for id, each in stripe.events.items() if each["type"] in ("price.updated", "product.updated")]
    assert len(told) in (7, 8)  # that the product is named once more is an event if a second has passed
    assert {tuple(row(id)) for id in told} == {("done", 0)}


def test_an_archived_product_takes_the_plan_that_has_a_price_of_it_with_it(api, stripe, hear, alarms):
    terms = {"recurring": {"interval": "month"}, "currency": "usd", "unit_amount": "9000"}
    price = ask(stripe, "POST", "/v1/prices", product_data={"name": "Old"}, **terms)
    offer = TEAM | {"price_per_seat_cents": 9000, "included_seats": 1, "stripe_price": price["id"]}
    assert api("PUT", "/plans/old", offer).status == 200
    ask(stripe, "POST", f"/v1/products/{price['product']}", active="false")
    hear()

    assert [told["price"] for told in alarms("unsellable_plan")] == [price["id"]]


def test_an_archived_product_of_another_use_of_the_account_costs_a_call_or_two(stripe, plans, hear):
    """Prices that are made for one sale each (price_data) are of one product; there may be tens of thousands."""
    product = ask(stripe, "POST", "/v1/products", name="Shirts")["id"]
    for amount in range(1, 121):
        ask(stripe, "POST", "/v1/prices", product=product, currency="usd", unit_amount=str(amount))
    hear()
    ask(stripe, "POST", f"/v1/products/{product}", active="false")
    stripe.calls.clear()

    hear("product.updated")
    assert len(stripe.calls) <= 3, len(stripe.calls)


# All others, and all at once


def test_every_other_type_that_stripe_may_send_is_recorded_as_ignored(process, stripe, subscribed):
    types = set(get_args(library.Event.__annotations__["type"]))
    others = sorted(types - process_webhook.HANDLED.keys())
    about = {"object": {"id": "x_1", "object": "x", "customer": record().stripe_id}}
    events = [sample("invoice.paid") | {"id": f"evt_{n}", "type": type, "data": about} for n, type in enumerate(others)]
    before = record()

    assert len(others) > 100 and process_webhook.HANDLED.keys() <= types
    assert process(batch(events)) == [] and stripe.calls == [] and record() == before
    assert {tuple(row(event["id"])) for event in events} == {("ignored", 0)}


@pytest.mark.parametrize("times", range(6))
def test_shuffled_and_doubled_events_of_every_kind_end_as_stripe_has_it(process, api, plans, stripe, alarms, times):
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    subscription = api("POST", "/subscription", order).json["id"]
    customer = record().stripe_id
    ask(stripe, "POST", "/v1/invoiceitems", customer=customer, amount="900", currency="usd")
    made = {"customer": customer, "pending_invoice_items_behavior": "include"}
    bill = ask(stripe, "POST", "/v1/invoices", **made)["id"]
    ask(stripe, "POST", f"/v1/invoices/{bill}/finalize")
    method = pays_with(stripe, subscription, "pm_card_mastercard")
    note = ask(stripe, "POST", "/v1/credit_notes", invoice=bill, amount="400")["id"]
    stripe.renew_card(method)
    seats(stripe, subscription, 7)
    if times % 2:
        ask(stripe, "POST", f"/v1/credit_notes/{note}/void")
        ask(stripe, "POST", f"/v1/payment_methods/{method}/detach")
    else:
        ask(stripe, "POST", f"/v1/invoices/{bill}/pay")
    ask(stripe, "POST", f"/v1/prices/{price_of(stripe, 'team')}", active="false")
    random = Random(SEED + times)
    told = [event for event in stripe.events.values() for _ in range(random.choice((1, 1, 2)))]
    random.shuffle(told)

    for start in range(0, len(told), 10):
        assert process(batch(told[start : start + 10])) == []
    ours, theirs = record().subscription.theirs, stripe.subscriptions[subscription]
    assert (ours.status, ours.quantity) == (theirs["status"], 7)
    assert ours.fingerprint == (None if times % 2 else card(stripe, subscription))
    invoices = {id: each for id, each in stripe.invoices.items() if each["status"] != "draft"}
    assert {each.id: (each.status, each.amount_due_cents) for each in customer_table.invoices("ada", 50)} == {
        id: (each["status"], each["amount_due"]) for id, each in invoices.items()
    }
    assert len(alarms("unsellable_plan")) == 1
    assert {tuple(row(event["id"])) for event in told} <= {("done", 0), ("ignored", 0)}


def test_of_a_price_the_operator_is_told_once_however_often_its_event_is_delivered(process, plans, stripe, caplog):
    price = next(id for id, each in stripe.prices.items() if each["lookup_key"] == "tollgate_team")
    ask(stripe, "POST", f"/v1/prices/{price}", active="false")
    (event,) = [
        each
        for each in stripe.events.values()
        if each["type"] == "price.updated" and not each["data"]["object"]["active"]
    ]
    for _ in range(2):
        assert process(batch([event])) == []
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR] == ["unsellable_plan"]
