"""The two ways to pause: invoices that nobody collects, and a subscription that rests."""

import pytest
import stripe

from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
RENEWAL = START + 31 * DAY
HALF = START + 31 * DAY // 2
COLLECTING = {"payment_behavior": "resume_on_payment_success", "expand": ["latest_invoice"]}


@pytest.fixture
def subscribed(world):
    """On a clock, half a month in: 10 a month."""
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    world.sub = world.subscribe(world.of, world.price(1000)).id
    world.advance(world.on, HALF)
    return world


def pause(world, **params):
    return world.v1.subscriptions.pause(world.sub, params)


def now(world):
    return world.v1.subscriptions.retrieve(world.sub)


def waiting(world):
    return sorted(one.amount for one in world.v1.invoice_items.list({"customer": world.of, "pending": True}).data)


def fail_from_now_on(world):
    bad = world.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": world.of}).id
    world.v1.customers.update(world.of, {"invoice_settings": {"default_payment_method": bad}})


# Collection


def test_a_paused_collection_ends_when_it_is_cleared_and_the_next_renewal_is_paid(subscribed):
    subscribed.v1.subscriptions.update(subscribed.sub, {"pause_collection": {"behavior": "void"}})
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    assert subscribed.invoices(subscribed.sub)[-1].status == "void"
    assert subscribed.v1.subscriptions.update(subscribed.sub, {"pause_collection": ""}).pause_collection is None
    subscribed.advance(subscribed.on, RENEWAL + 28 * DAY + HOUR)
    assert subscribed.invoices(subscribed.sub)[-1].status == "paid"


def test_a_collection_that_resumes_by_itself_is_told_of(subscribed):
    said = {"pause_collection": {"behavior": "void", "resumes_at": RENEWAL - DAY}}
    subscribed.v1.subscriptions.update(subscribed.sub, said)
    subscribed.advance(subscribed.on, RENEWAL - DAY)
    event = [one for one in subscribed.simulator.events.values() if one["type"] == "customer.subscription.updated"][-1]
    assert event["data"]["previous_attributes"] == {
        "pause_collection": {"behavior": "void", "resumes_at": RENEWAL - DAY}
    }
    assert event["data"]["object"]["pause_collection"] is None
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    assert subscribed.invoices(subscribed.sub)[-1].status == "paid"


def test_a_draft_kept_by_a_pause_stays_a_draft_after_it(subscribed):
    kept = {"pause_collection": {"behavior": "keep_as_draft"}}
    subscribed.v1.subscriptions.update(subscribed.sub, kept)
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    subscribed.v1.subscriptions.update(subscribed.sub, {"pause_collection": ""})
    subscribed.advance(subscribed.on, RENEWAL + 10 * DAY)
    draft = subscribed.invoices(subscribed.sub)[-1]
    assert (draft.status, draft.auto_advance, draft.automatically_finalizes_at) == ("draft", False, None)


# The subscription itself


def test_a_paused_subscription_has_a_status_and_neither_periods_nor_invoices(subscribed):
    said = pause(subscribed)
    details = said.status_details.paused
    assert (said.status, details.subscription.type, details.transitioned_at) == ("paused", "pause_requested", HALF)
    assert subscribed.told("customer.subscription.paused") == ["customer.subscription.paused"]
    subscribed.advance(subscribed.on, RENEWAL + 20 * DAY)
    assert len(subscribed.invoices(subscribed.sub)) == 1
    assert now(subscribed).items.data[0].current_period_end == RENEWAL


@pytest.mark.parametrize(
    ("since", "credit"), [(None, [-500]), ("now", [-500]), ("item_current_period_start", [-1000]), ("none", [])]
)
def test_a_pause_credits_the_unused_time_as_it_is_told(subscribed, since, credit):
    pause(subscribed, **({"bill_for": {"unused_time_from": {"type": since}}} if since else {}))
    assert waiting(subscribed) == credit
    subscribed.v1.subscriptions.cancel(subscribed.sub, {"prorate": True})
    assert waiting(subscribed) == (credit or [-500])  # never twice


def test_a_pause_can_invoice_its_credit_to_the_balance(subscribed):
    said = pause(subscribed, invoicing_behavior="invoice")
    invoice = subscribed.invoices(subscribed.sub)[-1]
    assert (invoice.id, invoice.total, invoice.status) == (said.latest_invoice, -500, "paid")
    assert subscribed.v1.customers.retrieve(subscribed.of).balance == -500 and now(subscribed).status == "paused"


@pytest.mark.parametrize("why", ["trialing", "incomplete", "send_invoice", "schedule", "paused", "canceled"])
def test_what_cannot_be_paused_is_refused(world, why):
    customer = world.customer("pm_card_chargeCustomerFail" if why == "incomplete" else "pm_card_visa")
    params = {
        "trialing": {"trial_period_days": 5},
        "send_invoice": {"collection_method": "send_invoice", "days_until_due": 5},
    }
    made = world.subscribe(customer, world.price(), **params.get(why, {})).id
    if why == "schedule":
        world.v1.subscription_schedules.create({"from_subscription": made})
    if why == "paused":
        world.v1.subscriptions.pause(made)
    if why == "canceled":
        world.v1.subscriptions.cancel(made)
    before = world.simulator.subscriptions[made]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.v1.subscriptions.pause(made)
    assert refused.value.http_status == 400 and world.simulator.subscriptions[made] == before


