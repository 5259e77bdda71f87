"""Time passes: renewals, failed renewals, the end of a trial, the end of a subscription."""

import pytest
import stripe

from local.stripe_simulator import Settings
from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
RENEWAL = START + 31 * DAY


@pytest.fixture
def aging(world):
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    return world


def fail_from_now_on(world):
    bad = world.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": world.of}).id
    world.v1.customers.update(world.of, {"invoice_settings": {"default_payment_method": bad}})


def status(world, subscription):
    return world.v1.subscriptions.retrieve(subscription).status


def test_a_renewal_is_a_draft_for_an_hour_and_then_paid(aging):
    made = aging.subscribe(aging.of, aging.price(1000), 2)
    aging.advance(aging.on, RENEWAL)
    draft, now = aging.invoices(made.id)[-1], aging.v1.subscriptions.retrieve(made.id)
    assert (draft.status, draft.total, draft.created) == ("draft", 2000, RENEWAL)
    assert (draft.automatically_finalizes_at, draft.number, draft.hosted_invoice_url) == (RENEWAL + HOUR, None, None)
    assert (draft.period_start, draft.period_end) == (START, RENEWAL)
    assert now.items.data[0].current_period_start == RENEWAL and now.latest_invoice == draft.id
    aging.v1.invoice_items.create({"customer": aging.of, "invoice": draft.id, "amount": 77, "currency": "usd"})
    aging.advance(aging.on, RENEWAL + HOUR)
    paid = aging.v1.invoices.retrieve(draft.id)
    assert (paid.status, paid.amount_paid, paid.status_transitions.paid_at) == ("paid", 2077, RENEWAL + HOUR)
    assert paid.hosted_invoice_url and paid.invoice_pdf and paid.billing_reason == "subscription_cycle"


