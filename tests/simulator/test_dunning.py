"""A renewal that fails, what Stripe does about it by itself, and the ways in which it is paid or given up after all."""

import random

import pytest
import stripe

from local.stripe_simulator import Simulator
from local.stripe_simulator.payments import HARD
from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
RENEWAL = START + 31 * DAY
FIRST = RENEWAL + HOUR  # when the renewal is tried first
RETRIES = [FIRST + days * DAY for days in (3, 5, 7, 9)]
INTENT = {"expand": ["payments.data.payment.payment_intent"]}


@pytest.fixture
def late(world):
    """A customer on a clock, whose card can be made to fail before the renewal."""
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    world.card = world.v1.customers.payment_methods.list(world.of).data[0].id
    world.sub = world.subscribe(world.of, world.price()).id
    return world


def fails(world, refusal="generic_decline", until=FIRST):
    world.simulator.card_behaves(world.card, refusal)
    world.advance(world.on, until)


def renewal(world):
    """With the payment behind it."""
    id = world.v1.subscriptions.retrieve(world.sub).latest_invoice
    return world.v1.invoices.retrieve(id, INTENT)


def intent(world):
    return renewal(world).payments.data[0].payment.payment_intent


def status(world):
    return world.v1.subscriptions.retrieve(world.sub).status


def attach(world, token="pm_card_mastercard"):
    return world.v1.payment_methods.attach(token, {"customer": world.of}).id


def default(world, method):
    world.v1.customers.update(world.of, {"invoice_settings": {"default_payment_method": method}})


def told(world, type):
    """What events of a type showed of their object, oldest first."""
    return [event["data"]["object"] for event in world.simulator.events.values() if event["type"] == type]


def since(world, types, before):
    return [one for one in world.told()[before:] if one in types]


def test_a_renewal_that_fails_stays_open_and_makes_its_subscription_past_due(late):
    before = len(late.told())
    fails(late)
    invoice = renewal(late)
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert (invoice.next_payment_attempt, invoice.auto_advance) == (RETRIES[0], True)
    assert (invoice.collection_method, invoice.billing_reason) == ("charge_automatically", "subscription_cycle")
    moments = {"finalized_at": FIRST, "paid_at": None, "voided_at": None, "marked_uncollectible_at": None}
    assert invoice.status_transitions.to_dict() == moments
    assert status(late) == "past_due"
    wanted = ["payment_intent.payment_failed", "invoice.payment_failed", "customer.subscription.updated"]
    renewed, *rest = since(late, wanted, before)
    assert (renewed, rest) == ("customer.subscription.updated", wanted)
    last = [event for event in late.simulator.events.values() if event["type"] == "customer.subscription.updated"][-1]
    assert last["data"]["previous_attributes"] == {"status": "active"}


def test_each_retry_is_told_with_the_next_and_after_the_last_it_stays_past_due(late):
    fails(late, until=RENEWAL + 20 * DAY)
    tries = [(one["attempt_count"], one["next_payment_attempt"]) for one in told(late, "invoice.payment_failed")]
    assert tries == list(enumerate([*RETRIES, None], start=1))
    at = [event["created"] for event in late.simulator.events.values() if event["type"] == "invoice.payment_failed"]
    assert at == [FIRST, *RETRIES]
    assert (status(late), renewal(late).status) == ("past_due", "open")


@pytest.mark.parametrize("after", ["cancel", "unpaid"])
def test_the_account_can_cancel_or_mark_unpaid_after_the_last_retry(late, after):
    late.simulator.configure(after_retries=after)
    fails(late, until=RETRIES[-1] - 1)
    assert status(late) == "past_due"
    late.advance(late.on, RETRIES[-1])
    assert status(late) == {"cancel": "canceled", "unpaid": "unpaid"}[after]
    assert renewal(late).status == "open"


def test_a_card_that_works_again_pays_at_the_next_retry(late):
    fails(late, "insufficient_funds")
    late.simulator.card_behaves(late.card)
    late.advance(late.on, RETRIES[0])
    invoice = renewal(late)
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("paid", 2, None)
    assert invoice.status_transitions.paid_at == RETRIES[0]
    assert (status(late), intent(late).last_payment_error) == ("active", None)


