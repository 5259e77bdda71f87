"""A customer subscribes, with every kind of card."""

import pytest
import stripe

from local.stripe_simulator.periods import HOUR

SECRET = ["latest_invoice.confirmation_secret", "latest_invoice.payments", "pending_setup_intent"]


def test_with_a_good_card_the_subscription_is_active_and_its_invoice_paid_in_one_call(world):
    customer, price = world.customer(), world.price(1000)
    made = world.subscribe(customer, price, 3, metadata={"intent": "i"}, expand=["latest_invoice"])
    invoice, item = made.latest_invoice, made.items.data[0]
    assert (made.status, invoice.status, invoice.total, invoice.amount_paid) == ("active", "paid", 3000, 3000)
    assert (invoice.billing_reason, invoice.number[-5:], invoice.attempt_count) == ("subscription_create", "-0001", 1)
    assert invoice.parent.subscription_details.subscription == made.id
    assert invoice.parent.subscription_details.metadata["intent"] == "i"
    assert made.billing_mode.type == "flexible" and not hasattr(made, "current_period_end")
    assert (item.current_period_start, item.current_period_end - item.current_period_start) == (
        1_800_000_000,
        31 * 86_400,
    )
    line = invoice.lines.data[0]
    assert (line.amount, line.quantity, line.pricing.price_details.price) == (3000, 3, price)
    assert line.parent.subscription_item_details.subscription_item == item.id
    assert not line.parent.subscription_item_details.proration
    assert world.told("customer.subscription") == ["customer.subscription.created", "customer.subscription.updated"]
    assert {"invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_succeeded"} < set(world.told())


def test_incomplete_by_default_waits_for_the_browser_to_confirm_with_the_secret(world):
    customer, price = world.customer(card=None), world.price(1000)
    made = world.subscribe(
        customer,
        price,
        payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
        expand=SECRET,
    )
    invoice = made.latest_invoice
    assert (made.status, invoice.status, invoice.auto_advance, invoice.attempt_count) == (
        "incomplete",
        "open",
        False,
        0,
    )
    intent = invoice.payments.data[0].payment.payment_intent
    assert invoice.confirmation_secret.client_secret.startswith(intent)
    world.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    now = world.v1.subscriptions.retrieve(made.id, {"expand": ["default_payment_method", "latest_invoice"]})
    assert (now.status, now.default_payment_method.card.last4, now.latest_invoice.status) == ("active", "4242", "paid")
    assert world.v1.payment_methods.list({"customer": customer}).data[0].id == now.default_payment_method.id


def test_the_secret_and_the_payments_are_only_there_when_asked_for(world):
    made = world.subscribe(world.customer(), world.price(), expand=["latest_invoice"])
    assert "confirmation_secret" not in made.latest_invoice and "payments" not in made.latest_invoice
    assert isinstance(world.v1.subscriptions.retrieve(made.id).latest_invoice, str)


@pytest.mark.parametrize("token", ["pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"])
def test_a_hopeless_card_cannot_even_be_attached(world, token):
    customer = world.customer(card=None)
    with pytest.raises(stripe.CardError) as refused:
        world.v1.payment_methods.attach(token, {"customer": customer})
    assert (refused.value.http_status, refused.value.code) == (402, "card_declined")
    assert not world.v1.payment_methods.list({"customer": customer}).data


def test_a_card_that_attaches_and_fails_leaves_the_subscription_incomplete(world):
    customer, price = world.customer("pm_card_chargeCustomerFail"), world.price()
    made = world.subscribe(customer, price, expand=SECRET)
    assert (made.status, made.latest_invoice.status, made.latest_invoice.attempt_count) == ("incomplete", "open", 1)
    assert made.latest_invoice.next_payment_attempt is None
    assert "invoice.payment_failed" in world.told()
    better = world.v1.payment_methods.attach("pm_card_mastercard", {"customer": customer})
    world.v1.invoices.pay(made.latest_invoice.id, {"payment_method": better.id})
    assert world.v1.subscriptions.retrieve(made.id).status == "active"


def test_error_if_incomplete_is_a_402_and_nothing_was_made(world):
    customer, price = world.customer("pm_card_chargeCustomerFail"), world.price()
    with pytest.raises(stripe.CardError):
        world.subscribe(customer, price, payment_behavior="error_if_incomplete")
    assert not world.v1.subscriptions.list({"customer": customer, "status": "all"}).data
    assert not world.v1.invoices.list({"customer": customer}).data