def test_resuming_from_now_begins_a_period_and_is_active_once_it_is_paid(subscribed):
    pause(subscribed)
    subscribed.advance(subscribed.on, RENEWAL + DAY)
    said = subscribed.v1.subscriptions.resume(subscribed.sub, COLLECTING)
    assert (said.status, said.billing_cycle_anchor) == ("active", RENEWAL + DAY)
    assert [line.amount for line in said.latest_invoice.lines.data] == [-500, 1000]
    assert said.latest_invoice.amount_paid == 500 and "status_details" not in said
    assert subscribed.told("customer.subscription.resumed") == ["customer.subscription.resumed"]


def test_without_an_attempt_it_waits_for_whoever_pays_the_invoice(subscribed):
    pause(subscribed, bill_for={"unused_time_from": {"type": "none"}})
    said = subscribed.v1.subscriptions.resume(subscribed.sub, {"expand": ["latest_invoice"]})
    assert (said.status, said.latest_invoice.status, said.latest_invoice.attempted) == ("paused", "open", False)
    subscribed.v1.invoices.pay(said.latest_invoice.id)
    assert now(subscribed).status == "active"


def test_without_an_attempt_a_payment_that_fails_resumes_it_as_past_due(subscribed):
    pause(subscribed)
    fail_from_now_on(subscribed)
    invoice = subscribed.v1.subscriptions.resume(subscribed.sub).latest_invoice
    with pytest.raises(stripe.CardError):
        subscribed.v1.invoices.pay(invoice)
    assert now(subscribed).status == "past_due"
    assert subscribed.v1.invoices.retrieve(invoice).next_payment_attempt is None
    assert subscribed.told("customer.subscription.resumed")


def test_a_resumption_that_nobody_pays_is_voided_after_23_hours(subscribed):
    pause(subscribed)
    invoice = subscribed.v1.subscriptions.resume(subscribed.sub).latest_invoice
    subscribed.advance(subscribed.on, HALF + 23 * HOUR - 1)
    assert subscribed.v1.invoices.retrieve(invoice).status == "open"
    subscribed.advance(subscribed.on, HALF + 23 * HOUR)
    assert (subscribed.v1.invoices.retrieve(invoice).status, now(subscribed).status) == ("void", "paused")
    again = subscribed.v1.subscriptions.resume(subscribed.sub, COLLECTING)
    assert again.status == "active" and again.latest_invoice.lines.data[-1].amount == 1000
    assert len([line for line in again.latest_invoice.lines.data if line.amount < 0]) == 0


def test_a_payment_that_fails_at_once_leaves_it_paused_until_a_good_card_pays(subscribed):
    pause(subscribed)
    fail_from_now_on(subscribed)
    said = subscribed.v1.subscriptions.resume(subscribed.sub, COLLECTING)
    assert (said.status, said.latest_invoice.status) == ("paused", "open")
    assert said.latest_invoice.next_payment_attempt
    good = subscribed.v1.payment_methods.attach("pm_card_visa", {"customer": subscribed.of}).id
    subscribed.v1.customers.update(subscribed.of, {"invoice_settings": {"default_payment_method": good}})
    subscribed.advance(subscribed.on, HALF + 3 * DAY)
    assert now(subscribed).status == "active"


def test_giving_up_the_invoice_of_a_resumption_resumes_and_voiding_it_does_not(subscribed):
    pause(subscribed)
    first = subscribed.v1.subscriptions.resume(subscribed.sub).latest_invoice
    subscribed.v1.invoices.void_invoice(first)
    assert now(subscribed).status == "paused"
    second = subscribed.v1.subscriptions.resume(subscribed.sub).latest_invoice
    subscribed.v1.invoices.mark_uncollectible(second)
    assert now(subscribed).status == "active"


@pytest.mark.parametrize("behavior", ["create_prorations", "always_invoice", "none"])
def test_resuming_with_the_anchor_unchanged_charges_what_is_left_of_the_period(subscribed, behavior):
    pause(subscribed)
    same = {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": behavior}
    subscribed.advance(subscribed.on, START + 45 * DAY)  # 31 days and half of February
    said = subscribed.v1.subscriptions.resume(subscribed.sub, COLLECTING | same)
    item = said.items.data[0]
    assert (said.status, said.billing_cycle_anchor) == ("active", START)
    assert (item.current_period_start, item.current_period_end) == (RENEWAL, RENEWAL + 28 * DAY)
    if behavior == "always_invoice":
        assert [line.amount for line in said.latest_invoice.lines.data] == [-500, 500]
    assert waiting(subscribed) == {"create_prorations": [-500, 500], "always_invoice": [], "none": [-500]}[behavior]


def test_what_was_not_credited_is_not_charged_again(subscribed):
    pause(subscribed, bill_for={"unused_time_from": {"type": "none"}})
    subscribed.advance(subscribed.on, HALF + DAY)
    same = {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "always_invoice"}
    assert subscribed.v1.subscriptions.resume(subscribed.sub, same).status == "active"
    assert len(subscribed.invoices(subscribed.sub)) == 1 and waiting(subscribed) == []
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    assert subscribed.invoices(subscribed.sub)[-1].amount_paid == 1000