# Why it fails


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ("generic_decline", "card_declined"),
        ("insufficient_funds", "card_declined"),
        ("lost_card", "card_declined"),
        ("stolen_card", "card_declined"),
        ("expired_card", "expired_card"),
        ("authentication_required", "authentication_required"),
    ],
)
def test_the_payment_of_an_invoice_says_why_it_failed(late, refusal, code):
    fails(late, refusal)
    said = intent(late)
    error = said.last_payment_error
    assert (said.status, said.payment_method) == ("requires_payment_method", late.card)
    assert (error.type, error.code, error.decline_code) == ("card_error", code, refusal)
    assert (error.payment_method.id, error.payment_method.card.last4) == (late.card, "4242")


@pytest.mark.parametrize("refusal", sorted(HARD))
def test_after_a_hard_decline_retries_are_counted_and_nothing_is_charged(late, refusal):
    fails(late, refusal)
    late.simulator.card_behaves(late.card)  # Stripe cannot know
    late.advance(late.on, RETRIES[1])
    invoice = renewal(late)
    assert (invoice.attempt_count, invoice.next_payment_attempt) == (3, RETRIES[2])
    assert len(told(late, "invoice.payment_failed")) == 3
    assert len(told(late, "payment_intent.payment_failed")) == 1
    assert (intent(late).last_payment_error.decline_code, status(late)) == (refusal, "past_due")


def test_after_a_hard_decline_a_new_card_is_charged_at_the_next_retry(late):
    fails(late, "lost_card")
    default(late, attach(late))
    assert renewal(late).status == "open"
    late.advance(late.on, RETRIES[0])
    assert (renewal(late).status, status(late)) == ("paid", "active")


def test_a_card_that_the_bank_renews_is_a_new_card(late):
    fails(late, "stolen_card")
    late.simulator.renew_card(late.card)
    late.advance(late.on, RETRIES[0])
    assert (renewal(late).status, status(late)) == ("paid", "active")


def test_after_a_hard_decline_the_retries_still_come_to_their_end(late):
    late.simulator.configure(after_retries="cancel")
    fails(late, "lost_card", until=RETRIES[-1])
    assert (status(late), renewal(late).attempt_count) == ("canceled", 5)


def test_without_a_card_nothing_is_tried_again(late):
    late.v1.payment_methods.detach(late.card)
    late.advance(late.on, RETRIES[0])
    invoice = renewal(late)
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 1, None)
    assert status(late) == "past_due" and len(told(late, "invoice.payment_failed")) == 1


def test_a_renewal_that_needs_3d_secure_is_told_twice_and_waits_for_the_customer(late):
    late.simulator.card_behaves(late.card, needs_authentication=True)
    before = len(late.told())
    late.advance(late.on, RETRIES[-1])
    wanted = {"invoice.payment_failed", "invoice.payment_action_required"}
    assert sorted(since(late, wanted, before)) == ["invoice.payment_action_required", "invoice.payment_failed"]
    invoice, said = renewal(late), intent(late)
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 1, None)
    assert (said.status, said.next_action.type, said.last_payment_error) == ("requires_action", "use_stripe_sdk", None)
    assert status(late) == "past_due"
    with pytest.raises(stripe.CardError) as refused:
        late.v1.invoices.pay(invoice.id, {"off_session": True})
    assert (refused.value.http_status, refused.value.code) == (402, "invoice_payment_intent_requires_action")
    late.simulator.pay_on_page(invoice.id)
    assert (renewal(late).status, status(late)) == ("paid", "active")
    late.advance(late.on, RENEWAL + 28 * DAY + HOUR)
    assert status(late) == "past_due"


def test_test_cards_fail_when_attached_or_with_a_code_of_ones_own_later(late):
    refused = {
        "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
        "pm_card_visa_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
        "pm_card_visa_chargeDeclinedLostCard": ("card_declined", "lost_card"),
        "pm_card_chargeDeclinedExpiredCard": ("expired_card", "expired_card"),
    }
    for token, codes in refused.items():
        with pytest.raises(stripe.CardError) as declined:
            attach(late, token)
        assert (declined.value.code, declined.value.error.decline_code) == codes
    default(late, attach(late, "pm_card_chargeCustomerFail_insufficient_funds"))
    late.advance(late.on, FIRST)
    assert intent(late).last_payment_error.decline_code == "insufficient_funds"