@pytest.mark.parametrize("token", ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"])
def test_3d_secure_ends_in_an_action_that_the_browser_takes(world, token):
    made = world.subscribe(world.customer(token), world.price(), expand=SECRET)
    intent = made.latest_invoice.payments.data[0].payment.payment_intent
    assert made.status == "incomplete"
    assert world.v1.payment_intents.retrieve(intent).status == "requires_action"
    assert "invoice.payment_action_required" in world.told() and "invoice.payment_failed" not in world.told()
    with pytest.raises(stripe.CardError) as refused:
        world.v1.invoices.pay(made.latest_invoice.id)
    assert refused.value.code == "invoice_payment_intent_requires_action"
    assert world.v1.payment_intents.confirm(intent).status == "succeeded"
    assert world.v1.subscriptions.retrieve(made.id).status == "active"


def test_without_any_payment_method_an_immediate_payment_is_a_400(world):
    with pytest.raises(stripe.InvalidRequestError):
        world.subscribe(world.customer(card=None), world.price())


def test_an_incomplete_subscription_expires_after_23_hours_and_takes_its_invoice_along(world):
    made = world.subscribe(world.customer("pm_card_chargeCustomerFail"), world.price())
    world.now[0] += 23 * HOUR - 1
    assert world.v1.subscriptions.retrieve(made.id).status == "incomplete"
    world.now[0] += 1
    world.simulator.tick()
    assert world.simulator.subscriptions[made.id]["status"] == "incomplete_expired"
    assert world.simulator.invoices[made.latest_invoice]["status"] == "void"
    event = [e for e in world.simulator.events.values() if e["type"] == "customer.subscription.updated"][-1]
    assert event["data"]["previous_attributes"]["status"] == "incomplete" and event["request"]["id"] is None


def test_an_incomplete_subscription_takes_metadata_and_little_else(world):
    made = world.subscribe(world.customer("pm_card_chargeCustomerFail"), world.price())
    assert world.v1.subscriptions.update(made.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.subscriptions.update(made.id, {"items": [{"id": made.items.data[0].id, "quantity": 2}]})


def test_a_trial_starts_without_a_charge_and_asks_for_a_card(world):
    customer, price = world.customer(card=None), world.price()
    made = world.subscribe(customer, price, trial_period_days=14, expand=SECRET)
    assert (made.status, made.latest_invoice.total, made.latest_invoice.status) == ("trialing", 0, "paid")
    assert (
        made.trial_end
        == made.items.data[0].current_period_end
        == made.billing_cycle_anchor
        == 1_800_000_000 + 14 * 86_400
    )
    world.v1.setup_intents.confirm(made.pending_setup_intent.id, {"payment_method": "pm_card_visa"})
    now = world.v1.subscriptions.retrieve(made.id)
    assert now.pending_setup_intent is None and now.default_payment_method


def test_a_subscription_that_is_billed_by_mail_is_active_at_once(world):
    days = {"collection_method": "send_invoice", "days_until_due": 30}
    made = world.subscribe(world.customer(card=None), world.price(), expand=["latest_invoice"], **days)
    assert (made.status, made.latest_invoice.status, made.latest_invoice.amount_due) == ("active", "open", 1000)
    assert made.latest_invoice.due_date == 1_800_000_000 + 30 * 86_400


def test_a_list_without_a_status_leaves_the_cancelled_out(world):
    customer, price = world.customer(), world.price()
    first, second = world.subscribe(customer, price), world.subscribe(customer, price)
    world.v1.subscriptions.cancel(first.id)
    assert [one.id for one in world.v1.subscriptions.list({"customer": customer}).data] == [second.id]
    everything = world.v1.subscriptions.list({"customer": customer, "status": "all"}).data
    assert [one.id for one in everything] == [second.id, first.id]
    assert [one.id for one in world.v1.subscriptions.list({"status": "canceled"}).data] == [first.id]
    assert not world.v1.subscriptions.list({"price": world.price()}).data


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 2},
        {"items": [{"price": "price_none"}]},
        {"payment_behavior": "pending_if_incomplete"},
        {"billing_cycle_anchor": {"type": "now"}},
        {"default_payment_method": "pm_card_mastercard"},
        {"expand": ["latest_invoice.payment_intent"]},
        {"expand": ["nonsense"]},
        {"expand": ["latest_invoice.payments.data.payment.payment_intent"]},
    ],
)
def test_what_stripe_does_not_take_is_a_400_and_makes_nothing(world, wrong):
    customer = world.customer()
    good = {"customer": customer, "items": [{"price": world.price()}]}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.v1.subscriptions.create(good | wrong)
    assert refused.value.http_status == 400
    assert not world.v1.subscriptions.list({"customer": customer, "status": "all"}).data