def test_many_periods_are_kept_in_order_and_clamped_to_short_months(world):
    anchor = 1_801_353_600  # 31 January 2027
    clock = world.clock(anchor)
    made = world.subscribe(world.customer(test_clock=clock), world.price())
    for days in (60, 119):
        world.advance(clock, anchor + days * DAY)
    starts = [invoice.lines.data[0].period.start for invoice in world.invoices(made.id)]
    assert [(start - anchor) // DAY for start in starts] == [0, 28, 59, 89]
    created = [
        event["created"] for event in world.simulator.events.values() if event["data"]["object"].get("test_clock")
    ]
    assert created == sorted(created)


def test_a_clock_answers_that_it_advances_and_then_is_ready(aging):
    said = aging.v1.test_helpers.test_clocks.advance(aging.on, {"frozen_time": START + DAY})
    assert (said.status, said.status_details.advancing.target_frozen_time) == ("advancing", START + DAY)
    now = aging.v1.test_helpers.test_clocks.retrieve(aging.on)
    assert (now.status, now.frozen_time) == ("ready", START + DAY)
    assert aging.told("test_helpers")[-2:] == ["test_helpers.test_clock.advancing", "test_helpers.test_clock.ready"]


def test_a_clock_goes_neither_back_nor_too_far(aging):
    aging.subscribe(aging.of, aging.price())
    for at in (START, START - 1, START + 63 * DAY):
        with pytest.raises(stripe.InvalidRequestError):
            aging.v1.test_helpers.test_clocks.advance(aging.on, {"frozen_time": at})


def test_an_existing_customer_moves_onto_a_clock_with_all_that_hangs_on_it(world):
    customer = world.customer()
    made = world.subscribe(customer, world.price())
    clock = world.v1.test_helpers.test_clocks.create({"frozen_time": START, "customer": customer}).id
    world.now[0] += 40 * DAY
    world.simulator.tick()
    assert [invoice.status for invoice in world.invoices(made.id)] == ["paid"]
    world.advance(clock, RENEWAL + HOUR)
    assert [invoice.status for invoice in world.invoices(made.id)] == ["paid", "paid"]
    assert world.v1.customers.retrieve(customer).test_clock == clock
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.test_helpers.test_clocks.create({"frozen_time": START, "customer": customer})


def test_deleting_a_clock_deletes_all_that_hangs_on_it(aging):
    made = aging.subscribe(aging.of, aging.price())
    aging.v1.test_helpers.test_clocks.delete(aging.on)
    assert aging.v1.customers.retrieve(aging.of).deleted
    for look in (aging.v1.subscriptions.retrieve, aging.v1.test_helpers.test_clocks.retrieve):
        with pytest.raises(stripe.InvalidRequestError) as gone:
            look(made.id)
        assert gone.value.code == "resource_missing"
    assert not aging.v1.test_helpers.test_clocks.list().data


def test_without_a_clock_the_wall_clock_renews_on_a_tick_or_with_the_next_call(world):
    made = world.subscribe(world.customer(), world.price())
    world.now[0] = RENEWAL
    world.simulator.tick()
    assert [one["status"] for one in world.simulator.invoices.values()] == ["paid", "draft"]
    world.now[0] += HOUR
    assert [invoice.status for invoice in world.invoices(made.id)] == ["paid", "paid"]


@pytest.mark.parametrize("world", [Settings(after_retries="cancel")], indirect=True)
def test_a_failed_renewal_is_tried_again_on_its_days_and_then_cancelled(aging):
    made = aging.subscribe(aging.of, aging.price())
    fail_from_now_on(aging)
    aging.advance(aging.on, RENEWAL + HOUR)
    first = RENEWAL + HOUR
    for attempt, day in enumerate((3, 5, 7, 9), start=1):
        invoice = aging.invoices(made.id)[-1]
        assert (invoice.attempt_count, invoice.next_payment_attempt) == (attempt, first + day * DAY)
        assert status(aging, made.id) == "past_due" and aging.v1.customers.retrieve(aging.of).delinquent
        aging.advance(aging.on, first + day * DAY)
    invoice, ended = aging.invoices(made.id)[-1], aging.v1.subscriptions.retrieve(made.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")
    assert (invoice.attempt_count, invoice.next_payment_attempt, invoice.status) == (5, None, "open")
    assert aging.told("invoice.payment_failed") == ["invoice.payment_failed"] * 5
    assert aging.told("customer.subscription.deleted")


@pytest.mark.parametrize("world", [Settings((1,), "unpaid"), Settings((1,), "past_due")], indirect=True)
def test_what_happens_after_the_last_retry_is_a_setting(aging):
    after = aging.settings.after_retries
    made = aging.subscribe(aging.of, aging.price())
    fail_from_now_on(aging)
    aging.advance(aging.on, RENEWAL + 2 * DAY)
    assert status(aging, made.id) == after
    aging.advance(aging.on, RENEWAL + 28 * DAY + HOUR)
    assert aging.invoices(made.id)[-1].status == ("draft" if after == "unpaid" else "open")


def test_paying_the_latest_invoice_ends_past_due_and_voiding_it_does_not(aging):
    made = aging.subscribe(aging.of, aging.price())
    fail_from_now_on(aging)
    aging.advance(aging.on, RENEWAL + HOUR)
    good = aging.v1.payment_methods.attach("pm_card_visa", {"customer": aging.of}).id
    aging.v1.invoices.pay(aging.invoices(made.id)[-1].id, {"payment_method": good})
    assert status(aging, made.id) == "active"
    aging.advance(aging.on, RENEWAL + 28 * DAY + HOUR)
    assert status(aging, made.id) == "past_due"
    aging.v1.invoices.void_invoice(aging.invoices(made.id)[-1].id)
    assert status(aging, made.id) == "past_due"


def test_giving_an_invoice_up_reactivates_without_payment(aging):
    made = aging.subscribe(aging.of, aging.price())
    fail_from_now_on(aging)
    aging.advance(aging.on, RENEWAL + HOUR)
    lost = aging.v1.invoices.mark_uncollectible(aging.invoices(made.id)[-1].id)
    assert (lost.status, lost.status_details.uncollectible.reason) == ("uncollectible", "user_forgiven")
    assert status(aging, made.id) == "active"


def test_a_renewal_that_needs_3d_secure_is_not_tried_again_by_itself(aging):
    made = aging.subscribe(aging.of, aging.price())
    card = aging.v1.payment_methods.attach("pm_card_authenticationRequired", {"customer": aging.of}).id
    aging.v1.subscriptions.update(made.id, {"default_payment_method": card})
    aging.advance(aging.on, RENEWAL + HOUR)
    invoice = aging.invoices(made.id)[-1]
    assert (status(aging, made.id), invoice.next_payment_attempt) == ("past_due", None)
    assert aging.told("invoice.payment_action") == ["invoice.payment_action_required"]


# The end of a trial


def trial(world, card, **end):
    world.on = world.clock()
    world.of = world.customer(card, test_clock=world.on)
    settings = {"trial_settings": {"end_behavior": {"missing_payment_method": end["missing"]}}} if end else {}
    return world.subscribe(world.of, world.price(1000), trial_period_days=14, **settings).id


def test_a_trial_warns_three_days_ahead_and_is_paid_at_its_end(world):
    made = trial(world, "pm_card_visa")
    world.advance(world.on, START + 11 * DAY - 1)
    assert not world.told("customer.subscription.trial_will_end")
    world.advance(world.on, START + 13 * DAY)
    assert world.told("customer.subscription.trial_will_end") == ["customer.subscription.trial_will_end"]
    world.v1.subscriptions.update(made, {"metadata": {"seen": "yes"}})
    world.advance(world.on, START + 14 * DAY)
    assert status(world, made) == "active"
    assert world.told("customer.subscription.trial_will_end") == ["customer.subscription.trial_will_end"]
    world.advance(world.on, START + 14 * DAY + HOUR)
    invoice, now = world.invoices(made)[-1], world.v1.subscriptions.retrieve(made)
    assert (invoice.status, invoice.amount_paid) == ("paid", 1000)
    assert now.items.data[0].current_period_start == now.billing_cycle_anchor == START + 14 * DAY


def test_a_trial_without_a_card_can_end_in_cancellation(world):
    made = trial(world, None, missing="cancel")
    world.advance(world.on, START + 14 * DAY)
    assert status(world, made) == "canceled" and len(world.invoices(made)) == 1


def test_a_trial_without_a_card_can_end_in_a_pause_and_resume_with_one(world):
    made = trial(world, None, missing="pause")
    world.advance(world.on, START + 20 * DAY)
    now = world.v1.subscriptions.retrieve(made)
    assert now.status == "paused"
    assert now.status_details.paused.subscription.type == "trial_end_without_payment_method"
    card = world.v1.payment_methods.attach("pm_card_visa", {"customer": world.of}).id
    world.v1.subscriptions.update(made, {"default_payment_method": card})
    collecting = {"payment_behavior": "resume_on_payment_success", "expand": ["latest_invoice"]}
    resumed = world.v1.subscriptions.resume(made, collecting)
    assert (resumed.status, resumed.latest_invoice.amount_paid) == ("active", 1000)
    assert resumed.items.data[0].current_period_start == START + 20 * DAY
    assert world.told("customer.subscription.paused") and world.told("customer.subscription.resumed")


def test_a_trial_without_a_card_can_end_in_an_invoice_that_nobody_pays(world):
    made = trial(world, None, missing="create_invoice")
    world.advance(world.on, START + 14 * DAY + HOUR)
    assert (status(world, made), world.invoices(made)[-1].status) == ("past_due", "open")


def test_a_trial_whose_card_fails_at_its_end_is_past_due(world):
    made = trial(world, "pm_card_chargeCustomerFail")
    world.advance(world.on, START + 14 * DAY + HOUR)
    assert (status(world, made), world.invoices(made)[-1].status) == ("past_due", "open")
    good = world.v1.payment_methods.attach("pm_card_visa", {"customer": world.of}).id
    world.v1.invoices.pay(world.invoices(made)[-1].id, {"payment_method": good})
    assert status(world, made) == "active"


def test_a_short_trial_and_one_that_is_ended_early_warn_at_once(world):
    short = world.subscribe(world.customer(), world.price(), trial_period_days=2).id
    world.simulator.tick()
    assert world.told("customer.subscription.trial_will_end") == ["customer.subscription.trial_will_end"]
    made = trial(world, "pm_card_visa")
    said = world.v1.subscriptions.update(made, {"trial_end": "now"})
    assert (said.status, said.trial_end) == ("active", START)
    told = [one for one in world.simulator.events.values() if one["type"] == "customer.subscription.trial_will_end"]
    assert [one["data"]["object"]["id"] for one in told] == [short, made]


def test_a_trial_can_be_moved_by_an_update(world):
    made = trial(world, "pm_card_visa")
    moved = world.v1.subscriptions.update(made, {"trial_end": START + 30 * DAY})
    assert (moved.status, moved.trial_end) == ("trialing", START + 30 * DAY)
    world.advance(world.on, START + 30 * DAY - 1)
    assert status(world, made) == "trialing"
    world.advance(world.on, START + 30 * DAY + HOUR)
    assert world.invoices(made)[-1].amount_paid == 1000


# The end of a subscription


def test_a_cancellation_at_period_end_can_be_undone_until_then(aging):
    made = aging.subscribe(aging.of, aging.price())
    said = aging.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    assert (said.status, said.cancel_at, said.canceled_at) == ("active", RENEWAL, START)
    undone = aging.v1.subscriptions.update(made.id, {"cancel_at_period_end": False})
    assert (undone.cancel_at, undone.canceled_at, undone.cancellation_details.reason) == (None, None, None)
    aging.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    aging.advance(aging.on, RENEWAL - 1)
    assert status(aging, made.id) == "active"
    aging.advance(aging.on, RENEWAL)
    ended = aging.v1.subscriptions.retrieve(made.id)
    assert (ended.status, ended.ended_at, ended.canceled_at) == ("canceled", RENEWAL, START)
    assert len(aging.invoices(made.id)) == 1


def test_a_cancellation_at_period_end_moves_with_the_period(aging):
    made = aging.subscribe(aging.of, aging.price())
    aging.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    aging.advance(aging.on, START + DAY)
    moved = aging.v1.subscriptions.update(made.id, {"billing_cycle_anchor": {"type": "now"}})
    assert moved.cancel_at == moved.items.data[0].current_period_end == RENEWAL + DAY


def test_a_date_to_cancel_at_can_be_set_and_cleared(aging):
    made = aging.subscribe(aging.of, aging.price())
    at = aging.v1.subscriptions.update(made.id, {"cancel_at": "min_period_end"})
    assert (at.cancel_at, at.cancel_at_period_end) == (RENEWAL, False)
    assert aging.v1.subscriptions.update(made.id, {"cancel_at": ""}).cancel_at is None
    aging.v1.subscriptions.update(made.id, {"cancel_at": START + 5 * DAY})
    aging.advance(aging.on, START + 5 * DAY)
    assert status(aging, made.id) == "canceled"


def test_a_cancelled_subscription_cannot_be_cancelled_or_changed_again(world):
    made = world.subscribe(world.customer(), world.price())
    details = {"comment": "bye", "feedback": "unused"}
    gone = world.v1.subscriptions.cancel(made.id, {"cancellation_details": details})
    assert (gone.status, gone.cancellation_details.feedback) == ("canceled", "unused")
    with pytest.raises(stripe.InvalidRequestError) as again:
        world.v1.subscriptions.cancel(made.id)
    assert (again.value.http_status, again.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    world.now[0] = RENEWAL + DAY
    assert len(world.invoices(made.id)) == 1


def test_cancelling_with_proration_gives_nobody_money(aging):
    made = aging.subscribe(aging.of, aging.price())
    aging.advance(aging.on, START + 31 * DAY // 2)
    gone = aging.v1.subscriptions.cancel(made.id, {"prorate": True, "invoice_now": True, "expand": ["latest_invoice"]})
    assert (gone.latest_invoice.status, gone.latest_invoice.total) == ("draft", -500)
    aging.advance(aging.on, START + 31 * DAY // 2 + HOUR)
    invoice = aging.v1.invoices.retrieve(gone.latest_invoice.id)
    assert (invoice.status, invoice.status_details.uncollectible.reason) == ("uncollectible", "subscription_canceled")
    assert aging.v1.customers.retrieve(aging.of).balance == 0


def test_cancelling_drops_prorations_that_wait_and_stops_collecting(aging):
    made = aging.subscribe(aging.of, aging.price())
    aging.v1.subscriptions.update(made.id, {"items": [{"id": made.items.data[0].id, "quantity": 2}]})
    fail_from_now_on(aging)
    aging.advance(aging.on, RENEWAL + HOUR)
    aging.v1.subscriptions.update(made.id, {"items": [{"id": made.items.data[0].id, "quantity": 3}]})
    aging.v1.subscriptions.cancel(made.id)
    invoice = aging.invoices(made.id)[-1]
    assert (invoice.status, invoice.auto_advance, invoice.next_payment_attempt) == ("open", False, None)
    assert not aging.v1.invoice_items.list({"customer": aging.of, "pending": True}).data


@pytest.mark.parametrize(
    ("behavior", "left"), [("void", "void"), ("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible")]
)
def test_a_paused_collection_leaves_the_status_alone_and_resumes_by_itself(aging, behavior, left):
    made = aging.subscribe(aging.of, aging.price())
    paused = aging.v1.subscriptions.update(
        made.id, {"pause_collection": {"behavior": behavior, "resumes_at": RENEWAL + 2 * DAY}}
    )
    assert (paused.status, paused.pause_collection.behavior) == ("active", behavior)
    aging.advance(aging.on, RENEWAL + HOUR)
    assert aging.invoices(made.id)[-1].status == left and status(aging, made.id) == "active"
    aging.advance(aging.on, RENEWAL + 2 * DAY)
    assert aging.v1.subscriptions.retrieve(made.id).pause_collection is None
    assert not aging.told("customer.subscription.paused")