# Paid after all


def test_paying_the_latest_invoice_by_hand_makes_it_active(late):
    fails(late)
    before = len(late.told())
    paid = late.v1.invoices.pay(renewal(late).id, {"payment_method": attach(late), "off_session": True})
    assert (paid.status, paid.attempt_count, paid.next_payment_attempt) == ("paid", 1, None)
    assert status(late) == "active"
    wanted = ["invoice.paid", "invoice.payment_succeeded", "customer.subscription.updated"]
    assert since(late, wanted, before) == wanted
    last = [event for event in late.simulator.events.values() if event["type"] == wanted[-1]][-1]
    assert last["data"]["previous_attributes"] == {"status": "past_due"}
    with pytest.raises(stripe.InvalidRequestError) as again:
        late.v1.invoices.pay(paid.id)
    assert (again.value.http_status, again.value.code) == (400, "invoice_already_paid")
    late.advance(late.on, RETRIES[-1])
    assert len(told(late, "invoice.payment_failed")) == 1


def test_what_is_tried_by_hand_is_told_and_leaves_the_retries_as_they_are(late):
    fails(late)
    other = attach(late, "pm_card_chargeCustomerFail_lost_card")
    with pytest.raises(stripe.CardError) as declined:
        late.v1.invoices.pay(renewal(late).id, {"payment_method": other})
    assert declined.value.http_status == 402
    assert (declined.value.code, declined.value.error.decline_code) == ("card_declined", "lost_card")
    invoice = renewal(late)
    assert (invoice.attempt_count, invoice.next_payment_attempt) == (1, RETRIES[0])
    assert intent(late).last_payment_error.payment_method.id == other
    assert len(told(late, "invoice.payment_failed")) == 2
    late.simulator.card_behaves(late.card)
    late.advance(late.on, RETRIES[0])
    assert (renewal(late).status, status(late)) == ("paid", "active")


def test_the_card_of_a_subscription_comes_before_the_customers(late):
    bad, good = attach(late, "pm_card_chargeCustomerFail"), attach(late)
    late.v1.subscriptions.update(late.sub, {"default_payment_method": bad})
    late.advance(late.on, FIRST)
    default(late, good)
    late.advance(late.on, RETRIES[0])
    assert (renewal(late).status, intent(late).payment_method) == ("open", bad)
    late.v1.subscriptions.update(late.sub, {"default_payment_method": good})
    late.advance(late.on, RETRIES[1])
    assert (renewal(late).status, intent(late).payment_method) == ("paid", good)


def test_paying_an_older_invoice_leaves_it_past_due(late):
    fails(late, until=RENEWAL + 28 * DAY + HOUR)
    newest, older = late.v1.invoices.list({"subscription": late.sub, "status": "open"}).data
    card = attach(late)
    late.v1.invoices.pay(older.id, {"payment_method": card})
    assert status(late) == "past_due"
    late.v1.invoices.pay(newest.id, {"payment_method": card})
    assert status(late) == "active"


# Given up


def test_writing_the_latest_invoice_off_makes_it_active_without_payment(late):
    fails(late)
    before = len(late.told())
    lost = late.v1.invoices.mark_uncollectible(renewal(late).id)
    assert (lost.status, lost.status_details.uncollectible.reason) == ("uncollectible", "user_forgiven")
    assert (lost.status_transitions.marked_uncollectible_at, lost.next_payment_attempt) == (FIRST, None)
    assert (lost.amount_paid, status(late)) == (0, "active")
    wanted = ["invoice.marked_uncollectible", "customer.subscription.updated"]
    assert since(late, [*wanted, "invoice.paid"], before) == wanted


def test_voiding_the_latest_invoice_alone_leaves_it_past_due(late):
    fails(late)
    gone = late.v1.invoices.void_invoice(renewal(late).id)
    assert (gone.status, gone.status_transitions.voided_at, gone.next_payment_attempt) == ("void", FIRST, None)
    assert (status(late), intent(late).status) == ("past_due", "canceled")
    late.advance(late.on, RETRIES[-1])
    assert len(told(late, "invoice.payment_failed")) == 1


def test_a_cancellation_while_past_due_leaves_the_invoice_open_and_tries_no_more(late):
    fails(late)
    late.v1.subscriptions.cancel(late.sub)
    late.advance(late.on, RETRIES[-1])
    invoice = renewal(late)
    assert (invoice.status, invoice.auto_advance, invoice.next_payment_attempt) == ("open", False, None)
    assert len(told(late, "invoice.payment_failed")) == 1
    late.v1.invoices.pay(invoice.id, {"payment_method": attach(late)})
    assert (renewal(late).status, status(late)) == ("paid", "canceled")


def test_an_invoice_that_no_longer_advances_by_itself_is_not_tried_again(late):
    fails(late)
    assert late.v1.invoices.update(renewal(late).id, {"auto_advance": False}).next_payment_attempt is None
    late.advance(late.on, RETRIES[-1])
    assert renewal(late).attempt_count == 1


# Cards that expire


def test_when_a_card_expires_can_be_said_and_is_shown_where_it_is_the_default(late):
    late.v1.payment_methods.update(late.card, {"card": {"exp_month": 3, "exp_year": 2027}})
    changed = told(late, "payment_method.updated")[-1]
    assert (changed["id"], changed["card"]["exp_month"], changed["card"]["last4"]) == (late.card, 3, "4242")
    late.v1.subscriptions.update(late.sub, {"default_payment_method": late.card})
    shown = late.v1.subscriptions.retrieve(
        late.sub, {"expand": ["default_payment_method", "customer.invoice_settings.default_payment_method"]}
    )
    for method in (shown.default_payment_method, shown.customer.invoice_settings.default_payment_method):
        assert (method.card.exp_month, method.card.exp_year) == (3, 2027)
    with pytest.raises(stripe.InvalidRequestError):
        late.v1.payment_methods.update(late.card, {"card": {"exp_month": 13}})


# All of it


def test_a_year_of_many_customers_loses_no_renewal_and_no_retry():
    """
    Through the object alone, each customer on a clock of its own, whose card fails and works again at random.

    What is open has been tried on each of the account's days that has come, and will be on the next.
    """
    dice, simulator = random.Random(6), Simulator(now=lambda: START)

    def call(method, path, **params):
        status, body = simulator.handle(method, f"/v1/{path}", params)
        assert status == 200, body
        return body

    product = call("POST", "products", name="Team")["id"]
    month = {"interval": "month"}
    price = call("POST", "prices", product=product, currency="usd", unit_amount=1000, recurring=month)["id"]
    clocks, now = {}, START
    for _ in range(20):
        clock = call("POST", "test_helpers/test_clocks", frozen_time=START)["id"]
        customer = call("POST", "customers", test_clock=clock, payment_method="pm_card_visa")["id"]
        clocks[clock] = card = call("GET", f"customers/{customer}/payment_methods")["data"][0]["id"]
        wish = {"items": [{"price": price}], "default_payment_method": card}
        call("POST", "subscriptions", customer=customer, **wish)
    for now in range(START + 4 * DAY, START + 341 * DAY, 4 * DAY):
        for clock, card in clocks.items():
            if dice.random() < 0.15:
                simulator.card_behaves(card, dice.choice([None, None, "insufficient_funds"]))
            call("POST", f"test_helpers/test_clocks/{clock}/advance", frozen_time=now)
    invoices, events = list(simulator.invoices.values()), list(simulator.events.values())
    for customer in simulator.customers:
        mine = [one for one in invoices if one["customer"] == customer]
        assert len(mine) == 12 and {one["status"] for one in mine} <= {"open", "paid"}
        for one in mine:
            plan = [one["created"] + HOUR + days * DAY for days in (0, 3, 5, 7, 9)]
            if one["status"] == "open":
                assert one["attempt_count"] == len([at for at in plan if at <= now])
                assert one["next_payment_attempt"] == min((at for at in plan if at > now), default=None)
        moments = [event["created"] for event in events if event["data"]["object"].get("customer") == customer]
        assert moments == sorted(moments) and moments[-1] > START + 330 * DAY
    assert {one["status"] for one in invoices} == {"open", "paid"}
